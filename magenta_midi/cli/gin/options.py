"""The flags of T5X by which gin files and bindings come to a command.

`--gin_file=FILE`, `--gin_search_paths=DIR,DIR` and `--gin.NAME=VALUE`, each
repeatable and with a space in place of the equals sign too.
"""

import keyword
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click
from click.core import ParameterSource

from magenta_midi.cli.gin.config import (
  Configurable,
  GinSource,
  evaluate,
  optional,
)
from magenta_midi.cli.terminal.errors import UserError

__all__ = [
  "GinCommand",
  "GinDefaultsCommand",
  "gin_source",
  "given_options",
  "run_as_module",
]

_META = "magenta_midi.gin"
# Parameter -> the flag that binds it.
_FLAGS = f"{_META}.flags"
_PREFIX = "--gin."


class GinCommand(click.Command):
  """A command with the flags of gin; `gin_source` says what they hold."""

  def __init__(self, *args: Any, **kwargs: Any):
    super().__init__(*args, **kwargs)
    self.params += [
      click.Option(
        ["--gin_file"],
        multiple=True,
        expose_value=False,
        metavar="FILE",
        help="Settings as gin, e.g. of gin_configs/runs; repeatable, later"
        " ones go before. Options given beside it replace what it binds.",
      ),
      click.Option(
        ["--gin_bindings"],
        multiple=True,
        expose_value=False,
        metavar="NAME=VALUE",
        help="Also written --gin.NAME=VALUE: binds a macro or a parameter after"
        " all files; repeatable.",
      ),
      click.Option(
        ["--gin_search_paths"],
        multiple=True,
        expose_value=False,
        metavar="DIR,...",
        help="Where gin files and what they include are looked for first"
        " [default: here, then beside the file, then gin_configs of the"
        " checkout].",
      ),
    ]

  def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
    """Notes the flags of gin before options are required or converted."""
    args = _with_bindings(args)
    if not any(arg.startswith("--gin_") for arg in args):
      return super().parse_args(ctx, args)
    found, _, _ = self.make_parser(ctx).parse_args(list(args))

    def values(name: str) -> list[str]:
      given = found.get(name)
      return list(given) if isinstance(given, list | tuple) else []

    ctx.meta[_META] = GinSource(
      tuple(values("gin_file")),
      tuple(values("gin_bindings")),
      tuple(
        folder
        for text in values("gin_search_paths")
        for folder in text.split(",")
        if folder
      ),
    )
    self.prepare(ctx, ctx.meta[_META])
    return super().parse_args(ctx, args)

  def prepare(self, ctx: click.Context, source: GinSource) -> None:
    """What is done with the flags before the options are looked at."""


class GinDefaultsCommand(GinCommand):
  """A command whose options gin binds: `COMMAND.OPTION = value`.

  An option that is given replaces what a file binds.
  """

  def prepare(self, ctx: click.Context, source: GinSource) -> None:
    """Takes the bindings as the options' defaults."""
    by_name = {
      _name(param): param
      for param in self.params
      if param.expose_value or isinstance(param, click.Argument)
    }
    root = str(self.name)
    result = evaluate(
      [Configurable(root, dict.fromkeys(by_name, optional), dict)], source, {}
    )
    defaults: dict[str, Any] = {}
    for name, value in result.value.items():
      if value is not None:
        defaults[str(by_name[name].name)] = _as_given(by_name[name], value)
    ctx.default_map = defaults
    ctx.meta[_FLAGS] = {
      str(by_name[binding.parameter].name): binding.where
      for binding in result.bindings.values()
      if binding.by_flag and binding.parameter
    }

  def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
    """Refuses an option and a flag that give the same."""
    rest = super().parse_args(ctx, args)
    for name, where in ctx.meta.get(_FLAGS, {}).items():
      if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
        raise UserError(
          f"{_option(ctx, name)} and {where} give the same. Leave one out."
        )
    return rest


def gin_source() -> GinSource | None:
  """The flags of gin of the command that runs; None: there are none."""
  return click.get_current_context().meta.get(_META)


def given_options(parameters: Mapping[str, str]) -> dict[str, str]:
  """What was given of the command that runs.

  Args:
    parameters: Anything -> the parameter of the command that gives it.

  Returns:
    Those that were given -> the option, as it is written.
  """
  ctx = click.get_current_context()
  return {
    key: _option(ctx, name)
    for key, name in parameters.items()
    if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
  }


def _option(ctx: click.Context, name: str) -> str:
  (param,) = (p for p in ctx.command.params if p.name == name)
  return param.opts[0] if isinstance(param, click.Option) else name.upper()


def _name(param: click.Parameter) -> str:
  """What gin calls a parameter: its option, without the dashes."""
  if isinstance(param, click.Argument):
    return str(param.name)
  name = param.opts[0].lstrip("-").replace("-", "_")
  # gin takes parameters of Python: --continue cannot be one.
  return str(param.name) if keyword.iskeyword(name) else name


def _as_given(param: click.Parameter, value: Any) -> Any:
  """A value of gin as the command line would have it."""
  several = param.multiple or param.nargs == -1
  if isinstance(value, dict):
    value = [f"{name}:{item}" for name, item in value.items()]
  if isinstance(value, list | tuple):
    return list(value) if several else ",".join(map(str, value))
  return [value] if several else value


def _with_bindings(args: Sequence[str]) -> list[str]:
  """The arguments with `--gin.NAME=VALUE` as `--gin_bindings`."""
  rewritten: list[str] = []
  rest = iter(args)
  for arg in rest:
    if arg == "--":
      return [*rewritten, arg, *rest]
    if not arg.startswith(_PREFIX):
      rewritten.append(arg)
      continue
    binding = arg.removeprefix(_PREFIX)
    if "=" not in binding:
      value = next(rest, None)
      if value is None:
        raise UserError(f"{arg}: expected a value: {arg}=VALUE.")
      binding = f"{binding}={value}"
    rewritten.append(f"--gin_bindings={binding}")
  return rewritten


def run_as_module(command: str) -> None:
  """Runs `python -m magenta_midi.cli.COMMAND` as `magenta-midi COMMAND`."""
  from magenta_midi.cli.main import main

  main([command, *sys.argv[1:]])
