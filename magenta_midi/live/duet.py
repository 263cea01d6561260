"""`Duet`: a live session from Python.

```python
with Duet(input_device="Keystation", output_device="FluidSynth") as duet:
  duet.on_note = lambda message: print(message)
  duet.start_session()
  while playing:
    duet.capture_input()
```
"""

import contextlib
import os
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from magenta_midi.limits import HEARD_S, LATENCY_MS, SEED, TEMPO, TIME_S
from magenta_midi.live.engine.adapter_choices import (
  adapter_choices,
  check_choices,
)
from magenta_midi.live.engine.engine import EngineSettings
from magenta_midi.live.protocol.controls import Action, Controls, changed
from magenta_midi.live.protocol.events import SECOND, Message
from magenta_midi.live.recording.score_messages import duet_score
from magenta_midi.live.session import LiveSession
from magenta_midi.live.session_events import (
  MessageReceived,
  MessageSent,
  Notice,
  SessionEvent,
)
from magenta_midi.live.session_settings import (
  PortSettings,
  SamePort,
  SessionSettings,
)
from magenta_midi.midi.groove import AUTO
from magenta_midi.midi.score import Score

__all__ = ["Duet"]


class Duet:
  """Ports, model and player's music in one context manager.

  Ports and model are processes of their own, so nothing that the caller does
  delays a note. Callbacks are called from `capture_input`, in the caller's
  thread.

  Args:
    model: A `MagentaMidi`, or the folder of a checkpoint; None: the embedded.
      Its adapters play at the start.
    input_device: Unique part of a port's name; None: a virtual port, or no
      port at all where `no_ports`.
    output_device: Likewise.
    mode: `call-response`, `simultaneous` or `listen`.
    latency_target_ms: Commit horizon, 1 to 500 ms: a lower one answers
      sooner, a higher one is safer on a slow machine.
    context_seconds: Length of the model's context, at most 10 s.
    seed: Of the model's random draws, 0 to 2**32 - 1.
    no_ports: Play in with `play` and read `capture_input` instead.
    switchable: Adapters to switch to while playing, each `NAME[:SCALE]` or a
      blend of such joined by `+`: `change("adapter", 2)` takes the second of
      `controls.adapters`.
    tempo: Beats a minute, 20 to 400, that the model keeps; the player's first
      note is the first beat. None: the player's own, where it is clear.
    meter: As written: 4/4, 3/4, 6/8.
    groove: Where in the beat notes are likely, `NAME[:WEIGHT]`.
    tightness: How strictly the beat is kept, 0 to 2.
    free: Whether no beat is kept.
    at_hand: Deprecated name of `switchable`.

  Attributes:
    on_received: Called with each message of the player.
    on_note: Called with each message of the model as it is sent.
    on_message: Called with a line when something happens that the player
      should know.

  Raises:
    ValueError: A setting is out of its range, or an adapter is absent or of
      another checkpoint.
  """

  def __init__(
    self,
    model: Any = None,
    *,
    input_device: str | None = None,
    output_device: str | None = None,
    mode: str = "call-response",
    latency_target_ms: float = 12.0,
    context_seconds: float = 10.0,
    seed: int = 0,
    no_ports: bool = False,
    switchable: Sequence[str] = (),
    tempo: float | None = None,
    meter: str = "4/4",
    groove: str = AUTO,
    tightness: float = 1.0,
    free: bool = False,
    at_hand: Sequence[str] = (),
  ):
    LATENCY_MS.check("latency_target_ms", latency_target_ms)
    HEARD_S.check("context_seconds", context_seconds)
    SEED.check("seed", seed)
    if at_hand:
      _deprecated("Duet(at_hand=...)", "Duet(switchable=...)")
      switchable = (*switchable, *at_hand)
    checkpoint = _checkpoint(model)
    choices = adapter_choices(getattr(model, "wanted_adapters", ()), switchable)
    check_choices(choices, None if checkpoint is None else Path(checkpoint))
    self.on_received: Callable[[Message], None] = lambda message: None
    self.on_note: Callable[[Message], None] = lambda message: None
    self.on_message: Callable[[str], None] = lambda text: None
    self._received: list[Message] = []
    self._sent: list[Message] = []
    controls = Controls(adapters=choices)
    for name, value in (
      ("mode", mode),
      ("tempo", 0 if tempo is None else TEMPO.check("tempo", tempo)),
      ("groove", groove),
      ("tightness", tightness),
      ("free", free),
    ):
      controls = changed(controls, name, value)
    self._session = LiveSession(
      SessionSettings(
        checkpoint=checkpoint,
        engine=EngineSettings(
          seed=seed,
          horizon_ns=round(latency_target_ms * 1e6),
          context_s=float(context_seconds),
          meter=meter,
        ),
        controls=controls,
        ports=PortSettings(
          input=input_device,
          output=output_device,
          no_input=no_ports,
          no_output=no_ports,
        ),
        recent=None,
      ),
      on_event=self._handle,
    )

  def __enter__(self) -> "Duet":
    if not self._session.running:  # entered again: a session plays once
      self._session = LiveSession(self._session.settings, on_event=self._handle)
    try:
      self._session.start()
    except SamePort as error:
      raise ValueError(
        f"input_device and output_device are both {error.name}."
      ) from None
    return self

  def __exit__(self, *_: object) -> None:
    self._session.close()

  @property
  def controls(self) -> Controls:
    """As they are now."""
    return self._session.controls

  def start_session(self) -> None:
    """Waits until model and ports can play.

    Raises:
      HostError: One of them cannot; the text says why.
    """
    self._session.wait_until_ready()

  def capture_input(self) -> list[Message]:
    """The player's messages since the last call; calls the callbacks."""
    before = len(self._received)
    self._session.poll()
    return self._received[before:]

  def generate_response(self) -> None:
    """Hands the turn over now, without waiting for a silence."""
    self._session.send(Action.HAND_OVER)

  def play_output(self, seconds: float) -> list[Message]:
    """Lets the duet play for so long; what the model sent meanwhile.

    Args:
      seconds: 0 to a month.

    Raises:
      ValueError: It is out of that range.
    """
    TIME_S.check("seconds", seconds)
    before = len(self._sent)
    until_ns = self.now_ns() + round(seconds * SECOND)
    while self.now_ns() < until_ns:
      self.capture_input()
      time.sleep(0.005)
    return self._sent[before:]

  def play(self, data: bytes) -> None:
    """A MIDI message of the player that comes from no port."""
    self._session.play_in(data)

  def change(self, name: str, value: Any) -> None:
    """Changes a control; see `live.protocol.controls.Controls`.

    Raises:
      ValueError: There is no such control or value, or it cannot change
        while playing.
    """
    self._session.change(name, value)

  def act(self, action: str) -> None:
    """`hand_over`, `end` or `panic`."""
    self._session.send(Action(action))

  def now_ns(self) -> int:
    """The session's time."""
    return self._session.now_ns()

  @property
  def score(self) -> Score:
    """Both players' music so far, the parts `player` and `ai`."""
    return duet_score(self._received, self._sent)

  @property
  def compute_ms(self) -> dict[str, float | None]:
    """From the player's event to its answer's arrival: p50, p95, p99."""
    return self._session.statistics.compute_ms()

  @property
  def on_heard(self) -> Callable[[Message], None]:
    """Deprecated name of `on_received`."""
    _deprecated("Duet.on_heard", "Duet.on_received")
    return self.on_received

  @on_heard.setter
  def on_heard(self, callback: Callable[[Message], None]) -> None:
    _deprecated("Duet.on_heard", "Duet.on_received")
    self.on_received = callback

  def _handle(self, event: SessionEvent) -> None:
    match event:
      case MessageReceived(message=message):
        self._received.append(message)
        self.on_received(message)
      case MessageSent(message=message):
        self._sent.append(message)
        self.on_note(message)
      case Notice(text=text):
        self.on_message(text)


def _deprecated(old: str, new: str) -> None:
  warnings.warn(
    f"{old} is deprecated: use {new}.", DeprecationWarning, stacklevel=3
  )


def _checkpoint(model: Any) -> str | None:
  """The folder that a process of its own can load again."""
  if model is None:
    return None
  name = getattr(model, "checkpoint", model)
  if name == "embedded":
    return None
  if isinstance(name, str | os.PathLike):
    with contextlib.suppress(OSError):
      return str(Path(name).resolve())
  raise ValueError("model must be a MagentaMidi or a checkpoint's folder.")
