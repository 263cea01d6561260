"""Host of a session's two processes: starts, watches and ends them."""

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from typing import Any

from magenta_midi.live.processes.model_process import ModelConfig, run_model
from magenta_midi.live.processes.port_process import PortConfig, run_ports
from magenta_midi.live.processes.shm_ring import Ring
from magenta_midi.live.processes.wire_format import (
  COMMAND_BYTES,
  MESSAGE_BYTES,
  SOUNDED_BYTES,
  unpack_message,
)
from magenta_midi.live.protocol.controls import Action, Change, changed
from magenta_midi.live.protocol.events import Message
from magenta_midi.live.protocol.messages import (
  REQUEST_BYTES,
  TEXT_BYTES,
  ModelFailed,
  ModelReady,
  ModelReport,
  ModelRequest,
  ModelRestarting,
  ModelState,
  PlayerInput,
  PortReport,
  PortRequest,
  PortsFailed,
  PortsReady,
  Quit,
  SetBars,
  SetComp,
  Silence,
  decode,
  encode,
  request_of,
)
from magenta_midi.live.timing.bars import Bars

__all__ = ["Host", "HostError", "News"]

READY_S = 600.0
STOP_S = 3.0
# The ports wait for a system that stands still, so that no note is left
# sounding (`port_process.STILL_S`).
PORTS_STOP_S = 9.0
# Each start of a model numbers its notes from another number on, so that none
# is taken for one of a model that died.
IDS_A_LIFE = 10_000_000
MAX_RESTARTS = 50

# Name, most records that wait, most bytes of a record. To the model go the
# player's messages, what became of its notes, and requests; from it come
# commands for the ports, and reports. From the ports the application gets the
# player's messages, the model's, those of the comp and of a second controller,
# and reports.
_RINGS = (
  ("to_model", 8192, MESSAGE_BYTES),
  ("feedback", 4096, SOUNDED_BYTES),
  ("commands", 1024, COMMAND_BYTES),
  ("received", 16384, MESSAGE_BYTES),
  ("sent", 16384, MESSAGE_BYTES),
  ("comp", 4096, MESSAGE_BYTES),
  ("control", 4096, MESSAGE_BYTES),
  ("port_reports", 512, TEXT_BYTES),
  ("model_reports", 512, TEXT_BYTES),
  ("model_requests", 256, REQUEST_BYTES),
  ("port_requests", 4096, REQUEST_BYTES),
)
_MODEL_RINGS = (
  "to_model",
  "feedback",
  "commands",
  "model_reports",
  "model_requests",
)
_PORT_RINGS = (
  "to_model",
  "feedback",
  "commands",
  "received",
  "sent",
  "comp",
  "control",
  "port_reports",
  "port_requests",
)


class HostError(OSError):
  """The duet cannot start, or cannot go on."""


@dataclasses.dataclass
class News:
  """Events of a session since the last poll.

  Attributes:
    received: The player's messages.
    sent: The model's.
    control: Messages of the second controller.
    model: Reports of the model's process, oldest first.
    ports: Reports of the ports' process, oldest first.
    comp: What was played of the chart.
  """

  received: list[Message]
  sent: list[Message]
  control: list[Message]
  model: list[ModelReport]
  ports: list[PortReport]
  comp: list[Message] = dataclasses.field(default_factory=list)


class Host:
  """Ports and model, each a process; a context manager.

  Args:
    ports: What the ports' process is started with.
    model: What the model's is.
  """

  def __init__(self, ports: PortConfig, model: ModelConfig):
    t0_ns = time.perf_counter_ns()
    self.t0_ns = t0_ns
    parent = os.getpid()
    self._port_config = dataclasses.replace(ports, t0_ns=t0_ns, parent=parent)
    self._model_config = dataclasses.replace(model, t0_ns=t0_ns, parent=parent)
    self._context = multiprocessing.get_context("spawn")
    self._rings: dict[str, Ring] = {}
    self._ports: BaseProcess | None = None
    self._model: BaseProcess | None = None
    self.model_ready = False
    self.ports_ready = False
    # How often the model was started again.
    self.restarts = 0
    self._bars: SetBars | None = None
    # A ring has one writer: the thread that holds this lock.
    self._writing = threading.Lock()
    # The last reports, once all has ended.
    self.last_news: News | None = None

  def now_ns(self) -> int:
    """The session's time."""
    return time.perf_counter_ns() - self.t0_ns

  def __enter__(self) -> "Host":
    try:
      for name, capacity, size in _RINGS:
        self._rings[name] = Ring.create(capacity, size)
      self._ports = self._start(run_ports, self._port_config, _PORT_RINGS)
      self._model = self._start(run_model, self._model_config, _MODEL_RINGS)
    except BaseException:
      self.close()
      raise
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def _start(
    self,
    main: Callable[[Any, dict[str, str]], None],
    config: Any,
    rings: tuple[str, ...],
  ) -> BaseProcess:
    names = {name: self._rings[name].name for name in rings}
    process = self._context.Process(
      target=main, args=(config, names), name=main.__name__, daemon=True
    )
    with _interrupts_blocked():
      process.start()
    return process

  def wait_until_ready(
    self,
    on_news: Callable[[News], None] = lambda news: None,
    wanted: Callable[[], bool] = lambda: True,
    timeout_s: float = READY_S,
  ) -> None:
    """Waits until both can play.

    What the player plays meanwhile is received and becomes context.

    Args:
      on_news: Called with what happens meanwhile.
      wanted: Asked again and again; False ends the wait.
      timeout_s: Longest wait.

    Raises:
      HostError: A process says why it cannot.
    """
    until = time.monotonic() + timeout_s
    while not (self.ports_ready and self.model_ready):
      on_news(self.poll())
      if not wanted():
        return
      if time.monotonic() > until:
        raise HostError("the model was not ready within ten minutes.")
      time.sleep(0.02)

  def poll(self) -> News:
    """Events since the last call; starts a dead model process again.

    Raises:
      HostError: The ports' process is gone, or something cannot work.
    """
    news = self._read()
    for report in (*news.model, *news.ports):
      match report:
        case ModelFailed(problem=problem) | PortsFailed(problem=problem):
          raise HostError(problem)
        case ModelReady():
          self.model_ready = True
        case PortsReady():
          self.ports_ready = True
        case ModelState(controls=controls):
          # Settings of a model process that is started again.
          self._model_config = dataclasses.replace(
            self._model_config, controls=controls
          )
    self._look_after(news)
    return news

  def _read(self) -> News:
    rings = self._rings
    return News(
      received=[unpack_message(m) for m in rings["received"].drain()],
      sent=[unpack_message(m) for m in rings["sent"].drain()],
      control=[unpack_message(m) for m in rings["control"].drain()],
      model=[decode(record) for record in rings["model_reports"].drain()],
      ports=[decode(record) for record in rings["port_reports"].drain()],
      comp=[unpack_message(m) for m in rings["comp"].drain()],
    )

  def _look_after(self, news: News) -> None:
    if self._ports is not None and not self._ports.is_alive():
      if self._ports.exitcode == 0:
        raise HostError("the process that plays the ports was ended.")
      raise HostError(
        "the process that plays the ports ended. Notes may be left sounding:"
        " switch the instrument off and on, and start again."
      )
    if self._model is not None and not self._model.is_alive():
      code = self._model.exitcode
      if not self.model_ready and not self.restarts:
        raise HostError(f"the model's process ended while loading ({code}).")
      if self.restarts >= MAX_RESTARTS:
        raise HostError("the model's process ended again and again.")
      self.restarts += 1
      self.model_ready = False
      news.model.append(ModelRestarting(code=code))
      config = self._model_config
      self._model_config = dataclasses.replace(
        config,
        settings=dataclasses.replace(
          config.settings, first_id=self.restarts * IDS_A_LIFE
        ),
      )
      # The new one receives what waits in its rings: its first context.
      self._model = self._start(run_model, self._model_config, _MODEL_RINGS)
      if self._bars is not None:
        self._ask_model(self._bars)

  @property
  def model_pid(self) -> int | None:
    """The model's process, for tests of its death."""
    return self._model.pid if self._model is not None else None

  @property
  def ports_pid(self) -> int | None:
    """The ports' process."""
    return self._ports.pid if self._ports is not None else None

  def send(self, event: Change | Action) -> None:
    """Passes a change or an action on; panic goes to the ports directly."""
    if event is Action.PANIC:
      self._ask_ports(Silence())
    self._ask_model(request_of(event))
    if isinstance(event, Change):
      with contextlib.suppress(ValueError):
        controls = changed(self._model_config.controls, event.name, event.value)
        self._model_config = dataclasses.replace(
          self._model_config, controls=controls
        )

  def _ask_model(self, request: ModelRequest) -> None:
    self._put("model_requests", request)

  def _ask_ports(self, request: PortRequest) -> None:
    self._put("port_requests", request)

  def _put(self, ring: str, request: ModelRequest | PortRequest) -> None:
    record = encode(request)
    with self._writing:
      if ring in self._rings:
        self._rings[ring].put(record)

  def set_bars(self, bars: Bars, *, follows: bool = False) -> None:
    """The tempo and the place of bars from here on, for the model.

    Args:
      bars: Counted in, or tapped.
      follows: Whether the player's pulse moves them from there on.
    """
    self._bars = _request(bars, follows=follows)
    self._ask_model(self._bars)

  def time_ports(self, bars: Bars) -> None:
    """The bars of metronome and MIDI clock from here on."""
    self._ask_ports(_request(bars))

  def set_comp(self, chords: str, *, on: bool, loudness: int) -> None:
    """How the chart is played plainly from here on; see `SetComp`."""
    self._ask_ports(SetComp(chords=chords, on=on, loudness=loudness))

  def play_in(self, data: bytes, time_ns: int | None = None) -> None:
    """A message of the player that comes from no port: a demo."""
    self._ask_ports(PlayerInput(data=data, time_ns=time_ns))

  def close(self) -> None:
    """Ends both processes, the ports first: they lift every note."""
    self._ask_ports(Quit())
    if self._ports is not None:
      _end_process(self._ports, PORTS_STOP_S)
    # Only now: it still writes down what became of its last notes.
    self._ask_model(Quit())
    if self._model is not None:
      # While it loads it reads no request.
      _end_process(self._model, STOP_S if self.model_ready else 0.0)
    self._ports = self._model = None
    if self._rings:
      self.last_news = self._read()
    with self._writing:
      rings, self._rings = self._rings, {}
    for ring in rings.values():
      ring.close()
      ring.unlink()


def _request(bars: Bars, *, follows: bool = False) -> SetBars:
  return SetBars(
    bpm=float(bars.bpm),
    beats_per_bar=bars.beats_per_bar,
    start_ns=bars.start_ns,
    follows=follows,
  )


def _end_process(process: BaseProcess, patience_s: float) -> None:
  process.join(patience_s)
  if process.is_alive():
    process.terminate()
    process.join(1.0)
  if process.is_alive():
    process.kill()
    process.join(1.0)


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
  """For a child: Ctrl-C is the application's from its first moment on."""
  if not hasattr(signal, "pthread_sigmask"):  # Windows
    yield
    return
  before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
  try:
    yield
  finally:
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
