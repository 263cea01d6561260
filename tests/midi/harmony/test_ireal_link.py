import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.midi.harmony.ireal_link import (
  is_ireal_link,
  read_ireal_link,
  scrambled,
)


def link(music: str, tempo: str = "0", title: str = "A tune") -> str:
  """A link as exported."""
  for long, short in (("| x", "Kcl"), (" |", "LZ"), ("   ", "XyQ")):
    music = music.replace(long, short)
  text = f"{title}=Some One==Swing=C==1r34LbKcu7{scrambled(music)}"
  return "irealb://" + urllib.parse.quote(f"{text}=Swing={tempo}=3")


def names(music: str) -> str:
  chart = read_ireal_link(link(music))
  return " | ".join(
    " ".join(chord.name for _, chord in bar.changes) for bar in chart.bars
  )


def test_title_tempo_and_chart():
  chart = read_ireal_link(link("*A[T34C^7   |A-7 D7   |G7   Z", "140"))
  assert (chart.title, chart.bpm, chart.meter) == ("A tune", 140, (3, 4))
  assert names("[T44C^7   |A-7 D7 |G7   Z") == "C^7 | A-7 D7 | G7"


@pytest.mark.parametrize(
  ("music", "played"),
  [
    ("{T44C   |F   }G   Z", "C | F | C | F | G"),
    ("{C   |N1F   }|N2G   ]A   Z", "C | F | C | G | A"),
    ("{C   <3x>|F   }G   Z", "C | F | C | F | C | F | G"),
    ("[C   | x  |F   Z", "C | C | F"),
    ("[C   |F   | r|   |G   Z", "C | F | C | F | G"),
    ("[C-7,F7,Bb^7,Eb^7|Ah7   Z", "C-7 F7 Bb^7 Eb^7 | Ah7"),
    ("[C   |W/E   |n   Z", "C | C/E | N.C."),
    ("[C7(Db7)   |sDbhlF7 |p   |*BG7sus   Z", "C7 | Dbh F7 | G7sus"),
    ("[C*-7b5*   |G7alt   Z", "C-7b5 | G7alt"),
    ("[C   |F   |G   <D.C.>Z", "C | F | G | C | F | G"),
    ("[C   <Fine>|F   |G   <D.C. al Fine>Z", "C | F | G | C"),
    (
      "[C   |SF   |QG   |A   <D.S. al Coda>][QB   Z",
      "C | F | G | A | F | G | B",
    ),
    # A A B A: the last round ends with the ending that is named.
    (
      "{*AT44C |D |N1G |C }|N2D |A ][*BE |F <D.C. al 2nd End.>Z",
      "C | D | G | C | C | D | D | A | E | F | C | D | D | A",
    ),
    # A coda after a second ending belongs to no ending.
    (
      "{T44C |QF |N1G |C }|N2D |A <D.C. al Coda>|QE7 |Bb Z",
      "C | F | G | C | C | F | D | A | C | F | E7 | Bb",
    ),
  ],
)
def test_signs_of_the_format(music, played):
  assert names(music) == played


def test_cells_share_the_beats_of_a_bar():
  chart = read_ireal_link(link("[T44C F G |C F |C   |T34C  F|C,F,G,A,B|Z"))
  assert [[beat for beat, _ in bar.changes] for bar in chart.bars] == [
    [0.0, 1.0, 3.0],
    [0.0, 2.0],
    [0.0],
    [0.0, 2.0],
    [0.0, 0.6, 1.2, 1.8, 2.4],
  ]


def test_a_plain_link_and_one_in_a_page():
  plain = "irealbook://So=Some One=Swing=C=n=T44[C^7 |A-7 D7 Z"
  page = f'<html><a href="{link("[C   |F   Z")}">A tune</a> more</html>'
  assert read_ireal_link(plain).beats == 8
  assert [len(bar.changes) for bar in read_ireal_link(page).bars] == [1, 1]
  assert is_ireal_link(page) and not is_ireal_link("| C | F |")


def test_a_link_that_is_not_encoded_keeps_its_remarks():
  music = "{T44C |F <3x>}[G |A ]"
  link = f"irealbook://T=C=S=C=n={music}"
  for text in (link, f'<a href="{link}">T</a>', f"<a href={link}>T</a>"):
    assert len(read_ireal_link(text).bars) == 8


@pytest.mark.parametrize(
  ("text", "said"),
  [
    ("| C |", "must begin with irealb"),
    ("irealb://", "link is broken"),
    ("irealb://A=B==C=D==1r34LbKcu7", "link is broken"),
    ("irealbook://A=B=C", "link is broken"),
    (link("[C   |H   Z"), "bar 2: 'H Z' is not understood"),
    (link("[C   |Cb5b5*x*   Z"), "bar 2: .* is no chord"),
    (link("[ x |C Z"), "bar 1: there is nothing before"),
    (link("[T44   |   Z"), "link is broken"),
    (link("[T97C Z"), "bar 1: a meter"),
  ],
)
def test_a_broken_link_is_one_line(text, said):
  with pytest.raises(ValueError, match=said) as error:
    read_ireal_link(text)
  assert str(error.value).isprintable()


@given(st.text(max_size=300))
def test_scrambling_is_its_own_inverse(text):
  assert scrambled(scrambled(text)) == text


@given(
  st.text(alphabet="{}[]|ZCG7b#-^hosulxrnpWST4N12Q*<>(), DFine.", max_size=80)
)
def test_any_music_is_a_chart_or_one_line(music):
  try:
    chart = read_ireal_link(link(music))
  except ValueError as error:
    assert str(error).isprintable()
  else:
    assert chart.beats > 0
