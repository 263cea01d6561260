"""Rates of requests: a bucket of tokens for each client."""

import time
from collections import OrderedDict
from collections.abc import Callable

__all__ = ["Bucket", "Buckets"]

# Addresses that are remembered; the oldest is forgotten first.
_MAX_CLIENTS = 4096


class Bucket:
  """So many at once, and so many a second on average.

  Args:
    a_second: Tokens that come back a second.
    at_once: Tokens that it holds.
    clock: Seconds, monotonic.
  """

  def __init__(
    self,
    a_second: float | int,
    at_once: float | int,
    clock: Callable[[], float] = time.monotonic,
  ):
    self._rate, self._size, self._clock = a_second, at_once, clock
    self._left, self._seen_s = at_once, clock()

  def take(self, count: float | int = 1.0) -> bool:
    """Takes so many; False, and none, where there are fewer."""
    now_s = self._clock()
    self._left = min(
      self._size, self._left + (now_s - self._seen_s) * self._rate
    )
    self._seen_s = now_s
    if self._left < count:
      return False
    self._left -= count
    return True


class Buckets:
  """A bucket for each client.

  Args:
    a_second: As `Bucket`.
    at_once: Likewise.
    clock: Likewise.
  """

  def __init__(
    self,
    a_second: float | int,
    at_once: float | int,
    clock: Callable[[], float] = time.monotonic,
  ):
    self._settings = a_second, at_once, clock
    self._buckets: OrderedDict[str, Bucket] = OrderedDict()

  def take(self, client: str) -> bool:
    """Takes one of a client's tokens; False where there is none."""
    bucket = self._buckets.get(client)
    if bucket is None:
      bucket = self._buckets[client] = Bucket(*self._settings)
      if len(self._buckets) > _MAX_CLIENTS:
        self._buckets.popitem(last=False)
    self._buckets.move_to_end(client)
    return bucket.take()
