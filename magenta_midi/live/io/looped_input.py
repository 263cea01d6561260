"""Looped input: messages played in as the player's, again and again."""

import threading
from collections.abc import Callable, Sequence

from magenta_midi.live.protocol.events import SECOND, Message

__all__ = ["LoopedInput"]


class LoopedInput:
  """A thread that plays; it ends with `stop` or the program."""

  def __init__(
    self,
    play: Callable[[bytes], None],
    now_ns: Callable[[], int],
    messages: Sequence[Message],
    *,
    first_s: float,
    pause_s: float,
  ):
    """Starts.

    Args:
      play: Takes each message.
      now_ns: The session's time.
      messages: In order of time, from time 0.
      first_s: Until the first time 0, s.
      pause_s: From the last message to the next time 0, s.
    """
    self._play, self._now_ns = play, now_ns
    self._messages = messages
    self._waits_s = first_s, pause_s
    self._stopped = threading.Event()
    threading.Thread(target=self._run, daemon=True).start()

  def stop(self) -> None:
    """No message is played from here on, but for one on its way."""
    self._stopped.set()

  def _run(self) -> None:
    wait_s, pause_s = self._waits_s
    while not self._stopped.is_set():
      start_ns = self._now_ns() + round(wait_s * SECOND)
      wait_s = pause_s
      for message in self._messages:
        due_ns = start_ns + message.time_ns
        if self._stopped.wait(max(0, due_ns - self._now_ns()) / SECOND):
          return
        self._play(message.data)
