"""The gin flags of commands, as T5X has them.

`--gin_file=FILE`, `--gin_search_paths=DIR,DIR` and `--gin.NAME=VALUE`, each
repeatable and with a space in place of the equals sign too.
"""

import keyword
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click
from click.core import ParameterSource

from magenta_midi.cli.gin.statements import GinSource
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
# Option -> (metavar, help).
_OPTIONS = {
  "gin_file": (
    "FILE",
    "Settings as a gin file, for example from gin_configs/runs. Repeatable;"
    " later files replace earlier ones. Options replace what files bind.",
  ),
  "gin_bindings": (
    "NAME=VALUE",
    "Sets a macro or parameter after all files; also written --gin.NAME=VALUE."
    " Repeatable.",
  ),
  "gin_search_paths": (
    "DIR,...",
    "Folders to search first for gin files and their includes [default: the"
    " current folder, then beside the file, then gin_configs of the checkout].",
  ),
}


class GinCommand(click.Command):
  """A command with the gin flags; `gin_source` gives their values."""

  def __init__(self, *args: Any, **kwargs: Any):
    super().__init__(*args, **kwargs)
    for name, (metavar, text) in _OPTIONS.items():
      option = click.Option(
        [f"--{name}"],
        multiple=True,
        expose_value=False,
        metavar=metavar,
        help=text,
      )
      self.params.append(option)

  def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
    """Reads the gin flags before options are required or converted."""
    args = _with_bindings(args)
    if any(arg.startswith("--gin_") for arg in args):
      found: dict[str, Any] = self.make_parser(ctx).parse_args(list(args))[0]
      files, bindings, paths = (found.get(name) or () for name in _OPTIONS)
      folders = filter(None, ",".join(paths).split(","))
      source = GinSource(tuple(files), tuple(bindings), tuple(folders))
      ctx.meta[_META] = source
      self.prepare(ctx, source)
    return super().parse_args(ctx, args)

  def prepare(self, ctx: click.Context, source: GinSource) -> None:
    """Uses the flags before the options are looked at."""


class GinDefaultsCommand(GinCommand):
  """A command whose options gin binds: `COMMAND.OPTION = value`.

  An option that is given replaces what a file binds.
  """

  def prepare(self, ctx: click.Context, source: GinSource) -> None:
    """Sets the bindings as the options' defaults."""
    # Late: --help needs none of it.
    from magenta_midi.cli.gin.evaluation import (
      Configurable,
      evaluate,
      optional,
    )

    root = str(self.name)
    by_name = {
      _name(param): param
      for param in self.params
      if param.expose_value or isinstance(param, click.Argument)
    }
    parameters = dict.fromkeys(by_name, optional)
    result = evaluate(root, {root: Configurable(parameters, dict, {})}, source)
    ctx.default_map = {
      str(by_name[name].name): _as_given(by_name[name], value)
      for name, value in result.value.items()
      if value is not None
    }
    ctx.meta[_FLAGS] = {
      str(by_name[parameter].name): binding.place
      for name, binding in result.bindings.items()
      if binding.by_flag and (parameter := name.partition(".")[2])
    }

  def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
    """Refuses an option and a flag that give the same."""
    rest = super().parse_args(ctx, args)
    flags: dict[str, str] = ctx.meta.get(_FLAGS, {})
    for name, option in _given(ctx, {name: name for name in flags}).items():
      raise UserError(
        f"{option} and {flags[name]} give the same. Leave one out."
      )
    return rest


def gin_source() -> GinSource | None:
  """The gin flags of the command that runs; None: there are none."""
  return click.get_current_context().meta.get(_META)


def given_options(parameters: Mapping[str, str]) -> dict[str, str]:
  """The options that were given to the command that runs.

  Args:
    parameters: Any key -> the parameter of the command.

  Returns:
    The keys of those that were given -> the option, as it is written.
  """
  return _given(click.get_current_context(), parameters)


def _given(ctx: click.Context, parameters: Mapping[str, str]) -> dict[str, str]:
  written = {
    param.name: param.opts[0]
    if isinstance(param, click.Option)
    else str(param.name).upper()
    for param in ctx.command.params
  }
  return {
    key: written[name]
    for key, name in parameters.items()
    if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
  }


def _name(param: click.Parameter) -> str:
  """Name of a parameter in gin: its option without the dashes."""
  if isinstance(param, click.Argument):
    return str(param.name)
  name = param.opts[0].lstrip("-").replace("-", "_")
  # Parameters are Python names: --continue cannot be one.
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
    if arg.startswith(_PREFIX):
      binding = arg.removeprefix(_PREFIX)
      if "=" not in binding:
        value = next(rest, None)
        if value is None:
          raise UserError(f"{arg}: expected a value: {arg}=VALUE.")
        binding = f"{binding}={value}"
      arg = f"--gin_bindings={binding}"
    rewritten.append(arg)
  return rewritten


def run_as_module(command: str) -> None:
  """Runs `python -m magenta_midi.cli.COMMAND` as `magenta-midi COMMAND`."""
  from magenta_midi.cli.main import main

  main([command, *sys.argv[1:]])
