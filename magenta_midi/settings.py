"""Conversion and checks of settings.

`convert` turns what JSON, gin files and options hold into the types that a
dataclass declares. The `check_` functions are for `__post_init__`: they check
what a type cannot say. Each error is one line that names the field, what was
expected and what was given.
"""

import dataclasses
import difflib
import functools
import numbers
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from magenta_midi.limits import MAGNITUDE, MINUTES, STEPS, Bounds

__all__ = [
  "check_at_least",
  "check_at_most",
  "check_bounds",
  "check_choice",
  "check_choices",
  "check_length",
  "check_numbers",
  "convert",
  "convert_fields",
]

# Source of values: it decides the names of types in errors.
Source = Literal["python", "json"]

_WORDS: dict[Source, dict[Any, str]] = {
  "python": {
    int: "an integer",
    float: "a number",
    str: "text in quotes",
    bool: "True or False",
    types.NoneType: "None",
  },
  "json": {
    int: "an integer",
    float: "a number",
    str: "a string",
    bool: "true or false",
    types.NoneType: "null",
  },
}


def convert(
  kind: Any, value: Any, name: str = "", *, source: Source = "python"
) -> Any:
  """Converts a plain value to a type.

  An integer passes as a float, a whole float (1e5) as an integer, a list as a
  tuple and the other way round. Nothing else changes its type: text is not
  parsed, and True is no number.

  Args:
    kind: A type as it is annotated: a dataclass, int, float, str, bool, None,
      Literal, a union, or a list, tuple or dict of these.
    value: Numbers, text, bools, None, and containers of them.
    name: What errors call it; empty: the name of the dataclass.
    source: Whether errors call types as Python (and gin) or JSON does.

  Raises:
    ValueError: The value is of another type, a field is unknown or missing, or
      the dataclass refuses the value.
  """
  if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
    kind_name = name or getattr(kind, "__name__", str(kind))
    given = convert_fields(kind, value, kind_name, source=source)
    if missing := [
      field.name
      for field in dataclasses.fields(kind)
      if field.name not in given
      and field.default is dataclasses.MISSING
      and field.default_factory is dataclasses.MISSING
    ]:
      raise ValueError(
        f"{kind_name} settings are incomplete: {', '.join(missing)} missing."
      )
    return typing.cast(Any, kind)(**given)
  for candidate in (value, _whole(value)):
    try:
      return msgspec.convert(candidate, kind)
    except UnicodeEncodeError:  # of half a pair of surrogates
      continue
    except msgspec.ValidationError as error:
      if isinstance(error.__cause__, ValueError):
        raise error.__cause__ from None
  # Of a dict, name the entry that is wrong.
  if typing.get_origin(kind) is dict and isinstance(value, Mapping):
    of_key, of_item = typing.get_args(kind)
    for key, item in value.items():
      convert(of_key, key, f"{name}'s keys", source=source)
      convert(of_item, item, f"{name}[{key!r}]", source=source)
  raise ValueError(
    f"{name} must be {_words(kind, source)}, got {_shown(value)}."
  )


def convert_fields(
  kind: Any,
  values: Mapping[str, Any],
  name: str = "",
  *,
  source: Source = "python",
) -> dict[str, Any]:
  """Converts some fields of a dataclass, without making one.

  Args:
    kind: The dataclass.
    values: Field -> value.
    name: What errors call the dataclass; empty: its own name.
    source: As for `convert`.

  Raises:
    ValueError: A field is unknown, or its value is of another type.
  """
  hints, name = _hints(kind), name or kind.__name__
  if unknown := sorted(values.keys() - hints.keys()):
    near = difflib.get_close_matches(unknown[0], hints, n=1)
    raise ValueError(
      f"unknown {name} setting {', '.join(unknown)}: {kind.__name__} has no"
      f" field {unknown[0]!r}. Known: {', '.join(hints)}."
      + "".join(f" Did you mean {field}?" for field in near)
    )
  return {
    field: convert(hints[field], value, f"{name}.{field}", source=source)
    for field, value in values.items()
  }


def check_choice(name: str, value: Any, choices: Iterable[Any]) -> None:
  """Refuses a value that is none of the choices.

  Raises:
    ValueError: Names them.
  """
  choices = tuple(choices)
  if value not in choices:
    raise ValueError(
      f"{name} must be one of {', '.join(map(str, choices))}, got {value!r}."
    )


def check_choices(settings: Any) -> None:
  """Refuses fields that hold none of the choices of their `Literal`.

  Raises:
    ValueError: Names the field and its choices.
  """
  for name, kind in _hints(type(settings)).items():
    if Literal in (typing.get_origin(part) for part in (kind, *_parts(kind))):
      choices = (c for part in _parts(kind) for c in _choices(part))
      check_choice(name, getattr(settings, name), choices)


def check_numbers(settings: Any) -> None:
  """Refuses numbers in the fields that no setting can have.

  These are nan, infinities and what lies beyond ±10^15, also inside tuples,
  lists and dicts.

  Raises:
    ValueError: Names the field.
  """
  every = Bounds(-MAGNITUDE, MAGNITUDE)
  for field in dataclasses.fields(settings):
    for name, value in _items(field.name, getattr(settings, field.name)):
      if isinstance(value, numbers.Real) and not isinstance(value, bool):
        every.check(name, value)


def check_bounds(settings: Any, bounds: Bounds, *names: str) -> None:
  """Refuses fields outside of their limits; None passes.

  Of a tuple, a list or a dict each item is checked.

  Raises:
    ValueError: Names the field and the range.
  """
  for field in names:
    for name, value in _items(field, getattr(settings, field)):
      if value is not None:
        bounds.check(name, value)


def check_at_least(settings: Any, least: int | float, *names: str) -> None:
  """Refuses fields below a bound; None passes.

  Raises:
    ValueError: Names the field and the bound.
  """
  for name in names:
    value = getattr(settings, name)
    if value is not None and not value >= least:
      raise ValueError(f"{name} must be at least {least}, got {value}.")


def check_at_most(settings: Any, most: int | float, *names: str) -> None:
  """Refuses fields above a bound; None passes.

  Raises:
    ValueError: Names the field and the bound.
  """
  for name in names:
    value = getattr(settings, name)
    if value is not None and not value <= most:
      raise ValueError(f"{name} must be at most {most}, got {_shown(value)}.")


def check_length(steps: int | None, minutes: int | float | None) -> None:
  """Refuses a run that has no length, two, or an impossible one.

  Raises:
    ValueError: Says which.
  """
  if (steps is None) == (minutes is None):
    raise ValueError("give either steps or minutes, not both and not none.")
  if minutes is None:
    STEPS.check("steps", steps)
  else:
    MINUTES.check("minutes", minutes)


def _items(name: str, value: Any) -> Iterable[tuple[str, Any]]:
  """The values inside of tuples, lists and dicts with their names."""
  if isinstance(value, Mapping):
    for key, item in value.items():
      yield from _items(f"{name}[{key!r}]", item)
  elif isinstance(value, list | tuple):
    for item in value:
      yield from _items(name, item)
  else:
    yield name, value


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
  """Field -> type, of a dataclass."""
  hints = typing.get_type_hints(kind)
  return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _parts(kind: Any) -> tuple[Any, ...]:
  """The types of a union; of any other type, itself."""
  if typing.get_origin(kind) in (typing.Union, types.UnionType):
    return typing.get_args(kind)
  return (kind,)


def _choices(kind: Any) -> tuple[Any, ...]:
  """The values of a `Literal`, and None."""
  return (None,) if kind is types.NoneType else typing.get_args(kind)


def _shown(value: Any) -> str:
  """A value for a message, cut off where it is long."""
  text = repr(value)
  return text if len(text) <= 100 else f"{text[:99]}…"


def _whole(value: Any) -> Any:
  """The value with whole floats as integers: 1e5 is a number of steps too."""
  if isinstance(value, float) and value.is_integer():
    return int(value)
  if isinstance(value, list | tuple):
    return [_whole(item) for item in value]
  if isinstance(value, dict):
    return {key: _whole(item) for key, item in value.items()}
  return value


def _words(kind: Any, source: Source) -> str:
  """A type in words."""
  inner, origin = typing.get_args(kind), typing.get_origin(kind)
  words = functools.partial(_words, source=source)
  if len(parts := _parts(kind)) > 1:
    return " or ".join(map(words, parts))
  if origin is Literal:
    return " or ".join(map(repr, inner))
  if origin is dict:
    return "a {name: value}"
  if origin is tuple and inner[1:] != (...,):
    if set(inner) == {int} and len(inner) == 2 and source == "json":
      return "a pair of integers"
    return f"({', '.join(map(words, inner))})"
  if origin in (list, tuple):
    item = words(inner[0])
    if item.startswith("a pair"):
      return item.replace("a pair", "pairs")
    return f"a list of {item}"
  if dataclasses.is_dataclass(kind):
    return f"a {{field: value}} of {', '.join(_hints(kind))}"
  return _WORDS[source].get(kind, getattr(kind, "__name__", str(kind)))
