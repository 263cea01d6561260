"""How many sessions a machine plays at once, by what one of them needs."""

import os
import threading

__all__ = ["Capacity", "sessions_for"]

# Of cores and accelerator; the rest is for the server and for other programs.
_USABLE = 0.9
# Cores of the process that keeps time, and of its part of the server.
_BESIDE = 0.15
# Until it is known: a session has a process that computes and one that keeps
# time.
_CORES_A_SESSION = 2


def sessions_for(cpu_s: float, wall_s: float, cores: int) -> int:
  """How many sessions can play dense music at the same time.

  Args:
    cpu_s: Processor time, s, that a second of dense music takes the model.
    wall_s: Time from begin to end of the same. What it exceeds `cpu_s` by is
      waiting, for an accelerator that all sessions share.
    cores: Of the processor.

  Returns:
    1 or more.
  """
  by_cores = cores * _USABLE / (cpu_s + _BESIDE)
  waiting_s = wall_s - cpu_s
  by_device = _USABLE / waiting_s if waiting_s > 0.001 else by_cores
  return max(1, int(min(by_cores, by_device)))


class Capacity:
  """The most sessions at once; methods may be called from any thread.

  Args:
    asked: What was asked for; None: what the first session measures.
  """

  def __init__(self, asked: int | None = None):
    self._cores = os.cpu_count() or 1
    self._lock = threading.Lock()
    self._known = asked is not None
    self._sessions = asked or max(1, self._cores // _CORES_A_SESSION)

  @property
  def sessions(self) -> int:
    """Until something is measured: half the cores."""
    return self._sessions

  def measured(self, cpu_s: float, wall_s: float) -> bool:
    """A session is ready; see `sessions_for`.

    Later ones are measured beside the first, so they do not count.

    Returns:
      Whether this decides.
    """
    with self._lock:
      if self._known:
        return False
      self._known = True
      self._sessions = sessions_for(cpu_s, wall_s, self._cores)
      return True
