"""Engine of the duet: from the player's messages to commands for the port.

It passes events and time to the strategies, and asks the one of the present
mode for work. Everything that may take time is a `Job`, a few milliseconds
long. Between jobs the caller drains its inputs, so nothing waits for long.
Live, a job takes as long as it takes, in a replay as long as a table says. The
same code runs in both, on the clock of the caller.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from magenta_midi.generate.duet.stream import PlanSettings
from magenta_midi.generate.generator import Generator
from magenta_midi.generate.key_prior import KeyPrior
from magenta_midi.generate.onset_prior import OnsetPrior
from magenta_midi.generate.priors import Priors
from magenta_midi.generate.sampling import Sampling, level_sampling
from magenta_midi.live.engine.call_response import CallResponse
from magenta_midi.live.engine.context_encoder import ContextEncoder
from magenta_midi.live.engine.context_mix import inject
from magenta_midi.live.engine.followed_chord import FollowedChord
from magenta_midi.live.engine.harmony import Harmony
from magenta_midi.live.engine.planner import Planner
from magenta_midi.live.engine.settings import EngineSettings
from magenta_midi.live.engine.simultaneous import Simultaneous
from magenta_midi.live.engine.strategy import PlayStrategy
from magenta_midi.live.protocol.commands import (
  Command,
  End,
  Job,
  Panic,
  Release,
)
from magenta_midi.live.protocol.controls import Controls
from magenta_midi.live.protocol.events import SECOND, Message, Sounded
from magenta_midi.live.timing.bars import Bars
from magenta_midi.live.timing.chart_position import chart_timeline, live_chart
from magenta_midi.midi.groove import (
  AUTO,
  Groove,
  groove_named,
  split_groove,
)
from magenta_midi.midi.score import Score
from magenta_midi.model.depthformer import Depthformer

__all__ = ["Engine", "EngineSettings"]

# `next_job` is called so often, if nothing happens.
_WAKE_NS = SECOND // 50
# If control tokens set density and loudness, the engine adds only this share of
# them: the model does the rest.
_STEERED_SHARE = 0.5


class Engine:
  """One session's duet.

  Args:
    generator: The model.
    settings: What stays.
    controls: What may change at any time; see `set_controls`.
    sampling: How codes are drawn at temperature 1.
    steered: Whether the model reads control tokens: density and loudness are
      asked of it too (`style_control`), so less is done to what it draws.
    weights: What `Controls.adapter` chooses among, a network for each of
      `Controls.adapters`; none where there are none.

  Attributes:
    planner: What the model does next, and what both players did.
    harmony: Of both players.
    bars: The grid of bars; None: free time.
    controls: The present ones.
  """

  def __init__(
    self,
    generator: Generator,
    *,
    settings: EngineSettings | None = None,
    controls: Controls | None = None,
    sampling: Sampling | None = None,
    steered: bool = False,
    weights: Sequence[Depthformer] = (),
  ):
    settings = settings or EngineSettings()
    self.controls = controls = controls or Controls()
    if len(weights) != len(controls.adapters):
      raise ValueError(
        f"weights must be one network for each of the controls'"
        f" {len(controls.adapters)} adapters, got {len(weights)}."
      )
    self._sampling = sampling or Sampling()
    self._share = _STEERED_SHARE if steered else 1.0
    self._encoder = ContextEncoder(
      generator, context_s=settings.context_s, weights=weights
    )
    if weights:
      self._encoder.choose(controls.adapter - 1)
    self.bars: Bars | None = None
    self._triplets = False
    self._grooves: dict[str, Groove] = {}
    self._followed = FollowedChord()
    seed = settings.seed
    self.planner = Planner(
      self._encoder, self._plan_settings(seed), settings=settings
    )
    self._turn_taking = CallResponse(self.planner)
    self._strategies: dict[str, PlayStrategy] = {
      "simultaneous": Simultaneous(self.planner, controls),
      "call-response": self._turn_taking,
    }
    self.harmony = Harmony(self.planner.player.keyboard)
    self._commands: list[Command] = []
    self._apply_controls()

  # Settings.

  @property
  def settings(self) -> EngineSettings:
    """Settings of the engine, with the present commit horizon."""
    return self.planner.settings

  def set_controls(self, controls: Controls, now_ns: int) -> None:
    """Takes new controls; a change of mode ends what is being played.

    Raises:
      ValueError: The adapters to switch between are others than at the start.
    """
    if controls.adapters != self.controls.adapters:
      raise ValueError("the adapters cannot change while playing.")
    before, self.controls = self.controls, controls
    self._apply_controls()
    if before.adapter != controls.adapter:
      self._encoder.choose(controls.adapter - 1)
      # Openings that were encoded in advance used the old weights.
      self.planner.drop_openings()
    self.planner.pending.clear()
    if before.mode != controls.mode or controls.muted != before.muted:
      self._stop(now_ns, Release(self.settings.interrupt_ns))
    self.planner.note(now_ns, "controls", controls=controls._asdict())

  def _apply_controls(self) -> None:
    controls, planner = self.controls, self.planner
    planner.plan_settings = self._plan_settings(self.settings.seed)
    self._encoder.priors = planner.plan_settings.priors
    planner.loudness = round(controls.loudness * self._share)
    planner.injection = self._inject if controls.injection != "both" else None
    # Without style, guidance would change nothing and cost a row.
    self._encoder.guided = controls.guidance != 0.0 and self._encoder.has_style
    self._turn_taking.set_bars(self.bars, in_time=not controls.free)
    for strategy in self._strategies.values():
      strategy.set_controls(controls)

  def _apply_priors(self) -> None:
    """Nothing else has changed."""
    planner = self.planner
    priors = planner.plan_settings.priors._replace(key=self._key_prior())
    planner.plan_settings = planner.plan_settings._replace(priors=priors)
    self._encoder.priors = priors

  def _plan_settings(self, seed: int) -> PlanSettings:
    controls = self.controls
    base = level_sampling(self._sampling, self._encoder.codec.levels)
    low, high = controls.register
    keys = np.zeros(128, bool)
    keys[low : high + 1] = True
    return PlanSettings(
      base._replace(
        temperature=(base.temperature * controls.temperature).astype(np.float32)
      ),
      keys,
      pedals=controls.pedal != "off",
      pace=controls.density**self._share,
      guidance=controls.guidance,
      seed=seed,
      priors=Priors(onset=self._onset_prior(), key=self._key_prior()),
    )

  def _onset_prior(self) -> OnsetPrior | None:
    bars, controls = self.bars, self.controls
    if bars is None or controls.free:
      return None
    name, weight = split_groove(controls.groove)
    if name == AUTO or (name[0] == "@" and name not in self._grooves):
      name = "triplet" if self._triplets else "straight"
    groove = self._grooves.get(name) or groove_named(name, bars.bpm)
    return OnsetPrior(bars.grid, groove, controls.tightness * weight)

  def _key_prior(self) -> KeyPrior | None:
    bars, controls = self.bars, self.controls
    chart = live_chart(controls.chords)
    if chart is None:
      following = controls.harmony == "follow"
      return self._followed.prior(bars) if following else None
    if bars is None:
      return None
    timeline = chart_timeline(chart, bars)
    return KeyPrior(timeline, bars.grid, controls.chord_weight)

  def _inject(self, player: Score, model: Score) -> tuple[Score, Score]:
    controls = self.controls
    return inject(
      player, model, controls.injection, mix_ratio=controls.mix_ratio
    )

  def set_style(self, rows: list[int] | None) -> None:
    """Rows of the style table from the next refresh on; None: masked."""
    self._encoder.set_style(None if rows is None else np.array(rows, np.int32))
    self._apply_controls()

  def set_horizon(self, horizon_ns: int) -> None:
    """Sets the commit horizon: nothing is planned closer than this.

    A machine that answers more slowly must plan further ahead, or what it
    plans is late before it arrives.
    """
    self.planner.settings = replace(self.settings, horizon_ns=horizon_ns)

  def add_groove(self, name: str, density: Sequence[float]) -> None:
    """A player's groove, for `Controls.groove`.

    Args:
      name: `@NAME`.
      density: Of onsets by place in the beat, its mean 1.
    """
    self._grooves[name] = Groove(name, np.array(density, np.float64))
    self._apply_controls()

  def set_bars(self, bars: Bars | None, *, triplets: bool = False) -> None:
    """The grid of bars from here on.

    Args:
      bars: None: free time.
      triplets: Whether its beats are felt in three.
    """
    self.bars, self._triplets = bars, triplets
    self._apply_controls()

  @property
  def warm_up_steps(self) -> int:
    """How often `warm_up` reports progress."""
    return self._encoder.warm_up_steps

  def warm_up(self, on_progress: Callable[[], None] = lambda: None) -> None:
    """Compiles everything; nothing compiles after it."""
    self._encoder.warm_up(self.planner.plan_settings, on_progress)

  def dense_second(self) -> tuple[float, float]:
    """What a second of dense music takes, after `warm_up`.

    Returns:
      Processor time of all threads and time from begin to end, s.
    """
    return self._encoder.dense_second(self.planner.plan_settings)

  # Input.

  def receive(self, message: Message) -> None:
    """The player did something."""
    if message.data[0] >= 0xF0:
      return  # a clock's: the timekeeper's
    event = self.planner.player.receive(message)
    for strategy in self._strategies.values():
      strategy.on_player_event(event)
    self.harmony.handle(event)
    follows = self.controls.harmony == "follow" and not self.controls.chords
    if follows and self._followed.look(self.harmony, event.time_ns):
      self._apply_priors()
    self.planner.handle(event)

  def keyboard_lost(self, now_ns: int) -> None:
    """The player's keyboard vanished: all its keys and its pedal come up."""
    keyboard = self.planner.player.keyboard
    for key in keyboard.held_keys:
      self.receive(Message(now_ns, bytes((0x80, key, 64))))
    if keyboard.pedal_down:
      self.receive(Message(now_ns, bytes((0xB0, 64, 0))))

  def feedback(self, sounded: Sounded) -> None:
    """Handles the outcome of a planned event."""
    if sounded.kind == "dropped":
      self.planner.unplay(sounded.id)
    elif sounded.kind == "on":
      self.harmony.sounded(sounded)

  def act(self, action: str, now_ns: int) -> None:
    """`hand_over`, `end` or `panic`."""
    self.planner.note(now_ns, "action", action=action)
    if action == "hand_over":
      for strategy in self._strategies.values():
        strategy.hand_over(now_ns)
    elif action == "end":
      self._stop(now_ns, End())
      self.controls = self.controls._replace(mode="listen")
    elif action == "panic":
      self._stop(now_ns, Panic())

  def _stop(self, now_ns: int, command: Command) -> None:
    self._commands.append(command)
    self.planner.cut(now_ns)
    self.planner.stop()
    for strategy in self._strategies.values():
      strategy.end(now_ns)

  # Next job.

  def next_job(self, now_ns: int) -> Job | None:
    """The most urgent work, or None."""
    self.planner.forget(now_ns)
    for strategy in self._strategies.values():
      strategy.on_time(now_ns)
    playing = None
    if not self.controls.muted:
      playing = self._strategies.get(self.controls.mode)
    if playing is None:
      self.planner.pending.clear()
    if self._commands:
      commands, self._commands = self._commands, []
      return Job("none", 0, lambda now: commands)
    return None if playing is None else playing.next_job(now_ns)

  def next_wake_ns(self, now_ns: int) -> int:
    """When `next_job` should be asked again, if nothing is received."""
    wake_ns = now_ns + _WAKE_NS
    for strategy in self._strategies.values():
      deadline_ns = strategy.next_wake_ns()
      if deadline_ns is not None and deadline_ns > now_ns:
        wake_ns = min(wake_ns, deadline_ns)
    return wake_ns

  # Reports.

  @property
  def replying(self) -> bool:
    """Whether it is the model's turn."""
    return self._turn_taking.replying

  @property
  def planned_at_ns(self) -> int:
    """When the last plan was made, if only to rest."""
    return self.planner.planned_at_ns

  def drain_log(self) -> list[dict[str, Any]]:
    """Decisions since the last call, for the session's record."""
    return self.planner.drain_log()
