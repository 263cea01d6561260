"""Values of configurables from what gin files and flags bind.

Only gin's parser is used: its registry is global and takes a misspelt macro
for a new one. A configurable is any function or dataclass; its parameters and
their types are what can be bound.
"""

import dataclasses
import difflib
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from magenta_midi.cli.gin.statements import (
  MAX_NESTING,
  Binding,
  GinSource,
  Macro,
  Reference,
  Statements,
  quoted,
  read_statements,
)
from magenta_midi.cli.terminal.errors import UserError
from magenta_midi.settings import convert

__all__ = ["Configurable", "Result", "configurable", "evaluate", "optional"]

# Default of a parameter that is left out unless it is bound.
optional = object()
REQUIRED = "gin.REQUIRED"
# Of lists and macros within macros, all together: each may double the last.
_MAX_ITEMS = 100_000
# An example of a value, where a macro needs one.
_EXAMPLES = {
  "MIXTURE_OR_TASK_NAME": quoted("DIR"),
  "INITIAL_CHECKPOINT_PATH": quoted("RUN/checkpoint"),
  "CHECKPOINT_PATH": quoted("RUN/checkpoint"),
  "TRAIN_STEPS": "10000",
}


class Configurable(NamedTuple):
  """Something whose parameters gin binds."""

  # Parameter -> default, which may be a `Reference`, or `optional`.
  parameters: Mapping[str, Any]
  call: Callable[..., Any]
  # Parameter -> type that what is bound is converted to; absent: any.
  types: Mapping[str, Any]


class Result(NamedTuple):
  """Return value of a configurable."""

  value: Any
  # The operative config: a gin file that gives the same.
  text: str
  # `MACRO` or `CONFIGURABLE.PARAMETER` -> what is bound to it.
  bindings: Mapping[str, Binding]


def configurable(call: Any, **defaults: Any) -> Configurable:
  """A function or dataclass as a configurable.

  Args:
    call: Its parameters have annotated types.
    **defaults: Replace its defaults.
  """
  parameters = {}
  if dataclasses.is_dataclass(call):
    for field in dataclasses.fields(call):
      made = field.default_factory
      default = field.default if made is dataclasses.MISSING else made()
      missing = default is dataclasses.MISSING
      parameters[field.name] = optional if missing else default
  else:
    for parameter in inspect.signature(call).parameters.values():
      missing = parameter.default is parameter.empty
      parameters[parameter.name] = optional if missing else parameter.default
  return Configurable(
    parameters | defaults, typing.cast(Any, call), typing.get_type_hints(call)
  )


def evaluate(
  root: str,
  configurables: Mapping[str, Configurable],
  source: GinSource,
  options: Mapping[str, tuple[str, Any]] = types.MappingProxyType({}),
) -> Result:
  """Calls a configurable with what is bound.

  Args:
    root: Its name.
    configurables: All that may be bound, by name.
    source: Files and flags.
    options: `CONFIGURABLE.PARAMETER` -> the option of the command line that
      gives it, and its value. It replaces what the files bind: where that is
      a macro, the macro's value.

  Raises:
    UserError: A name is unknown, a required value is missing, a flag has no
      effect, or both an option and a flag give one value.
    ValueError: A value is of another type, or is refused by what it is for.
  """
  statements = read_statements(source)
  _check_names(statements, configurables)
  bindings = statements.bindings
  for name, (option, value) in options.items():
    bound = bindings[name].value if name in bindings else None
    target = bound.name if isinstance(bound, Macro) else name
    for taken in (name, target):
      if taken in bindings and bindings[taken].by_flag:
        raise UserError(
          f"{option} and {bindings[taken].place} give the same. Leave one out."
        )
    bindings[target] = Binding(value, option, True)
  evaluation = _Evaluation(configurables, bindings)
  value = evaluation.call(root)
  for name, binding in bindings.items():
    if binding.by_flag and name not in evaluation.used:
      raise UserError(
        f"{binding.place}: has no effect: what uses {name} is bound to"
        " something else. Leave one of them out."
      )
  return Result(value, evaluation.operative_config(), bindings)


class _Evaluation:
  """Calls configurables and notes what was used."""

  def __init__(
    self,
    configurables: Mapping[str, Configurable],
    bindings: Mapping[str, Binding],
  ):
    self.configurables = configurables
    self.bindings = bindings
    # Macro or parameter -> its value, as bound or by default.
    self.used: dict[str, Any] = {}
    # What is being evaluated, `%MACRO` or `@CONFIGURABLE`, in order.
    self._open: dict[str, None] = {}
    self._items = 0

  def call(self, name: str) -> Any:
    """Calls a configurable and returns its value."""
    self._open[f"@{name}"] = None
    try:
      return self._called(name)
    finally:
      del self._open[f"@{name}"]

  def _called(self, name: str) -> Any:
    parameters, call, kinds = self.configurables[name]
    given = {}
    for parameter, default in parameters.items():
      full = f"{name}.{parameter}"
      bound = self.bindings.get(full, Binding(default, ""))
      if bound.value is optional:
        continue
      self.used[full] = bound.value
      value, place = self.value(bound.value, full), bound.place
      if isinstance(bound.value, Macro):
        place = self.bindings[bound.value.name].place
      try:
        given[parameter] = convert(kinds.get(parameter, Any), value, full)
      except ValueError as error:
        raise ValueError(f"{place}: {error}" if place else error) from None
    return call(**given)

  def value(self, value: Any, name: str, depth: int = 0) -> Any:
    """A bound value without macros and references.

    Args:
      value: As bound.
      name: Of the macro or parameter that it is bound to.
      depth: Lists that it stands in, those of macros counted too.
    """
    self._items += 1
    if self._items > _MAX_ITEMS or depth > MAX_NESTING:
      what = (
        f"nested deeper than {MAX_NESTING} lists"
        if depth > MAX_NESTING
        else f"more than {_MAX_ITEMS:,} values"
      )
      raise UserError(f"{self._place(name)}the value of {name} is {what}.")
    # A chain of macros may be long: no recursion.
    chain: list[str] = []
    try:
      while isinstance(value, Macro):
        if value.name == REQUIRED:
          raise UserError(
            f"{self.bindings[name].place}: {name} is required. Give it:"
            f" --gin.{name}={_EXAMPLES.get(name, 'VALUE')}"
          )
        self._enter(f"%{value.name}", name)
        chain.append(f"%{value.name}")
        name = value.name
        value = self.used[name] = self.bindings[name].value
      if isinstance(value, Reference):
        if f"@{value.name}" in self._open:
          self._enter(f"@{value.name}", name)
        return self.call(value.name)
      if isinstance(value, list | tuple):
        items = [self.value(item, name, depth + 1) for item in value]
        return type(value)(items)
      if isinstance(value, dict):
        return {
          key: self.value(item, name, depth + 1) for key, item in value.items()
        }
      return value
    finally:
      for link in chain:
        del self._open[link]

  def _enter(self, link: str, name: str) -> None:
    """Notes what is evaluated from now on.

    Raises:
      UserError: It is being evaluated already.
    """
    if link in self._open:
      links = [*self._open, link]
      circle = links[links.index(link) :]
      shown = " -> ".join(circle[:6]) + (" ..." if len(circle) > 6 else "")
      raise UserError(
        f"{self._place(name)}{link} refers to itself: {shown}. Bind a value."
      )
    self._open[link] = None

  def _place(self, name: str) -> str:
    """The place of a binding, for the begin of a message."""
    return f"{self.bindings[name].place}: " if name in self.bindings else ""

  def operative_config(self) -> str:
    """All that was used, as a gin file: macros, then each configurable."""
    groups: dict[str, list[str]] = {}
    for name in sorted(self.used, key=lambda name: ("." in name, name.lower())):
      selector, dot, _ = name.rpartition(".")
      title = f"Parameters for {selector}" if dot else "Macros"
      groups.setdefault(title, []).append(f"{name} = {self.used[name]!r}")
    rule = f"# {'=' * 78}"
    return "\n".join(
      "\n".join((f"# {title}:", rule, *lines, ""))
      for title, lines in groups.items()
    )


def _check_names(
  statements: Statements, configurables: Mapping[str, Configurable]
) -> None:
  """Refuses names that do not exist, and macros that nothing refers to."""
  bindings, mentions = statements
  parameters = {
    f"{name}.{parameter}"
    for name, found in configurables.items()
    for parameter in found.parameters
  }
  referred = {name[1:] for name in mentions if name[0] == "%"} - {REQUIRED}
  # Made once: a file may have many mentions.
  known: dict[str, set[str]] = {
    "@": {f"@{other}" for other in configurables},
    "%": {f"%{other}" for other in bindings if "." not in other},
  }
  blocks = set(configurables)
  for name, place in mentions.items():
    fitting = known.get(name[0], blocks)
    if name not in fitting and name != f"%{REQUIRED}":
      raise _unknown(place, name, fitting)
  names = parameters | referred
  for name, binding in bindings.items():
    if name not in names:
      raise _unknown(binding.place, name, names)


def _unknown(place: str, name: str, known: Iterable[str]) -> UserError:
  """The error for a misspelt name, with the nearest that is known."""
  known = sorted(known)
  near = difflib.get_close_matches(name, known, n=1)
  if not near:
    # The last part of a dotted name may be right.
    last = {other.rpartition(".")[2]: other for other in known}
    found = difflib.get_close_matches(name.rpartition(".")[2], last, n=1)
    near = [last[part] for part in found]
  more = f" and {len(known) - 12} more" if len(known) > 12 else ""
  hint = f"Known: {', '.join(known[:12]) or 'none'}{more}."
  if near:
    hint = f"Did you mean {near[0]}?"
  return UserError(f"{place}: nothing is called {name}. {hint}")
