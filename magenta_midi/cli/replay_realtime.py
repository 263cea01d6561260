"""Real-time replay over MIDI ports, measured: `replay --wall`."""

import contextlib
import json
import os
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from magenta_midi.cli.terminal.errors import UserError
from magenta_midi.cli.terminal.output import progress_bar
from magenta_midi.live.engine.engine import EngineSettings
from magenta_midi.live.io.port_scan import scan
from magenta_midi.live.io.rtmidi import (
  BackendInput,
  BackendOutput,
  RtMidiBackend,
)
from magenta_midi.live.protocol.controls import Controls
from magenta_midi.live.protocol.events import SECOND, Message, is_note_on
from magenta_midi.live.protocol.messages import (
  ModelReady,
  ModelState,
  PlanReceived,
  PortsState,
)
from magenta_midi.live.recording.files import TRACE, read_trace
from magenta_midi.live.recording.metrics import Meters, by_quarter, percentiles
from magenta_midi.live.recording.score_messages import duet_score, messages_of
from magenta_midi.live.recording.serialization import session_json
from magenta_midi.live.recording.timer_jitter import BareLoop
from magenta_midi.live.recording.virtual_clock import TAIL_NS, stuck_notes
from magenta_midi.live.session import HostError, LiveSession
from magenta_midi.live.session_events import (
  MessageReceived,
  MessageSent,
  SessionEvent,
)
from magenta_midi.live.session_settings import SessionSettings
from magenta_midi.midi.atomic import write_atomically
from magenta_midi.midi.score import Score

__all__ = ["replay_wall"]

POLL_S = 0.01
PORTS_S = 10.0


def replay_wall(
  music: Score,
  controls: Controls,
  *,
  seed: int,
  checkpoint: Path | None,
  out: Path,
  digests: Mapping[str, str],
  meter: str = "4/4",
) -> dict[str, Any]:
  """Plays a recording into the duet's ports.

  Args:
    music: What the player plays.
    controls: Who plays when, style, adapters and the rest.
    seed: Of the model's draws.
    checkpoint: A folder; None: the embedded one.
    out: MIDI file to write, a track for each; the session is beside it.
    digests: Of the adapters, from `check_choices`.
    meter: Of the bars, as written.

  Returns:
    Measured figures.

  Raises:
    UserError: There are no ports here, or the duet cannot start.
  """
  found = scan()
  if not found.api:
    raise UserError(
      f"--wall plays over MIDI ports, and none work here ({found.problem})."
      " Leave --wall out, or see: magenta-midi ports"
    )
  engine = EngineSettings(seed=seed, meter=meter)
  with tempfile.TemporaryDirectory() as folder:
    journal = Path(folder) / TRACE
    settings = SessionSettings(
      checkpoint=str(checkpoint) if checkpoint else None,
      engine=engine,
      controls=controls,
      trace=journal,
    )
    run = _Run(engine, together=controls.mode == "simultaneous")
    try:
      with contextlib.closing(RtMidiBackend(found.api)) as backend:
        before = {*backend.inputs(), *backend.outputs()}
        with LiveSession(settings, on_event=run.handle) as session:
          session.wait_until_ready()
          with _connected(backend, before) as (keys, synth):
            run.play(session, keys, synth, messages_of(music))
            run.finish(session, synth)
    except HostError as error:
      raise UserError(str(error)) from None
    trace = read_trace(journal)
  facts = {
    "mode": controls.mode,
    "seed": seed,
    **run.report(),
    "api": found.api,
    "checkpoint": run.checkpoint,
    "adapters": digests,
  }
  duet_score(run.received, run.sent).to_file(out)
  session = session_json(
    checkpoint=run.checkpoint,
    sha256=run.sha256,
    settings=engine,
    controls=controls,
    adapters=digests,
    trace=trace.calls,
    decisions=trace.decisions,
    report=facts,
  )
  write_atomically(
    out.with_suffix(".json"), (json.dumps(session) + "\n").encode()
  )
  return facts


@contextlib.contextmanager
def _connected(backend: RtMidiBackend, before: set[str]):
  """Both ends that face the session's two ports: a keyboard and a synth."""
  end = time.monotonic() + PORTS_S
  while True:
    # Both are searched before the other ends of the cables are listed too.
    to = [name for name in backend.outputs() if name not in before]
    fro = [name for name in backend.inputs() if name not in before]
    if to and fro:
      break
    if time.monotonic() > end:
      raise HostError("the duet's ports cannot be found.")
    time.sleep(0.05)
  with (
    contextlib.closing(backend.open_output(to[0])) as keys,
    contextlib.closing(backend.open_input(fro[0])) as synth,
  ):
    yield keys, synth


class _Run:
  """One run and its figures."""

  def __init__(self, engine: EngineSettings, *, together: bool):
    self.received: list[Message] = []
    self.sent: list[Message] = []
    self.checkpoint = ""
    self.sha256: str | None = None
    # By the synth.
    self._arrived: list[Message] = []
    self._meters = Meters(engine.horizon_ns)
    self._together = together
    self._replying = False
    self._compiles: int | None = None
    self._clips: dict[str, int] = {}
    self._wanted = 0
    self._seconds = 0.0
    self._restarts = 0
    self._resident_mb: dict[str, dict[str, int]] = {}
    self._bare = BareLoop()

  def play(
    self,
    session: LiveSession,
    keys: BackendOutput,
    synth: BackendInput,
    messages: list[Message],
  ) -> None:
    """Sends the messages at their times, until the last reply has ended."""
    self._wanted = sum(is_note_on(m.data) for m in messages)
    end_ns = (messages[-1].time_ns if messages else 0) + TAIL_NS
    stop = threading.Event()
    with self._bare, progress_bar() as progress:
      task = progress.add_task("replaying", total=end_ns / SECOND, note="")
      self._resident_mb["start"] = self._resident(session)
      start_ns = time.perf_counter_ns() + SECOND // 2
      thread = threading.Thread(
        target=_send, args=(keys, messages, start_ns, stop), daemon=True
      )
      thread.start()
      try:
        while (at_ns := time.perf_counter_ns() - start_ns) < end_ns:
          session.poll()
          self._arrived += [Message(*got) for got in synth.poll()]
          progress.update(task, completed=max(0.0, at_ns / SECOND))
          time.sleep(POLL_S)
      finally:
        stop.set()
        thread.join()
      self._resident_mb["end"] = self._resident(session)
    self._seconds = end_ns / SECOND

  def finish(self, session: LiveSession, synth: BackendInput) -> None:
    """Ends the session and receives its last messages."""
    session.close()
    self._restarts = session.restarts
    time.sleep(0.1)
    self._arrived += [Message(*got) for got in synth.poll()]

  def handle(self, event: SessionEvent) -> None:
    """Handles an event of the session."""
    meters = self._meters
    match event:
      case MessageReceived(message=message):
        self.received.append(message)
      case MessageSent(message=message):
        self.sent.append(message)
        if is_note_on(message.data):
          meters.note_sent(message.time_ns)
      case ModelReady():
        self.checkpoint, self.sha256 = event.checkpoint, event.sha256
      case ModelState():
        self._replying, self._compiles = event.replying, event.compiles
        meters.horizon_ns = round(event.horizon_ms * 1e6)
      case PlanReceived(now_ns=now_ns):
        since_ns = now_ns - event.compute_ns
        if event.why == "reply":
          meters.replied(since_ns, now_ns)
        else:
          meters.answered((since_ns,), now_ns)
      case PortsState():
        meters.jitter_ms += [late / 1e6 for late in event.late_ns]
        self._clips = event.clips
        for time_ns, age_ns, plays in event.ticks:
          meters.planned(time_ns - age_ns)
          counts = self._together or self._replying
          meters.tick(time_ns, plays=plays, counts=counts)

  def _resident(self, session: LiveSession) -> dict[str, int]:
    """Memory of each process, MB; empty if the system does not report it."""
    pids = {"app": os.getpid(), **session.process_ids}
    found = {}
    for name, pid in pids.items():
      with contextlib.suppress(OSError, IndexError, ValueError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
          if line.startswith("VmRSS"):
            found[name] = int(line.split()[1]) // 1024
    return found

  def report(self) -> dict[str, Any]:
    """All figures."""
    notes_in = sum(is_note_on(m.data) for m in self.received)
    notes_out = sum(is_note_on(m.data) for m in self.sent)
    received = sum(is_note_on(m.data) for m in self._arrived)
    return {
      **self._meters.report(),
      # At the end: it follows the machine.
      "horizon_ms": self._meters.horizon_ns / 1e6,
      "compute_ms_by_quarter": by_quarter(self._meters.compute_ms),
      "bare_loop_ms": percentiles(self._bare.late_ms, (50, 99)),
      "notes_in": notes_in,
      "notes_dropped": self._wanted - notes_in,
      "notes_out": notes_out,
      "notes_received": received,
      # By what arrived at the other end of the cable.
      "stuck_notes": stuck_notes(self._arrived),
      "clips": self._clips,
      "compiles_while_playing": self._compiles,
      "resident_mb": self._resident_mb,
      "model_restarts": self._restarts,
      "seconds": round(self._seconds, 3),
    }


def _send(
  keys: BackendOutput,
  messages: list[Message],
  start_ns: int,
  stop: threading.Event,
) -> None:
  """The player: each message at its time."""
  for message in messages:
    wait_ns = start_ns + message.time_ns - time.perf_counter_ns()
    if wait_ns > 0 and stop.wait(wait_ns / 1e9):
      return
    keys.send(message.data)
