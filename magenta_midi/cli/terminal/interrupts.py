"""Ctrl-C and SIGTERM as a request to save and stop."""

import contextlib
import signal
from collections.abc import Iterator

__all__ = ["stop_signals"]


@contextlib.contextmanager
def stop_signals() -> Iterator[list[int]]:
  """Collects Ctrl-C and SIGTERM, so that the step in progress can be saved.

  The second signal stops at once.
  """
  received: list[int] = []

  def note(number: int, frame: object) -> None:
    del frame
    if received:
      raise KeyboardInterrupt
    received.append(number)

  before = {
    number: signal.signal(number, note)
    for number in (signal.SIGINT, signal.SIGTERM)
  }
  try:
    yield received
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)
