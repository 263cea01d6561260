"""tools/adapter_music.py: what is measured, on music whose answer is known."""

import importlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magenta_midi.midi.score import Score
from magenta_midi.train.continuations import Passage

TOOLS = Path(__file__).resolve().parents[2] / "tools"
PARTS = ("bootstrap", "chords", "passages", "probe", "table", "texture")


@pytest.fixture(scope="module")
def tool():
  """The parts of the tool, as attributes of one thing."""
  patch = pytest.MonkeyPatch()
  patch.syspath_prepend(TOOLS)
  found = {
    name: importlib.import_module(f"adapter_figures.{name}") for name in PARTS
  }
  yield type("Tool", (), found)
  patch.undo()


def notes(*rows, held_s=0.3):
  """Rows of (onset in seconds, key)."""
  onset_s = [float(row[0]) for row in rows]
  return Score.from_arrays(
    onset_s=onset_s,
    duration_s=np.full(len(rows), held_s),
    key=[row[1] for row in rows],
    velocity=np.full(len(rows), 70),
  )


TRIAD = [(0.0, 60), (0.03, 64), (0.05, 67)]


# Steps of 10 ms and keys; scores are built in the tests, as the type checker
# draws numbers.
music = st.lists(
  st.tuples(st.integers(0, 800), st.integers(40, 90)),
  min_size=1,
  max_size=30,
  unique=True,
)


def short_notes(rows):
  return notes(*((step / 100, key) for step, key in rows), held_s=0.01)


def test_what_is_struck_within_50_ms_is_one_voicing(tool):
  assert tool.chords.voicings(notes(*TRIAD)) == [(60, 64, 67)]
  # From the first on: a fast run is not one chord.
  run = notes(*((0.04 * i, 60 + i) for i in range(6)))
  assert tool.chords.voicings(run) == [(60, 61), (62, 63), (64, 65)]
  assert tool.chords.voicings(notes((0.0, 60), (0.06, 64))) == []
  assert tool.chords.voicings(notes()) == []


@settings(deadline=None, max_examples=30)
@given(music, st.integers(0, 500))
def test_voicings_and_figures_do_not_hang_on_when_they_are(tool, rows, steps):
  score = short_notes(rows)
  later = score.shifted(steps / 100)
  assert tool.chords.voicings(later) == tool.chords.voicings(score)
  assert tool.chords.figures(later) == tool.chords.figures(score)


@settings(deadline=None, max_examples=30)
@given(music, st.integers(-12, 12))
def test_figures_are_intervals_and_voicings_are_keys(tool, rows, semitones):
  score = short_notes(rows)
  higher = score.notes.copy()
  higher["key"] += semitones
  moved = Score(notes=higher)
  assert tool.chords.figures(moved) == tool.chords.figures(score)
  assert tool.chords.voicings(moved) == [
    tuple(key + semitones for key in keys)
    for keys in tool.chords.voicings(score)
  ]


@settings(deadline=None, max_examples=30)
@given(music)
def test_every_note_is_struck_once_and_the_top_is_the_highest(tool, rows):
  score = short_notes(rows)
  chords = tool.chords.chords(score)
  assert np.concatenate(chords).tolist() == list(range(len(score)))
  top = set(tool.chords.top_line(score).tolist())
  key = score.notes["key"]
  assert all(key[n] == key[c].max() for c in chords for n in top & {*c})


def test_the_line_goes_above_what_is_held(tool):
  # A bass note under a held C is not of the line; after it, it is.
  line = notes((0.0, 72), (0.2, 48), (0.4, 74), (1.0, 48))
  assert tool.chords.top_line(line).tolist() == [0, 2, 3]
  assert tool.chords.figures(
    notes((0, 60), (0.5, 62), (1, 64), (1.5, 65), (2, 67))
  ) == [(2, 2, 1), (2, 1, 2)]


def test_what_is_played_twice_is_not_another(tool):
  once = [notes(*TRIAD, (1.0, 62), (1.5, 65)), notes((0.0, 60), (0.0, 63))]
  twice = {"base": once, "adapter": [once[0], once[0]], "both": once}
  found = tool.chords.collapse(twice)["voicings"]
  assert {name: row["distinct"] for name, row in found.items()} == {
    "base": 2,
    "adapter": 1,
    "both": 2,
  }
  assert found["adapter"]["total"] == 2
  assert found["adapter"]["ratio"] == 0.5
  assert found["both"]["ratio_ci95"] == [1, 1]
  assert found["both"]["per_1000_notes"] == pytest.approx(2000 / 7, abs=0.1)


def test_more_of_the_same_kinds_counts_as_more_but_not_at_equal_size(tool):
  few = [notes((0.0, 60), (0.0, 60 + i)) for i in range(1, 9)]
  many = [
    notes((0.0, 60), (0.0, 60 + i), (1.0, 50), (1.0, 50 + i))
    for i in range(1, 9)
  ]
  row = tool.chords.collapse({"base": few, "adapter": many})["voicings"]
  assert row["adapter"]["ratio"] == 2
  assert row["adapter"]["ratio_at_equal"] == 1


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.data())
def test_drawn_kinds_are_as_many_as_draws_tell(tool, counts, data):
  size = data.draw(st.integers(1, sum(counts)))
  expected = tool.chords.at_equal(counts, size)
  assert 1 - 1e-9 <= expected <= min(size, len(counts)) + 1e-9
  assert tool.chords.at_equal(counts, sum(counts)) == pytest.approx(len(counts))
  kinds = np.repeat(np.arange(len(counts)), counts)
  rng = np.random.default_rng(0)
  drawn = [len(set(rng.permutation(kinds)[:size].tolist())) for _ in range(200)]
  assert np.mean(drawn) == pytest.approx(expected, abs=0.45)


def passage(history, now_s=10.0):
  return Passage(
    piece=0,
    title="",
    at_s=now_s,
    seconds=8.0,
    history=history,
    now_s=now_s,
    real=history,
  )


def test_calls_are_a_passage_and_its_top_line(tool):
  full = notes(*((t, key) for t in range(10) for key in (48, 55, 72 + t % 3)))
  assert tool.texture.is_chordal(full)
  assert not tool.texture.is_chordal(tool.texture.line_of(full))
  chordal = tool.texture.as_call(passage(full), single=False)
  single = tool.texture.as_call(passage(full), single=True)
  assert len(chordal.history) == 24 and chordal.now_s == single.now_s == 8
  assert single.history.notes["key"].min() == 72
  assert np.array_equal(
    single.history.notes["onset_s"], np.arange(8, dtype=float)
  )
  assert tool.texture.sounding(single.history) == pytest.approx(1)
  assert tool.texture.sounding(chordal.history) == pytest.approx(3)
  assert tool.texture.struck(chordal.history) == 3


@pytest.mark.parametrize("silent", [0, 1])
def test_texture_that_is_locked_ignored_or_in_between(tool, silent):
  line = [notes(*((t, 60 + i) for t in range(8))) for i in range(6)]
  chord = [
    notes(*((t, 60 + i + k) for t in range(8) for k in (0, 4, 7)))
    for i in range(6)
  ]
  calls = {"single": line, "chordal": chord}
  half = [one if i % 2 else line[i] for i, one in enumerate(chord)]
  replies = {
    "locked": calls,
    "deaf": {"single": chord, "chordal": chord},
    "half": {"single": line, "chordal": half},
  }
  if silent:
    # Left out for all of them.
    replies["deaf"]["single"] = [notes(), notes((0, 60)), *chord[2:]]
  found = tool.texture.texture(calls, replies)
  assert found["passages"] == 6 - 2 * silent
  for measure in ("sounding", "struck"):
    row = found[measure]
    assert row["calls"] == {"single": 1, "chordal": 3, "difference": 2}
    assert row["locked"]["followed"] == 1
    assert row["locked"]["followed_ci95"] == [1, 1]
    assert row["deaf"]["followed"] == 0
    assert row["deaf"]["followed_more"] == -1
    assert row["half"]["followed"] == pytest.approx(0.5)
    low, high = row["half"]["followed_ci95"]
    assert low < 0.5 < high


def test_no_reply_is_no_texture(tool):
  calls = {"single": [notes()], "chordal": [notes(*TRIAD)]}
  assert tool.texture.texture(calls, {"base": calls}) == {"passages": 0}


def players(seed, count, apart=6.0):
  """Embeddings of three players, around a centre each, in pieces of 4."""
  rng = np.random.default_rng(seed)
  centres = apart * np.eye(3, 10)
  y = np.repeat(np.arange(3), count)
  x = centres[y] + rng.normal(size=(3 * count, 10))
  return x, y, np.arange(3 * count) // 4


def test_the_probe_tells_players_apart(tool):
  probe, ridge = tool.probe.train(*players(0, 40))
  assert ridge in tool.probe.RIDGES
  x, y, piece = players(1, 40)
  names = ["a", "b", "c"]
  found = tool.probe.held_accuracy(probe, x, y, piece, names)
  assert found["accuracy"] > 0.97
  assert found["named"]["b"]["b"] > 0.9
  # Where there is nothing to tell them by, it is chance.
  x, y, piece = players(2, 40, apart=0.0)
  probe, _ = tool.probe.train(x, y, piece)
  blind = tool.probe.held_accuracy(
    probe, *players(3, 40, apart=0.0), ["a", "b", "c"]
  )
  low, high = blind["ci95"]
  assert low < 1 / 3 < high and blind["accuracy"] < 0.5


def test_chances_add_up_to_one_but_of_silence_to_none(tool):
  probe = tool.probe.fit(*players(0, 20)[:2], 0.03)
  x = players(1, 2)[0]
  x[3] = np.nan
  total = probe.chances(x).sum(axis=1)
  assert total == pytest.approx([1, 1, 1, 0, 1, 1])


def test_players_who_have_played_more_weigh_the_same(tool):
  x, y, _ = players(0, 40, apart=0.0)
  kept = (y != 1) | (np.arange(len(y)) % 8 == 0)
  probe = tool.probe.fit(x[kept], y[kept], 0.3)
  share = np.bincount(probe.chances(x).argmax(axis=1), minlength=3) / len(x)
  assert share.min() > 0.2


def test_an_adapter_that_plays_like_its_player_is_named_so(tool):
  probe, _ = tool.probe.train(*players(0, 40))
  x, y, _ = players(1, 20)
  somebody, own = x[y == 0], x[y == 2]
  names = ["a", "b", "c"]
  found = tool.probe.named(probe, somebody, own, 2, names)
  assert found["share"]["base"] < 0.1 < 0.9 < found["share"]["with"]
  assert found["share"]["ci95"][0] > 0.8
  assert found["chance"]["difference"] > 0.8
  same = tool.probe.named(probe, somebody, somebody, 2, names)
  assert same["share"]["difference"] == 0 == same["share"]["ci95"][1]
  silent = tool.probe.named(
    probe, somebody, np.full((20, 10), np.nan), 0, names
  )
  assert silent["share"]["with"] == 0 and silent["with_named"] == {}


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=20))
def test_pairs_cancel_what_both_sides_share(tool, base):
  values = np.array(base)
  found = tool.bootstrap.paired(values, values + 0.25)
  assert found["difference"] == 0.25 and found["ci95"] == [0.25, 0.25]


@given(
  st.lists(st.floats(0, 90), min_size=1, max_size=6),
  st.floats(1, 40),
  st.integers(1, 30),
)
def test_places_are_spread_within_their_pieces(tool, lengths_s, span_s, count):
  found = tool.passages.spread(lengths_s, span_s, count)
  assert len(found) <= count and len(set(found)) == len(found)
  assert found == sorted(found)
  assert all(at >= 0 and at + span_s < lengths_s[i] for i, at in found)
  possible = sum(np.arange(0, s - span_s).size for s in lengths_s)
  assert len(found) == min(count, possible)
  assert not tool.passages.spread(
    lengths_s, span_s, count, lambda piece, at_s: False
  )


def test_places_come_from_every_piece(tool):
  found = tool.passages.spread([60.0] * 5, 30.0, 10)
  assert np.bincount([piece for piece, _ in found]).tolist() == [2] * 5


def test_neutral_music_is_not_the_players(tool, tmp_path):
  scale = notes(*((0.5 * i, 60 + i) for i in range(8)))
  player, other = tmp_path / "Tatum", tmp_path / "other"
  for folder in (player, other):
    folder.mkdir()
  scale.to_file(player / "one.mid")
  (other / "copy.mid").write_bytes((player / "one.mid").read_bytes())
  notes((0, 60), (1, 62)).to_file(other / "Art Tatum live.mid")
  with pytest.raises(tool.passages.UserError, match="no music but the players"):
    tool.passages.neutral_files(other, [player])
  notes((0, 60), (1, 65)).to_file(other / "etude.mid")
  (found,) = tool.passages.neutral_files(other, [player])
  assert found.name == "etude.mid"


def test_the_table_says_what_was_measured(tool):
  x, y, piece = players(0, 8)
  probe = tool.probe.fit(x, y, 0.03)
  names = ["a", "b", "c"]
  one = notes(*TRIAD, *((1 + i / 2, 60 + i) for i in range(6)))
  music = {"base": [one] * 4, "adapter": [one] * 4, "real": [one] * 4}
  own = tool.probe.named(probe, x[y == 0], x[y == 1], 1, names)
  found = {
    "probe": {
      "players": names,
      "held": tool.probe.held_accuracy(probe, x, y, piece, names),
    },
    "players": {
      "b": {
        "probe": {"own": {"adapter": own}},
        "collapse": tool.chords.collapse(music),
        "texture": {"passages": 0},
      }
    },
  }
  said = tool.table.in_words(found)
  rows = [line for line in said.splitlines() if line.startswith("|")]
  assert [row.split("|")[1].strip() for row in rows[2:]] == [
    *("b, base", "b, adapter", "b, real")
  ]
  assert len({row.count("|") for row in rows}) == 1
  assert "100.0% (+100..+100)" in rows[3] and "× 1.00" in rows[3]
