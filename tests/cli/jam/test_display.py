import io
import unicodedata
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.style import Style

from magenta_midi.cli.jam.cells import encodable, fitted, has_blocks
from magenta_midi.cli.jam.display import FRAMES_PER_S, LiveDisplay, Snapshot
from magenta_midi.cli.jam.roll import (
  AHEAD_S,
  MODEL_COLOR,
  PAST_S,
  PLAYER_COLOR,
  draw_roll,
)
from magenta_midi.cli.terminal.plain_console import PlainConsole
from magenta_midi.live.protocol.controls import Controls
from magenta_midi.live.protocol.messages import BeatState


class Screen:
  """A display on a terminal that is a text, with a clock set by hand."""

  def __init__(self, width=100, height=30, terminal=True, colors="truecolor"):
    self.file = io.StringIO()
    self.now_s = 0.0
    self.console = PlainConsole(
      file=self.file,
      width=width,
      height=height,
      force_terminal=terminal,
      color_system=colors if terminal else None,
      legacy_windows=False,
    )
    self.display = LiveDisplay(self.console, clock=lambda: self.now_s)

  def written(self):
    """What was written since it was last asked."""
    text = self.file.getvalue()
    self.file.seek(0)
    self.file.truncate()
    return text

  def rows(self):
    """The screen as lines, from cursor movements and texts alone."""
    cells = [[" "] * self.console.width for _ in range(self.console.height)]
    for part in self.written().split("\x1b[")[1:]:
      at = next(i for i, c in enumerate(part) if c.isalpha())
      if part[at] == "H":
        row, column = [int(n) - 1 for n in (part[:at] or "1;1").split(";")]
      for character in part[at + 1 :]:
        cells[row][column] = character
        column += 1
    return ["".join(row) for row in cells]


CONTROLS = Controls(
  mode="simultaneous",
  prompts=(("slow ballad", 1.0), ("bebop", 0.5)),
  register=(36, 96),
  loudness=-6,
  solo=True,
  chords="| 3/4 Am7 | D7 | G |",
)
SNAPSHOT = Snapshot(
  now_s=10.0,
  notes_player=[(60, 9.0, 10.5)],
  notes_model=[(72, 8.0, 9.5)],
  plan=[(76, 10.5, 11.0)],
  controls=CONTROLS,
  turn="you",
  chord="Am7",
  key="C major",
  beat=BeatState(
    bpm=96.0, beats_per_bar=3, start_ns=0, source="player", confidence=0.83
  ),
  compute_ms_p50=6.4,
  compute_ms_p99=14.2,
  reaction_ms=22.0,
  staleness_s=0.25,
  sounding=5,
  clips=3,
  port_in="Digital Piano",
  port_out="magenta-midi out",
  sound="built-in piano",
  message="learned: channel 1, controller 20",
)
SHOWN = [
  "simultaneous",
  "you",
  "Am7",
  "C major",
  "96 BPM 2/3 yours 0.83",
  "chart bar 3/3 G then Am7",
  "temperature 1.00",
  "register C2-C7",
  "loudness -6",
  "solo",
  "1 slow ballad (1)",
  "2 bebop (0.5)",
  "compute 6/14 ms",
  "reaction 22 ms",
  "plan 0.2 s",
  "sounding  5",
  "clips 3",
  "in Digital Piano",
  "out magenta-midi out",
  "sound built-in piano",
  "learned: channel 1, controller 20",
]


@pytest.mark.parametrize("width", [80, 100, 200])
@pytest.mark.parametrize("colors", [None, "standard", "truecolor"])
def test_all_that_is_known_is_on_the_screen(width, colors):
  screen = Screen(width, colors=colors)
  with screen.display as display:
    screen.written()
    assert display.update(SNAPSHOT)
    rows = screen.rows()
  text = "\n".join(rows)
  assert [word for word in SHOWN if word not in text] == []
  assert rows[0].startswith(" simultaneous")
  assert rows[-1].startswith("  learned")


def test_the_adapter_that_plays_is_shown_where_there_are_some():
  screen = Screen(80)
  at_hand = CONTROLS._replace(adapters=("me:0.6 + her", "me", ""), adapter=1)
  with screen.display as display:
    for number, shown in enumerate(("me:0.6 + her 1/3", "me 2/3"), 1):
      screen.now_s += 1
      controls = at_hand._replace(adapter=number)
      display.update(replace(SNAPSHOT, controls=controls))
      assert f"adapter {shown}" in "\n".join(screen.rows())
    screen.now_s += 1
    display.update(SNAPSHOT)
    assert "adapter" not in "\n".join(screen.rows())


def test_the_screen_is_given_back_even_after_an_exception():
  screen = Screen()
  with pytest.raises(KeyboardInterrupt), screen.display:
    assert "\x1b[?1049h" in screen.written()  # the other screen
    raise KeyboardInterrupt
  ended = screen.written()
  assert "\x1b[?1049l" in ended
  assert "\x1b[?25h" in ended  # the cursor


def test_frames_are_drawn_no_oftener_than_they_may():
  screen = Screen()
  drawn = 0
  with screen.display as display:
    for tick in range(1000):
      screen.now_s = tick / 1000
      assert (
        display.due
        == display.update(Snapshot(now_s=screen.now_s, message=str(tick)))
        or not display.due
      )
      drawn += bool(screen.written())
  assert FRAMES_PER_S - 1 <= drawn <= FRAMES_PER_S + 1
  assert FRAMES_PER_S <= 15


def test_only_what_has_changed_is_written():
  screen = Screen()
  with screen.display as display:
    display.update(SNAPSHOT)
    whole = len(screen.written())
    screen.now_s = 1.0
    assert display.update(SNAPSHOT)
    assert screen.written() == ""
    screen.now_s = 2.0
    display.update(Snapshot(**{**vars(SNAPSHOT), "message": "stop"}))
    assert 0 < len(screen.written()) < whole / 10


def test_a_terminal_of_another_size_is_drawn_anew():
  screen = Screen(100, 30)
  with screen.display as display:
    display.update(SNAPSHOT)
    screen.written()
    screen.now_s = 1.0
    screen.console.size = (60, 8)
    display.update(SNAPSHOT)
    rows = screen.rows()
  assert "Digital Piano" in "".join(rows)
  assert not any("▀" in row or "▄" in row for row in rows)


def test_where_there_is_no_terminal_messages_are_lines():
  screen = Screen(terminal=False)
  with screen.display as display:
    for message in ("ready", "ready", "", "keyboard lost", "[bold]"):
      display.update(Snapshot(message=message))
  assert screen.written() == "ready\nkeyboard lost\n[bold]\n"


def test_help_stands_in_place_of_the_roll():
  screen = Screen(110)
  with screen.display as display:
    screen.written()
    display.update(Snapshot(**{**vars(SNAPSHOT), "help_shown": True}))
    rows = screen.rows()
  text = "\n".join(rows)
  for says in ("hand the turn over", "panic: silence", "this help"):
    assert says in text
  assert rows[0].startswith(" simultaneous")


def test_names_of_any_letters_keep_the_lines_whole():
  screen = Screen(80)
  with screen.display as display:
    screen.written()
    display.update(Snapshot(port_in="بيانو 🎹\n\x1b[2J", port_out="Flügel"))
    row = screen.rows()[-2]
  assert row.startswith(r"  in ????? ?\n\x1b[2J  out Flügel")


@given(st.text(st.characters()), st.integers(0, 40))
@example("\u0378", 10)
def test_any_text_fills_its_line_and_no_more(text, width):
  line = fitted([("in ", Style()), (text, Style()), (" end", Style())], width)
  shown = "".join(cell.text for cell in line)
  assert cell_len(shown) == width
  assert shown.isprintable()


def test_korean_and_chinese_names_are_shown():
  decomposed = unicodedata.normalize("NFD", "피아노")
  (name, rest) = fitted([(f"{decomposed} 鋼琴", Style())], 13)
  assert (name.text, rest.text) == ("피아노 鋼琴", "  ")
  # Half of a letter is none.
  assert [s.text for s in fitted([("피아노", Style()), ("x", Style())], 5)] == [
    "피아",
    " ",
  ]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp949"])
def test_a_terminal_without_a_letter_has_its_place(encoding):
  screen = Screen(80)
  lines = [fitted([("é 피 ▀", Style())], 12)]
  shown = "".join(s.text for line in encodable(lines, encoding) for s in line)
  shown.encode(encoding)
  expected = {
    "ascii": "? ?? ?",
    "cp1252": "é ?? ?",
    "cp949": "? 피 ?",
  }[encoding]
  assert shown == expected + " " * 6
  assert has_blocks(screen.console)
  assert encodable(lines, "utf-8") is lines


def roll(
  now_s=10.0, player=(), model=(), plan=(), width=88, rows=25, color=False
):
  lines = draw_roll(
    player, model, plan, now_s=now_s, width=width, rows=rows, colored=color
  )
  return lines if color else ["".join(s.text for s in line) for line in lines]


def keyboard_row(rows):
  return next(i for i, row in enumerate(rows) if "-" in row)


def test_what_is_played_sinks_and_what_is_planned_falls():
  played = {"player": [(60, 9.9, 9.9)], "plan": [(64, 12.0, 12.0)]}
  seen = []
  for now_s in (10.2, 11.0, 11.8):
    rows = roll(now_s, **played)
    keyboard = keyboard_row(rows)
    (past,) = [i for i, row in enumerate(rows) if row[60 - 21] == "#"]
    (ahead,) = [i for i, row in enumerate(rows) if row[64 - 21] == "."]
    assert ahead < keyboard < past
    seen.append((ahead, past))
  assert sorted(seen) == seen
  assert len(set(seen)) == 3


def test_a_held_key_is_lit_in_its_players_ink():
  rows = roll(player=[(60, 9.0, 11.0)], model=[(72, 9.0, 11.0), (50, 8.0, 9.0)])
  keyboard = rows[keyboard_row(rows)]
  assert (keyboard[60 - 21], keyboard[72 - 21]) == ("#", "o")
  assert keyboard.count("#") + keyboard.count("o") == 2
  colors = {
    cell.style.color.name
    for line in roll(
      player=[(60, 9.0, 11.0)], model=[(72, 9.0, 11.0)], color=True
    )
    for cell in line
    if cell.style.color and cell.text.strip(" ▀▄'") == "" and cell.text.strip()
  }
  assert {PLAYER_COLOR, MODEL_COLOR} <= colors


notes = st.lists(
  st.tuples(st.integers(0, 127), st.floats(0, 30), st.floats(0, 30)).map(
    lambda n: (n[0], min(n[1:]), max(n[1:]))
  ),
  max_size=40,
)


@given(
  st.floats(0, 30),
  notes,
  notes,
  notes,
  st.integers(1, 200),
  st.integers(3, 60),
  st.booleans(),
)
def test_whatever_is_played_the_picture_has_its_size(
  now_s, player, model, plan, width, rows, color
):
  lines = draw_roll(
    player, model, plan, now_s=now_s, width=width, rows=rows, colored=color
  )
  assert [sum(len(s.text) for s in line) for line in lines] == [width] * rows


def test_the_picture_shows_some_seconds_each_way():
  for start_s, shown in (
    (10 + AHEAD_S * 0.9, True),
    (10 + AHEAD_S * 1.2, False),
  ):
    assert ("." in "".join(roll(plan=[(60, start_s, start_s)]))) == shown
  for end_s, shown in ((10 - PAST_S * 0.9, True), (10 - PAST_S * 1.2, False)):
    assert ("#" in "".join(roll(player=[(60, end_s, end_s)]))) == shown
