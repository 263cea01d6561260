"""Where reading goes on after bytes that are no message.

Bytes of a track mean what they mean only from the right place on. A place is
certain where three messages in a row are whole, the first with its status
byte; the end of the track proves itself. One regular expression finds it, in
time linear in the bytes skipped: what it tries from each place is bounded.
"""

from __future__ import annotations

import re

__all__ = ["next_certain"]

_LOW = rb"[\x00-\x7f]"
# Delta times of up to three bytes.
_DELTA = rb"[\x80-\xff]{0,2}+" + _LOW
# A byte of the damage may stand before the first message found: as the first
# of its delta time it counts only if that is below 2048 ticks.
_FIRST_DELTA = rb"[\x81-\x8f]?" + _LOW
# Statuses of messages with one and with two data bytes.
_STATUS = {1: rb"[\xc0-\xdf]", 2: rb"[\x80-\xbf\xe0-\xef]"}
# Tempo, meter, key, SMPTE offset, channel and port: their lengths are fixed.
_META = (
  rb"\xff(?:\x51\x03[\x00-\xff]{3}|\x58\x04" + _LOW + rb"{4}"
  rb"|\x59\x02[\x00-\xff]{2}|\x54\x05" + _LOW + rb"{5}"
  rb"|[\x20\x21]\x01" + _LOW + rb")"
)
_END = rb"\xff\x2f\x00"
# A text or a system exclusive message may have any length: no more is asked.
_OPEN = rb"\xff[\x01-\x09\x7f]|\xf0"


def _channel(size: int, messages: int) -> bytes:
  return _STATUS[size] + _LOW * size + _chain(messages, size)


def _chain(messages: int, running: int) -> bytes:
  """So many more messages, or the end.

  Args:
    messages: How many must follow.
    running: Data bytes of a message that leaves its status out; 0: it may not.
  """
  if not messages:
    return b""
  ways = [
    _channel(1, messages - 1),
    _channel(2, messages - 1),
    _META + _chain(messages - 1, running),
    _END,
    _OPEN,
  ]
  if running:
    ways.append(_LOW * running + _chain(messages - 1, running))
  return rb"(?:\Z|" + _DELTA + rb"(?:" + b"|".join(ways) + rb"))"


_FIRST = (_channel(1, 2), _channel(2, 2), _META + _chain(2, 0), _END)
_CERTAIN = re.compile(
  _FIRST_DELTA + rb"(?:" + b"|".join(_FIRST) + rb")", re.DOTALL
)


def next_certain(data: bytes, at: int) -> int | None:
  """The first place from `at` on where a message begins for certain."""
  found = _CERTAIN.search(data, at)
  return found.start() if found else None
