"""Pictures with letters of any script."""

import subprocess
import sys
import warnings

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread

from magenta_midi.midi import Score, figures
from magenta_midi.midi.figures import MissingFontWarning, save_figure
from magenta_midi.midi.piano_roll import plot_piano_roll
from magenta_midi.plain_text import drawable


def block_font(path, letters, family="Blocks"):
  """A font whose letters are black squares."""
  builder = FontBuilder(1000, isTTF=True)
  names = {ord(letter): f"g{ord(letter):x}" for letter in letters}
  builder.setupGlyphOrder([".notdef", *names.values()])
  builder.setupCharacterMap(names)
  pen = TTGlyphPen(None)
  pen.moveTo((0, 0))
  for corner in ((0, 1000), (1000, 1000), (1000, 0)):
    pen.lineTo(corner)
  pen.closePath()
  square = pen.glyph()
  glyphs = dict.fromkeys(names.values(), square)
  builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), **glyphs})
  builder.setupHorizontalMetrics(
    {name: (1000, 0) for name in (".notdef", *names.values())}
  )
  builder.setupHorizontalHeader(ascent=1000, descent=0)
  builder.setupNameTable({"familyName": family, "styleName": "Regular"})
  builder.setupOS2()
  builder.setupPost()
  builder.save(path)
  return path


@pytest.fixture
def only_own_fonts(monkeypatch):
  """The machine has Matplotlib's fonts alone; returns how to add one."""
  manager = font_manager.fontManager
  own = [e for e in manager.ttflist if "mpl-data" in e.fname]
  assert any(entry.name == "DejaVu Sans" for entry in own)
  monkeypatch.setattr(figures, "_said", set())
  installed = []
  monkeypatch.setattr(manager, "ttflist", own)
  monkeypatch.setattr(font_manager, "findSystemFonts", lambda: installed)

  def clear():
    for cached in (
      figures._fallbacks,
      figures._look_again,
      figures._letters_of,
      manager._find_fonts_by_props,
    ):
      getattr(cached, "cache_clear", lambda: None)()
    manager._findfont_cached.cache_clear()

  def install(path):
    installed.append(str(path))
    clear()

  clear()
  yield install
  clear()


def figure_with(text, **place):
  figure = Figure(figsize=(4, 1))
  FigureCanvasAgg(figure)
  figure.text(0.1, 0.5, drawable(text), **place)
  return figure


def ink(path):
  """Share of the picture that is black."""
  return float((imread(path)[..., :3] < 0.1).all(-1).mean())


@pytest.mark.parametrize("weight", ["normal", "bold"])
def test_a_letter_is_drawn_in_a_font_that_has_it(
  tmp_path, only_own_fonts, caplog, weight
):
  # Installed after Matplotlib has made its list.
  only_own_fonts(block_font(tmp_path / "blocks.ttf", "오할림"))
  path = tmp_path / "a.png"
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    save_figure(figure_with("오할림", fontsize=36, fontweight=weight), path)
  # Three squares of 36 points in a picture of 4 by 1 inches.
  assert ink(path) == pytest.approx(3 * 0.5**2 / 4, rel=0.1)
  assert not caplog.records


def test_labels_of_ticks_have_the_fonts_too(tmp_path, only_own_fonts):
  only_own_fonts(block_font(tmp_path / "blocks.ttf", "가나"))
  figure = Figure()
  FigureCanvasAgg(figure)
  axes = figure.add_subplot()
  axes.set_yticks([0, 1], ["가", "나"])
  axes.set_xlim(0, 3)
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    save_figure(figure, tmp_path / "a.png")
  assert all("Blocks" in t.get_fontfamily() for t in axes.get_yticklabels())


@pytest.mark.parametrize(
  ("text", "says"),
  [
    ("오할림", r"오.*\(Korean\).*fonts-nanum$"),
    ("ピアノ", r"\(Japanese\).*fonts-noto-cjk$"),
    ("鋼琴", r"\(Chinese\).*fonts-noto-cjk$"),
    ("पियानो", r"\(letters\).*fonts-noto-core$"),
    ("🎹", r"\(signs\).*fonts-symbola$"),
    ("오 鋼琴", r"fonts-noto-cjk fonts-nanum$"),
  ],
)
def test_where_no_font_has_a_letter_one_note_says_what_to_install(
  tmp_path, only_own_fonts, text, says
):
  path = tmp_path / "a.png"
  with pytest.warns(MissingFontWarning, match=says) as said:
    save_figure(figure_with(text), path)
  assert len(said) == 1
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    save_figure(figure_with(text), path)
  assert imread(path).shape == (110, 440, 4)


@pytest.mark.parametrize("text", ["Für Elise ♯", "Ελλάδα", "пианино", "بيانو"])
def test_what_matplotlib_has_itself_needs_no_other_font(
  tmp_path, only_own_fonts, text
):
  figure = figure_with(text)
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    save_figure(figure, tmp_path / "a.png")
  assert figure.texts[0].get_fontfamily() == ["sans-serif"]


def test_a_damaged_font_is_passed_over(tmp_path, only_own_fonts):
  (tmp_path / "bad.ttf").write_bytes(b"\0\1\0\0 no font")
  only_own_fonts(tmp_path / "bad.ttf")
  with pytest.warns(MissingFontWarning):
    save_figure(figure_with("오"), tmp_path / "a.png")


def test_a_piano_roll_shows_names_as_they_are(tmp_path, monkeypatch):
  drawn = []
  monkeypatch.setattr(
    "magenta_midi.midi.piano_roll.save_figure",
    lambda figure, path, **options: (
      drawn.append(figure) or save_figure(figure, path, **options)
    ),
  )
  score = Score.from_arrays(
    onset_s=[0.0, 1.0],
    duration_s=[0.5, 0.5],
    key=[60, 64],
    velocity=[64] * 2,
    part=[0, 1],
  )
  names = [r"cost $\foo{$ x", "song [live]\x1b[2J"]
  plot_piano_roll(score, tmp_path / "a.png", names=names, title="$a_b$ [/x]")
  (figure,) = drawn
  texts = [text.get_text() for text in figure.texts]
  assert texts[0] == r"\$a_b\$ [/x]"
  assert set(texts) > {r"cost \$\foo{\$ x", r"song [live]\x1b[2J"}


def test_long_names_leave_the_title_free(tmp_path, monkeypatch):
  drawn = []
  monkeypatch.setattr(
    "magenta_midi.midi.piano_roll.save_figure",
    lambda figure, path, **options: drawn.append(figure),
  )
  score = Score.from_arrays(
    onset_s=[0.0, 1.0],
    duration_s=[0.5, 0.5],
    key=[60, 64],
    velocity=[64] * 2,
    part=[0, 1],
  )
  title = "A title of some length, for the left half"
  plot_piano_roll(
    score, tmp_path / "a.png", names=["Piano melody " * 30] * 2, title=title
  )
  (figure,) = drawn
  first, *others = figure.texts
  ends = first.get_window_extent().x1
  assert all(text.get_window_extent().x0 > ends for text in others)


def test_the_command_says_it_once_and_goes_on(tmp_path):
  script = """
import sys
from matplotlib import font_manager
manager = font_manager.fontManager
manager.ttflist = [e for e in manager.ttflist if "mpl-data" in e.fname]
font_manager.findSystemFonts = lambda: []
from magenta_midi.cli.main import main
from magenta_midi.midi import Score
score = Score.from_arrays(
  onset_s=[0.0],
  duration_s=[1.0],
  key=[60],
  velocity=[64],
  part_names=["오할림"],
)
score.to_file("a.mid")
for plot in ("a.png", "b.png"):
  main(["render", "a.mid", "--plot", plot])
"""
  done = subprocess.run(
    [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True
  )
  assert done.returncode == 0, done.stderr
  assert (tmp_path / "b.png").is_file()
  (note,) = done.stderr.splitlines()
  assert note.startswith("note: no font here has ")
  assert note.endswith("fonts-nanum")
