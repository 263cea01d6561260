"""Reads gin files and bindings into statements that know where they stand.

Gin's own reader keeps its search paths for ever, takes a misspelt macro for a
new one and runs whatever a file imports. Here files are found, included and
read one by one, and what is wrong is one line that names its place.
"""

import dataclasses
import tokenize
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from magenta_midi.cli.terminal.errors import UserError

__all__ = ["Binding", "Statements", "quoted", "read_statements"]

# The checkout; its gin_configs/ is no part of an installed package.
CHECKOUT = Path(__file__).resolve().parents[3]
FOLDER = "gin_configs"


class Binding(NamedTuple):
  """One `CONFIGURABLE.PARAMETER = value`, or one `MACRO = value`."""

  # The configurable; the macro's name where there is no parameter.
  selector: str
  parameter: str
  # References are gin's.
  value: Any
  # `FILE:LINE`, or the flag.
  where: str
  # Whether it came with the command and not from a file.
  by_flag: bool = False

  @property
  def name(self) -> str:
    """What is bound, as it is written."""
    return ".".join(filter(None, (self.selector, self.parameter)))


@dataclasses.dataclass
class Statements:
  """All that was read, in order.

  Attributes:
    bindings: Later ones replace earlier ones of the same name.
    macros: Macro -> where it is first referred to.
    references: Configurable -> where it is first referred to.
    blocks: Configurable -> where a block of it begins.
  """

  bindings: list[Binding] = dataclasses.field(default_factory=list)
  macros: dict[str, str] = dataclasses.field(default_factory=dict)
  references: dict[str, str] = dataclasses.field(default_factory=dict)
  blocks: dict[str, str] = dataclasses.field(default_factory=dict)


def read_statements(
  files: Sequence[str],
  flags: Sequence[str],
  search_paths: Sequence[str] = (),
) -> Statements:
  """Reads files and what they include, then the bindings of the command line.

  Args:
    files: As given; found like what they include.
    flags: `NAME=VALUE` each.
    search_paths: Folders looked in before the current one.

  Raises:
    UserError: A file is missing or cannot be read, or a statement is no gin.
  """
  reader = _Reader(tuple(map(Path, search_paths)))
  for file in files:
    reader.read_file(reader.find(file, None), ())
  for flag in flags:
    reader.read_flag(flag)
  return reader.statements


def quoted(text: str) -> str:
  """A text as it is given in a shell: in quotes within quotes."""
  inner = text.strip("'\"")
  return f"'\"{inner}\"'"


class _Delegate:
  """Makes gin's references, and notes to what."""

  def __init__(self) -> None:
    from gin import config

    self._gin = config.ParserDelegate()
    self.macros: list[str] = []
    self.references: list[str] = []

  def macro(self, macro_name: str) -> Any:
    self.macros.append(macro_name)
    return self._gin.macro(macro_name)

  def configurable_reference(self, scoped_name: str, evaluate: bool) -> Any:
    self.references.append(scoped_name)
    try:
      return self._gin.configurable_reference(scoped_name, evaluate)
    except ValueError:
      # Unknown: said by who knows what there is.
      return None


class _Reader:
  """Collects statements."""

  def __init__(self, search_paths: tuple[Path, ...]):
    self.search_paths = search_paths
    self.statements = Statements()

  def find(self, name: str, included_by: Path | None) -> Path:
    """The file of that name: by search path, here, beside, in the checkout."""
    folders = [*self.search_paths, Path()]
    if included_by is not None:
      # gin_configs/runs/mine.gin includes size/small.gin.
      folders += included_by.resolve().parents[:2]
    folders += [CHECKOUT, CHECKOUT / FOLDER]
    for folder in folders:
      if (folder / name).is_file():
        return folder / name
    place = (
      f"{included_by}: includes {name}, but" if included_by else f"{name}:"
    )
    hint = (
      ""
      if (CHECKOUT / FOLDER).is_dir()
      else f" {FOLDER}/ lies at the top of the source checkout, not in the"
      " installed package; name its folder with --gin_search_paths."
    )
    looked = ", ".join(dict.fromkeys(str(folder) for folder in folders))
    raise UserError(f"{place} there is no such file. Looked in {looked}.{hint}")

  def read_file(self, path: Path, outer: tuple[Path, ...]) -> None:
    """Reads one file, and what it includes where it includes it."""
    if path.resolve() in outer:
      raise UserError(f"{path}: includes itself.")
    try:
      text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
      raise UserError(f"{path}: is no text file.") from None
    try:
      self._read(text, path, (*outer, path.resolve()))
    except _SYNTAX as error:
      # Of SyntaxError: (message, (file, line, ...)); of TokenError: (message,
      # (line, column)).
      place: Any = error.args[1]
      line = place[1] if isinstance(error, SyntaxError) else place[0]
      reason = " ".join(str(error.args[0]).split()).rstrip(".")
      raise UserError(f"{path}:{line}: no gin statement: {reason}.") from None

  def read_flag(self, flag: str) -> None:
    """Reads one `NAME=VALUE` of the command line."""
    name, equals, value = (part.strip() for part in flag.partition("="))
    if not equals or not name or "\n" in flag:
      raise UserError(f"--gin.{flag}: expected --gin.NAME=VALUE.")
    before = len(self.statements.bindings)
    try:
      self._read(f"{name} = {value}", f"--gin.{name}", ())
    except _SYNTAX:
      raise UserError(
        f"--gin.{name}={value}: {value!r} is no value of gin, which are a"
        " number, True, None, a [list], a {dict}, a %MACRO, and text in quotes"
        f" of its own: --gin.{name}={quoted(value)}"
      ) from None
    if len(self.statements.bindings) != before + 1:
      raise UserError(f"--gin.{flag}: expected --gin.NAME=VALUE.")

  def _read(
    self, text: str, source: Path | str, outer: tuple[Path, ...]
  ) -> None:
    """Reads the statements of a file, or of a flag (a str)."""
    from gin import config_parser

    read, delegate = self.statements, _Delegate()
    path = source if isinstance(source, Path) else None
    parser: Any = config_parser.ConfigParser
    for statement in parser(text, delegate):
      line = statement.location.line_num
      place = f"{path}:{line}" if path else str(source)
      for macro in delegate.macros:
        read.macros.setdefault(macro, place)
      for reference in delegate.references:
        read.references.setdefault(reference, place)
      delegate.macros.clear()
      delegate.references.clear()
      if isinstance(statement, config_parser.IncludeStatement):
        self.read_file(self.find(statement.filename, path), outer)
      elif isinstance(statement, config_parser.ImportStatement):
        raise UserError(
          f"{place}: nothing is imported here; leave the statement out: what"
          " can be bound is known."
        )
      elif statement.scope:
        raise UserError(
          f"{place}: {statement.scope}/{statement.selector}: there are no"
          " scopes here; leave out what stands before the last '/'."
        )
      elif isinstance(statement, config_parser.BlockDeclaration):
        read.blocks.setdefault(statement.selector, place)
      else:
        read.bindings.append(
          Binding(
            statement.selector,
            statement.arg_name,
            statement.value,
            place,
            path is None,
          )
        )


_SYNTAX = (SyntaxError, tokenize.TokenError)
