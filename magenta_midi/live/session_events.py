"""Events of a live session, as its client receives them.

Besides the classes here, a client receives the reports of both processes, as
they are in `live.protocol.messages`. All are msgspec structs with a code, so
that `msgspec.json.encode` makes one JSON object of each.
"""

import msgspec

from magenta_midi.live.protocol.controls import Controls
from magenta_midi.live.protocol.events import Message
from magenta_midi.live.protocol.messages import ModelReport, PortReport

__all__ = [
  "ControlsChanged",
  "MessageReceived",
  "MessageSent",
  "Notice",
  "SessionEvent",
]


class MessageReceived(
  msgspec.Struct, frozen=True, kw_only=True, tag="message_received"
):
  """The player played something.

  Attributes:
    message: What, and when in the session's time.
  """

  message: Message


class MessageSent(
  msgspec.Struct, frozen=True, kw_only=True, tag="message_sent"
):
  """A message of the model was sent.

  Attributes:
    message: What, and when in the session's time.
  """

  message: Message


class ControlsChanged(
  msgspec.Struct, frozen=True, kw_only=True, tag="controls_changed"
):
  """A control has a new value, or the model refused one.

  Attributes:
    controls: All of them.
  """

  controls: Controls


class Notice(msgspec.Struct, frozen=True, kw_only=True, tag="notice"):
  """One line for the player.

  Attributes:
    text: The line.
    is_warning: Whether something is wrong.
  """

  text: str
  is_warning: bool = False


SessionEvent = (
  MessageReceived
  | MessageSent
  | ControlsChanged
  | Notice
  | ModelReport
  | PortReport
)
