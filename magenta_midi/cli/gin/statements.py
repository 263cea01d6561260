"""Statements of gin files and flags, each with its place.

Gin's parser reads the syntax. Files are found and included here, and each
error is one line with the place.
"""

import dataclasses
import io
import os
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from magenta_midi.bounded_files import GIN_BYTES, MAX_GIN_FILES, read_text
from magenta_midi.cli.terminal.errors import UserError
from magenta_midi.plain_text import line

__all__ = [
  "Binding",
  "GinSource",
  "MAX_NESTING",
  "Macro",
  "Reference",
  "Statements",
  "quoted",
  "read_statements",
]

# The source checkout; an installed package has no gin_configs/.
CHECKOUT = Path(__file__).resolve().parents[3]
FOLDER = "gin_configs"


# Brackets within brackets, and adjacent strings that make one.
MAX_NESTING = 32
_MAX_STRINGS = 100


class GinSource(NamedTuple):
  """The gin files and flags of a command line."""

  files: tuple[str, ...] = ()
  # NAME=VALUE each.
  bindings: tuple[str, ...] = ()
  search_paths: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Macro:
  """`%NAME` as a value."""

  name: str

  def __repr__(self) -> str:
    return f"%{self.name}"


@dataclasses.dataclass(frozen=True)
class Reference:
  """`@CONFIGURABLE()` as a value: what the configurable returns."""

  name: str

  def __repr__(self) -> str:
    return f"@{self.name}()"


class Binding(NamedTuple):
  """The statement `NAME = value`, in its parts."""

  value: Any
  # `FILE:LINE`, or the flag or option.
  place: str
  by_flag: bool = False


class Statements(NamedTuple):
  """All that was read."""

  # `MACRO` or `CONFIGURABLE.PARAMETER` -> the last binding of that name.
  bindings: dict[str, Binding]
  # `%MACRO`, `@CONFIGURABLE` or, of a block, `CONFIGURABLE` -> place of the
  # first mention.
  mentions: dict[str, str]


def read_statements(source: GinSource) -> Statements:
  """Reads files and what they include, then the flags.

  Raises:
    UserError: A file is missing or cannot be read, or a statement is not gin.
  """
  reader = _Reader(source.search_paths)
  for file in source.files:
    reader.read_file(reader.find(file, None), ())
  for flag in source.bindings:
    reader.read_flag(flag)
  return reader.statements


def quoted(text: str) -> str:
  """A text as a shell needs it: in quotes within quotes."""
  inner = text.strip("'\"")
  return f"'\"{inner}\"'"


class _Reader:
  """Collects statements; also what gin's parser calls for `%` and `@`."""

  def __init__(self, search_paths: tuple[str, ...]):
    self.search_paths = tuple(map(Path, search_paths))
    self.statements = Statements({}, {})
    self._files = 0
    # Of the statement that is being parsed.
    self._mentioned: list[str] = []

  def macro(self, name: str) -> Macro:
    self._mentioned.append(f"%{name}")
    return Macro(name)

  def configurable_reference(self, name: str, evaluate: bool) -> Reference:
    del evaluate
    self._mentioned.append(f"@{name}")
    return Reference(name)

  def find(self, name: str, included_by: Path | None) -> Path:
    """The file: by search path, here, beside what includes it, in CHECKOUT."""
    # gin_configs/runs/mine.gin includes size/small.gin.
    beside = included_by.resolve().parents[:2] if included_by else ()
    folders = [*self.search_paths, Path(), *beside]
    folders += [CHECKOUT, CHECKOUT / FOLDER]
    for folder in folders:
      if os.path.isfile(folder / name):
        return folder / name
    hint = "" if (CHECKOUT / FOLDER).is_dir() else _NOT_INSTALLED
    including = f"{included_by}: includes {name}, but" if included_by else ""
    looked = ", ".join(dict.fromkeys(map(str, folders)))
    raise UserError(
      f"{including or f'{name}:'} there is no such file. Looked in"
      f" {looked}.{hint}"
    )

  def read_file(self, path: Path, outer: tuple[Path, ...]) -> None:
    """Reads one file, and what it includes where it includes it."""
    if path.resolve() in outer:
      raise UserError(f"{path}: includes itself.")
    self._files += 1
    if self._files > MAX_GIN_FILES:
      raise UserError(
        f"{path}: is included after {MAX_GIN_FILES} others; no more are read."
      )
    try:
      text = read_text(path, GIN_BYTES)
    except ValueError:
      raise UserError(f"{path}: is not a text file.") from None
    try:
      self._read(text, path, (*outer, path.resolve()))
    except (SyntaxError, tokenize.TokenError) as error:
      # A SyntaxError has (message, (file, line, ...)), a TokenError (message,
      # (line, column)).
      place: Any = error.args[1]
      number = place[1] if isinstance(error, SyntaxError) else place[0]
      reason = line(error.args[0], longest=200).rstrip(".")
      raise UserError(f"{path}:{number}: no gin statement: {reason}.") from None

  def read_flag(self, flag: str) -> None:
    """Reads one `NAME=VALUE` of the command line."""
    name, equals, value = (part.strip() for part in flag.partition("="))
    if not equals or not name or "\n" in flag:
      raise UserError(f"--gin.{flag}: expected --gin.NAME=VALUE.")
    try:
      self._read(f"{name} = {value}", f"--gin.{name}", ())
    except (SyntaxError, tokenize.TokenError):
      raise UserError(
        f"--gin.{name}={value}: {value!r} is not a value of gin. Give a"
        " number, True, None, a [list], a {dict}, a %MACRO, or text in quotes"
        f" of its own: --gin.{name}={quoted(value)}"
      ) from None

  def _read(
    self, text: str, source: Path | str, outer: tuple[Path, ...]
  ) -> None:
    """Reads the statements of a file, or of a flag (a str)."""
    from gin import config_parser as gin

    path = source if isinstance(source, Path) else None
    _check_tokens(text)
    parser: Any = gin.ConfigParser
    for statement in _statements(parser(text, self)):
      place = f"{path}:{statement.location.line_num}" if path else str(source)
      if isinstance(statement, gin.IncludeStatement):
        self.read_file(self.find(statement.filename, path), outer)
      elif isinstance(statement, gin.ImportStatement):
        raise UserError(
          f"{place}: nothing is imported here. Leave the statement out: all"
          " configurables are known."
        )
      elif statement.scope:
        raise UserError(
          f"{place}: {statement.scope}/{statement.selector}: there are no"
          " scopes here. Leave out what stands before the last '/'."
        )
      elif isinstance(statement, gin.BlockDeclaration):
        self._mentioned.append(statement.selector)
      else:
        name = ".".join(filter(None, (statement.selector, statement.arg_name)))
        # The last one of a name stands last, too.
        self.statements.bindings.pop(name, None)
        self.statements.bindings[name] = Binding(
          statement.value, place, path is None
        )
      for mention in self._mentioned:
        self.statements.mentions.setdefault(mention, place)
      self._mentioned.clear()


def _check_tokens(text: str) -> None:
  """Refuses what would make the parser recurse, or its time quadratic.

  Raises:
    SyntaxError: Brackets are nested deeply, or many strings stand in a row.
  """
  depth = strings = 0
  for token in tokenize.generate_tokens(io.StringIO(text).readline):
    if token.type == tokenize.STRING:
      strings += 1
    elif token.type not in (tokenize.NL, tokenize.COMMENT):
      strings = 0
    if token.type == tokenize.OP:
      depth += (token.string in "([{") - (token.string in ")]}")
    place = (None, token.start[0], None, None)
    if depth > MAX_NESTING:
      raise SyntaxError(f"nested deeper than {MAX_NESTING} brackets", place)
    if strings > _MAX_STRINGS:
      raise SyntaxError(f"more than {_MAX_STRINGS} strings in a row", place)


def _statements(parser: Any) -> Iterator[Any]:
  """The parser's statements; any fault of a value is a SyntaxError."""
  while True:
    place = (None, parser.current_token.start[0], None, None)
    try:
      statement = next(parser, None)
    except TypeError as error:  # a list as a key
      raise SyntaxError(str(error), place) from None
    if statement is None:
      return
    yield statement


_NOT_INSTALLED = (
  f" {FOLDER}/ is at the top of the source checkout, not in the installed"
  " package. Name its folder with --gin_search_paths."
)
