"""Numbers of the command line, inside the limits of `magenta_midi.limits`."""

from collections.abc import Callable
from typing import Any

import click

from magenta_midi.cli.terminal.errors import UserError
from magenta_midi.limits import SEED, Bounds, split_number

__all__ = ["bounded", "scaled", "seed_option"]


def bounded(bounds: Bounds) -> click.ParamType:
  """The type of an option or argument; `--help` shows its range.

  A number out of range, nan and what is no number are refused in one line
  before the command begins.
  """
  return _Whole(bounds) if bounds.whole else _Real(bounds)


def scaled(
  bounds: Bounds, what: str, *, between: str = ""
) -> Callable[..., tuple[str, ...]]:
  """The callback of a repeatable option `TEXT[:NUMBER]`: checks its numbers.

  Args:
    bounds: Of the number.
    what: What errors call it.
    between: What parts several of them in one value; empty: there is one.
  """

  def check(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
  ) -> tuple[str, ...]:
    del ctx
    for value in values:
      for part in value.split(between) if between else (value,):
        _, found = split_number(part)
        if found is not None:
          name = f"{max(param.opts, key=len)} {value[:60]}: {what}"
          _checked(bounds.check, name, found)
    return values

  return check


def seed_option(help: str) -> Callable[[Callable], Callable]:
  """The option `--seed`, 0 if it is not given."""
  return click.option(
    "--seed", type=bounded(SEED), default=0, show_default=True, help=help
  )


# Click's own types show their range in `--help`, but let nan pass.


class _Real(click.FloatRange):
  name = "float"

  def __init__(self, bounds: Bounds):
    super().__init__(
      bounds.low, bounds.high, min_open=bounds.above, max_open=bounds.below
    )
    self._bounds = bounds

  def convert(
    self, value: Any, param: click.Parameter | None, ctx: Any
  ) -> float:
    del ctx
    return _checked(self._bounds.read, _name(param), value)


class _Whole(click.IntRange):
  name = "integer"

  def __init__(self, bounds: Bounds):
    super().__init__(int(bounds.low), int(bounds.high))
    self._bounds = bounds

  def convert(self, value: Any, param: click.Parameter | None, ctx: Any) -> int:
    del ctx
    return _checked(self._bounds.read, _name(param), value)


def _checked(check: Callable[[str, Any], Any], name: str, value: Any) -> Any:
  try:
    return check(name, value)
  except ValueError as error:
    raise UserError(str(error)) from None


def _name(param: click.Parameter | None) -> str:
  """A parameter as it is written: `--seed`, or an argument's name."""
  if param is None:
    return "the number"
  if isinstance(param, click.Option):
    return max(param.opts, key=len)
  return param.make_metavar(click.get_current_context())
