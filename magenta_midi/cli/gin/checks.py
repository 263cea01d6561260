"""Finds what is misspelt, missing or without effect among gin's statements."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from magenta_midi.cli.gin.files import Binding, Statements, quoted
from magenta_midi.cli.terminal.errors import UserError

__all__ = ["check_effects", "check_names", "latest"]

# What a value may look like, where a macro asks for one.
_EXAMPLES = {
  "MIXTURE_OR_TASK_NAME": quoted("DIR"),
  "INITIAL_CHECKPOINT_PATH": quoted("RUN/checkpoint"),
  "CHECKPOINT_PATH": quoted("RUN/checkpoint"),
  "TRAIN_STEPS": "10000",
}


def latest(statements: Statements) -> dict[str, Binding]:
  """The binding that holds, by name."""
  return {binding.name: binding for binding in statements.bindings}


def check_names(
  statements: Statements, parameters: Mapping[str, Sequence[str]]
) -> None:
  """Refuses names that nothing knows, with the nearest that is known.

  Args:
    statements: What was read.
    parameters: Configurable -> its parameters.

  Raises:
    UserError: A configurable, a parameter or a macro is unknown, or a macro
      is given that no statement refers to.
  """
  known = list(parameters)
  for name, where in statements.blocks.items():
    if name not in parameters:
      raise _unknown(where, name, known)
  for name, where in statements.references.items():
    if name not in parameters:
      raise _unknown(where, f"@{name}", [f"@{other}" for other in known])
  macros = [b for b in statements.bindings if not b.parameter]
  defined = {macro.selector for macro in macros}
  for binding in statements.bindings:
    if not binding.parameter:
      continue
    if binding.selector not in parameters:
      full = [f"{name}.{p}" for name in known for p in parameters[name]]
      raise _unknown(binding.where, binding.name, full)
    if binding.parameter not in parameters[binding.selector]:
      full = [f"{binding.selector}.{p}" for p in parameters[binding.selector]]
      raise _unknown(binding.where, binding.name, full)
  for name, where in statements.macros.items():
    if name not in defined and name != _REQUIRED:
      raise _unknown(where, f"%{name}", [f"%{other}" for other in defined])
  for macro in macros:
    if macro.selector not in statements.macros:
      # Perhaps a parameter without its configurable.
      full = [f"{name}.{macro.selector}" for name in known]
      raise _unknown(
        macro.where,
        macro.selector,
        [other for other in full if _is_known(other, parameters)]
        or list(statements.macros.keys() - {_REQUIRED}),
      )


def check_effects(statements: Statements, root: str) -> None:
  """Refuses what is required and missing, and flags that change nothing.

  Args:
    statements: What was read, its names checked.
    root: The configurable that the command calls.

  Raises:
    UserError: A value is still REQUIRED, or a flag binds what is not used.
  """
  bindings = latest(statements)
  live = _live(bindings, root)
  for name in live:
    if name in bindings and _is(bindings[name].value, _REQUIRED):
      example = _EXAMPLES.get(name, "VALUE")
      raise UserError(
        f"{bindings[name].where}: {name} is required. Give it:"
        f" --gin.{name}={example}"
      )
  for binding in bindings.values():
    if binding.by_flag and binding.name not in live:
      raise UserError(
        f"{binding.where}: has no effect: what uses {binding.name} is bound"
        " to something else. Leave one of them out."
      )


def _live(bindings: Mapping[str, Binding], root: str) -> list[str]:
  """Names of the bindings that the root comes to use, itself included."""
  from gin import config

  live: list[str] = []
  configurables, waiting = set(), [root]
  while waiting:
    name = waiting.pop()
    if name in configurables:
      continue
    configurables.add(name)
    found = [
      binding
      for binding in bindings.values()
      if (binding.parameter and binding.selector == name)
      or (not binding.parameter and name == f"%{binding.selector}")
    ]
    live += [binding.name for binding in found]
    for reference in config.iterate_references([b.value for b in found]):
      text = repr(reference)
      waiting.append(text if text.startswith("%") else reference.selector)
  return live


def _is_known(name: str, parameters: Mapping[str, Sequence[str]]) -> bool:
  configurable, _, parameter = name.partition(".")
  return parameter in parameters[configurable]


def _is(value: Any, constant: str) -> bool:
  return repr(value) == f"%{constant}"


def _unknown(where: str, name: str, known: Iterable[str]) -> UserError:
  known = sorted(set(known))
  near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
  if not near:
    # Of a long name, its last part may be the one that is right.
    last = {other.rpartition(".")[2]: other for other in known}
    near = [
      last[n]
      for n in difflib.get_close_matches(name.rpartition(".")[2], last, n=1)
    ]
  if near:
    hint = f"Did you mean {near[0]}?"
  elif not known:
    hint = "Without --gin_file there are no macros."
  elif len(known) <= 12:
    hint = f"Known: {', '.join(known)}."
  else:
    hint = f"Known: {', '.join(known[:12])} and {len(known) - 12} more."
  return UserError(f"{where}: nothing is called {name}. {hint}")


_REQUIRED = "gin.REQUIRED"
