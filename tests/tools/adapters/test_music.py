"""tools/adapters/music.py: what is measured, on music whose answer is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magenta_midi.midi.score import Score
from tools.adapters.figures import (
  bootstrap,
  chords,
  passages,
  probe,
  table,
  texture,
)
from tools.music.continuations import Passage


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


def test_what_is_struck_within_50_ms_is_one_voicing():
  assert chords.voicings(notes(*TRIAD)) == [(60, 64, 67)]
  # From the first on: a fast run is not one chord.
  run = notes(*((0.04 * i, 60 + i) for i in range(6)))
  assert chords.voicings(run) == [(60, 61), (62, 63), (64, 65)]
  assert chords.voicings(notes((0.0, 60), (0.06, 64))) == []
  assert chords.voicings(notes()) == []


@settings(deadline=None, max_examples=30)
@given(music, st.integers(0, 500))
def test_voicings_and_figures_do_not_hang_on_when_they_are(rows, steps):
  score = short_notes(rows)
  later = score.shifted(steps / 100)
  assert chords.voicings(later) == chords.voicings(score)
  assert chords.figures(later) == chords.figures(score)


@settings(deadline=None, max_examples=30)
@given(music, st.integers(-12, 12))
def test_figures_are_intervals_and_voicings_are_keys(rows, semitones):
  score = short_notes(rows)
  higher = score.notes.copy()
  higher["key"] += semitones
  moved = Score(notes=higher)
  assert chords.figures(moved) == chords.figures(score)
  assert chords.voicings(moved) == [
    tuple(key + semitones for key in keys) for keys in chords.voicings(score)
  ]


@settings(deadline=None, max_examples=30)
@given(music)
def test_every_note_is_struck_once_and_the_top_is_the_highest(rows):
  score = short_notes(rows)
  struck = chords.chords(score)
  assert np.concatenate(struck).tolist() == list(range(len(score)))
  top = set(chords.top_line(score).tolist())
  key = score.notes["key"]
  assert all(key[n] == key[c].max() for c in struck for n in top & {*c})


def test_the_line_goes_above_what_is_held():
  # A bass note under a held C is not of the line; after it, it is.
  line = notes((0.0, 72), (0.2, 48), (0.4, 74), (1.0, 48))
  assert chords.top_line(line).tolist() == [0, 2, 3]
  assert chords.figures(
    notes((0, 60), (0.5, 62), (1, 64), (1.5, 65), (2, 67))
  ) == [(2, 2, 1), (2, 1, 2)]


def test_what_is_played_twice_is_not_another():
  once = [notes(*TRIAD, (1.0, 62), (1.5, 65)), notes((0.0, 60), (0.0, 63))]
  twice = {"base": once, "adapter": [once[0], once[0]], "both": once}
  found = chords.collapse(twice)["voicings"]
  assert {name: row["distinct"] for name, row in found.items()} == {
    "base": 2,
    "adapter": 1,
    "both": 2,
  }
  assert found["adapter"]["total"] == 2
  assert found["adapter"]["ratio"] == 0.5
  assert found["both"]["ratio_ci95"] == [1, 1]
  assert found["both"]["per_1000_notes"] == pytest.approx(2000 / 7, abs=0.1)


def test_more_of_the_same_kinds_counts_as_more_but_not_at_equal_size():
  few = [notes((0.0, 60), (0.0, 60 + i)) for i in range(1, 9)]
  many = [
    notes((0.0, 60), (0.0, 60 + i), (1.0, 50), (1.0, 50 + i))
    for i in range(1, 9)
  ]
  row = chords.collapse({"base": few, "adapter": many})["voicings"]
  assert row["adapter"]["ratio"] == 2
  assert row["adapter"]["ratio_at_equal"] == 1


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.data())
def test_drawn_kinds_are_as_many_as_draws_tell(counts, data):
  size = data.draw(st.integers(1, sum(counts)))
  expected = chords.at_equal(counts, size)
  assert 1 - 1e-9 <= expected <= min(size, len(counts)) + 1e-9
  assert chords.at_equal(counts, sum(counts)) == pytest.approx(len(counts))
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


def test_calls_are_a_passage_and_its_top_line():
  full = notes(*((t, key) for t in range(10) for key in (48, 55, 72 + t % 3)))
  assert texture.is_chordal(full)
  assert not texture.is_chordal(texture.line_of(full))
  chordal = texture.as_call(passage(full), single=False)
  single = texture.as_call(passage(full), single=True)
  assert len(chordal.history) == 24 and chordal.now_s == single.now_s == 8
  assert single.history.notes["key"].min() == 72
  assert np.array_equal(
    single.history.notes["onset_s"], np.arange(8, dtype=float)
  )
  assert texture.sounding(single.history) == pytest.approx(1)
  assert texture.sounding(chordal.history) == pytest.approx(3)
  assert texture.struck(chordal.history) == 3


@pytest.mark.parametrize("silent", [0, 1])
def test_texture_that_is_locked_ignored_or_in_between(silent):
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
  found = texture.texture(calls, replies)
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


def test_no_reply_is_no_texture():
  calls = {"single": [notes()], "chordal": [notes(*TRIAD)]}
  assert texture.texture(calls, {"base": calls}) == {"passages": 0}


def players(seed, count, apart=6.0):
  """Embeddings of three players, around a centre each, in pieces of 4."""
  rng = np.random.default_rng(seed)
  centers = apart * np.eye(3, 10)
  y = np.repeat(np.arange(3), count)
  x = centers[y] + rng.normal(size=(3 * count, 10))
  return x, y, np.arange(3 * count) // 4


def test_the_probe_tells_players_apart():
  fitted, ridge = probe.train(*players(0, 40))
  assert ridge in probe.RIDGES
  x, y, piece = players(1, 40)
  names = ["a", "b", "c"]
  found = probe.held_accuracy(fitted, x, y, piece, names)
  assert found["accuracy"] > 0.97
  assert found["named"]["b"]["b"] > 0.9
  # Where there is nothing to tell them by, it is chance.
  x, y, piece = players(2, 40, apart=0.0)
  fitted, _ = probe.train(x, y, piece)
  blind = probe.held_accuracy(
    fitted, *players(3, 40, apart=0.0), ["a", "b", "c"]
  )
  low, high = blind["ci95"]
  assert low < 1 / 3 < high and blind["accuracy"] < 0.5


def test_chances_add_up_to_one_but_of_silence_to_none():
  fitted = probe.fit(*players(0, 20)[:2], 0.03)
  x = players(1, 2)[0]
  x[3] = np.nan
  total = fitted.chances(x).sum(axis=1)
  assert total == pytest.approx([1, 1, 1, 0, 1, 1])


def test_players_who_have_played_more_weigh_the_same():
  x, y, _ = players(0, 40, apart=0.0)
  kept = (y != 1) | (np.arange(len(y)) % 8 == 0)
  fitted = probe.fit(x[kept], y[kept], 0.3)
  share = np.bincount(fitted.chances(x).argmax(axis=1), minlength=3) / len(x)
  assert share.min() > 0.2


def test_an_adapter_that_plays_like_its_player_is_named_so():
  fitted, _ = probe.train(*players(0, 40))
  x, y, _ = players(1, 20)
  somebody, own = x[y == 0], x[y == 2]
  names = ["a", "b", "c"]
  found = probe.named(fitted, somebody, own, 2, names)
  assert found["share"]["base"] < 0.1 < 0.9 < found["share"]["with"]
  assert found["share"]["ci95"][0] > 0.8
  assert found["chance"]["difference"] > 0.8
  same = probe.named(fitted, somebody, somebody, 2, names)
  assert same["share"]["difference"] == 0 == same["share"]["ci95"][1]
  silent = probe.named(fitted, somebody, np.full((20, 10), np.nan), 0, names)
  assert silent["share"]["with"] == 0 and silent["with_named"] == {}


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=20))
def test_pairs_cancel_what_both_sides_share(base):
  values = np.array(base)
  found = bootstrap.paired(values, values + 0.25)
  assert found["difference"] == 0.25 and found["ci95"] == [0.25, 0.25]


@given(
  st.lists(st.floats(0, 90), min_size=1, max_size=6),
  st.floats(1, 40),
  st.integers(1, 30),
)
def test_places_are_spread_within_their_pieces(lengths_s, span_s, count):
  found = passages.spread(lengths_s, span_s, count)
  assert len(found) <= count and len(set(found)) == len(found)
  assert found == sorted(found)
  assert all(at >= 0 and at + span_s < lengths_s[i] for i, at in found)
  possible = sum(np.arange(0, s - span_s).size for s in lengths_s)
  assert len(found) == min(count, possible)
  assert not passages.spread(
    lengths_s, span_s, count, lambda piece, at_s: False
  )


def test_places_come_from_every_piece():
  found = passages.spread([60.0] * 5, 30.0, 10)
  assert np.bincount([piece for piece, _ in found]).tolist() == [2] * 5


def test_neutral_music_is_not_the_players(tmp_path):
  scale = notes(*((0.5 * i, 60 + i) for i in range(8)))
  player, other = tmp_path / "Tatum", tmp_path / "other"
  for folder in (player, other):
    folder.mkdir()
  scale.to_file(player / "one.mid")
  (other / "copy.mid").write_bytes((player / "one.mid").read_bytes())
  notes((0, 60), (1, 62)).to_file(other / "Art Tatum live.mid")
  with pytest.raises(passages.UserError, match="no music but the players"):
    passages.neutral_files(other, [player])
  notes((0, 60), (1, 65)).to_file(other / "etude.mid")
  (found,) = passages.neutral_files(other, [player])
  assert found.name == "etude.mid"


def test_the_table_says_what_was_measured():
  x, y, piece = players(0, 8)
  fitted = probe.fit(x, y, 0.03)
  names = ["a", "b", "c"]
  one = notes(*TRIAD, *((1 + i / 2, 60 + i) for i in range(6)))
  music = {"base": [one] * 4, "adapter": [one] * 4, "real": [one] * 4}
  own = probe.named(fitted, x[y == 0], x[y == 1], 1, names)
  found = {
    "probe": {
      "players": names,
      "held": probe.held_accuracy(fitted, x, y, piece, names),
    },
    "players": {
      "b": {
        "probe": {"own": {"adapter": own}},
        "collapse": chords.collapse(music),
        "texture": {"passages": 0},
      }
    },
  }
  said = table.in_words(found)
  rows = [line for line in said.splitlines() if line.startswith("|")]
  assert [row.split("|")[1].strip() for row in rows[2:]] == [
    *("b, base", "b, adapter", "b, real")
  ]
  assert len({row.count("|") for row in rows}) == 1
  assert "100.0% (+100..+100)" in rows[3] and "× 1.00" in rows[3]
