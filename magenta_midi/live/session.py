"""Live session: the one client of the processes that play.

```python
settings = SessionSettings(controls=Controls(mode="simultaneous"))
with LiveSession(settings, on_event=print) as session:
  session.wait_until_ready()
  while session.running:
    session.poll()
    time.sleep(0.02)
print(session.report)
```

`Duet`, `jam`, `replay --wall` and the benchmarks are clients of this class.
Nothing in it waits but `wait_until_ready` and `close`.
"""

import dataclasses
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from magenta_midi.limits import TIME_S
from magenta_midi.live.io.control_map import ControlMap, chosen_adapter
from magenta_midi.live.io.key_map import Learn
from magenta_midi.live.io.looped_input import LoopedInput
from magenta_midi.live.player import Player
from magenta_midi.live.processes.host import Host, HostError, News
from magenta_midi.live.processes.model_process import ModelConfig
from magenta_midi.live.protocol.controls import (
  Action,
  Change,
  Controls,
  changed,
  playing_adapter,
  to_json,
)
from magenta_midi.live.protocol.events import SECOND, Message
from magenta_midi.live.protocol.messages import (
  BeatState,
  EchoFound,
  ModelProblem,
  ModelReady,
  ModelReport,
  ModelRestarting,
  ModelState,
  PortChanged,
  PortReport,
  PortsState,
)
from magenta_midi.live.recording.files import TRACE
from magenta_midi.live.recording.journal import STOPPED
from magenta_midi.live.recording.recorder import (
  SessionRecorder,
  new_session_folder,
  recover_all,
)
from magenta_midi.live.session_events import (
  ControlsChanged,
  MessageReceived,
  MessageSent,
  Notice,
  SessionEvent,
)
from magenta_midi.live.session_settings import SessionSettings, find_ports
from magenta_midi.live.session_statistics import SessionStatistics
from magenta_midi.live.timing.bars import Bars, is_another
from magenta_midi.live.timing.tap_tempo import TapTempo
from magenta_midi.midi.meter import Meter

__all__ = ["HostError", "InputEvent", "InputSource", "LiveSession"]

# The model's own reports may be that much older than a change.
SETTLED_NS = 50_000_000
# Of processor or device time a second of dense music: beyond it, it is late.
TOO_SLOW_S = 0.9

InputEvent = Change | Action | Learn


@runtime_checkable
class InputSource(Protocol):
  """Source of changes and actions: keys, OSC, a web page."""

  def poll(self) -> Iterable[InputEvent | None]:
    """Events since the last call; returns at once. None is skipped."""
    ...


class LiveSession:
  """Ports, model, recording and statistics of one session.

  A context manager; leaving it lifts every note, ends the processes and
  finishes the recording. Events are handed to `on_event` in the thread that
  calls `poll`. `play_in` may be called from any thread.

  Attributes:
    settings: As given.
    controls: As they are now.
    meter: Of its bars.
    beat: As the model last reported it.
    player: The player's notes of the last seconds.
    model: The model's.
    statistics: Figures so far.
    ready_ns: When both processes could first play; None before.
    folder: Of the recorded session; None: it is not recorded.
    report: Figures of the whole session, JSON-able; empty until it ends.
  """

  def __init__(
    self,
    settings: SessionSettings,
    *,
    on_event: Callable[[SessionEvent], None] = lambda event: None,
    sources: Sequence[InputSource] = (),
    control_map: ControlMap | None = None,
  ):
    """Prepares a session; nothing is opened yet.

    Args:
      settings: Of the session.
      on_event: Called with each event.
      sources: Polled for changes and actions once the session is ready.
      control_map: Bindings of MIDI controllers; None: they move nothing.
    """
    self.settings = settings
    self.meter = Meter.parse(settings.engine.meter)
    self.controls = settings.controls
    if settings.tempo is not None:
      self.controls = changed(self.controls, "tempo", settings.tempo)
    self.beat = BeatState(beats_per_bar=self.meter.beats)
    self.player, self.model = Player(), Player()
    self.statistics = SessionStatistics(settings.recent)
    self.ready_ns: int | None = None
    self.folder: Path | None = None
    self.report: dict[str, Any] = {}
    self._on_event = on_event
    self._sources = list(sources)
    self._map = control_map
    self._changed_ns = -SETTLED_NS
    self._running = True
    self._started_s = 0.0
    self._restarts = 0
    self._host: Host | None = None
    self._recorder: SessionRecorder | None = None
    self._stop_said = False
    self._loops: list[LoopedInput] = []
    self._taps = TapTempo(self.meter.beats)
    # What metronome and clock keep to, and what is recorded.
    self._timed: Bars | None = None
    self._recorded: Bars | None = None
    # There was a beat, and the model knows of none now.
    self._beat_lost = False

  # Start and end.

  def __enter__(self) -> "LiveSession":
    self.start()
    return self

  def __exit__(self, kind: object, error: object, trace: object) -> None:
    self.close(str(error) if isinstance(error, HostError) else None)

  def start(self) -> None:
    """Finds the ports and starts both processes.

    Raises:
      HostError: There is no MIDI system, or no process can be started.
      OSError: The session cannot be recorded in its folder.
      ValueError: A port cannot be meant; see `session_settings.find_ports`.
    """
    settings = self.settings
    self._started_s = time.monotonic()
    ports = find_ports(
      settings.ports, metronome=settings.tempo is not None, meter=self.meter
    )
    trace = settings.trace
    if settings.recording is not None:
      self.folder = new_session_folder(
        settings.recording.sessions, settings.recording.name
      )
      trace = self.folder / TRACE
    model = ModelConfig(
      checkpoint=settings.checkpoint,
      settings=settings.engine,
      controls=self.controls,
      journal=None if trace is None else str(trace),
    )
    try:
      host = Host(ports, model)
      host.__enter__()
      self._host = host
      self._start_recorder()
    except BaseException:
      if self._host is not None:
        self._host.close()
      self._drop_empty_folder()
      raise

  def _start_recorder(self) -> None:
    recording, folder = self.settings.recording, self.folder
    if recording is None or folder is None:
      return
    settings = self.settings
    self._recorder = SessionRecorder(
      folder,
      checkpoint=settings.checkpoint or "embedded",
      settings={
        **recording.facts,
        "engine": dataclasses.asdict(settings.engine),
      },
      controls=to_json(self.controls),
      clock_start_wall=time.time() - self.now_ns() / 1e9,
    )
    self._recorder.describe(adapters=dict(recording.adapters))
    # Sessions that a crash left unfinished are finished meanwhile.
    threading.Thread(
      target=recover_all, args=(folder.parent,), daemon=True
    ).start()

  def wait_until_ready(self) -> bool:
    """Waits until both processes can play.

    What the player plays meanwhile is received and becomes context.

    Returns:
      Whether they can; False where `stop` was called.

    Raises:
      HostError: One of them cannot; the text says why.
    """
    self._entered.wait_until_ready(self._handle_loading, lambda: self.running)
    return self.running

  def _handle_loading(self, news: News) -> None:
    self._handle_news(news)
    self._flush()

  def stop(self) -> None:
    """Asks for the end: `running` becomes False. For signal handlers too."""
    self._running = False

  def close(self, problem: str | None = None) -> dict[str, Any]:
    """Lifts every note, ends the processes, finishes the recording.

    Args:
      problem: Why the session ended early; stored in the report.

    Returns:
      The report; the same one when called again.
    """
    self.stop()
    for loop in self._loops:
      loop.stop()
    host = self._host
    if host is None:
      return self.report
    host.close()
    self._restarts = host.restarts
    if host.last_news is not None:
      self._handle_news(host.last_news)
    self.report.update(self._make_report(problem))
    self._finish_recording(host.now_ns())
    self._host = None
    return self.report

  def _make_report(self, problem: str | None) -> dict[str, Any]:
    figures = self.statistics.report()
    return {
      "seconds": round(time.monotonic() - self._started_s, 3),
      **figures,
      "adapter": playing_adapter(self.controls),
      "stuck_notes": len(self.model.keyboard.held),
      "model_restarts": self._restarts,
      "session": str(self.folder) if self.folder else None,
      "problem": problem,
    }

  def _finish_recording(self, now_ns: int) -> None:
    recorder, self._recorder = self._recorder, None
    if recorder is None:
      return
    if problem := recorder.close(now_ns, self.report):
      self._warn(problem)
    if self.ready_ns is None and not self.statistics.notes_in:
      self._drop_empty_folder()
      self.report["session"] = None

  def _drop_empty_folder(self) -> None:
    """For a session in which nothing was played."""
    if self.folder is not None:
      shutil.rmtree(self.folder, ignore_errors=True)
      self.folder = None

  # State.

  @property
  def running(self) -> bool:
    """Whether nobody has asked for the end."""
    return self._running

  @property
  def ready(self) -> bool:
    """Whether both processes can play now."""
    host = self._host
    return host is not None and host.ports_ready and host.model_ready

  @property
  def restarts(self) -> int:
    """How often the model's process was started again."""
    return self._restarts if self._host is None else self._host.restarts

  @property
  def process_ids(self) -> dict[str, int | None]:
    """Of `model` and `ports`, for measurements and tests of their faults."""
    host = self._host
    return {
      "model": None if host is None else host.model_pid,
      "ports": None if host is None else host.ports_pid,
    }

  def now_ns(self) -> int:
    """The session's time."""
    return self._entered.now_ns()

  @property
  def _entered(self) -> Host:
    if self._host is None:
      raise ValueError("a session must be entered first: with ... as session")
    return self._host

  # Input of the client.

  def poll(self) -> None:
    """Handles all that has come; returns at once.

    Raises:
      HostError: The ports' process ended, or the model's cannot go on.
    """
    self._handle_news(self._entered.poll())
    if self.ready_ns is not None:
      for source in self._sources:
        for event in source.poll():
          self.send(event)
    self._flush()
    if self._host is not None:
      for played in (self.player, self.model):
        played.history.forget(self._host.now_ns())

  def send(self, event: InputEvent | None) -> None:
    """Handles a change or an action; a refused change becomes a notice."""
    match event:
      case Learn(target=target):
        if self._map is not None:
          self._map.learn(target)
          self._notify(f"move a MIDI controller: it will move {target}")
      case Action.QUIT:
        self.stop()
      case Action.BOOKMARK:
        if self._recorder is not None:
          self._recorder.bookmark(self.now_ns())
        self._notify("the last 30 s are bookmarked")
      case Action.TAP:
        self._tap(self.now_ns())
      case Action():
        self._entered.send(event)
        if event in (Action.PANIC, Action.END) and self.controls.comp:
          # Else it would go on with its next chord.
          self.change("comp", False)
      case Change(name=name, value=value):
        try:
          self.change(name, value)
        except ValueError as error:
          self._notify(str(error), warning=True)

  def change(self, name: str, value: Any) -> None:
    """Sets a control.

    Raises:
      ValueError: There is no such control or value, or it cannot change
        while playing.
    """
    if name == "adapters":
      raise ValueError("the adapters cannot change while playing.")
    before = self.controls
    if name == "tempo_step" and not before.tempo and self.beat.bpm:
      # From the player's own tempo, in whole beats.
      before = before._replace(tempo=float(round(self.beat.bpm)))
    after = changed(before, name, value)
    host = self._entered
    if name == "tempo_step":
      name, value = "tempo", after.tempo
    if name.startswith("adapter"):
      # A fader sends the same choice many times.
      if after.adapter == before.adapter:
        return
      # One step here is one step of the model's, whatever comes between.
      name, value = "adapter", after.adapter
    host.send(Change(name, value))
    self._changed_ns = host.now_ns()
    self._set_controls(after)
    if after.adapter != before.adapter:
      self._notify(f"plays with {playing_adapter(after)}")

  def _tap(self, time_ns: int) -> None:
    """A tap of the tempo that is wanted, and of its beat."""
    bars = self._taps.tap(time_ns)
    if bars is None:
      self._notify("tap on: two taps and more are a tempo")
      return
    # A metronome leads; without one the player does.
    self._entered.set_bars(bars, follows=self.settings.tempo is None)
    self.change("tempo", float(bars.bpm))
    self._notify(f"tapped: {bars.bpm:.0f} beats a minute")

  def play_in(self, data: bytes, time_ns: int | None = None) -> None:
    """A MIDI message of the player that comes from no port.

    Args:
      data: Its bytes.
      time_ns: When, in the session's time; None: as it arrives.
    """
    self._entered.play_in(data, time_ns)

  def loop_input(
    self, messages: Sequence[Message], *, first_s: float, pause_s: float
  ) -> None:
    """Plays messages in as the player's, again and again: a demo.

    Args:
      messages: In order of time, from time 0.
      first_s: Until the first time 0, s.
      pause_s: From the last message to the next time 0, s.

    Raises:
      ValueError: A time is negative, or no number.
    """
    TIME_S.check("first_s", first_s)
    TIME_S.check("pause_s", pause_s)
    host = self._entered
    loop = LoopedInput(
      host.play_in, host.now_ns, messages, first_s=first_s, pause_s=pause_s
    )
    self._loops.append(loop)

  # Events of the processes.

  def _handle_news(self, news: News) -> None:
    self.statistics.count(news.received, news.sent)
    # A plan's report before its notes, for clients that measure replies.
    for report in (*news.model, *news.ports):
      self._handle_report(report)
    for message in news.received:
      self.player.receive(message)
      if self._recorder is not None:
        self._recorder.player(message)
      self._on_event(MessageReceived(message=message))
      self._handle_controller(message)
    for message in news.control:
      self._handle_controller(message)
      # A program change is a sound's on a keyboard, a choice on a controller.
      if self.controls.adapters and self._map is not None:
        self.send(chosen_adapter(message))
    for message in news.sent:
      self.model.receive(message)
      if self._recorder is not None:
        self._recorder.model(message)
      self._on_event(MessageSent(message=message))
    for message in news.comp:
      if self._recorder is not None:
        self._recorder.comp(message)
    if self.ready_ns is None and self.ready:
      self._begin()

  def _begin(self) -> None:
    host, tempo = self._entered, self.settings.tempo
    self.ready_ns = host.now_ns()
    self._tell_comp()
    if tempo is None:
      return
    # A bar of count-in, one second from now.
    count_in_ns = round(self.meter.beats * 60 * SECOND / tempo)
    start_ns = self.ready_ns + SECOND + count_in_ns
    bars = Bars(tempo, self.meter.beats, start_ns)
    host.set_bars(bars)
    self._keep_time(bars)

  def _keep_time(self, bars: Bars) -> None:
    """Metronome, clock and recording keep to these bars from now on."""
    host, timed = self._entered, self._timed
    wanted = self.settings.tempo is not None or self.settings.ports.clock_out
    if (wanted or self.controls.comp) and bars != timed:
      host.time_ports(bars)
    self._timed = bars
    now_ns = host.now_ns()
    if self._recorder is None or not is_another(bars, self._recorded, now_ns):
      return
    self._recorded = bars
    self._recorder.bars(now_ns, bars, self.meter)

  def _handle_report(self, report: ModelReport | PortReport) -> None:
    lost = self.statistics.dropped
    self.statistics.handle(report)
    match report:
      case ModelState(now_ns=now_ns, controls=controls):
        # A change that the model refused is refused here too.
        if now_ns - self._changed_ns >= SETTLED_NS:
          self._set_controls(controls)
        self._follow_beat(report.beat)
      case ModelReady():
        if self._recorder is not None:
          self._recorder.describe(
            checkpoint={"path": report.checkpoint, "sha256": report.sha256}
          )
        if report.wall_s > TOO_SLOW_S:
          self._warn(
            f"this machine takes {report.wall_s:.1f} s for a second of dense"
            " music: it will answer late"
          )
      case ModelRestarting():
        self._warn("the model ended unexpectedly; it is started again")
      case ModelProblem(problem=problem) if problem.startswith(STOPPED):
        self._warn_of_stop(problem)
      case ModelProblem(problem=problem):
        self._warn(problem)
      case PortsState(dropped=dropped) if dropped > lost:
        self._warn("so much came at once that messages of yours were lost")
      case EchoFound(description=loop):
        self._warn(f"our own notes come back in and are muted: {loop}")
      case PortChanged(port=port, state="lost"):
        self._warn(f"{port} is gone; waiting for it")
      case PortChanged(port=port):
        self._notify(f"{port} is back")
    self._on_event(report)

  def _follow_beat(self, beat: BeatState) -> None:
    self.beat = beat
    # A model that has just started knows less than the count-in.
    if self._beat_lost != (self._timed is not None and beat.bpm is None):
      self._beat_lost = not self._beat_lost
      self._tell_comp()
    if beat.bpm is not None and beat.source:
      self._keep_time(Bars(beat.bpm, beat.beats_per_bar, beat.start_ns))

  def _handle_controller(self, message: Message) -> None:
    if self._map is None:
      return
    learning = self._map.learning
    for event in self._map.handle(message):
      if event is Action.TAP:
        self._tap(message.time_ns)
      else:
        self.send(event)
    if learning and self._map.learning is None:
      self._map.save()
      self._notify(f"learned: that controller moves {learning}")

  def _set_controls(self, controls: Controls) -> None:
    if controls != self.controls:
      before, self.controls = self.controls, controls
      if _comping(before) != _comping(controls):
        self._tell_comp()
      self._on_event(ControlsChanged(controls=controls))

  def _tell_comp(self) -> None:
    """Passes on to the ports what is played of the chart."""
    host = self._host
    if host is None:
      return
    chords, on, loudness = _comping(self.controls)
    # Without a beat there is no place in the chart.
    on = on and not self._beat_lost
    if on and self._timed is not None:
      host.time_ports(self._timed)
    host.set_comp(chords, on=on, loudness=loudness)

  def _flush(self) -> None:
    if self._recorder is None or self._host is None:
      return
    if stopped := self._recorder.flush(self._host.now_ns()):
      self._warn_of_stop(stopped)

  def _warn_of_stop(self, problem: str) -> None:
    """Says once that recording has stopped: two files end on a full disk."""
    if not self._stop_said:
      self._stop_said = True
      self._warn(problem)

  def _notify(self, text: str, *, warning: bool = False) -> None:
    self._on_event(Notice(text=text, is_warning=warning))

  def _warn(self, text: str) -> None:
    self._notify(text, warning=True)


def _comping(controls: Controls) -> tuple[str, bool, int]:
  return controls.chords, controls.comp, controls.comp_loudness
