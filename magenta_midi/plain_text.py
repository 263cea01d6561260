"""Text from outside, made fit to be shown and compared.

Names of files, tracks, ports and players, prompts, and metadata of checkpoints,
adapters and sessions are written by anybody. Whatever prints or draws them
calls one of these functions first: no text may move the cursor, set the
clipboard, change colours, reverse its neighbours or end a plot.
"""

from __future__ import annotations

import os
import unicodedata
from os import PathLike
from pathlib import Path

__all__ = ["drawable", "existing_path", "line", "nfc", "printable"]

# Control characters, marks that turn the direction of writing, halves of
# characters, and separators of lines.
_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
# Joiners that emoji and several scripts need.
_JOINERS = "\u200c\u200d"


def printable(text: object, *, keep: str = "\n\t") -> str:
  r"""The text with everything invisible as escapes, such as `\x1b`.

  Args:
    text: Anything; `str()` is taken of it.
    keep: Control characters that stay.
  """
  shown = str(text)
  if shown.isprintable():
    return shown
  return "".join(
    letter
    if letter in keep
    or letter in _JOINERS
    or unicodedata.category(letter) not in _HIDDEN
    else letter.encode("unicode_escape").decode("ascii")
    for letter in shown
  )


def line(text: object, *, longest: int | None = None) -> str:
  """The text on one line, its spaces single.

  Args:
    text: Anything; `str()` is taken of it.
    longest: Letters at most; the last one is then an ellipsis.
  """
  words = printable(" ".join(str(text).split()), keep="")
  if longest is not None and len(words) > longest:
    return words[: max(longest - 1, 0)] + "…"
  return words


def drawable(text: object, *, longest: int | None = None) -> str:
  """The text for Matplotlib: composed, on one line, and `$` is no formula."""
  return line(nfc(str(text)), longest=longest).replace("$", r"\$")


def nfc(text: str) -> str:
  """The text in Unicode's composed form, NFC.

  A name typed on macOS arrives decomposed: 오 as three letters. Names are
  compared and stored in this form.
  """
  return unicodedata.normalize("NFC", text)


def existing_path(path: str | PathLike[str]) -> Path:
  """The path as the disk spells it.

  macOS writes names decomposed (NFD), most keyboards type them composed (NFC);
  other systems take them for two names. Where a part of the path does not
  exist, the only name in its folder that is equal in NFC takes its place.

  Args:
    path: Of a file or folder, which need not exist.

  Returns:
    The path unchanged, if it exists or no other name is equal.
  """
  given = Path(path)
  # No two forms differ in ASCII.
  if str(given).isascii() or os.path.lexists(given):
    return given
  found = Path(given.anchor)
  for part in given.parts[bool(given.anchor) :]:
    found /= part
    if part.isascii() or os.path.lexists(found):
      continue
    try:
      names = os.listdir(found.parent)
    except OSError:
      continue
    same = [name for name in names if nfc(name) == nfc(part)]
    if len(same) == 1:
      found = found.with_name(same[0])
  return found
