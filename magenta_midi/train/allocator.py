"""Memory settings of glibc for training: memory is kept between steps.

By default every large array is mapped and unmapped anew, and the kernel fills
it with zeros a page at a time: on 2 cores that was a third of a step
(`docs/decisions.md`).
"""

import ctypes
import sys

__all__ = ["keep_memory"]

# From glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8
LARGEST = 2**31 - 1


def keep_memory() -> bool:
  """Makes malloc reuse freed memory for the rest of the process.

  Returns:
    Whether it worked; on other systems nothing happens.
  """
  if not sys.platform.startswith("linux"):
    return False
  try:
    mallopt = ctypes.CDLL(None).mallopt
  except (OSError, AttributeError):
    return False
  settings = (
    (M_MMAP_MAX, 0),
    (M_TRIM_THRESHOLD, LARGEST),
    (M_ARENA_MAX, 1),
  )
  return all(mallopt(*setting) == 1 for setting in settings)
