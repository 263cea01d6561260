"""Timer jitter of a process that does nothing else: the bound for sending.

Sleeps and spins like the ports process, in a separate process, and records the
delay of each wake-up. The machine delays this process as it delays the other.
"""

import contextlib
import multiprocessing
import os
import time
from multiprocessing.connection import Connection
from types import TracebackType

__all__ = ["BareLoop"]

# Woken so often, of which so much is spun away.
PERIOD_NS, SPIN_NS = 5_000_000, 300_000
START_S, STOP_S = 30.0, 10.0


class BareLoop:
  """Runs while it is entered; a context manager.

  Attributes:
    late_ms: Of each waking; there once it has ended.
  """

  def __init__(self) -> None:
    self.late_ms: list[float] = []
    context = multiprocessing.get_context("spawn")
    self._ours, theirs = context.Pipe()
    self._process = context.Process(target=_run, args=(theirs,), daemon=True)

  def __enter__(self) -> "BareLoop":
    self._process.start()
    # It begins with what it measures, not with its imports.
    if self._ours.poll(START_S):
      self._ours.recv()
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: TracebackType | None,
  ) -> None:
    with contextlib.suppress(OSError, EOFError):
      self._ours.send(None)
      if self._ours.poll(STOP_S):
        self.late_ms = self._ours.recv()
    self._process.join(1.0)
    if self._process.is_alive():
      self._process.kill()
    self._ours.close()


def _run(pipe: Connection) -> None:
  with contextlib.suppress(OSError, AttributeError):
    os.nice(-5)  # as the ports' process, where that is allowed
  pipe.send(None)
  late_ms = []
  due_ns = time.perf_counter_ns()
  asked_ns = due_ns
  while True:
    due_ns += PERIOD_NS
    left_ns = due_ns - SPIN_NS - time.perf_counter_ns()
    if left_ns > 0:
      time.sleep(left_ns / 1e9)
    while (now_ns := time.perf_counter_ns()) < due_ns:
      pass
    late_ms.append((now_ns - due_ns) / 1e6)
    # A waking that took the next one's time counts once.
    due_ns = max(due_ns, now_ns - PERIOD_NS)
    if now_ns - asked_ns > 100_000_000:
      asked_ns = now_ns
      if pipe.poll():
        break
  pipe.send(late_ms)
