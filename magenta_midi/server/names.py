"""What clients call prompts and adapters, and what the engine calls them.

The engine takes a text that ends as a file's name for that file, and an
adapter's name that ends so for a path. From a client neither may come.
"""

from collections.abc import Sequence
from typing import Any

from magenta_midi.live.protocol.controls import Controls, to_json
from magenta_midi.model.lora.adapter_file import SUFFIX, AdapterError
from magenta_midi.model.lora.adapter_library import (
  installed_names,
  parse_scaled,
)
from magenta_midi.server.control_table import NOT_SERVED
from magenta_midi.server.library.uploads import Uploads
from magenta_midi.style.prompt import is_file_name

__all__ = ["UPLOADED", "ClientNames"]

# Before the id of an upload in a prompt.
UPLOADED = "midi:"
_MAX_CHOICES = 8


class ClientNames:
  """Translates between both.

  Args:
    uploads: Of the server.
  """

  def __init__(self, uploads: Uploads):
    self._uploads = uploads

  def prompt(self, text: Any) -> Any:
    """A prompt for the engine.

    Raises:
      ValueError: It is a file's name, or an upload that is not there.
    """
    if not isinstance(text, str):
      return text  # refused with its own message
    if text.startswith(UPLOADED):
      return str(self._uploads.find(text.removeprefix(UPLOADED)).path)
    if is_file_name(text) or SUFFIX in text.lower():
      raise ValueError(
        "a prompt must be a text, @NAME, or midi:ID of an upload, not a"
        " file's name."
      )
    return text

  def control(self, name: str, value: Any) -> Any:
    """The value of a control for the engine.

    Raises:
      ValueError: It names something that is not there.
    """
    if name in NOT_SERVED:
      raise ValueError(f"{name} is for `jam`: it plays to a port.")
    if name == "adapters":
      raise ValueError("adapters change with the message start.")
    if name == "prompt" and isinstance(value, list) and len(value) == 2:
      return (self.prompt(value[0]), value[1])
    if name == "prompts" and isinstance(value, list):
      return tuple(
        (self.prompt(pair[0]), pair[1])
        if isinstance(pair, list) and len(pair) == 2
        else pair
        for pair in value
      )
    return tuple(value) if isinstance(value, list) else value

  def adapter(self, text: str) -> str:
    """An installed adapter, with or without a scale.

    Raises:
      ValueError: It is not installed, or its scale is none.
    """
    name, scale = parse_scaled(text.strip())
    if name not in installed_names():
      raise AdapterError(f"no adapter {name[:80]!r} is installed.")
    return name if scale == 1 else f"{name}:{scale:g}"

  def choices(self, choices: Sequence[str]) -> tuple[str, ...]:
    """Choices of adapters; the checkpoint alone is always among them.

    Raises:
      ValueError: One is not installed.
    """
    if len(choices) > _MAX_CHOICES:
      raise ValueError(f"at most {_MAX_CHOICES} choices of adapters can be.")
    found = [
      " + ".join(self.adapter(part) for part in choice.split("+"))
      if choice
      else ""
      for choice in choices
    ]
    if not any(found):
      return ()
    return tuple(dict.fromkeys((*found, "")))[:_MAX_CHOICES]

  def shown(self, controls: Controls) -> dict[str, Any]:
    """Controls for a client."""
    return to_json(controls) | {
      "prompts": [
        (self._shown(text), weight) for text, weight in controls.prompts
      ]
    }

  def _shown(self, text: str) -> str:
    upload = self._uploads.by_path(text)
    if upload is not None:
      return UPLOADED + upload.id
    # Of one that was removed meanwhile, or that the server was started with.
    return f"{UPLOADED}removed" if is_file_name(text) else text
