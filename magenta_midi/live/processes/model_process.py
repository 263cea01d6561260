"""Process of the model: receives notes, plans, sends plans to the ports."""

import contextlib
import dataclasses
import gc
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import msgspec

from magenta_midi.live.engine.engine import EngineSettings
from magenta_midi.live.engine.horizon import Horizon
from magenta_midi.live.processes.shm_ring import Ring
from magenta_midi.live.processes.wire_format import (
  pack_end,
  pack_panic,
  pack_plan,
  pack_release,
  unpack_message,
  unpack_sounded,
)
from magenta_midi.live.protocol.commands import (
  Command,
  End,
  Panic,
  Release,
  Replan,
)
from magenta_midi.live.protocol.controls import Controls, changed, to_json
from magenta_midi.live.protocol.events import PlannedNote
from magenta_midi.live.protocol.messages import (
  Act,
  BeatState,
  ModelCompiling,
  ModelFailed,
  ModelLoading,
  ModelProblem,
  ModelReady,
  ModelReport,
  ModelRequest,
  ModelState,
  Quit,
  SetBars,
  SetControl,
  decode,
  encode,
  shortened,
)
from magenta_midi.live.recording.journal import STOPPED, write_all
from magenta_midi.live.timing.bars import Bars
from magenta_midi.midi.groove import GROOVES, split_groove
from magenta_midi.midi.meter import Meter

__all__ = ["ModelConfig", "run_model"]

# Between two reports of the model's state.
STATE_NS = 80_000_000
IDLE_S = 0.0007
# The beat is followed so late at most, however busy the model is.
LATE_NS = 150_000_000
# Jobs whose plan must arrive before it is due.
ANSWERS = ("react", "reply", "deeper")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
  """Settings that the model process starts with.

  Attributes:
    checkpoint: A folder; None: the embedded one.
    settings: Of the engine.
    controls: At the start.
    journal: File to which calls and decisions of the engine are appended, a
      JSON line each; None: nowhere.
    t0_ns: `perf_counter_ns` at the session's time 0.
    parent: Process that this one must not outlive.
  """

  checkpoint: str | None = None
  settings: EngineSettings = dataclasses.field(default_factory=EngineSettings)
  controls: Controls = dataclasses.field(default_factory=Controls)
  journal: str | None = None
  t0_ns: int = 0
  parent: int = 0


class _Model:
  """The loop's state."""

  def __init__(self, config: ModelConfig, rings: dict[str, str]):
    self.config = config
    self.rings = {name: Ring.attach(value) for name, value in rings.items()}
    self.running = True
    self.horizon = Horizon(config.settings.horizon_ns)
    self._journal: int | None = None
    self._lines: list[str] = []
    self._state_ns = 0
    self._busy_ns = 0
    self._timed_ns = 0
    # When another adapter was asked for that does not play yet.
    self._asked_ns: int | None = None
    self._switch_ms: list[float] = []

  def now_ns(self) -> int:
    return time.perf_counter_ns() - self.config.t0_ns

  def report(self, report: ModelReport) -> None:
    """Sends a report to the application; a problem where it is too long."""
    try:
      record = encode(report)
    except ValueError as error:
      record = encode(ModelProblem(problem=shortened(error)))
    self.rings["model_reports"].put(record)

  def load(self) -> None:
    """Loads and compiles everything."""
    self.report(ModelLoading())
    from magenta_midi.api import MagentaMidi
    from magenta_midi.live.engine.compile_counter import CompilationCounter
    from magenta_midi.live.engine.style_control import Steering
    from magenta_midi.live.engine.timekeeper import Timekeeper
    from magenta_midi.live.recording.engine_trace import TracedEngine
    from magenta_midi.live.recording.serialization import make_engine
    from magenta_midi.model.lora.player_grooves import player_grooves

    config = self.config
    folder = None if config.checkpoint is None else Path(config.checkpoint)
    self.mm = MagentaMidi.load(folder)
    engine = make_engine(self.mm, config.controls, settings=config.settings)
    done = 0

    def progress() -> None:
      nonlocal done
      done += 1
      total = engine.warm_up_steps
      self.report(ModelCompiling(done=done, total=total))

    engine.warm_up(progress)
    self.cpu_s, self.wall_s = engine.dense_second()
    self.timekeeper = Timekeeper(
      config.controls, Meter.parse(config.settings.meter)
    )
    # Read before anybody plays.
    self.grooves = player_grooves()
    self.steering = Steering(self.mm)
    self._report_problem(self.steering.warm_up())
    self.plain = engine
    self.engine = TracedEngine(engine, self._write)
    if config.journal:
      self._open_journal(Path(config.journal))
    self._report_problem(self._take_groove(config.controls))
    self.counter = CompilationCounter()

  def _open_journal(self, path: Path) -> None:
    """Goes on after what a model that died has written."""
    whole = not path.exists() or path.read_bytes()[-1:] in (b"", b"\n")
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    self._journal = os.open(path, flags | getattr(os, "O_BINARY", 0), 0o666)
    if not whole:
      self._append(b"\n")
    first_id = self.config.settings.first_id
    if first_id:
      self._write(["r", first_id, to_json(self.config.controls)])

  def _write(self, entry: list[Any]) -> None:
    if self._journal is not None:
      self._lines.append(json.dumps(entry, separators=(",", ":")))

  def run(self) -> None:
    """Until asked to end."""
    # Notes played before this are received too: they are the context.
    self.report(
      ModelReady(
        checkpoint=self.mm.checkpoint,
        sha256=self.mm.config.get("sha256"),
        cpu_s=self.cpu_s,
        wall_s=self.wall_s,
      )
    )
    self._steer(self.config.controls, self.now_ns())
    with self.counter:
      while self.running:
        self._receive()
        started_ns = self.now_ns()
        job = self.engine.next_job(started_ns)
        if job is not None:
          for command in job.run(started_ns):
            self._send(command)
          self._see_switch()
          took_ns = self.now_ns() - started_ns
          self._busy_ns += took_ns
          if job.name in ANSWERS:
            self.horizon.took(took_ns)
        # However busy: the session's record and its end depend on it.
        if started_ns - self._state_ns >= STATE_NS:
          self._housekeep(started_ns)
        elif job is None:
          time.sleep(IDLE_S)
        if job is None or started_ns - self._timed_ns >= LATE_NS:
          self._keep_time(started_ns)

  def _receive(self) -> None:
    engine = self.engine
    for packed in self.rings["to_model"].drain():
      message = unpack_message(packed)
      engine.receive(message)
      self.timekeeper.receive(message)
    for packed in self.rings["feedback"].drain():
      engine.feedback(unpack_sounded(packed))
    for packed in self.rings["model_requests"].drain():
      self._handle(decode(packed))

  def _handle(self, request: ModelRequest) -> None:
    match request:
      case SetControl(name=name, value=value):
        self._set_control(name, value)
      case Act(action=action):
        self.engine.act(action.value, self.now_ns())
      case SetBars(bpm=bpm, beats_per_bar=beats, start_ns=start_ns):
        bars = Bars(bpm, beats, start_ns)
        self.timekeeper.tell(bars, follows=request.follows)
        self._keep_time(self.now_ns())
      case Quit():
        self.running = False

  def _set_control(self, name: str, value: Any) -> None:
    now_ns = self.now_ns()
    if name == "adapters":
      self._report_problem("the adapters cannot change while playing.")
      return
    try:
      controls = changed(self.plain.controls, name, value)
    except ValueError as error:
      self._report_problem(str(error))
      return
    if problem := self._take_groove(controls):
      self._report_problem(problem)
      return
    if controls.adapter != self.plain.controls.adapter:
      self._asked_ns = now_ns
    self.engine.set_controls(controls, now_ns)
    self.timekeeper.set_controls(controls, now_ns)
    self._see_switch()
    self._steer(controls, now_ns)

  def _take_groove(self, controls: Controls) -> str | None:
    """Gives the engine a player's groove; why there is none, or None."""
    name, _ = split_groove(controls.groove)
    if name[0] != "@":
      return None
    if name not in self.grooves:
      known = ", ".join((*GROOVES, *self.grooves))
      return f"there is no groove {name}; there are {known}."
    self.engine.add_groove(name, self.grooves[name].density.tolist())
    return None

  def _keep_time(self, now_ns: int) -> None:
    """Follows the beat; while there is nothing more urgent to do."""
    self._timed_ns = now_ns
    if self.timekeeper.advance(now_ns):
      beat = self.timekeeper.beat
      self.engine.set_bars(beat.bars, triplets=beat.triplets)
    for line in self.timekeeper.news():
      self._report_problem(line)

  def _see_switch(self) -> None:
    """Notes how long it took until another adapter's plan was sent."""
    if self._asked_ns is not None and not self.plain.planner.outdated:
      took_ns = self.now_ns() - self._asked_ns
      self._switch_ms.append(round(took_ns / 1e6, 3))
      self._asked_ns = None

  def _steer(self, controls: Controls, now_ns: int) -> None:
    self._report_problem(self.steering.set_controls(controls, now_ns))
    self._set_style(now_ns)

  def _set_style(self, now_ns: int) -> None:
    """Moves prompts and sliders on towards their new values."""
    player = self.plain.planner.player.history
    changed, rows = self.steering.changed_rows(player, now_ns)
    if changed:
      self.engine.set_style(rows)

  def _report_problem(self, problem: str | None) -> None:
    if problem is not None:
      self.report(ModelProblem(problem=shortened(problem)))

  def _send(self, command: Command) -> None:
    commands = self.rings["commands"]
    match command:
      case Replan(from_ns, events, reacts_to, why):
        packed = pack_plan(from_ns, events, reacts_to, why)
      case Release(within_ns, keys):
        packed = pack_release(within_ns, keys)
      case End():
        packed = pack_end()
      case Panic():
        packed = pack_panic()
    commands.put(packed)

  def _housekeep(self, now_ns: int) -> None:
    """A few times a second: style, report, journal, horizon, parent."""
    share = self._busy_ns / max(1, now_ns - self._state_ns)
    self._state_ns, self._busy_ns = now_ns, 0
    self._set_style(now_ns)
    self._report_state(now_ns, share)
    self._flush()
    if self.horizon.changed():
      self.engine.set_horizon(self.horizon.ns)
    if self.config.parent and os.getppid() != self.config.parent:
      self.running = False

  def _report_state(self, now_ns: int, share: float) -> None:
    engine = self.plain
    chord, key = engine.harmony.chord(now_ns), engine.harmony.key(now_ns)
    plan = [
      (event.key, event.time_ns, event.duration_ns)
      for event in engine.planner.planned
      if isinstance(event, PlannedNote)
    ]
    self.report(
      ModelState(
        now_ns=now_ns,
        mode=engine.controls.mode,
        replying=engine.replying,
        busy=round(share, 3),
        horizon_ms=engine.settings.horizon_ns / 1e6,
        plan_age_ms=(
          round((now_ns - engine.planned_at_ns) / 1e6, 1)
          if engine.planned_at_ns
          else None
        ),
        chord=chord.name if chord is not None else "",
        key=key.name if key is not None else "",
        plan=plan[:24],
        compiles=self.counter.count,
        switches=len(self._switch_ms),
        slowest_switch_ms=max(self._switch_ms, default=None),
        controls=engine.controls,
        beat=self._beat_state(),
      )
    )

  def _beat_state(self) -> BeatState:
    bars = self.timekeeper.beat.bars
    confidence = self.timekeeper.confidence
    state = BeatState(
      source=self.timekeeper.beat.source,
      confidence=None if confidence is None else round(confidence, 3),
    )
    if bars is None:
      return state
    return msgspec.structs.replace(
      state,
      bpm=float(bars.bpm),
      beats_per_bar=bars.beats_per_bar,
      start_ns=bars.start_ns,
    )

  def _flush(self) -> None:
    for entry in self.plain.drain_log():
      self._write(["d", entry])
    if self._journal is None or not self._lines:
      return
    lines, self._lines = self._lines, []
    self._append(("\n".join(lines) + "\n").encode())

  def _append(self, data: bytes) -> None:
    """Writes to the journal; after an error no more."""
    if self._journal is None:
      return
    try:
      write_all(self._journal, data)
    except OSError as error:
      self._close_journal()
      self._report_problem(
        f"{STOPPED} for what the model decides ({error.strerror}); what came"
        " before is kept"
      )

  def _close_journal(self) -> None:
    if self._journal is not None:
      with contextlib.suppress(OSError):
        os.close(self._journal)
    self._journal = None

  def close(self) -> None:
    """Ends; what was decided last is still written."""
    if hasattr(self, "plain"):
      with contextlib.suppress(Exception):
        self._flush()
    self._close_journal()
    for ring in self.rings.values():
      ring.close()


def run_model(config: ModelConfig, rings: dict[str, str]) -> None:
  """The process's main function."""
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  model = _Model(config, rings)

  def stop(number: int, frame: object) -> None:
    model.running = False

  signal.signal(signal.SIGTERM, stop)
  try:
    try:
      model.load()
    except (ValueError, OSError) as error:
      model.report(ModelFailed(problem=shortened(error)))
      return
    gc.collect()
    gc.freeze()
    gc.disable()
    model.run()
  finally:
    model.close()
