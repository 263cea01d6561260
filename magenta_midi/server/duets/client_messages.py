"""JSON messages of a client; docs/guides/server.md has their tables."""

from typing import Any, Literal

import msgspec

from magenta_midi.bounded_files import parse_json
from magenta_midi.live.protocol.controls import Action

__all__ = [
  "MAX_MESSAGE_BYTES",
  "VERSION",
  "Act",
  "Bye",
  "ChangeControl",
  "ClientMessage",
  "Hello",
  "Ping",
  "Play",
  "Start",
  "StartOptions",
  "StopPlay",
  "parse_message",
]

# Of the protocol.
VERSION = 1
# Eight prompts and a chart fit.
MAX_MESSAGE_BYTES = 16 * 1024
_MAX_CONTROLS = 40
_MAX_NAME_LETTERS = 80


class StartOptions(msgspec.Struct, frozen=True, kw_only=True):
  """How an engine is started; None: as the one before.

  Attributes:
    adapters: Choices to switch among; none: the checkpoint alone.
    tempo: Beats a minute, with a count-in; 0: none.
    meter: As written.
    first: Who begins.
    trade: Turns of so many bars; 0: by silences.
    seed: Of the model's draws.
    name: Added to the take's date and time.
    controls: Changes of controls at the start.
  """

  adapters: tuple[str, ...] | None = None
  tempo: float | None = None
  meter: str | None = None
  first: Literal["me", "ai"] | None = None
  trade: Literal[0, 4, 8] | None = None
  seed: int | None = None
  name: str | None = None
  controls: dict[str, Any] = {}


class Hello(msgspec.Struct, frozen=True, kw_only=True, tag="hello"):
  """The first message.

  Attributes:
    version: Of the protocol.
    key: Of a session to go on with.
    start: How a new one is started.
  """

  version: int
  key: str | None = None
  start: StartOptions | None = None


class Start(StartOptions, frozen=True, kw_only=True, tag="start"):
  """Ends the present engine and begins a new one."""


class ChangeControl(msgspec.Struct, frozen=True, kw_only=True, tag="change"):
  """Sets a control."""

  name: str
  value: Any


class Act(msgspec.Struct, frozen=True, kw_only=True, tag="act"):
  """An action, once, now."""

  action: Literal["hand_over", "end", "panic", "tap", "bookmark"]

  @property
  def wanted(self) -> Action:
    """As the session takes it."""
    return Action(self.action)


class Play(msgspec.Struct, frozen=True, kw_only=True, tag="play"):
  """Plays music in as the player's, once.

  Attributes:
    phrase: Name of a bundled phrase.
    upload: Id of an upload.
    take: Id of a take.
    from_s: Where it begins; None: see the guide.
    to_s: Where it ends.
    part: Of a take.
  """

  phrase: str | None = None
  upload: str | None = None
  take: str | None = None
  from_s: float | None = None
  to_s: float | None = None
  part: Literal["player", "model"] = "player"


class StopPlay(msgspec.Struct, frozen=True, kw_only=True, tag="stop_play"):
  """Ends what is played in."""


class Ping(msgspec.Struct, frozen=True, kw_only=True, tag="ping"):
  """Asks for the session's time; `t` comes back."""

  t: float


class Bye(msgspec.Struct, frozen=True, kw_only=True, tag="bye"):
  """Ends the session."""


ClientMessage = (
  Hello | Start | ChangeControl | Act | Play | StopPlay | Ping | Bye
)


def parse_message(text: str) -> ClientMessage:
  """Reads a message.

  Raises:
    ValueError: It is none; one line says why.
  """
  if len(text) > MAX_MESSAGE_BYTES:
    raise ValueError(
      f"a message must have at most {MAX_MESSAGE_BYTES} letters, got"
      f" {len(text)}."
    )
  try:
    # Bounds the depth, which msgspec does not.
    message = msgspec.convert(parse_json(text), ClientMessage)
  except msgspec.ValidationError as error:
    raise ValueError(f"no message of this protocol: {error}") from None
  options = message.start if isinstance(message, Hello) else message
  if isinstance(options, StartOptions):
    _check_options(options)
  return message


def _check_options(options: StartOptions) -> None:
  if len(options.controls) > _MAX_CONTROLS:
    raise ValueError(f"at most {_MAX_CONTROLS} controls can be set at once.")
  name = options.name or ""
  # JSON can name halves of letters, which no file and no answer can hold.
  if len(name) > _MAX_NAME_LETTERS or not name.isprintable():
    raise ValueError(
      f"a name must have at most {_MAX_NAME_LETTERS} letters that can be"
      " printed."
    )
