"""Fault-injection benchmark of a live duet, over JACK.

    python -m tools.live.faults --times 20 --json faults.json

Injects each fault into the same session, in simultaneous mode while the player
plays, and reports what it cost. Needs jackd; no sound card.
"""

import argparse
import itertools
import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from magenta_midi.live.engine.engine import EngineSettings
from magenta_midi.live.performer.limits import Limits
from magenta_midi.live.protocol.controls import Controls
from magenta_midi.live.protocol.events import Message, is_note_off, is_note_on
from magenta_midi.live.protocol.messages import (
  ModelReady,
  ModelState,
  PlanReceived,
  PortChanged,
)
from magenta_midi.live.session import LiveSession
from magenta_midi.live.session_events import MessageReceived, SessionEvent
from magenta_midi.live.session_settings import PortSettings, SessionSettings
from magenta_midi.midi.atomic import write_atomically
from magenta_midi.midi.io.messages import note_off, note_on
from magenta_midi.testing.jack import JackServer
from magenta_midi.testing.port_player import PortPlayer, wait_until

# The player plays a note so often, s.
GAP_S = 0.12
Figures = dict[str, float | int | bool | None]


class Bench:
  """A session, its player, and the events of both."""

  def __init__(self, player: PortPlayer, server: JackServer):
    self.player, self.server = player, server
    self.session: LiveSession | None = None
    self.received: list[Message] = []
    self.events: list[SessionEvent] = []
    self.compute_ms: list[float] = []
    self.played: list[int] = []
    self._playing = False
    self._thread: threading.Thread | None = None

  def handle(self, event: SessionEvent) -> None:
    match event:
      case MessageReceived(message=message):
        self.received.append(message)
      case PlanReceived(compute_ns=compute_ns):
        self.compute_ms.append(compute_ns / 1e6)
    self.events.append(event)

  def process(self, name: str) -> int:
    """Id of the process of `model` or `ports`."""
    pid = self._started.process_ids[name]
    assert pid is not None
    return pid

  @property
  def restarts(self) -> int:
    return self._started.restarts

  @property
  def _started(self) -> LiveSession:
    assert self.session is not None
    return self.session

  def poll(self) -> None:
    self._started.poll()
    self.player.listen()

  def watch(self, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
      self.poll()
      time.sleep(0.005)

  def until(self, condition: Callable[[], object], limit_s: float) -> float:
    """Seconds until it holds; infinite where it never does."""
    started = time.monotonic()
    while not condition():
      self.poll()
      if time.monotonic() - started > limit_s:
        return float("inf")
      time.sleep(0.002)
    return time.monotonic() - started

  @contextmanager
  def playing(self) -> Iterator[None]:
    """The player plays meanwhile."""
    self._playing = True
    self._thread = threading.Thread(target=self._play, daemon=True)
    self._thread.start()
    try:
      yield
    finally:
      self._playing = False
      self._thread.join()

  def _play(self) -> None:
    draw = random.Random(1)
    while self._playing:
      key = draw.choice((48, 52, 55, 60, 62, 64, 67))
      self.played.append(time.perf_counter_ns())
      self.player.send(note_on(1, key, 70))
      time.sleep(GAP_S * 0.7)
      self.player.send(note_off(1, key))
      time.sleep(GAP_S * 0.3)

  def clear(self) -> None:
    """Forgets what was seen, but for what still sounds."""
    self.poll()
    self.received.clear()
    self.events.clear()
    self.compute_ms.clear()
    self.played.clear()

  @property
  def received_all(self) -> bool:
    return sum(is_note_on(m.data) for m in self.received) >= len(self.played)

  def longest_gap_ms(self) -> float:
    """Between two of the player's notes, as the ports saw them."""
    times = [m.time_ns for m in self.received if is_note_on(m.data)]
    gaps = [b - a for a, b in itertools.pairwise(times)]
    return max(gaps, default=0) / 1e6

  def ready_after(self, limit_s: float) -> float:
    return self.until(
      lambda: any(isinstance(event, ModelReady) for event in self.events),
      limit_s,
    )

  def plan_ages_ms(self, since: int) -> list[float]:
    """Ages of the plan in the events from number `since` on."""
    return [
      event.plan_age_ms
      for event in self.events[since:]
      if isinstance(event, ModelState) and event.plan_age_ms is not None
    ]

  def densest(self, since_ns: int, window_ms: float = 30.0) -> int:
    """Most onsets that came out within a window."""
    times = [m.time_ns for m in self.player.onsets if m.time_ns >= since_ns]
    width = window_ms * 1e6
    return max(
      (sum(0 <= t - a < width for t in times) for a in times), default=0
    )


def model_killed(bench: Bench) -> Figures:
  """SIGKILL to the model's process."""
  pid = bench.process("model")
  with bench.playing():
    bench.watch(1.0)
    open_then = bench.player.sounding
    os.kill(pid, signal.SIGKILL)
    killed_ns = time.perf_counter_ns()
    back_s = bench.ready_after(60.0)
    bench.watch(1.0)
  bench.until(lambda: bench.received_all, 2.0)
  limit_s = Limits().longest_s
  ended_s = bench.until(
    lambda: all(_off_since(bench, key, killed_ns) for _, key in open_then),
    limit_s,
  )
  return {
    "back_s": back_s,
    "player_gap_ms": bench.longest_gap_ms(),
    "player_lost": len(bench.played) - _ons(bench.received),
    "stuck": ended_s == float("inf"),
  }


def _off_since(bench: Bench, key: int, since_ns: int) -> bool:
  return any(
    is_note_off(m.data) and m.data[1] == key and m.time_ns >= since_ns
    for m in bench.player.received
  )


def _ons(messages: list[Message]) -> int:
  return sum(is_note_on(m.data) for m in messages)


def _stopped(bench: Bench, pid: int) -> int:
  """Stops a process for 3 s; when it goes on, `perf_counter_ns`."""
  os.kill(pid, signal.SIGSTOP)
  try:
    bench.watch(3.0)
  finally:
    goes_on_ns = time.perf_counter_ns()
    os.kill(pid, signal.SIGCONT)
  return goes_on_ns


def model_stopped(bench: Bench) -> Figures:
  """SIGSTOP to the model's process for 3 s."""
  with bench.playing():
    bench.watch(1.0)
    since_ns = _stopped(bench, bench.process("model"))
    bench.compute_ms.clear()
    seen = len(bench.events)
    fresh_s = bench.until(
      lambda: any(age_ms < 300 for age_ms in bench.plan_ages_ms(seen)), 10.0
    )
    bench.watch(1.0)
  bench.until(lambda: bench.received_all, 2.0)
  return {
    "fresh_plan_s": fresh_s,
    "player_gap_ms": bench.longest_gap_ms(),
    "player_lost": len(bench.played) - _ons(bench.received),
    "most_onsets_in_30_ms": bench.densest(since_ns),
  }


def ports_stopped(bench: Bench) -> Figures:
  """SIGSTOP to the ports' process for 3 s."""
  with bench.playing():
    bench.watch(1.0)
  since_ns = _stopped(bench, bench.process("ports"))
  bench.watch(0.5)
  after = [m for m in bench.player.received if m.time_ns >= since_ns][:12]
  kinds = [is_note_on(m.data) for m in after]
  first_on = kinds.index(True) if True in kinds else len(kinds)
  # Those whose end is overdue come before anything begins.
  with bench.playing():
    bench.watch(1.0)
  heard = bench.until(lambda: bench.received_all, 3.0)
  return {
    "most_onsets_in_30_ms": bench.densest(since_ns),
    "offs_before_first_on": first_on,
    "player_lost": len(bench.played) - _ons(bench.received),
    "heard_again": heard < 3.0,
  }


def output_blocked(bench: Bench) -> Figures:
  """JACK stands still for 3 s: nothing can be sent."""
  with bench.playing():
    bench.watch(1.0)
  bench.server.freeze(10)
  time.sleep(3.0)
  bench.server.thaw()
  since_ns = time.perf_counter_ns()
  alive = bench.process("ports") > 0
  bench.watch(1.0)
  burst = bench.densest(since_ns)
  bench.clear()
  with bench.playing():
    bench.watch(1.5)
  bench.until(lambda: bench.received_all, 3.0)
  return {
    "alive": alive,
    "most_onsets_in_30_ms": burst,
    "player_lost_after": len(bench.played) - _ons(bench.received),
  }


def flood(bench: Bench) -> Figures:
  """1,000 notes in a second; lag until the plan is new again."""
  seen = len(bench.events)
  for index in range(1000):
    bench.player.send(note_on(1, 40 + index % 40, 64))
    bench.player.send(note_off(1, 40 + index % 40))
    bench.played.append(time.perf_counter_ns())
    if index % 10 == 9:
      bench.poll()
      wait = bench.played[0] / 1e9 + index / 1000 - time.perf_counter()
      time.sleep(max(0.0, wait))
  bench.until(lambda: bench.received_all, 3.0)
  during = max(bench.compute_ms, default=0.0)
  ages = bench.plan_ages_ms(seen)
  bench.watch(0.5)
  bench.compute_ms.clear()
  with bench.playing():
    bench.watch(1.5)
  after = sorted(bench.compute_ms)
  return {
    "lag_ms": during,
    "stalest_plan_ms": max(ages, default=0.0),
    "player_lost": 1000 + 0 - min(1000, _ons(bench.received)),
    "compute_after_p50_ms": after[len(after) // 2] if after else None,
  }


def stuck_keys(bench: Bench) -> Figures:
  """Ten keys go down and never come up; the duet goes on."""
  for key in range(50, 60):
    bench.player.send(note_on(1, key, 64))
    bench.played.append(time.perf_counter_ns())
  bench.watch(2.0)
  before = len(bench.compute_ms)
  with bench.playing():
    bench.watch(1.5)
  bench.until(lambda: bench.received_all, 2.0)
  answered = len(bench.compute_ms) - before
  for key in range(50, 60):
    bench.player.send(note_off(1, key))
  return {
    "answers": answered,
    "player_lost": len(bench.played) - _ons(bench.received),
  }


def garbage(bench: Bench) -> Figures:
  """Random bytes that are no messages, then notes."""
  draw = random.Random(len(bench.player.received))
  for _ in range(300):
    # Whatever the driver lets through.
    size = draw.choice((1, 2, 3))
    bench.player.send(bytes(draw.randrange(256) for _ in range(size)))
    time.sleep(0.001)
  # An exclusive message that nobody ended swallows, in RtMidi, all that
  # follows it: no program behind it can mend that.
  bench.player.send(b"\xf0\xf7")
  bench.watch(0.3)
  for key in range(128):
    for channel in range(1, 17):
      bench.player.send(note_off(channel, key))
    time.sleep(0.002)
  bench.watch(0.5)
  restarts = bench.restarts
  bench.clear()
  with bench.playing():
    bench.watch(1.5)
  bench.until(lambda: bench.received_all, 2.0)
  return {
    "restarts": restarts,
    "answers": len(bench.compute_ms),
    "player_lost_after": len(bench.played) - _ons(bench.received),
  }


def unplugged(bench: Bench) -> Figures:
  """The keyboard vanishes with keys down, and comes back."""
  bench.player.send(note_on(1, 60, 64))
  bench.watch(0.2)
  bench.player.unplug()

  def reported(state: str) -> bool:
    return any(
      isinstance(event, PortChanged) and event.state == state
      for event in bench.events
    )

  lost_s = bench.until(lambda: reported("lost"), 10.0)
  lifted_s = bench.until(
    lambda: any(m.data == note_off(1, 60) for m in bench.received), 5.0
  )
  bench.player.make_keyboard()
  back_s = bench.until(lambda: reported("back"), 10.0)
  bench.clear()
  with bench.playing():
    bench.watch(1.0)
  bench.until(lambda: bench.received_all, 2.0)
  return {
    "noticed_s": lost_s,
    "lifted_after_s": lifted_s,
    "back_s": back_s,
    "player_lost_after": len(bench.played) - _ons(bench.received),
  }


FAULTS = {
  fault.__name__: fault
  for fault in (
    model_killed,
    model_stopped,
    ports_stopped,
    output_blocked,
    flood,
    stuck_keys,
    garbage,
    unplugged,
  )
}


def run_fault(name: str, times: int, checkpoint: str | None) -> list[Figures]:
  """Injects one fault into one session, so many times."""
  rows = []
  with JackServer() as server:
    os.environ.update(server.environment)
    player = PortPlayer()
    wanted = None
    if name == "unplugged":
      player.make_keyboard()
      wanted = "keys"
    settings = SessionSettings(
      checkpoint=checkpoint,
      engine=EngineSettings(seed=1),
      controls=Controls(mode="simultaneous"),
      ports=PortSettings(api="jack", input=wanted),
    )
    bench = Bench(player, server)
    with LiveSession(settings, on_event=bench.handle) as session:
      bench.session = session
      session.wait_until_ready()
      player.connect(keys=wanted is None)
      for _ in range(times):
        bench.clear()
        rows.append(FAULTS[name](bench))
        print(f"  {name}: {rows[-1]}", file=sys.stderr, flush=True)
        bench.watch(0.5)
      session.close()
      wait_until(lambda: not player.sounding, 5)
      rows[-1]["stuck_at_the_end"] = len(player.sounding)
    player.close()
  return rows


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--times", type=int, default=20)
  parser.add_argument("--only", choices=sorted(FAULTS), action="append")
  parser.add_argument("--checkpoint")
  parser.add_argument("--json", metavar="FILE")
  args = parser.parse_args()
  results = {}
  for name in args.only or FAULTS:
    rows = run_fault(name, args.times, args.checkpoint)
    results[name] = rows
    for figure in {key: None for row in rows for key in row}:
      values = sorted(float(row[figure] or 0) for row in rows if figure in row)
      middle = values[len(values) // 2]
      print(f"{name:16} {figure:24} {middle:9.3f}  worst {values[-1]:9.3f}")
  if args.json:
    report = {"times": args.times, "faults": results}
    write_atomically(args.json, json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
  main()
