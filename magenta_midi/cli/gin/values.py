"""Values out of gin files as the types of what they are bound to."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

__all__ = ["build", "conform"]


def build(cls: Any, values: Mapping[str, Any], name: str = "") -> Any:
  """A dataclass of values from a gin file.

  Args:
    cls: The dataclass.
    values: By field; a field that is a dataclass may be a mapping.
    name: What the messages call it; empty: the class's name.

  Raises:
    ValueError: A value is of another type than its field, or there is no such
      field.
  """
  hints = typing.get_type_hints(cls)
  name = name or cls.__name__
  for field in values:
    if field not in hints:
      raise ValueError(
        f"{name} has no field {field!r}. Known: {', '.join(hints)}."
      )
  return cls(
    **{
      field: conform(hints[field], value, f"{name}.{field}")
      for field, value in values.items()
    }
  )


def conform(hint: Any, value: Any, name: str) -> Any:
  """A value as the type; whole numbers pass as either kind of number.

  Args:
    hint: A type as it is annotated.
    value: Of gin: a number, text, bool, None, or a container of them.
    name: What the messages call it.

  Raises:
    ValueError: It is of another type.
  """
  origin, inner = typing.get_origin(hint), typing.get_args(hint)
  refused = ValueError(f"{name} must be {_words(hint)}, got {value!r}.")
  if hint is Any:
    return value
  if origin in (typing.Union, types.UnionType):
    for choice in inner:
      try:
        return conform(choice, value, name)
      except ValueError:
        continue
    raise refused
  if origin is typing.Literal:
    if value not in inner:
      raise refused
    return value
  if hint is types.NoneType:
    if value is not None:
      raise refused
    return None
  if hint in (int, float):
    if type(value) is int:
      return hint(value)
    # 1e5 is a number of steps too.
    if type(value) is float and (hint is float or value.is_integer()):
      return hint(value)
    raise refused
  if origin is dict and isinstance(value, Mapping):
    return {
      conform(inner[0], key, f"{name}'s keys"): conform(
        inner[1], item, f"{name}[{key!r}]"
      )
      for key, item in value.items()
    }
  if origin in (list, tuple) and isinstance(value, list | tuple):
    if origin is list or inner[1:] == (...,):
      of = [inner[0]] * len(value)
    else:
      of = list(inner)
    if len(of) != len(value):
      raise refused
    return origin(
      conform(each, item, f"{name}[{at}]")
      for at, (each, item) in enumerate(zip(of, value, strict=True))
    )
  if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
    return build(hint, value, name)
  if origin is None and isinstance(hint, type) and type(value) is hint:
    return value
  raise refused


def _words(hint: Any) -> str:
  """A type in words."""
  inner = typing.get_args(hint)
  origin = typing.get_origin(hint)
  if origin in (typing.Union, types.UnionType):
    return " or ".join(map(_words, inner))
  if origin is typing.Literal:
    return " or ".join(map(repr, inner))
  if origin is tuple and inner[1:] != (...,):
    return f"({', '.join(map(_words, inner))})"
  if origin is dict:
    return "a {name: value}"
  if dataclasses.is_dataclass(hint):
    return f"a {{field: value}} of {', '.join(typing.get_type_hints(hint))}"
  if origin in (list, tuple):
    return f"a list of {_words(inner[0])}"
  return _NAMES.get(hint, getattr(hint, "__name__", str(hint)))


_NAMES: dict[Any, str] = {
  int: "an integer",
  float: "a number",
  str: "text in quotes",
  bool: "True or False",
  types.NoneType: "None",
}
