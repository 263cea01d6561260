"""Single keys from the terminal, without Enter; the terminal is given back."""

import atexit
import codecs
import contextlib
import os
import select
import signal
import sys
import threading
from types import FrameType
from typing import Any, TextIO

try:
  import termios
except ImportError:  # Windows
  termios = None

__all__ = ["Keys"]

_MAX_BYTES = 256  # a poll; a longer paste comes in the next
_ESCAPE = "\x1b"


class Keys:
  """A context manager that reads keys as they are pressed.

  Ctrl-C and Ctrl-Z do what they always do. The terminal's settings come back
  on leaving, on an exception, and at exit. Where the input is no terminal, or
  the program runs in the background, there are no keys.
  """

  def __init__(self, stream: TextIO | None = None):
    """Reads from a stream; by default from standard input."""
    source: Any = stream or sys.stdin  # None in a program without a console
    self._fd: int | None = None
    self._console: Any = None
    self._before: list[Any] | None = None
    self._continued: Any = None
    self._decoder = codecs.getincrementaldecoder("utf-8")("ignore")
    self._sequence = ""
    with contextlib.suppress(AttributeError, OSError, ValueError):
      if source.isatty():
        self._fd = source.fileno()

  @property
  def available(self) -> bool:
    """Whether there is a terminal to read keys from."""
    return self._fd is not None

  def __enter__(self) -> "Keys":
    if self._fd is None:
      return self
    if termios is None:
      with contextlib.suppress(ImportError):
        import msvcrt

        self._console = msvcrt
      return self
    try:
      self._before = termios.tcgetattr(self._fd)
    except termios.error:
      self._fd = None
      return self
    atexit.register(self._restore)
    self._watch_continue()
    self._listen()
    return self

  def __exit__(self, *_: object) -> None:
    self._restore()
    if termios is not None:
      atexit.unregister(self._restore)
    if self._continued is not None:
      signal.signal(signal.SIGCONT, self._continued)
      self._continued = None

  def poll(self) -> list[str]:
    """Keys pressed since the last call, one character each; never waits.

    Arrows and other keys that send more than one character are left out; Esc
    alone is the character of code 27.
    """
    if self._console is not None:
      return self._poll_console()
    if self._before is None or self._fd is None or not self._in_front():
      return []
    try:
      if not select.select([self._fd], [], [], 0)[0]:
        return self._characters("")
      raw = os.read(self._fd, _MAX_BYTES)
    except (OSError, ValueError):
      raw = b""
    if not raw:  # the terminal has gone
      self._before, self._fd = None, None
      return []
    return self._characters(self._decoder.decode(raw))

  def _characters(self, text: str) -> list[str]:
    """Splits text into keys, without the sequences of special keys."""
    keys: list[str] = []
    if not text and self._sequence == _ESCAPE:
      # A whole poll went by: it was the key, not the start of a sequence.
      self._sequence = ""
      return [_ESCAPE]
    for character in text:
      if not self._sequence:
        if character == _ESCAPE:
          self._sequence = character
        else:
          keys.append(character)
      elif self._sequence == _ESCAPE:
        if character in "[O":
          self._sequence += character
        else:
          # Esc, then a key; or Alt and that key: never mind which.
          keys += [_ESCAPE] if character == _ESCAPE else [_ESCAPE, character]
          self._sequence = ""
      elif "@" <= character <= "~":  # what ends a sequence
        self._sequence = ""
    return keys

  def _poll_console(self) -> list[str]:
    keys = []
    while self._console.kbhit():
      key = self._console.getwch()
      if key in ("\x00", "\xe0"):  # an arrow or such: the second half follows
        self._console.getwch()
      elif key == "\x03":
        raise KeyboardInterrupt
      else:
        keys.append(key)
    return keys

  def _in_front(self) -> bool:
    """Whether this process may touch the terminal without being stopped."""
    try:
      return os.tcgetpgrp(self._fd or 0) == os.getpgrp()
    except OSError:
      # No controlling terminal, as in a pseudo-terminal of a test: nobody
      # stops us there.
      return True

  def _listen(self) -> None:
    """Keys one by one and unseen; signals as ever."""
    if termios is None or self._fd is None or self._before is None:
      return
    if not self._in_front():
      return
    settings = list(self._before)
    settings[3] &= ~(termios.ICANON | termios.ECHO)
    settings[6] = list(settings[6])
    settings[6][termios.VMIN], settings[6][termios.VTIME] = 1, 0
    with contextlib.suppress(termios.error):
      termios.tcsetattr(self._fd, termios.TCSANOW, settings)

  def _restore(self) -> None:
    if termios is None or self._before is None or self._fd is None:
      return
    if self._in_front():
      with contextlib.suppress(termios.error, OSError):
        termios.tcsetattr(self._fd, termios.TCSANOW, self._before)

  def _watch_continue(self) -> None:
    """Sets the terminal again; the shell changes it after Ctrl-Z and `fg`."""
    if threading.current_thread() is not threading.main_thread():
      return
    before = signal.getsignal(signal.SIGCONT)

    def again(number: int, frame: FrameType | None) -> None:
      self._listen()
      if callable(before):
        before(number, frame)

    signal.signal(signal.SIGCONT, again)
    self._continued = before if before is not None else signal.SIG_DFL
