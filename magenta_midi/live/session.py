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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from magenta_midi.live.engine.adapter_choices import (
  adapter_choices,
  check_choices,
)
from magenta_midi.live.engine.engine import EngineSettings
from magenta_midi.live.io.port_names import find_port
from magenta_midi.live.io.port_scan import scan
from magenta_midi.live.processes.host import Host, HostError, News
from magenta_midi.live.processes.model_process import ModelConfig
from magenta_midi.live.processes.port_process import PortConfig
from magenta_midi.live.protocol.controls import (
  Action,
  Change,
  Controls,
  changed,
)
from magenta_midi.live.protocol.events import SECOND, Message
from magenta_midi.live.protocol.messages import (
  ModelProblem,
  PlanReceived,
  PortChanged,
)
from magenta_midi.live.recording.metrics import percentiles
from magenta_midi.live.recording.score_messages import duet_score
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
    latency_target_ms: Nothing is planned closer than this: lower answers
      sooner, higher is safer on a slow machine.
    context_seconds: How much the model hears, at most 10 s.
    seed: Of the model's draws.
    no_ports: Play in with `play` and read `capture_input` instead.
    at_hand: Adapters to switch to while playing, each `NAME[:SCALE]` or a
      blend of such joined by `+`: `change("adapter", 2)` takes the second of
      `controls.adapters`.

  Raises:
    ValueError: A setting cannot be, or an adapter is absent or of another
      checkpoint.
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
    at_hand: Sequence[str] = (),
  ):
    if not 1 <= latency_target_ms <= 500:
      raise ValueError(
        f"latency_target_ms must be 1 to 500, got {latency_target_ms:g}."
      )
    if not 0 < context_seconds <= 10:
      raise ValueError(
        f"context_seconds must be above 0 and at most 10, got"
        f" {context_seconds:g}."
      )
    checkpoint = _checkpoint(model)
    choices = adapter_choices(getattr(model, "wanted_adapters", ()), at_hand)
    check_choices(choices, None if checkpoint is None else Path(checkpoint))
    self.controls = changed(Controls(adapters=choices), "mode", mode)
    self._model = ModelConfig(
      checkpoint=checkpoint,
      settings=EngineSettings(
        seed=seed,
        horizon_ns=round(latency_target_ms * 1e6),
        context_s=float(context_seconds),
      ),
      controls=self.controls,
    )
    self._devices = (input_device, output_device, no_ports)
    # Called with each message as it is heard or sent.
    self.on_heard: Callable[[Message], None] = lambda message: None
    self.on_note: Callable[[Message], None] = lambda message: None
    # Called with a line when something happens that the player should know.
    self.on_message: Callable[[str], None] = lambda text: None
    self._host: Host | None = None
    self._heard: list[Message] = []
    self._sent: list[Message] = []
    self._compute_ms: list[float] = []

  def __enter__(self) -> "Duet":
    self._host = Host(self._ports(), self._model)
    self._host.__enter__()
    return self

  def __exit__(self, *_: object) -> None:
    host, self._host = self._host, None
    if host is not None:
      host.close()
      if host.last_news is not None:
        self._take(host.last_news)

  def _ports(self) -> PortConfig:
    wanted_in, wanted_out, no_ports = self._devices
    if no_ports:
      return PortConfig(no_input=True, no_output=True)
    found = scan()
    if not found.api:
      raise HostError(f"no MIDI system works here: {found.problem}")
    name = wanted_in and find_port(wanted_in, found.inputs, kind="input port")
    out = wanted_out and find_port(
      wanted_out, found.outputs, kind="output port"
    )
    if name and name == out:
      raise ValueError(f"input_device and output_device are both {name}.")
    return PortConfig(api=found.api, input=name, output=out)

  @property
  def _running(self) -> Host:
    if self._host is None:
      raise ValueError("a Duet must be entered first: with Duet(...) as duet")
    return self._host

  def start_session(self) -> None:
    """Waits until model and ports can play.

    Raises:
      HostError: One of them cannot; one line says why.
    """
    self._running.wait_until_ready(self._take)

  def capture_input(self) -> list[Message]:
    """What was heard since the last call; callbacks are called."""
    before = len(self._heard)
    self._take(self._running.poll())
    return self._heard[before:]

  def generate_response(self) -> None:
    """Hands the turn over now, without waiting for a silence."""
    self._running.send(Action.HAND_OVER)

  def play_output(self, seconds: float) -> list[Message]:
    """Lets the duet play for so long; what the model sent meanwhile."""
    before = len(self._sent)
    until_ns = self.now_ns() + round(seconds * SECOND)
    while self.now_ns() < until_ns:
      self.capture_input()
      time.sleep(0.005)
    return self._sent[before:]

  def play(self, data: bytes) -> None:
    """A MIDI message of the player that comes from no port."""
    self._running.play_in(data)

  def change(self, name: str, value: Any) -> None:
    """Changes a control; see `live.controls.Controls`.

    Raises:
      ValueError: There is no such control or value, or it stays as it is
        while playing.
    """
    if name == "adapters":
      raise ValueError("which adapters are at hand is said at the start.")
    self.controls = changed(self.controls, name, value)
    self._running.send(Change(name, value))

  def act(self, action: str) -> None:
    """`hand_over`, `end` or `panic`."""
    self._running.send(Action(action))

  def now_ns(self) -> int:
    """The session's time."""
    return self._running.now_ns()

  @property
  def score(self) -> Score:
    """Both players' music so far, the parts `player` and `ai`."""
    return duet_score(self._heard, self._sent)

  @property
  def compute_ms(self) -> dict[str, float | None]:
    """From the player's event to its answer in the heap: p50, p95, p99."""
    return percentiles(self._compute_ms)

  def _take(self, news: News) -> None:
    self._heard += news.received
    self._sent += news.sent
    for message in news.received:
      self.on_heard(message)
    for message in news.sent:
      self.on_note(message)
    for report in (*news.model, *news.ports):
      match report:
        case ModelProblem(problem=problem):
          self.on_message(problem)
        case PlanReceived() if report.why != "reply":
          self._compute_ms.append(report.compute_ns / 1e6)
        case PortChanged(port=port, state=state):
          self.on_message(f"{port} is {state}")


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
