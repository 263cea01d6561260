"""One client's session: a thread that plays a `LiveSession` for it."""

import contextlib
import dataclasses
import logging
import queue
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from magenta_midi.live.engine.adapter_choices import check_choices
from magenta_midi.live.engine.engine import EngineSettings
from magenta_midi.live.engine.turns import TurnSettings
from magenta_midi.live.protocol.controls import Controls, changed
from magenta_midi.live.protocol.events import SECOND, Message
from magenta_midi.live.protocol.messages import (
  REQUEST_BYTES,
  BeatState,
  ModelCompiling,
  ModelReady,
  ModelRestarting,
  ModelState,
)
from magenta_midi.live.recording.library import remove_session
from magenta_midi.live.session import HostError, LiveSession
from magenta_midi.live.session_events import (
  ControlsChanged,
  MessageReceived,
  MessageSent,
  Notice,
  SessionEvent,
)
from magenta_midi.live.session_settings import (
  PortSettings,
  RecordingSettings,
  SessionSettings,
)
from magenta_midi.live.timing.bars import Bars
from magenta_midi.live.timing.chart_position import chart_place, live_chart
from magenta_midi.server.duets.client_messages import (
  VERSION,
  Act,
  Bye,
  ChangeControl,
  ClientMessage,
  Ping,
  Start,
  StartOptions,
  StopPlay,
)
from magenta_midi.server.duets.note_frames import (
  MODEL,
  PLAYER,
  TimedBytes,
  pack_notes,
)
from magenta_midi.server.duets.outbox import Outbox
from magenta_midi.server.duets.player_input import PlayerInput
from magenta_midi.server.names import ClientNames
from magenta_midi.server.settings import ServerSettings

__all__ = ["Music", "PlayedSession"]

_log = logging.getLogger(__name__)

# Between two polls while somebody plays, and else.
POLL_S, SLOW_POLL_S = 0.004, 0.02
FIGURES_S = 1.0
READY_S = 600.0
_FAILED = "the session cannot go on; the server's log says why."


@dataclasses.dataclass(frozen=True)
class Music:
  """Music to be played in: messages from time 0, and its length in s."""

  messages: Sequence[Message]
  seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Engine:
  """What one engine is started with."""

  tempo: float = 0.0
  meter: str = "4/4"
  first: str = "me"
  trade: int = 0
  seed: int = 0
  name: str | None = None


class PlayedSession:
  """A session from its start to its end, with one client at a time.

  Attributes:
    id: For people and logs.
    key: With which a client comes back.
    ended: Set once all is over.
    claimed: Whether a client has it.
  """

  def __init__(
    self,
    settings: ServerSettings,
    names: ClientNames,
    options: StartOptions | None = None,
    measured: Callable[[float, float], bool] = lambda cpu_s, wall_s: False,
  ):
    """Starts its thread.

    Args:
      settings: Of the server.
      names: What clients call things.
      options: How it is started.
      measured: Is told what the model needs: see `Capacity.measured`.

    Raises:
      ValueError: An option cannot be.
    """
    self.id = secrets.token_hex(6)
    self.key = secrets.token_urlsafe(18)
    self.ended = threading.Event()
    self.claimed = False
    self._settings, self._names = settings, names
    self._measured = measured
    self._engine = _Engine(seed=settings.seed)
    self._controls = settings.controls
    self._phase: dict[str, Any] = {"type": "status", "phase": "loading"}
    self._inbox: queue.SimpleQueue[ClientMessage | Music] = queue.SimpleQueue()
    self._lock = threading.RLock()
    self._outbox: Outbox | None = None
    self._live: LiveSession | None = None
    self._input: PlayerInput | None = None
    self._news: dict[int, list[Message]] = {PLAYER: [], MODEL: []}
    self._reason = ""
    self._used_s = self._left_s = self._begun_s = time.monotonic()
    self._figures_s = 0.0
    self._next: tuple[_Engine, Controls] | None = None
    if options is not None:
      self._engine, self._controls = self._chosen(options)
    self._thread = threading.Thread(
      target=self._run, name=f"session-{self.id}", daemon=True
    )
    self._thread.start()

  # The client's side: called from the server's loop.

  def attach(self, outbox: Outbox, *, resumed: bool) -> bool:
    """Takes a client; one before it is sent away.

    Returns:
      Whether it was taken; False where the session is about to end.
    """
    with self._lock:
      if self._reason:
        return False
      before, self._outbox = self._outbox, outbox
      if before is not None:
        before.close(4409)
        # Its note-offs may have been lost on the way.
        if self._input is not None:
          self._input.lift_socket()
      self.claimed = True
      self._used_s = time.monotonic()
      self._send(self._welcome(resumed=resumed))
      self._send(self._phase)
      if resumed and self._live is not None:
        # So that what sounds is known, and its note-offs are of something.
        held = sorted(
          (note.onset_ns, note.key, note.velocity)
          for note in self._live.model.keyboard.held.values()
        )
        messages = [
          Message(at, bytes((0x91, key, velocity)))
          for at, key, velocity in held
        ]
        for frame in pack_notes(MODEL, messages):
          outbox.put(frame)
      return True

  def detach(self, outbox: Outbox) -> None:
    """The socket is gone: the session waits for its client."""
    with self._lock:
      if self._outbox is not outbox:
        return
      self._outbox = None
      self._left_s = time.monotonic()
      played = self._input
    if played is not None:
      played.lift_socket()

  def play(self, notes: Sequence[TimedBytes]) -> None:
    """Notes of the client."""
    played = self._input
    if notes and played is not None:
      self._used_s = time.monotonic()
      played.play(notes)

  def submit(self, message: ClientMessage | Music) -> None:
    """A message of the client; it is handled in the session's thread."""
    if isinstance(message, Ping):
      # Before the clock runs there is nothing to tell.
      if self._live is not None:
        self._send({"type": "pong", "t": message.t, "now_s": self._now_s()})
      return
    self._used_s = time.monotonic()
    self._inbox.put(message)

  def stop(self, reason: str) -> None:
    """Asks for the end: `closing`, `bye` ..."""
    with self._lock:
      self._reason = self._reason or reason

  @property
  def ending(self) -> bool:
    """Whether it plays no longer."""
    return bool(self._reason) or self.ended.is_set()

  def join(self, seconds: float | int | None = None) -> bool:
    """Waits for the end; returns whether it has come."""
    return self.ended.wait(seconds)

  def _now_s(self) -> float:
    live = self._live
    with contextlib.suppress(ValueError):
      if live is not None:
        return live.now_ns() / SECOND
    return 0.0

  def _welcome(self, *, resumed: bool, type: str = "welcome") -> dict[str, Any]:
    started = dataclasses.asdict(self._engine)
    started["adapters"] = list(self._controls.adapters)
    message = {
      "type": type,
      "now_s": self._now_s(),
      "start": started,
      "meter": self._engine.meter,
    }
    if type == "welcome":
      message |= {
        "version": VERSION,
        "session": self.id,
        "key": self.key,
        "resumed": resumed,
        "phase": self._phase["phase"],
        "controls": self._names.shown(self._controls),
      }
    return message

  def _send(self, message: Mapping[str, Any], slot: str | None = None) -> None:
    with self._lock:
      if self._outbox is not None:
        text = msgspec.json.encode(message).decode()
        self._outbox.put(text, slot=slot)

  def _refuse(self, error: Exception) -> None:
    self._send({"type": "error", "text": " ".join(str(error).split())})

  # The session's thread.

  def _run(self) -> None:
    text, take = "", None
    try:
      while not self._reason:
        take = self._play()
        if self._next is None:
          break
        self._engine, self._controls = self._next
        self._next = None
        self._set_phase("loading")
        self._send(self._welcome(resumed=False, type="restarted"))
    except Exception as error:
      # A client is told no more than that: the text may name folders.
      if isinstance(error, HostError | OSError | ValueError):
        _log.error("session %s: %s", self.id, error)
      else:
        _log.exception("session %s", self.id)
      self._reason, text = "failed", _FAILED
    finally:
      self._set_phase("ended")
      self._send(
        {
          "type": "ended",
          "reason": self._reason or "bye",
          "take": take,
          "text": text,
        }
      )
      with self._lock:
        if self._outbox is not None:
          self._outbox.close(1011 if self._reason == "failed" else 1000)
      self.ended.set()

  def _play(self) -> str | None:
    """Plays one engine to its end; returns the id of its take."""
    live = LiveSession(
      self._session_settings(), on_event=self._handle, sources=()
    )
    try:
      with live:
        with self._lock:
          self._live = live
          self._input = PlayerInput(live.play_in, live.now_ns)
        self._loop(live)
    finally:
      # The last note-offs have come while it was closed.
      self._send_news()
      with self._lock:
        self._live = self._input = None
    return _kept_take(live)

  def _session_settings(self) -> SessionSettings:
    settings, engine, controls = self._settings, self._engine, self._controls
    checkpoint = settings.checkpoint
    digests = check_choices(
      controls.adapters, None if checkpoint is None else Path(checkpoint)
    )
    return SessionSettings(
      checkpoint=checkpoint,
      engine=EngineSettings(
        seed=engine.seed,
        meter=engine.meter,
        turns=TurnSettings(first=engine.first, trade_bars=engine.trade),
      ),
      controls=controls,
      ports=PortSettings(no_input=True, no_output=True),
      tempo=engine.tempo or None,
      recording=RecordingSettings(
        sessions=settings.takes_folder,
        name=engine.name,
        facts=dataclasses.asdict(engine) | {"client": "browser"},
        adapters=digests,
      ),
    )

  def _loop(self, live: LiveSession) -> None:
    began_s = time.monotonic()
    while live.running and not self._reason and self._next is None:
      live.poll()
      self._handle_inbox(live)
      if self._input is not None and self._input.advance():
        self._send({"type": "playing", "playing": False, "seconds": 0.0})
      self._send_news()
      if live.ready_ns is None and time.monotonic() - began_s > READY_S:
        raise HostError("the model was not ready within ten minutes.")
      if live.ready and self._phase["phase"] != "ready":
        folder = live.folder
        self._set_phase("ready", take=folder.name if folder else None)
      self._send_figures(live)
      self._look_after()
      quick = live.ready_ns is not None and self._outbox is not None
      time.sleep(POLL_S if quick else SLOW_POLL_S)

  def _look_after(self) -> None:
    settings, now_s = self._settings, time.monotonic()
    with self._lock:
      if not self.claimed:
        if now_s - self._begun_s > settings.spare_s:
          self.stop("idle")
      elif self._outbox is None and now_s - self._left_s > settings.lost_s:
        self.stop("lost")
      elif now_s - self._used_s > settings.idle_s:
        self.stop("idle")

  def _handle_inbox(self, live: LiveSession) -> None:
    while True:
      try:
        message = self._inbox.get_nowait()
      except queue.Empty:
        return
      try:
        self._handle_message(live, message)
      except ValueError as error:
        self._refuse(error)

  def _handle_message(
    self, live: LiveSession, message: ClientMessage | Music
  ) -> None:
    played = self._input
    match message:
      case ChangeControl(name=name, value=value):
        self._change(live, name, value)
      case Act():
        live.send(message.wanted)
      case Start():
        chosen = self._chosen(message)
        _check(chosen[1], self._settings.checkpoint)
        self._next = chosen
      case StopPlay() if played is not None:
        was_playing = played.has_music
        played.stop_music()
        if was_playing:
          self._send({"type": "playing", "playing": False, "seconds": 0.0})
      case Music(messages=messages, seconds=seconds) if played is not None:
        played.start_music(messages)
        self._send({"type": "playing", "playing": True, "seconds": seconds})
      case Bye():
        self.stop("bye")

  def _change(self, live: LiveSession, name: str, value: Any) -> None:
    value = self._names.control(name, value)
    if name != "prompts":
      live.change(name, value)
      return
    # Long lists do not fit one request; each prompt does.
    whole = changed(live.controls, name, value).prompts
    if len(msgspec.json.encode(whole)) < REQUEST_BYTES - 100:
      live.change(name, whole)
      return
    live.change(name, ())
    for prompt in whole:
      live.change("prompt", prompt)

  def _chosen(self, options: StartOptions) -> tuple[_Engine, Controls]:
    """Engine and controls that options ask for, from those of now.

    Raises:
      ValueError: One cannot be.
    """
    before = self._engine
    names = ("tempo", "meter", "first", "trade", "seed", "name")
    given = {
      name: value
      for name in names
      if (value := getattr(options, name)) is not None
    }
    engine = dataclasses.replace(before, **given)
    if engine.trade and not engine.tempo:
      raise ValueError("trading bars needs a tempo.")
    # They check their numbers.
    EngineSettings(
      seed=engine.seed,
      meter=engine.meter,
      turns=TurnSettings(first=engine.first, trade_bars=engine.trade),
    )
    SessionSettings(tempo=engine.tempo or None)
    controls = self._controls
    if options.adapters is not None:
      choices = self._names.choices(options.adapters)
      controls = changed(controls._replace(adapter=1), "adapters", choices)
    if options.tempo is not None:
      controls = changed(controls, "tempo", engine.tempo)
    for name, value in options.controls.items():
      if name == "adapters":
        raise ValueError("adapters are no control: give them beside it.")
      controls = changed(controls, name, self._names.control(name, value))
    return engine, controls

  # Events of the engine.

  def _handle(self, event: SessionEvent) -> None:
    match event:
      case MessageReceived(message=message):
        self._news[PLAYER].append(message)
      case MessageSent(message=message):
        self._news[MODEL].append(message)
      case ModelState():
        self._send(self._state(event), "state")
      case ControlsChanged(controls=controls):
        self._controls = controls
        shown = self._names.shown(controls)
        self._send({"type": "controls", "controls": shown})
      case Notice(text=text, is_warning=warning):
        self._send({"type": "notice", "text": text, "warning": warning})
      case ModelCompiling(done=done, total=total):
        self._set_phase("compiling", done=done, total=total)
      case ModelReady(cpu_s=cpu_s, wall_s=wall_s):
        if self._measured(cpu_s, wall_s):
          _log.info(
            "a second of dense music takes %.2f s of a core, %.2f s in all",
            cpu_s,
            wall_s,
          )
      case ModelRestarting():
        self._set_phase("restarting")

  def _set_phase(self, phase: str, **more: Any) -> None:
    self._phase = {"type": "status", "phase": phase, **more}
    self._send(self._phase)

  def _send_news(self) -> None:
    outbox = self._outbox
    for who, messages in self._news.items():
      if messages and outbox is not None:
        for frame in pack_notes(who, messages):
          outbox.put(frame)
      messages.clear()

  def _state(self, state: ModelState) -> dict[str, Any]:
    live = self._live
    beat = state.beat
    return {
      "type": "state",
      "now_s": state.now_ns / SECOND,
      "mode": state.mode,
      "turn": "model" if state.replying else "player",
      "busy": state.busy,
      "horizon_ms": state.horizon_ms,
      "plan_age_ms": state.plan_age_ms,
      "plan": [
        (key, start / SECOND, length / SECOND)
        for key, start, length in state.plan
      ],
      "chord": state.chord,
      "key": state.key,
      "pedal_player": bool(live and live.player.keyboard.pedal_down),
      "pedal_model": bool(live and live.model.keyboard.pedal_down),
      "beat": {
        "bpm": beat.bpm,
        "beats_per_bar": beat.beats_per_bar,
        "start_s": beat.start_ns / SECOND,
        "source": beat.source,
        "confidence": beat.confidence,
      },
      "chart": _chart(state.controls, beat, state.now_ns),
    }

  def _send_figures(self, live: LiveSession) -> None:
    now_s = time.monotonic()
    if self._outbox is None or now_s - self._figures_s < FIGURES_S:
      return
    self._figures_s = now_s
    figures, state = live.statistics, live.statistics.model
    self._send(
      {
        "type": "figures",
        "compute_ms": figures.compute_ms((50, 99)),
        "jitter_ms": figures.jitter_ms(),
        "horizon_ms": state.horizon_ms if state else None,
        "notes_player": figures.notes_in,
        "notes_model": figures.notes_out,
        "clips": figures.clips,
        "dropped": figures.dropped,
        "compiles": state.compiles if state else None,
        "restarts": live.restarts,
        "switches": state.switches if state else None,
        "slowest_switch_ms": state.slowest_switch_ms if state else None,
      },
      "figures",
    )


def _check(controls: Controls, checkpoint: str | None) -> None:
  """Refuses adapters of another base before the present engine is ended."""
  folder = None if checkpoint is None else Path(checkpoint)
  check_choices(controls.adapters, folder)


def _kept_take(live: LiveSession) -> str | None:
  """The id of a session's take; one in which nothing was played is removed."""
  folder, figures = live.folder, live.statistics
  if folder is None:
    return None
  if not figures.notes_in and not figures.notes_out:
    with contextlib.suppress(OSError):
      remove_session(folder)
    return None
  return folder.name


def _chart(
  controls: Controls, beat: BeatState, now_ns: int
) -> dict[str, str] | None:
  """The chord of the chart now and the next one."""
  chart = live_chart(controls.chords)
  if chart is None:
    return None
  first = chart.place(0).chord.name
  if beat.bpm is None:
    return {"now": "", "next": first}
  bars = Bars(beat.bpm, beat.beats_per_bar, beat.start_ns)
  place = chart_place(chart, bars, now_ns)
  if place is None:
    return {"now": "", "next": first}
  following = chart.after(place)
  return {
    "now": place.chord.name,
    "next": following.name if following is not None else "",
  }
