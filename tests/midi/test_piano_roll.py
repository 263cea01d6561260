import struct
import sys
import tracemalloc

import numpy as np
import pytest

from magenta_midi.midi import Score, piano_roll
from magenta_midi.midi.piano_roll import plot_piano_roll


def scale(n=200, parts=1):
  i = np.arange(n)
  return Score.from_arrays(
    onset_s=i * 0.2,
    duration_s=np.full(n, 0.3),
    key=36 + i * 7 % 48,
    velocity=20 + i % 100,
    part=i % parts,
    pedal=[(t, t % 2 == 0, 0) for t in range(int(n * 0.2))],
  )


def size(path):
  data = path.read_bytes()
  assert data[:8] == b"\x89PNG\r\n\x1a\n"
  return struct.unpack(">II", data[16:24])


@pytest.mark.parametrize(
  ("score", "given_until_s"),
  [
    (scale(), 10.0),
    (scale(), None),
    (scale(parts=3), None),
    (scale(parts=9), 0.0),
    (scale(), 500.0),
    (Score.empty(), None),
    (Score.empty(), 4.0),
  ],
)
def test_every_kind_of_score_gives_a_picture(tmp_path, score, given_until_s):
  path = tmp_path / "a.png"
  plot_piano_roll(score, path, given_until_s=given_until_s, title="A scale")
  width, height = size(path)
  assert 1000 < width < 3000
  assert 500 < height < 1000
  assert list(tmp_path.iterdir()) == [path]


def test_given_and_continuation_have_their_colours(tmp_path):
  from matplotlib.image import imread

  path = tmp_path / "a.png"
  plot_piano_roll(scale(), path, given_until_s=20.0)
  pixels = imread(path)[100:-90, 100:, :3]  # below the legend
  half = pixels.shape[1] // 2
  blue = pixels[..., 2] > pixels[..., 0] + 0.3
  orange = pixels[..., 0] > pixels[..., 2] + 0.3
  assert blue[:, : half - 20].any() and not blue[:, half + 20 :].any()
  assert orange[:, half + 20 :].any() and not orange[:, : half - 80].any()


def test_no_global_state_of_pyplot(tmp_path):
  plot_piano_roll(scale(), tmp_path / "a.png")
  assert "matplotlib.pyplot" not in sys.modules


def test_a_folder_that_is_not_there_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"no/a\.png"):
    plot_piano_roll(scale(), tmp_path / "no" / "a.png")


def test_many_notes_are_painted_as_they_are_drawn(tmp_path, monkeypatch):
  from matplotlib.image import imread

  for name, limit in (("drawn", 10_000), ("painted", 10)):
    monkeypatch.setattr(piano_roll, "_MAX_SHAPES", limit)
    plot_piano_roll(scale(), tmp_path / name, given_until_s=20.0)
  drawn, painted = imread(tmp_path / "drawn"), imread(tmp_path / "painted")
  assert drawn.shape == painted.shape
  # All but the edges, which are white lines between drawn notes.
  assert (np.abs(drawn - painted).max(-1) > 0.1).mean() < 0.05
  blank = np.abs(drawn - 1).max(-1) < 0.01
  assert (np.abs(painted - 1).max(-1) < 0.01)[blank].mean() > 0.97


def test_a_picture_of_ten_hours_needs_no_memory_for_each_note(tmp_path):
  count = 120_000
  i = np.arange(count)
  score = Score.from_arrays(
    onset_s=i * 0.3,
    duration_s=np.full(count, 0.3),
    key=36 + i * 7 % 48,
    velocity=20 + i % 100,
    pedal=[(t, t % 2 == 0, 0) for t in range(50_000)],
  )
  plot_piano_roll(scale(), tmp_path / "first.png")  # what is loaded once
  tracemalloc.start()
  try:
    plot_piano_roll(score, tmp_path / "a.png")
    assert tracemalloc.get_traced_memory()[1] < 80 * 2**20
  finally:
    tracemalloc.stop()
  assert size(tmp_path / "a.png") == (2420, 660)
