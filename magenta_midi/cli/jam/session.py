"""Session of `jam`: options, keys and display of a live session."""

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.status import Status

from magenta_midi.cli.jam.display import LiveDisplay, Snapshot
from magenta_midi.cli.jam.keys import Keys
from magenta_midi.cli.phrases import phrase_path
from magenta_midi.cli.terminal.errors import UserError
from magenta_midi.cli.terminal.output import console, remark
from magenta_midi.live.engine.adapter_choices import (
  adapter_choices,
  check_choices,
)
from magenta_midi.live.engine.engine import EngineSettings
from magenta_midi.live.engine.turns import TurnSettings
from magenta_midi.live.io.control_map import ControlMap
from magenta_midi.live.io.key_map import KeyMap
from magenta_midi.live.io.osc import OscInput
from magenta_midi.live.player import NoteHistory
from magenta_midi.live.protocol.controls import Controls, playing_adapter
from magenta_midi.live.protocol.events import SECOND
from magenta_midi.live.protocol.messages import ModelCompiling, PortsReady
from magenta_midi.live.recording.score_messages import messages_of
from magenta_midi.live.recording.serialization import parse_controls
from magenta_midi.live.session import HostError, InputEvent, LiveSession
from magenta_midi.live.session_events import Notice, SessionEvent
from magenta_midi.live.session_settings import (
  NoKeyboard,
  NoMidiSystem,
  PortSettings,
  RecordingSettings,
  SamePort,
  SessionSettings,
)
from magenta_midi.midi.score import Score

__all__ = ["JamSession"]

LOOP_S = 0.02
# The demo: 8 s of a phrase, and time for the reply.
DEMO_S, DEMO_FIRST_S, DEMO_PAUSE_S = 8.0, 1.0, 14.0


class JamSession:
  """From the options of `jam` to its report.

  Args:
    options: The options of `jam`.
  """

  def __init__(self, options: dict[str, Any]):
    self.options = options
    self.controls = _controls(options)
    self._key_map = KeyMap()
    self._keys = Keys()
    self._session: LiveSession | None = None
    self._display: LiveDisplay | None = None
    self._loading: Status | None = None
    self._osc: OscInput | None = None
    self._osc_said_ns = -SECOND
    self._ports = PortsReady(inputs=[], output="")
    self._message = Notice(text="")

  def run(self) -> dict[str, Any]:
    """Plays until somebody ends it.

    Returns:
      What `--json` prints.

    Raises:
      UserError: Ports, checkpoint or folder cannot be used.
    """
    options = self.options
    digests = check_choices(self.controls.adapters, options["checkpoint"])
    with contextlib.ExitStack() as stack:
      sources: list[Any] = [self]
      if options["osc"] is not None:
        self._osc = stack.enter_context(OscInput(options["osc"]))
        sources.append(self._osc)
      settings = _settings(options, self.controls, digests)
      session = self._session = LiveSession(
        settings,
        on_event=self._handle,
        sources=sources,
        control_map=ControlMap.load(),
      )
      stack.enter_context(_signals_handled(session))
      started = time.monotonic()
      try:
        with _port_errors(), session, self._keys:
          self._play(session, started)
      except HostError as error:
        if session.ready_ns is None:
          raise UserError(str(error)) from None
      return session.report

  def _play(self, session: LiveSession, started: float) -> None:
    display = None if self.options["quiet"] else LiveDisplay()
    self._display = display
    with display or contextlib.nullcontext():
      try:
        with console().status("loading the model ...", spinner="dots") as line:
          self._loading = line
          if not session.wait_until_ready():
            return
        self._show_ready(session, time.monotonic() - started)
        self._loop(session, display)
      finally:
        self._display = None

  def _show_ready(self, session: LiveSession, seconds: float) -> None:
    ready = f"ready after {seconds:.1f} s"
    if adapter := playing_adapter(session.controls):
      ready += f"; plays with {adapter}"
    self._handle(Notice(text=ready))
    if self.options["demo"]:
      phrase = Score.from_file(phrase_path("prelude")).crop(0, DEMO_S)
      session.loop_input(
        messages_of(phrase), first_s=DEMO_FIRST_S, pause_s=DEMO_PAUSE_S
      )

  def _loop(self, session: LiveSession, display: LiveDisplay | None) -> None:
    end_ns = None
    if self.options["seconds"] and session.ready_ns is not None:
      end_ns = session.ready_ns + round(self.options["seconds"] * SECOND)
    while session.running:
      session.poll()
      now_ns = session.now_ns()
      self._say_refused(now_ns)
      if display is not None and display.due:
        display.update(self._snapshot(session, now_ns))
      if end_ns is not None and now_ns >= end_ns:
        return
      time.sleep(LOOP_S)

  def _say_refused(self, now_ns: int) -> None:
    """Says what came over OSC and cannot be, at most once a second."""
    if self._osc is None or now_ns - self._osc_said_ns < SECOND:
      return
    if text := self._osc.news():
      self._osc_said_ns = now_ns
      self._handle(Notice(text=text, is_warning=True))

  def poll(self) -> Iterator[InputEvent | None]:
    """The keys that were pressed, as a source of the session."""
    for key in self._keys.poll():
      if self._session is not None:
        # One by one: each steps from where the one before has led.
        yield self._key_map.press(key, self._session.controls)

  def _handle(self, event: SessionEvent) -> None:
    match event:
      case Notice(text=text):
        self._message = event
        if self._display is None:
          remark(text)
      case PortsReady():
        self._ports = event
      case ModelCompiling(done=done, total=total) if self._loading:
        self._loading.update(f"preparing the model: {100 * done / total:.0f} %")

  def _snapshot(self, session: LiveSession, now_ns: int) -> Snapshot:
    statistics = session.statistics
    state, compute = statistics.model, statistics.compute_ms((50, 99))
    line = self._key_map.line
    return Snapshot(
      now_s=now_ns / SECOND,
      notes_player=_bars(session.player.history, now_ns),
      notes_model=_bars(session.model.history, now_ns),
      plan=[
        (key, start / SECOND, (start + length) / SECOND)
        for key, start, length in (state.plan if state else ())
      ],
      pedal_player=session.player.keyboard.pedal_down,
      pedal_model=session.model.keyboard.pedal_down,
      controls=session.controls,
      turn="model" if state and state.replying else "you",
      chord=state.chord if state else "",
      key=state.key if state else "",
      beat=session.beat,
      compute_ms_p50=compute["p50"],
      compute_ms_p99=compute["p99"],
      reaction_ms=_plus(compute["p50"], EngineSettings().horizon_ns / 1e6),
      staleness_s=_seconds(state.plan_age_ms if state else None),
      sounding=len(session.model.keyboard.held),
      clips=sum(statistics.clips.values()),
      port_in=", ".join(self._ports.inputs),
      port_out=self._ports.output,
      message=line or self._message.text,
      warning=self._message.is_warning and not line,
      help_shown=self._key_map.help_shown,
    )


@contextlib.contextmanager
def _signals_handled(session: LiveSession) -> Iterator[None]:
  """Ctrl-C, SIGTERM and SIGHUP end the session in order meanwhile."""
  before = {}
  for name in ("SIGINT", "SIGTERM", "SIGHUP"):
    number = getattr(signal, name, None)
    # A job in the background of a shell is to ignore Ctrl-C.
    if number is None or signal.getsignal(number) is signal.SIG_IGN:
      continue
    before[number] = signal.signal(number, lambda *_: session.stop())
  try:
    yield
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)


@contextlib.contextmanager
def _port_errors() -> Iterator[None]:
  """Errors of the ports' settings, with the options that help."""
  try:
    yield
  except NoMidiSystem as error:
    raise UserError(
      f"{error}. Try --demo --sound, which needs none, or see: magenta-midi"
      " ports"
    ) from None
  except NoKeyboard:
    raise UserError(
      "no keyboard was found. Plug one in, name a port with --in, open one"
      " with --virtual, or try --demo."
    ) from None
  except SamePort as error:
    raise UserError(
      f"--in and --out are both {error.name}: the model would receive itself."
      " Give another --out, or --virtual."
    ) from None


def _bars(history: NoteHistory, now_ns: int) -> list[tuple[int, float, float]]:
  return [
    (n.key, n.onset_ns / SECOND, (n.end_ns or now_ns) / SECOND)
    for n in history.notes
  ]


def _plus(value: float | None, more: float) -> float | None:
  return None if value is None else value + more


def _seconds(ms: float | None) -> float | None:
  return None if ms is None else ms / 1000


def _facts(options: dict[str, Any]) -> dict[str, Any]:
  """The options as a session stores them."""
  return {
    # Sessions store the option's name of before.
    "at_hand" if name == "switchable" else name: (
      str(value) if isinstance(value, Path) else value
    )
    for name, value in options.items()
    if value not in (None, False, ())
  }


def _controls(options: dict[str, Any]) -> Controls:
  return parse_controls(
    options["settings"],
    options["prompts"],
    adapters=adapter_choices(options["adapters"], options["switchable"]),
    mode=options["mode"],
    solo=options["solo"],
    tempo=options["tempo"] or 0.0,
    groove=options["groove"],
    tightness=options["tightness"],
    free=options["free"],
    chords=options["chords"] or "",
    chord_weight=options["chord_weight"],
    comp=options["comp"],
    harmony=options["harmony"],
  )


def _settings(
  options: dict[str, Any], controls: Controls, digests: dict[str, str]
) -> SessionSettings:
  checkpoint = options["checkpoint"]
  recording = None
  if not options["no_save"]:
    recording = RecordingSettings(
      sessions=options["sessions"],
      name=options["take"],
      facts=_facts(options),
      adapters=digests,
    )
  turns = TurnSettings(
    first=options["first"], trade_bars=int(options["trade"] or 0)
  )
  named = options["input_name"]
  return SessionSettings(
    checkpoint=str(checkpoint) if checkpoint else None,
    engine=EngineSettings(
      seed=options["seed"], turns=turns, meter=options["meter"]
    ),
    controls=controls,
    ports=PortSettings(
      input=named,
      output=options["output_name"],
      thru=options["thru"],
      control=options["control"],
      find_keyboard=not options["virtual"],
      calibrated=True,
      channel=options["channel"],
      shared=options["shared"],
      sound=options["sound"],
      clock_out=options["clock"] == "out",
      no_input=options["demo"] and not named,
    ),
    tempo=None if options["no_click"] else options["tempo"],
    recording=recording,
  )
