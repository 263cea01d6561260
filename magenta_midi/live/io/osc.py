"""Open Sound Control over UDP: the same controls from a tablet or a patch.

`docs/guides/live_controls.md` lists the addresses. No packet raises: what is
not OSC, or has an impossible value, is counted and left out.
"""

import errno
import os
import socket
from typing import Any

from magenta_midi.live.io.osc_packet import OscError, unpack
from magenta_midi.live.protocol.controls import (
  CHOICES,
  RANGES,
  TOGGLES,
  Action,
  Change,
  Controls,
  changed,
)

__all__ = ["ADDRESSES", "DEFAULT_PORT", "OscInput"]

DEFAULT_PORT = 9000

# Address -> what its arguments are.
ADDRESSES = {
  **{f"/{name}": "s" for name in CHOICES},
  **{f"/{name}": "i" if RANGES[name].bounds.whole else "f" for name in RANGES},
  "/register": "ii",
  "/chords": "s",
  **{f"/{name}": "i" for name in TOGGLES if name != "muted"},
  "/mute": "i",
  "/prompt": "sf",
  "/clear_prompts": "",
  "/adapter": "i",
  "/next_adapter": "",
  "/hand_over": "",
  "/end": "",
  "/panic": "",
  "/bookmark": "",
  "/tap": "",
}
_NAMES = {"/mute": "muted"}

_MAX_PACKETS = 64  # a poll: a flood must not hold up the rest
_MAX_BYTES = 8192


class OscInput:
  """A socket that is asked, never waited for.

  Attributes:
    port: Where it listens.
    malformed: Packets that are no OSC.
    unknown: Messages to addresses that there are not.
    refused: Messages with arguments that cannot be.
    problem: The latest of those in one line; empty if there was none.
  """

  def __init__(self, port: int = DEFAULT_PORT, host: str = "127.0.0.1"):
    """Opens the socket.

    Args:
      port: UDP; 0 takes any free one.
      host: Address to listen at. Only programs on this machine reach the
        default; "0.0.0.0" lets in all of the network, unasked.

    Raises:
      OSError: The port is taken or may not be used; says what to do.
    """
    self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
      self._socket.setblocking(False)
      self._socket.bind((host, port))
    except (OSError, OverflowError) as error:
      self._socket.close()
      reason = getattr(error, "strerror", None) or str(error)
      number = getattr(error, "errno", None) or errno.EINVAL
      raise OSError(
        number,
        f"cannot listen for OSC at {host}:{port} ({reason}). Choose another"
        " port, or end the program that has it.",
      ) from None
    self.port: int = self._socket.getsockname()[1]
    self.malformed = 0
    self.unknown = 0
    self.refused = 0
    self.problem = ""
    self._said = 0

  def news(self) -> str:
    """The latest problem, if there was one since the last call; else empty."""
    seen = self.malformed + self.unknown + self.refused
    text = self.problem if seen > self._said else ""
    self._said = seen
    return text

  def poll(self) -> list[Change | Action]:
    """Takes in what has come since; at most 64 packets a call."""
    events: list[Change | Action] = []
    for _ in range(_MAX_PACKETS):
      try:
        packet = self._socket.recv(_MAX_BYTES)
      except BlockingIOError:
        break
      except OSError as error:
        # Windows reports an unreachable peer here; closed: nothing comes.
        self.problem = f"OSC: {error.strerror or os.strerror(error.errno or 0)}"
        break
      self._take(packet, events)
    return events

  def close(self) -> None:
    """Gives the port back; `poll` finds nothing from then on."""
    self._socket.close()

  def __enter__(self) -> "OscInput":
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def _take(self, packet: bytes, events: list[Change | Action]) -> None:
    try:
      messages = unpack(packet)
    except OscError as error:
      self.malformed += 1
      self.problem = f"OSC: a damaged packet ({error})"
      return
    for address, values in messages:
      event = self._event(address, values)
      if event is not None:
        events.append(event)

  def _event(
    self, address: str, values: tuple[Any, ...]
  ) -> Change | Action | None:
    if address not in ADDRESSES:
      self.unknown += 1
      self.problem = f"OSC: there is no address {address[:60]!r}"
      return None
    try:
      return _meaning(address, values)
    except ValueError as error:
      self.refused += 1
      self.problem = f"OSC {address}: {error}"
      return None


def _meaning(address: str, values: tuple[Any, ...]) -> Change | Action | None:
  """Change or action of a message.

  Raises:
    ValueError: Its arguments cannot be.
  """
  kinds = ADDRESSES[address]
  name = _NAMES.get(address, address[1:])
  if not kinds:
    # A button of a control surface sends 1 as it goes down and 0 as it comes
    # up; the second is no second press.
    if values and values[0] in (0, False):
      return None
    if name == "clear_prompts":
      return Change("prompts", ())
    if name == "next_adapter":
      return Change("adapter_step", 1)
    return Action(name)
  if len(values) != len(kinds):
    raise ValueError(
      f"takes {len(kinds)} argument{'s' * (len(kinds) > 1)} ({kinds}),"
      f" got {len(values)}."
    )
  value: Any = values[0] if len(kinds) == 1 else values
  # Control surfaces send every number as a float.
  if name in TOGGLES and isinstance(value, float) and value in (0.0, 1.0):
    value = int(value)
  if name == "adapter":
    # How many there are is not known here.
    if isinstance(value, float) and value.is_integer():
      value = int(value)
    if type(value) is not int or value < 1:
      raise ValueError(f"adapter must be a number from 1, got {value!r}.")
    return Change(name, value)
  # Checked here, so that receivers need no check; the checked value is stored.
  after = changed(Controls(), name, value)
  if name in ("prompt", "register_low", "register_high"):
    if name == "prompt":
      return Change(name, after.prompts[0])
    return Change(name, int(value))
  return Change(name, getattr(after, name))
