"""Calls a configurable with what gin files and flags bind.

The library never names gin: here its dataclasses and commands become
configurables by their fields and options, so that what they gain can be bound
without a line here.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from magenta_midi.cli.gin.checks import check_effects, check_names, latest
from magenta_midi.cli.gin.files import Binding, read_statements
from magenta_midi.cli.terminal.errors import UserError

__all__ = ["Configurable", "GinSource", "Result", "evaluate", "optional"]


class GinSource(NamedTuple):
  """What a command line says of gin."""

  files: tuple[str, ...] = ()
  # NAME=VALUE each.
  bindings: tuple[str, ...] = ()
  search_paths: tuple[str, ...] = ()


class Configurable(NamedTuple):
  """Something whose parameters gin binds."""

  name: str
  # Parameter -> default; one that is no gin value is left out of what is
  # saved. `optional` for a parameter that need not be there.
  parameters: Mapping[str, Any]
  # Gets the parameters that are there.
  call: Callable[..., Any]
  # Parameter -> configurable that it is the result of, unless bound.
  parts: Mapping[str, str] = {}


class Result(NamedTuple):
  """What a configurable returned."""

  value: Any
  # The operative config: a gin file that gives the same.
  text: str
  # Binding that holds, by name.
  bindings: Mapping[str, Binding]


# Default of a parameter of which gin need not know what it is unless bound.
optional = object()

# gin knows every name once and for ever: name -> what is called now.
_registered: dict[str, Configurable] = {}


def evaluate(
  configurables: Sequence[Configurable],
  source: GinSource,
  options: Mapping[str, tuple[str, Any]],
) -> Result:
  """Calls the first configurable with what is bound.

  Args:
    configurables: The root, then all others that may be bound.
    source: Files and flags.
    options: `CONFIGURABLE.PARAMETER` -> the option of the command line that
      gives it, and its value. It replaces what the files bind: where that is
      a macro, the macro's value.

  Raises:
    UserError: A name is unknown, a required value is missing, a value is
      refused, or both an option and a flag give one.
  """
  import gin
  from gin.config import ConfigurableReference

  root = configurables[0].name
  for configurable in configurables:
    _register(configurable)
  statements = read_statements(*source)
  statements.bindings[:0] = [
    Binding(c.name, parameter, ConfigurableReference(part, True), "")
    for c in configurables
    for parameter, part in c.parts.items()
  ]
  check_names(statements, {c.name: list(c.parameters) for c in configurables})
  for name, (option, value) in options.items():
    bindings = latest(statements)
    target = name
    if name in bindings and repr(bindings[name].value).startswith("%"):
      target = repr(bindings[name].value)[1:]
    for taken in (name, target):
      if taken in bindings and bindings[taken].by_flag:
        raise UserError(
          f"{option} and {bindings[taken].where} give the same. Leave one out."
        )
    selector, _, parameter = target.partition(".")
    statements.bindings.append(
      Binding(selector, parameter, value, option, True)
    )
  check_effects(statements, root)
  bindings = latest(statements)
  gin.clear_config()
  try:
    for binding in bindings.values():
      key = (
        ("", binding.selector, binding.parameter)
        if binding.parameter
        else (binding.selector, "gin.macro", "value")
      )
      gin.bind_parameter(key, binding.value)
    try:
      value = gin.get_configurable(root)()
    except (ValueError, TypeError) as error:
      # What gin adds is of its own calls.
      reason = str(error).partition("\n  In call to configurable")[0]
      raise ValueError(f"{_place(reason, bindings)}{reason}") from None
    return Result(value, gin.operative_config_str(), bindings)
  finally:
    gin.clear_config()


def _place(reason: str, bindings: Mapping[str, Binding]) -> str:
  """Where the parameter or macro is bound that a message begins with."""
  name = reason.partition(" ")[0].partition("[")[0]
  if name not in bindings:
    return ""
  macro = repr(bindings[name].value)
  found = bindings.get(macro[1:] if macro.startswith("%") else "", None)
  return f"{(found or bindings[name]).where}: "


def _register(configurable: Configurable) -> None:
  """Makes it known to gin, or replaces what is called by that name."""
  import gin

  name = configurable.name
  known = name in _registered
  if known and list(_registered[name].parameters) != list(
    configurable.parameters
  ):
    raise ValueError(f"{name} is known to gin with other parameters.")
  _registered[name] = configurable
  if known:
    return

  def call(**given: Any) -> Any:
    # gin passes on what is bound; defaults are those of the callee.
    return _registered[name].call(**given)

  call.__name__ = call.__qualname__ = name
  # gin asks the signature for what can be bound.
  call.__dict__["__signature__"] = inspect.Signature(
    [
      inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=value)
      for key, value in configurable.parameters.items()
    ]
  )
  gin.external_configurable(call, name=name, module="magenta_midi")
