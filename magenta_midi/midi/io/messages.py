"""MIDI messages as bytes: building them, and parsing a stream of them."""

__all__ = [
  "MessageParser",
  "all_notes_off",
  "control_change",
  "note_off",
  "note_on",
]

# Data bytes that follow a status of a channel, by its upper four bits.
_CHANNEL_DATA = {8: 2, 9: 2, 10: 2, 11: 2, 12: 1, 13: 1, 14: 2}
# The same for system common messages; others of F0-F7 are undefined.
_SYSTEM_DATA = {0xF1: 1, 0xF2: 2, 0xF3: 1, 0xF6: 0}
_UNDEFINED_REALTIME = (0xF9, 0xFD)


def _channel_status(kind: int, channel: int) -> int:
  if not 1 <= channel <= 16:
    raise ValueError(f"MIDI channel must be in 1..16, got {channel}")
  return kind << 4 | channel - 1


def _data(name: str, value: int, least: int = 0) -> int:
  if not least <= value <= 127:
    raise ValueError(f"{name} must be in {least}..127, got {value}")
  return value


def note_on(channel: int, key: int, velocity: int) -> bytes:
  """A key goes down; channel 1 to 16, velocity 1 to 127 (0 would be an off).

  Raises:
    ValueError: A number is out of range.
  """
  status = _channel_status(9, channel)
  return bytes((status, _data("key", key), _data("velocity", velocity, 1)))


def note_off(channel: int, key: int) -> bytes:
  """A key comes up; channel 1 to 16."""
  return bytes((_channel_status(8, channel), _data("key", key), 64))


def control_change(channel: int, controller: int, value: int) -> bytes:
  """A controller moves; channel 1 to 16."""
  return bytes(
    (
      _channel_status(11, channel),
      _data("controller", controller),
      _data("value", value),
    )
  )


def all_notes_off(channel: int) -> bytes:
  """Every key of a channel comes up."""
  return control_change(channel, 123, 0)


class MessageParser:
  """Finds complete messages in a stream of bytes, however it is cut.

  Running status is written out, real-time messages are handed on at once,
  also from inside another message, and system exclusive data is skipped.

  Attributes:
    garbage: Bytes that belonged to no message, so far.
  """

  def __init__(self):
    self.garbage = 0
    self._status = 0  # 0: data bytes belong to nothing
    self._wanted = 0
    self._used = False  # whether the status byte is in a message
    self._data = bytearray()
    self._in_sysex = False

  def feed(self, data: bytes) -> list[bytes]:
    """Takes the next bytes of the stream.

    Args:
      data: Any number of any bytes.

    Returns:
      The messages that they complete, status first.
    """
    messages: list[bytes] = []
    for byte in data:
      if byte < 0x80:
        self._take_data(byte, messages)
      elif byte >= 0xF8:
        if byte in _UNDEFINED_REALTIME:
          self.garbage += 1
        else:
          messages.append(bytes((byte,)))
      else:
        self._take_status(byte, messages)
    return messages

  def flush(self) -> None:
    """Ends a packet: what is unfinished is garbage, running status ends.

    Drivers that hand over whole messages call for this after each.
    """
    self._drop()
    self._status, self._in_sysex = 0, False

  def _drop(self) -> None:
    """Gives up the message begun, if any."""
    self.garbage += len(self._data) + bool(self._status and not self._used)
    self._data.clear()

  def _take_data(self, byte: int, messages: list[bytes]) -> None:
    if self._in_sysex:
      return
    if not self._status:
      self.garbage += 1
      return
    self._data.append(byte)
    if len(self._data) == self._wanted:
      messages.append(bytes((self._status, *self._data)))
      self._data.clear()
      self._used = True
      if self._status >= 0xF0:
        self._status = 0  # system messages have no running status

  def _take_status(self, byte: int, messages: list[bytes]) -> None:
    self._drop()
    ends_sysex = self._in_sysex
    self._status, self._in_sysex, self._used = 0, False, False
    if byte < 0xF0:
      self._status, self._wanted = byte, _CHANNEL_DATA[byte >> 4]
    elif byte == 0xF0:
      self._in_sysex = True
    elif byte == 0xF7:
      self.garbage += not ends_sysex
    elif byte not in _SYSTEM_DATA:
      self.garbage += 1
    elif _SYSTEM_DATA[byte]:
      self._status, self._wanted = byte, _SYSTEM_DATA[byte]
    else:
      messages.append(bytes((byte,)))
