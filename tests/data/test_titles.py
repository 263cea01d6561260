"""Sessions as recordings: the player's part, by its rating, under its ID."""

import numpy as np
import pytest

from magenta_midi.data.recordings import read_recordings, split_recordings
from magenta_midi.data.titles import RATING_WEIGHTS, saved_session
from magenta_midi.live.recording.files import change_facts, write_session
from magenta_midi.live.recording.library import trim_session
from magenta_midi.midi.score import Score


def session(folder, seed, *, rating=None, players=(0, 1), seconds=20.0):
  """A session as `jam` saves it, of drawn notes."""
  rng = np.random.default_rng(seed)
  onset = np.arange(0, seconds, 0.25)
  count = len(onset)
  score = Score.from_arrays(
    onset_s=np.tile(onset, len(players)),
    duration_s=np.full(count * len(players), 0.2),
    key=rng.integers(40, 80, count * len(players)),
    velocity=rng.integers(30, 100, count * len(players)),
    part=np.repeat(players, count),
    part_names=("player", "ai"),
  )
  folder.mkdir(parents=True)
  facts = dict(
    format=1,
    started="2026-11-21T14:03:22+00:00",
    seconds=seconds,
    rating=rating,
    keep=False,
    bookmarks=[],
    tempo=[],
  )
  write_session(folder, score, facts, decisions=[{"what": "reply"}], trace=[])
  return score


def test_ratings_weigh_and_sessions_are_titles(tmp_path):
  for seed, (name, rating) in enumerate(
    [("a", None), ("b", 1), ("c", 2), ("d", 5), ("e", 3)]
  ):
    session(tmp_path / name, seed, rating=rating)
  recordings, refused = read_recordings([tmp_path])
  assert {recording.title: recording.weight for recording in recordings} == {
    "a": 1.0,
    "c": 0.5,
    "d": 2.0,
    "e": 1.0,
  }
  assert refused == [("b/session.mid", "rated 1 of 5")]
  split = split_recordings(recordings)
  assert len(split.train) == len(split.weights) == 3
  by_name = dict(zip(split.train.names, split.weights, strict=True))
  assert all(
    by_name[recording.name] == recording.weight
    for recording in recordings
    if recording.name in by_name
  )
  plain = split_recordings(
    [recording._replace(weight=1.0) for recording in recordings]
  )
  assert plain.digest != split.digest


def test_only_the_players_part_is_learned_from(tmp_path):
  score = session(tmp_path / "both", 1)
  session(tmp_path / "alone", 2, players=(1,))
  (recording,), refused = read_recordings([tmp_path])
  own = score.notes[score.notes["part"] == 0]
  (piece,) = recording.pieces
  assert piece["key"].tolist() == own["key"].tolist()
  assert refused == [
    ("alone/session.mid", "holds nothing but what a model played")
  ]


def test_a_part_of_a_session_is_of_its_title(tmp_path):
  session(tmp_path / "whole", 1, seconds=40.0)
  part = trim_session(tmp_path / "whole", 5.0, 35.0)
  again = trim_session(part, 2.0, 25.0)
  for folder in (part, again):
    assert saved_session(folder / "session.mid").title == "whole"
  recordings, _ = read_recordings([tmp_path])
  assert len(recordings) == 3 and {
    recording.title for recording in recordings
  } == {"whole"}
  assert split_recordings(recordings).by_time


@pytest.mark.parametrize("rating", [1, 2, 3, 4, 5])
def test_a_session_is_rated_later(tmp_path, rating):
  session(tmp_path / "x", 1)
  file = tmp_path / "x" / "session.mid"
  assert saved_session(file) == ("x", None)
  change_facts(tmp_path / "x", rating=rating)
  found = saved_session(file)
  assert found == ("x", rating) and found.weight == RATING_WEIGHTS[rating]
  assert list(RATING_WEIGHTS.values()) == sorted(RATING_WEIGHTS.values())


@pytest.mark.parametrize("facts", [b"", b"[1]", b'{"rating": "good"}', b"\xff"])
def test_damaged_facts_say_nothing(tmp_path, facts):
  session(tmp_path / "x", 1, rating=4)
  (tmp_path / "x" / "session.json").write_bytes(facts)
  assert saved_session(tmp_path / "x" / "session.mid") == ("x", None)
  assert saved_session(tmp_path / "y" / "session.mid") is None
  (tmp_path / "x" / "session.json").unlink()
  assert saved_session(tmp_path / "x" / "session.mid") is None
