"""Packets of Open Sound Control 1.0: bytes and the messages in them.

Written here since the usual library (python-osc 1.10) never comes back from a
bundle whose element has a negative size, and logs each type it does not know.

Source: http://opensoundcontrol.org/spec-1_0
"""

import struct
from typing import Any, NamedTuple

__all__ = ["OscError", "OscMessage", "pack", "unpack"]

Argument = str | int | float | bool | bytes | None

_BUNDLE = b"#bundle\0"
_MAX_DEPTH = 8  # of bundles in bundles
_CONSTANTS = {"T": True, "F": False, "N": None, "I": True}
# Tag -> layout; h, d, t, c, r, m are of common extensions.
_FIXED = {
  "i": ">i",
  "f": ">f",
  "h": ">q",
  "d": ">d",
  "t": ">Q",
  "c": ">i",
  "r": ">I",
  "m": ">I",
}


class OscError(ValueError):
  """Bytes that are no OSC packet."""


class OscMessage(NamedTuple):
  """An address, beginning with "/", and its arguments."""

  address: str
  arguments: tuple[Argument, ...]


def unpack(packet: bytes) -> list[OscMessage]:
  """Reads a packet: a message, or bundles of them in order.

  Time tags are passed over: all counts as of now.

  Raises:
    OscError: It is none; one line says where it fails.
  """
  return _unpack(packet, 0)


def pack(address: str, *arguments: str | int | float) -> bytes:
  """Writes a message, as controllers send it.

  Raises:
    struct.error: A whole number does not fit 32 bits.
  """
  tags, body = ",", b""
  for argument in arguments:
    if isinstance(argument, str):
      tags, body = tags + "s", body + _padded(argument)
    elif isinstance(argument, int):
      tags, body = tags + "i", body + struct.pack(">i", argument)
    else:
      tags, body = tags + "f", body + struct.pack(">f", argument)
  return _padded(address) + _padded(tags) + body


def _padded(text: str) -> bytes:
  raw = text.encode()
  return raw + b"\0" * (4 - len(raw) % 4)


def _unpack(packet: bytes, depth: int) -> list[OscMessage]:
  if packet.startswith(b"/"):
    return [_message(packet)]
  if not packet.startswith(_BUNDLE):
    raise OscError("neither a message nor a bundle")
  if depth >= _MAX_DEPTH:
    raise OscError(f"more than {_MAX_DEPTH} bundles inside each other")
  messages = []
  at = len(_BUNDLE) + 8  # and the time tag
  if len(packet) < at:
    raise OscError("a bundle without its time tag")
  while at < len(packet):
    size, at = _fixed(packet, at, ">i")
    if size < 0 or at + size > len(packet):
      raise OscError(f"a bundle's element of {size} bytes")
    messages += _unpack(packet[at : at + size], depth + 1)
    at += size
  return messages


def _message(packet: bytes) -> OscMessage:
  address, at = _string(packet, 0)
  if at >= len(packet):  # old senders leave the tags out
    return OscMessage(address, ())
  tags, at = _string(packet, at)
  if not tags.startswith(","):
    raise OscError("type tags must begin with a comma")
  arguments: list[Argument] = []
  for tag in tags[1:]:
    if tag in "[]":  # arrays are read as if they were not
      continue
    if tag in _CONSTANTS:
      arguments.append(_CONSTANTS[tag])
    elif tag in "sS":
      text, at = _string(packet, at)
      arguments.append(text)
    elif tag == "b":
      size, at = _fixed(packet, at, ">i")
      if size < 0 or at + size > len(packet):
        raise OscError(f"a blob of {size} bytes")
      arguments.append(packet[at : at + size])
      at += size + -size % 4
    elif tag in _FIXED:
      number, at = _fixed(packet, at, _FIXED[tag])
      arguments.append(number)
    else:
      raise OscError(f"an argument of unknown type {tag!r}")
  return OscMessage(address, tuple(arguments))


def _fixed(packet: bytes, at: int, layout: str) -> tuple[Any, int]:
  size = struct.calcsize(layout)
  if at + size > len(packet):
    raise OscError("ends in the middle of a number")
  return struct.unpack_from(layout, packet, at)[0], at + size


def _string(packet: bytes, at: int) -> tuple[str, int]:
  end = packet.find(b"\0", at)
  if end < 0:
    raise OscError("a text without an end")
  try:
    text = packet[at:end].decode()
  except UnicodeDecodeError:
    raise OscError("a text that is not UTF-8") from None
  return text, end + 4 - (end - at) % 4
