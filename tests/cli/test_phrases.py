import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from magenta_midi.cli.phrases import DEFAULT, PHRASES, phrase_path
from magenta_midi.midi.score import Score
from tools.assets import make_phrases as writer


@pytest.fixture(scope="module")
def make_phrases():
  return writer


def table_of(make_phrases, name):
  return (make_phrases.TABLES / f"{name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
  ("name", "count"), [("prelude", 96), ("elise", 80), ("gymnopedie", 41)]
)
def test_a_phrase_is_played_as_a_person_would(name, count):
  score = Score.from_file(phrase_path(name))
  assert len(score) == count
  assert score.part_names is not None
  assert np.unique(score.notes["part"]).size == 1
  assert 15 < score.end_s < 21
  assert score.notes["onset_s"][0] < 0.05
  assert len(score.pedals) >= 16
  assert np.unique(score.notes["velocity"]).size > 10
  assert score.notes["velocity"].max() < 80
  # Not on a grid: the steps between onsets are of many lengths.
  steps_ms = np.rint(np.diff(np.unique(score.notes["onset_s"])) * 1000)
  assert np.unique(steps_ms).size > 0.3 * steps_ms.size


def test_the_notes_are_the_composers():
  keys = Score.from_file(phrase_path("prelude")).notes["key"].reshape(12, 8)
  np.testing.assert_array_equal(keys[0], [60, 64, 67, 72, 76, 67, 72, 76])
  np.testing.assert_array_equal(keys[::2], keys[1::2])
  assert sorted(set(keys[10])) == [60, 62, 66, 69, 74]


@pytest.mark.parametrize("name", PHRASES)
def test_making_it_again_gives_the_bundled_file(make_phrases, name, tmp_path):
  path = tmp_path / "again.mid"
  make_phrases.read_table(table_of(make_phrases, name)).to_file(path)
  again, bundled = Score.from_file(path), Score.from_file(phrase_path(name))
  np.testing.assert_array_equal(again.notes, bundled.notes)
  np.testing.assert_array_equal(again.pedals, bundled.pedals)
  # If the writer has changed, run: python -m tools.assets.make_phrases
  assert path.read_bytes() == phrase_path(name).read_bytes()


def test_a_table_line_that_is_not_understood_is_quoted(make_phrases):
  with pytest.raises(ValueError, match="got 'H4:50' in the line '0 /1 H4:50'"):
    make_phrases.read_table("tempo 0 60\n0 /1 H4:50\n")


def test_a_table_is_played_along_its_tempo(make_phrases):
  score = make_phrases.read_table(
    "overlap 0.5\ntempo 0 60 4 120\npedal 0-1\n0 /1 C4:10+5 F#4:20 A0:2:30-20\n"
  )
  assert score.notes["key"].tolist() == [60, 66, 21]
  assert score.notes["velocity"].tolist() == [10, 20, 30]
  # A straight line in tempo is a logarithm in time: 240/60 ln((60+15b)/60).
  expected_s = [0.005, 4 * np.log(75 / 60), 4 * np.log(90 / 60) - 0.02]
  expected_s = np.array(expected_s) - 0.005
  np.testing.assert_allclose(score.notes["onset_s"], expected_s, atol=1e-3)
  assert score.pedals["down"].tolist() == [True, False]


def test_an_unknown_phrase_names_the_known_ones():
  with pytest.raises(ValueError, match="prelude, elise, gymnopedie, got 'x'"):
    phrase_path("x")


def test_the_module_prints_the_default_path():
  done = subprocess.run(
    [sys.executable, "-m", "magenta_midi.cli.phrases"],
    capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
  )  # fmt: skip
  assert done.stdout.strip() == str(phrase_path(DEFAULT))
