"""Pictures of figures: letters of any script, written whole or not at all."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import unicodedata
import warnings
from collections.abc import Iterable, Iterator
from os import PathLike
from typing import TYPE_CHECKING

from magenta_midi.midi.atomic import write_atomically

if TYPE_CHECKING:
  from matplotlib.axis import Axis
  from matplotlib.figure import Figure

__all__ = ["MissingFontWarning", "save_figure"]

# Tried before the machine's other fonts: they have whole scripts, in a style
# that goes with Matplotlib's own font.
_PREFERRED = (
  "NanumGothic",
  "Noto Sans CJK KR",
  "Noto Sans CJK JP",
  "Noto Sans CJK SC",
  "Noto Sans KR",
  "Noto Sans JP",
  "Noto Sans SC",
  "Malgun Gothic",
  "Apple SD Gothic Neo",
  "Yu Gothic",
  "Hiragino Sans",
  "Microsoft YaHei",
  "PingFang SC",
  "Noto Sans",
  "Symbola",
  "Unifont",
)
# Beginning of a letter's Unicode name -> (script, Debian's package). Other
# letters: "letters"; other signs, as emoji: "signs".
_PACKAGES = {
  "HANGUL": ("Korean", "fonts-nanum"),
  "CJK": ("Chinese", "fonts-noto-cjk"),
  "HIRAGANA": ("Japanese", "fonts-noto-cjk"),
  "KATAKANA": ("Japanese", "fonts-noto-cjk"),
  "FULLWIDTH": ("Japanese", "fonts-noto-cjk"),
  "IDEOGRAPHIC": ("Chinese", "fonts-noto-cjk"),
}
_LETTERS = ("letters", "fonts-noto-core")
_SIGNS = ("signs", "fonts-symbola")
_SHOWN_LETTERS = 12

# Missing letters that this process has warned of.
_said: set[str] = set()


class MissingFontWarning(UserWarning):
  """Letters of a picture are boxes, as no font of the machine has them."""


def save_figure(
  figure: Figure, path: str | PathLike[str], *, dpi: int = 110
) -> None:
  """Writes a figure as a PNG, each letter in a font that has it.

  Text from outside must have gone through `plain_text.drawable`.

  Args:
    figure: Drawn as it is; its texts get fonts to fall back on.
    path: Where the picture goes, whole or not at all.
    dpi: Pixels an inch.

  Warns:
    MissingFontWarning: No font has some of the letters; says what to install.
      Once in a process for each letter.

  Raises:
    OSError: The file cannot be written there.
  """
  missing = _give_fonts(figure)
  image = io.BytesIO()
  with _said_once():
    figure.savefig(image, format="png", dpi=dpi)
  write_atomically(path, image.getvalue())
  if new := missing - _said:
    # A run draws the same names again and again.
    _said.update(new)
    warnings.warn(_advice(new), MissingFontWarning, stacklevel=3)


@contextlib.contextmanager
def _said_once() -> Iterator[None]:
  """Without Matplotlib's own remarks on fonts, one for each letter."""
  logger = logging.getLogger("matplotlib.font_manager")
  level = logger.level
  # It logs that a font has no bold face.
  logger.setLevel(logging.ERROR)
  try:
    with warnings.catch_warnings():
      for start in ("Glyph .* missing", "Matplotlib currently does"):
        warnings.filterwarnings("ignore", start, UserWarning)
      yield
  finally:
    logger.setLevel(level)


def _give_fonts(figure: Figure) -> frozenset[str]:
  """Sets the fonts of all texts; returns the letters that none has."""
  from matplotlib.text import Text

  axes = [axis for ax in figure.get_axes() for axis in (ax.xaxis, ax.yaxis)]
  for axis in axes:
    # Makes the labels of ticks, which else are made while drawing.
    axis.get_ticklabels()
  texts: list[Text] = figure.findobj(Text)  # type: ignore[assignment]
  letters = frozenset("".join(text.get_text() for text in texts))
  families, missing = _fallbacks(letters)
  if families:
    for text in texts:
      text.set_fontfamily([*text.get_fontfamily(), *families])
    for axis in axes:
      _give_ticks(axis, families)
  return missing


def _give_ticks(axis: Axis, families: tuple[str, ...]) -> None:
  """The fonts of the ticks that drawing may add."""
  labels = axis.get_ticklabels()
  if labels:
    axis.set_tick_params(labelfontfamily=labels[0].get_fontfamily())


@functools.lru_cache(maxsize=64)
def _fallbacks(
  letters: frozenset[str],
) -> tuple[tuple[str, ...], frozenset[str]]:
  """Families that have what Matplotlib's own font lacks, and what none has."""
  from matplotlib.font_manager import FontProperties, findfont

  seen = {letter for letter in letters if letter.isprintable()} - {" "}
  own = findfont(FontProperties())
  missing = frozenset(seen) - _letters_of(
    str(own), getattr(own, "face_index", 0)
  )
  families: list[str] = []
  for family, path, index in _fonts():
    if not missing:
      break
    rest = missing - _letters_of(path, index)
    if rest != missing:
      families.append(family)
      missing = rest
  return tuple(families), missing


def _fonts() -> Iterator[tuple[str, str, int]]:
  """Families, their files and places in them; the preferred ones first."""
  from matplotlib.font_manager import fontManager

  known = _by_family(fontManager.ttflist)
  for family in [*(f for f in _PREFERRED if f in known), *sorted(known)]:
    yield family, *known[family]
  # Matplotlib's list is of the day on which it was made.
  _look_again()
  for family, font in sorted(_by_family(fontManager.ttflist).items()):
    if family not in known:
      yield family, *font


def _by_family(entries: Iterable) -> dict[str, tuple[str, int]]:
  found: dict[str, tuple[str, int]] = {}
  for entry in entries:
    # It has a box for every letter.
    if not entry.name.startswith(("Last Resort", "LastResort")):
      # Fonts of several faces have places since Matplotlib 3.11.
      found.setdefault(entry.name, (entry.fname, getattr(entry, "index", 0)))
  return found


@functools.cache
def _look_again() -> None:
  """Adds the fonts that were installed since Matplotlib made its list."""
  from matplotlib.font_manager import findSystemFonts, fontManager

  known = {entry.fname for entry in fontManager.ttflist}
  for path in findSystemFonts():
    if path not in known:
      # Damaged ones, and those of pixels only, as coloured emoji.
      try:
        fontManager.addfont(path)
      except (OSError, RuntimeError, NotImplementedError, ValueError):
        continue


@functools.lru_cache(maxsize=256)
def _letters_of(path: str, index: int) -> frozenset[str]:
  """The letters of a font; none where it cannot be read."""
  from matplotlib.ft2font import FT2Font

  try:
    font = FT2Font(path, face_index=index) if index else FT2Font(path)
    return frozenset(map(chr, font.get_charmap()))
  except (OSError, RuntimeError, TypeError, ValueError):
    return frozenset()


def _advice(missing: frozenset[str]) -> str:
  """One line: the letters, and the packages that have them."""
  scripts = sorted({_package(letter) for letter in missing})
  letters = "".join(sorted(missing)[:_SHOWN_LETTERS])
  more = " ..." if len(missing) > _SHOWN_LETTERS else ""
  kinds = ", ".join(dict.fromkeys(kind for kind, _ in scripts))
  packages = " ".join(dict.fromkeys(package for _, package in scripts))
  return (
    f"no font here has {letters}{more} ({kinds}), so the picture shows boxes."
    f" On Debian or Ubuntu: sudo apt install {packages}"
  )


def _package(letter: str) -> tuple[str, str]:
  """Name of a letter's script, and the package with a font for it."""
  first = unicodedata.name(letter, "").partition(" ")[0]
  other = _LETTERS if unicodedata.category(letter)[0] in "LMN" else _SIGNS
  return _PACKAGES.get(first, other)
