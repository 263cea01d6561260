"""One jam: the application's side of the processes that play."""

import contextlib
import dataclasses
import shutil
import signal
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

from rich.status import Status

from magenta_midi.cli.jam.display import LiveDisplay, Snapshot
from magenta_midi.cli.jam.keys import Keys
from magenta_midi.cli.terminal.errors import UserError
from magenta_midi.cli.terminal.output import console
from magenta_midi.live.engine.adapter_choices import (
  adapter_choices,
  check_choices,
)
from magenta_midi.live.engine.engine import EngineSettings
from magenta_midi.live.engine.note_history import PlayerRecord
from magenta_midi.live.engine.turns import TurnSettings
from magenta_midi.live.io.calibration import Calibration
from magenta_midi.live.io.control_map import ControlMap, chosen_adapter
from magenta_midi.live.io.key_map import KeyMap, Learn
from magenta_midi.live.io.osc import OscInput
from magenta_midi.live.io.port_names import (
  display_names,
  find_port,
  obvious_keyboard,
)
from magenta_midi.live.io.port_scan import scan
from magenta_midi.live.processes.host import Host, HostError, News
from magenta_midi.live.processes.model_process import ModelConfig
from magenta_midi.live.processes.port_process import PortConfig
from magenta_midi.live.protocol.controls import (
  Action,
  Change,
  Controls,
  changed,
  playing_adapter,
  to_json,
)
from magenta_midi.live.protocol.events import SECOND, Message, is_note_on
from magenta_midi.live.protocol.messages import (
  EchoFound,
  ModelCompiling,
  ModelProblem,
  ModelReady,
  ModelReport,
  ModelRestarting,
  ModelState,
  PlanReceived,
  PortChanged,
  PortReport,
  PortsReady,
  PortsState,
)
from magenta_midi.live.recording.files import TRACE
from magenta_midi.live.recording.metrics import percentiles
from magenta_midi.live.recording.recorder import (
  TakeRecorder,
  new_take_folder,
  recover_all,
)
from magenta_midi.live.recording.serialization import parse_controls
from magenta_midi.live.timing.bars import Bars

__all__ = ["JamSession"]

LOOP_S = 0.02
# Figures are of the last so many answers.
RECENT = 2000


class JamSession:
  """From the options of `jam` to its report.

  Args:
    options: As `jam` takes them.
  """

  def __init__(self, options: dict[str, Any]):
    self.options = options
    self.controls = _controls(options)
    self._player, self._own = PlayerRecord(), PlayerRecord()
    self._key_map, self._map = KeyMap(), ControlMap.load()
    self._compute_ms: deque[float] = deque(maxlen=RECENT)
    self._late_ms: deque[float] = deque(maxlen=RECENT)
    self._model: ModelState | None = None
    self._clips: dict[str, int] = {}
    self._dropped = 0
    self._ports: PortsReady | None = None
    self._message, self._warning = "", False
    self._notes_in = self._notes_out = 0
    self._quit = self._was_ready = False
    self._take: TakeRecorder | None = None
    self._host: Host | None = None
    self._learning_before: str | None = None

  def run(self) -> dict[str, Any]:
    """Plays until somebody ends it.

    Returns:
      What `--json` prints.

    Raises:
      UserError: Ports, checkpoint or folder cannot be used.
    """
    options = self.options
    digests = check_choices(self.controls.adapters, options["checkpoint"])
    ports = _port_config(options)
    osc = OscInput(options["osc"]) if options["osc"] is not None else None
    folder = None
    if not options["no_save"]:
      folder = new_take_folder(options["sessions"], options["take"])
    settings = EngineSettings(
      seed=options["seed"],
      turns=TurnSettings(
        first=options["first"],
        trade_bars=int(options["trade"] or 0),
      ),
    )
    model = ModelConfig(
      checkpoint=str(options["checkpoint"]) if options["checkpoint"] else None,
      settings=settings,
      controls=self.controls,
      journal=str(folder / TRACE) if folder is not None else None,
    )
    log = console()
    handlers = self._heed_signals()
    problem = None
    started = time.monotonic()
    try:
      with Host(ports, model) as host, Keys() as keys:
        self._host = host
        if folder is not None:
          self._take = TakeRecorder(
            folder,
            checkpoint=model.checkpoint or "embedded",
            settings={
              **_plain(options),
              "engine": dataclasses.asdict(settings),
            },
            controls=to_json(self.controls),
            clock_start_wall=time.time() - host.now_ns() / 1e9,
          )
          self._take.describe(adapters=digests)
          # What a crash left is put in order meanwhile.
          threading.Thread(
            target=recover_all, args=(folder.parent,), daemon=True
          ).start()
        display = LiveDisplay() if not options["quiet"] else None
        with display or contextlib.nullcontext():
          with log.status("loading the model ...", spinner="dots") as line:
            host.wait_until_ready(lambda news: self._wait(news, line))
          self._was_ready = True
          ready = f"ready after {time.monotonic() - started:.1f} s"
          if adapter := playing_adapter(self.controls):
            ready += f"; plays with {adapter}"
          self._say(ready)
          ready_ns = host.now_ns()
          if options["tempo"]:
            beat_ns = 60 * SECOND / options["tempo"]
            # A bar of count-in, after a breath.
            start_ns = ready_ns + SECOND + round(4 * beat_ns)
            host.set_bars(options["tempo"], 4, start_ns)
            if self._take is not None:
              bars = Bars(options["tempo"], 4, start_ns)
              self._take.bars(ready_ns, bars)
          if options["demo"]:
            self._start_demo(host)
          end_ns = None
          if options["seconds"]:
            end_ns = ready_ns + round(options["seconds"] * SECOND)
          self._loop(host, keys, osc, display, end_ns)
    except KeyboardInterrupt:
      pass
    except HostError as error:
      if not self._was_ready:
        raise UserError(str(error)) from None
      problem = str(error)
    finally:
      if osc is not None:
        osc.close()
      if self._host is not None and self._host.last_news is not None:
        self._take_in(self._host.last_news)
      report = self._report(folder, time.monotonic() - started)
      report["problem"] = problem
      self._finish(report)
      if folder is not None and not self._was_ready and not self._notes_in:
        # Nothing happened that is worth a place in the list.
        shutil.rmtree(folder, ignore_errors=True)
        report["session"] = None
      for number, handler in handlers.items():
        signal.signal(number, handler)
    return report

  def _heed_signals(self) -> dict[int, Any]:
    """Ends in order on any of them; returns who heeded them before."""
    before = {}
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
      number = getattr(signal, name, None)
      # A job in the background of a shell is to ignore Ctrl-C.
      if number is None or signal.getsignal(number) is signal.SIG_IGN:
        continue
      before[number] = signal.signal(number, self._stop)
    return before

  def _wait(self, news: News, line: Status) -> None:
    """Before the model is ready: what is played is heard already."""
    self._take_in(news)
    if self._take is not None and self._host is not None:
      self._take.flush(self._host.now_ns())
    if self._quit:
      raise KeyboardInterrupt
    for report in news.model:
      if isinstance(report, ModelCompiling):
        share = report.done / report.total
        line.update(f"preparing the model: {100 * share:.0f} %")

  def _stop(self, number: int, frame: object) -> None:
    self._quit = True

  def _loop(
    self,
    host: Host,
    keys: Keys,
    osc: OscInput | None,
    display: LiveDisplay | None,
    end_ns: int | None,
  ) -> None:
    while not self._quit:
      self._take_in(host.poll())
      for key in keys.poll():
        self._do(self._key_map.press(key, self.controls), host)
      if osc is not None:
        for event in osc.poll():
          self._do(event, host)
      now_ns = host.now_ns()
      if self._take is not None:
        stopped = self._take.flush(now_ns)
        if stopped:
          self._warn(stopped)
      if display is not None and display.due:
        display.update(self._snapshot(now_ns))
      if end_ns is not None and now_ns >= end_ns:
        return
      time.sleep(LOOP_S)

  # What comes in.

  def _take_in(self, news: News) -> None:
    for message in news.received:
      self._player.hear(message)
      self._notes_in += is_note_on(message.data)
      if self._take is not None:
        self._take.player(message)
      self._control(message)
    for message in news.control:
      self._control(message)
      # Of a keyboard they are its own sounds, of a controller a choice.
      if self.controls.adapters:
        self._do(chosen_adapter(message), self._host)
    for message in news.sent:
      self._own.hear(message)
      self._notes_out += is_note_on(message.data)
      if self._take is not None:
        self._take.own(message)
    for report in news.model:
      self._handle_model(report)
    for report in news.ports:
      self._handle_ports(report)

  def _handle_model(self, report: ModelReport) -> None:
    match report:
      case ModelState():
        self._model = report
        # What the model refused is refused here too.
        self.controls = report.controls
      case ModelReady() if self._take is not None:
        self._take.describe(
          checkpoint={"path": report.checkpoint, "sha256": report.sha256}
        )
      case ModelRestarting():
        self._warn("the model ended unexpectedly; it is started again")
      case ModelProblem(problem=problem):
        self._warn(problem)

  def _handle_ports(self, report: PortReport) -> None:
    match report:
      case PlanReceived() if report.why != "reply":
        self._compute_ms.append(report.compute_ns / 1e6)
      case PortsState():
        self._late_ms += [late / 1e6 for late in report.late_ns]
        self._clips = report.clips
        if report.dropped > self._dropped:
          self._warn("so much came at once that messages of yours were lost")
        self._dropped = report.dropped
      case PortsReady():
        self._ports = report
      case EchoFound(description=loop):
        self._warn(f"our own notes come back in and are muted: {loop}")
      case PortChanged(port=port, state="lost"):
        self._warn(f"{port} is gone; waiting for it")
      case PortChanged(port=port):
        self._say(f"{port} is back")

  def _control(self, message: Message) -> None:
    learning = self._map.learning
    for event in self._map.hear(message):
      self._do(event, self._host)
    if learning and self._map.learning is None:
      self._map.save()
      self._say(f"learned: that controller moves {learning}")

  # What goes out.

  def _do(
    self, event: Change | Action | Learn | None, host: Host | None
  ) -> None:
    if event is None or host is None:
      return
    if isinstance(event, Learn):
      self._map.learn(event.target)
      self._say(f"move a MIDI controller: it will move {event.target}")
    elif event is Action.QUIT:
      self._quit = True
    elif event is Action.BOOKMARK:
      if self._take is not None:
        self._take.bookmark(host.now_ns())
      self._say("the last 30 s are bookmarked")
    elif isinstance(event, Action):
      host.send(event)
    else:
      try:
        before = self.controls
        self.controls = changed(before, event.name, event.value)
        if event.name.startswith("adapter"):
          # A fader sends the same choice many times.
          if self.controls.adapter == before.adapter:
            return
          # One step of ours is one step of the model's, whatever comes between.
          event = Change("adapter", self.controls.adapter)
        host.send(event)
      except ValueError as error:
        self._warn(str(error))
        return
      if self.controls.adapter != before.adapter:
        self._say(f"plays with {playing_adapter(self.controls)}")

  def _say(self, message: str) -> None:
    self._message, self._warning = message, False
    if self.options["quiet"]:
      console().print(message, soft_wrap=True)

  def _warn(self, message: str) -> None:
    self._say(message)
    self._warning = True

  def _start_demo(self, host: Host) -> None:
    """A bundled phrase is played in, again and again."""
    from magenta_midi.cli.phrases import phrase_path
    from magenta_midi.live.recording.score_messages import messages_of
    from magenta_midi.midi.score import Score

    messages = messages_of(Score.from_file(phrase_path("prelude")).crop(0, 8))

    def play() -> None:
      start_ns = host.now_ns() + SECOND
      while not self._quit:
        for message in messages:
          wait = (start_ns + message.time_ns - host.now_ns()) / 1e9
          if wait > 0:
            time.sleep(wait)
          if self._quit:
            return
          with contextlib.suppress(KeyError):
            host.play_in(message.data)
        start_ns = host.now_ns() + 14 * SECOND

    threading.Thread(target=play, daemon=True).start()

  # What is shown.

  def _snapshot(self, now_ns: int) -> Snapshot:
    model, ports = self._model, self._ports
    compute = percentiles(list(self._compute_ms), (50, 99))
    for record in (self._player, self._own):
      record.forget(now_ns)
    line = self._key_map.line
    return Snapshot(
      now_s=now_ns / SECOND,
      notes_player=_bars(self._player, now_ns),
      notes_own=_bars(self._own, now_ns),
      plan=[
        (key, start / SECOND, (start + length) / SECOND)
        for key, start, length in (model.plan if model else ())
      ],
      pedal_player=self._player.pedal_down,
      pedal_own=self._own.pedal_down,
      controls=self.controls,
      turn="model" if model and model.replying else "you",
      chord=model.chord if model else "",
      key=model.key if model else "",
      tempo=self.options["tempo"],
      compute_ms_p50=compute["p50"],
      compute_ms_p99=compute["p99"],
      reaction_ms=_plus(compute["p50"], EngineSettings().horizon_ns / 1e6),
      staleness_s=_seconds(model.plan_age_ms if model else None),
      sounding=len(self._own.held_keys),
      clips=sum(self._clips.values()),
      port_in=", ".join(ports.inputs if ports else ()),
      port_out=ports.output if ports else "",
      message=line or self._message,
      warning=self._warning and not line,
      help_shown=self._key_map.help_shown,
    )

  # The end.

  def _finish(self, report: dict[str, Any]) -> None:
    take, host = self._take, self._host
    if take is None or host is None:
      return
    if problem := take.close(host.now_ns(), report):
      console().print(problem, soft_wrap=True)

  def _report(self, folder: Path | None, seconds: float) -> dict[str, Any]:
    host, model = self._host, self._model
    return {
      "seconds": round(seconds, 3),
      "notes_in": self._notes_in,
      "notes_out": self._notes_out,
      "compute_ms": percentiles(list(self._compute_ms)),
      "jitter_ms": percentiles(list(self._late_ms), (50, 99)),
      "compiles_while_playing": model.compiles if model else None,
      "adapter": playing_adapter(self.controls),
      "adapter_switches": model.switches if model else None,
      "slowest_switch_ms": model.slowest_switch_ms if model else None,
      "clips": self._clips,
      "messages_dropped": self._dropped,
      "stuck_notes": len(self._own.held_keys),
      "model_restarts": host.restarts if host is not None else 0,
      "session": str(folder) if folder else None,
    }


def _bars(record: PlayerRecord, now_ns: int) -> list[tuple[int, float, float]]:
  return [
    (n.key, n.onset_ns / SECOND, (n.end_ns or now_ns) / SECOND)
    for n in record.notes
  ]


def _plus(value: float | None, more: float) -> float | None:
  return None if value is None else value + more


def _seconds(ms: float | None) -> float | None:
  return None if ms is None else ms / 1000


def _plain(options: dict[str, Any]) -> dict[str, Any]:
  return {
    name: str(value) if isinstance(value, Path) else value
    for name, value in options.items()
    if value not in (None, False, ())
  }


def _controls(options: dict[str, Any]) -> Controls:
  return parse_controls(
    options["settings"],
    options["prompts"],
    adapters=adapter_choices(options["adapters"], options["at_hand"]),
    mode=options["mode"],
    solo=options["solo"],
  )


def _port_config(options: dict[str, Any]) -> PortConfig:
  """Finds the ports that the options mean.

  Raises:
    UserError: There are none, a name matches none or several, or input and
      output are one.
  """
  no_input = options["demo"] and not options["input_name"]
  if no_input and options["sound"] and not options["thru"]:
    return PortConfig(
      no_input=True,
      sound=True,
      shared=options["shared"],
      channel=options["channel"],
    )
  found = scan()
  if not found.api:
    raise UserError(
      f"no MIDI system works here ({found.problem}). Try --demo --sound,"
      " which needs none, or see: magenta-midi ports"
    )
  name = options["input_name"]
  if name is None and not options["virtual"] and not no_input:
    name = obvious_keyboard(found.inputs)
    if name is None:
      raise UserError(
        "no keyboard was found. Plug one in, name a port with --in, open one"
        " with --virtual, or try --demo."
      )
  elif name is not None:
    name = find_port(name, found.inputs, kind="input port")
  output = options["output_name"]
  if output is not None:
    output = find_port(output, found.outputs, kind="output port")
  if name is not None and name == output:
    raise UserError(
      f"--in and --out are both {name}: the model would hear itself. Give"
      " another --out, or --virtual."
    )
  return PortConfig(
    api=found.api,
    input=name,
    output=output,
    thru=options["thru"],
    control=options["control"],
    channel=options["channel"],
    shared=options["shared"],
    sound=options["sound"],
    metronome=options["tempo"] is not None,
    clock_out=options["clock"] == "out",
    no_input=no_input,
    calibration=Calibration.load(display_names([name])[0] if name else ""),
  )
