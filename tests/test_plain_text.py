"""Text from outside that is fit to be shown."""

import unicodedata

import matplotlib as mpl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.plain_text import drawable, line, nfc, printable


@given(st.text(st.characters()))
def test_nothing_invisible_is_left(text):
  for shown in (printable(text), line(text)):
    hidden = {
      unicodedata.category(c) for c in shown if c not in "\n\t\u200c\u200d"
    }
    assert not hidden & {"Cc", "Cf", "Cs", "Zl", "Zp"}
  assert "\n" not in line(text)


@pytest.mark.parametrize(
  ("text", "shown"),
  [
    ("피아노 🎹", "피아노 🎹"),
    ("[/b] {x} <i>", "[/b] {x} <i>"),
    ("\x1b[2J\x1b]52;c;ZQ==\x07", r"\x1b[2J\x1b]52;c;ZQ==\x07"),
    ("\u202eevil", r"\u202eevil"),
    ("half \ud800", r"half \ud800"),
    ("\x9b2J", r"\x9b2J"),
  ],
)
def test_visible_text_stays_and_the_rest_is_an_escape(text, shown):
  assert printable(text) == line(text) == shown


def test_a_line_is_one_line_and_no_longer_than_asked():
  assert line("a\nb\r\nmagenta-midi: c") == "a b magenta-midi: c"
  assert line("x" * 10, longest=4) == "xxx…"
  assert line("xxxx", longest=4) == "xxxx"


@pytest.mark.parametrize("text", [r"cost $\foo{$ x", "$$", r"\$", "a$b$", "\\"])
def test_matplotlib_draws_every_letter(text):
  mpl.use("Agg")
  from matplotlib.figure import Figure

  figure = Figure()
  label = figure.text(0.5, 0.5, drawable(text))
  figure.canvas.draw_idle()
  figure.savefig("/dev/null", format="png")
  # Without a formula, as in the text with its dollars as plain characters.
  plain = Figure().text(0.5, 0.5, text, parse_math=False)
  plain.figure.savefig("/dev/null", format="png")
  assert label.get_window_extent().width == plain.get_window_extent().width


def test_names_typed_on_different_systems_are_alike():
  decomposed = unicodedata.normalize("NFD", "오할림")
  assert decomposed != "오할림"
  assert nfc(decomposed) == "오할림"
