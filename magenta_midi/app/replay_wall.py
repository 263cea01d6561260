"""`magenta-midi replay --wall`: in real time, over real ports, measured."""

import contextlib
import dataclasses
import json
import multiprocessing
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from magenta_midi.app.errors import UserError
from magenta_midi.app.output import progress_bar
from magenta_midi.live.controls import to_json
from magenta_midi.live.engine import EngineSettings
from magenta_midi.live.events import SECOND, Message, is_note_on
from magenta_midi.live.host import Host, HostError, News
from magenta_midi.live.meters import Meters, percentiles
from magenta_midi.live.model_process import ModelConfig
from magenta_midi.live.port_process import PortConfig
from magenta_midi.live.port_scan import scan
from magenta_midi.live.ports import OutputPort, RtMidiBackend
from magenta_midi.live.replay import TAIL_NS, messages_of, stuck_notes
from magenta_midi.live.score_messages import duet_score
from magenta_midi.live.session import parse_controls
from magenta_midi.midi.atomic import write_atomically
from magenta_midi.midi.score import Score

__all__ = ["replay_wall"]

POLL_S = 0.01
# The bare loop that sending is compared with wakes so often.
BARE_NS = 5_000_000


def replay_wall(
  music: Score,
  *,
  mode: str,
  seed: int,
  checkpoint: Path | None,
  out: Path,
  settings: Sequence[str],
) -> dict[str, Any]:
  """Plays a recording into the duet's own ports.

  Args:
    music: What the player plays.
    mode: Who plays when.
    seed: Of the model's draws.
    checkpoint: A folder; None: the embedded one.
    out: MIDI file to write, a track for each; figures lie beside it.
    settings: Controls, `NAME=VALUE`.

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
  controls = parse_controls(settings, mode=mode)
  engine = EngineSettings(seed=seed)
  model = ModelConfig(
    checkpoint=str(checkpoint) if checkpoint else None,
    settings=engine,
    controls=controls,
    journal=None,
  )
  try:
    with Host(PortConfig(api=found.api), model) as host:
      run = _Run(host, engine)
      host.wait_until_ready(run.take)
      backend = RtMidiBackend(found.api)
      names = [n for n in backend.outputs() if n.endswith(":in")]
      names += [n for n in backend.outputs() if "magenta-midi" in n]
      if not names:
        raise HostError("the duet's own input port cannot be found.")
      port = backend.open_output(names[0])
      with contextlib.closing(port):
        run.play(port, messages_of(music))
  except HostError as error:
    raise UserError(str(error)) from None
  if host.last_news is not None:
    run.take(host.last_news)
  report = run.report()
  facts = {
    "mode": mode,
    "seed": seed,
    **report,
    "horizon_ms": engine.horizon_ns / 1e6,
    "api": found.api,
  }
  duet_score(run.heard, run.sent).to_file(out)
  session = {
    "settings": {"engine": dataclasses.asdict(engine)},
    "controls": to_json(controls),
    "report": facts,
  }
  write_atomically(
    out.with_suffix(".json"), (json.dumps(session) + "\n").encode()
  )
  return facts


class _Run:
  """What is heard of one run."""

  def __init__(self, host: Host, engine: EngineSettings):
    self.host = host
    self.heard: list[Message] = []
    self.sent: list[Message] = []
    self.meters = Meters(engine.horizon_ns)
    self.status: dict[str, Any] = {}
    self.clips: dict[str, int] = {}
    self._playing = False
    self._wanted = 0
    self._memory: list[dict[str, int]] = []
    self._bare_ms: list[float] = []

  def play(self, port: OutputPort, messages: list[Message]) -> None:
    """Sends the messages at their times and listens until all has ended."""
    self._wanted = sum(is_note_on(m.data) for m in messages)
    start_ns = time.perf_counter_ns() + SECOND // 2
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    end_ns = (messages[-1].time_ns if messages else 0) + TAIL_NS
    bare = context.Process(
      target=_bare_loop, args=(theirs, end_ns), daemon=True
    )
    bare.start()

    def send() -> None:
      for message in messages:
        wait_ns = start_ns + message.time_ns - time.perf_counter_ns()
        if wait_ns > 0:
          time.sleep(wait_ns / 1e9)
        port.send(message.data)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    self._memory.append(self._resident_mb())
    with progress_bar() as progress:
      task = progress.add_task("replaying", total=end_ns / SECOND, note="")
      while (at_ns := time.perf_counter_ns() - start_ns) < end_ns:
        self.take(self.host.poll())
        progress.update(task, completed=max(0.0, at_ns / SECOND))
        time.sleep(POLL_S)
    thread.join()
    self._memory.append(self._resident_mb())
    if ours.poll(5.0):
      self._bare_ms = ours.recv()
    bare.join(5.0)

  def take(self, news: News) -> None:
    """What the processes said."""
    self.heard += news.heard
    self.sent += news.sent
    for report in news.ports:
      if "compute_ns" in report:
        ms = report["compute_ns"] / 1e6
        replies = report["why"] == "reply"
        kept = self.meters.first_note_ms if replies else self.meters.compute_ms
        kept.append(ms)
      if "late_ns" in report:
        self.meters.jitter_ms += [late / 1e6 for late in report["late_ns"]]
        self.clips = report["clips"]
        self._playing = report["playing"]
    for status in news.status:
      if "mode" in status:
        self._hear_model(status)

  def _hear_model(self, status: dict[str, Any]) -> None:
    self.status = status
    now_ns = status["now_ns"]
    if status["plan_age_ms"] is None:
      return
    self.meters.planned(now_ns - round(status["plan_age_ms"] * 1e6))
    self.meters.tick(
      now_ns,
      plays=self._playing,
      counts=status["mode"] == "simultaneous" or status["replying"],
    )

  def _resident_mb(self) -> dict[str, int]:
    pids = {"model": self.host.model_pid, "ports": self.host.ports_pid}
    found = {}
    for name, pid in pids.items():
      with contextlib.suppress(OSError, IndexError, ValueError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
          if line.startswith("VmRSS"):
            found[name] = int(line.split()[1]) // 1024
    return found

  def report(self) -> dict[str, Any]:
    """All figures."""
    notes_in = sum(is_note_on(m.data) for m in self.heard)
    return {
      **self.meters.report(),
      "bare_loop_ms": percentiles(self._bare_ms, (50, 99)),
      "notes_in": notes_in,
      "notes_dropped": self._wanted - notes_in,
      "notes_out": sum(is_note_on(m.data) for m in self.sent),
      "stuck_notes": stuck_notes(self.sent),
      "clips": self.clips,
      "compiles_while_playing": self.status.get("compiles"),
      "resident_mb": self._memory,
      "model_restarts": self.host.restarts,
    }


def _bare_loop(pipe: Any, length_ns: int) -> None:
  """Sleeps and spins like the ports' process, and does nothing else."""
  late_ms = []
  start_ns = time.perf_counter_ns()
  due_ns = start_ns
  while due_ns - start_ns < length_ns:
    due_ns += BARE_NS
    left_ns = due_ns - time.perf_counter_ns() - 300_000
    if left_ns > 0:
      time.sleep(left_ns / 1e9)
    while (now_ns := time.perf_counter_ns()) < due_ns:
      pass
    late_ms.append((now_ns - due_ns) / 1e6)
  pipe.send(late_ms)
