"""Controls as they are written on a command line: `NAME=VALUE`."""

from typing import Any

from magenta_midi.limits import split_number
from magenta_midi.live.protocol.controls import Change

__all__ = ["parse_setting"]


def parse_setting(text: str) -> Change:
  """Splits `NAME=VALUE`; the value is not checked, which `changed` does.

  A register is `48-72`; `on` and `off` are a toggle's values.

  Raises:
    ValueError: It is not of that form.
  """
  name, equals, value = text.partition("=")
  if not equals:
    raise ValueError(
      f"a control must be NAME=VALUE, as density=0.5; got {text[:60]!r}."
    )
  return Change(name.strip(), _value(name.strip(), value))


def _value(name: str, text: str) -> Any:
  if name == "register":
    low, _, high = text.partition("-")
    keys = _number(low), _number(high)
    if None in keys:
      raise ValueError(
        f"register must be two keys, as 48-72; got {text[:60]!r}."
      )
    return keys
  if text in ("on", "off"):
    return text == "on"
  number = _number(text)
  return text if number is None else number


def _number(text: str) -> float | int | None:
  return split_number(f":{text}")[1]
