"""The fast transcriber on sound whose notes are known."""

import numpy as np
import pytest

from magenta_midi.audio.piano import SAMPLE_RATE, synthesize
from magenta_midi.midi.score import Score
from magenta_midi.transcribe.installed_file import MissingModelError

soxr = pytest.importorskip("soxr")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def transcriber():
  from magenta_midi.transcribe.basic_pitch import BasicPitch

  try:
    return BasicPitch()
  except MissingModelError as error:
    pytest.skip(str(error))


def sound_of(score, rate):
  mix = synthesize(score)
  return soxr.resample(mix, SAMPLE_RATE, rate)


def played(seconds, gap_s=1.37):
  onset_s = np.arange(0.5, seconds, gap_s)
  count = len(onset_s)
  return Score.from_arrays(
    onset_s=onset_s,
    duration_s=np.full(count, 0.6),
    key=np.resize([60, 67, 52, 72, 64], count),
    velocity=np.resize([40, 90, 70], count),
  )


def found_in(transcriber, score):
  samples = sound_of(score, transcriber.rate_hz)
  return transcriber.transcribe([samples])


def test_notes_are_found_and_the_clock_does_not_drift(transcriber):
  score = played(60)
  found = found_in(transcriber, score)
  late_s = []
  for note in score.notes:
    near = found.notes[
      (found.notes["key"] == note["key"])
      & (np.abs(found.notes["onset_s"] - note["onset_s"]) < 0.05)
    ]
    assert len(near) <= 1
    late_s += [float(one["onset_s"] - note["onset_s"]) for one in near]
  assert len(late_s) >= 0.9 * len(score)
  # Octaves of the built-in piano's notes are taken for notes too.
  assert len(found) <= 2 * len(score)
  assert np.abs(late_s).max() < 0.03
  # Windows of 1.6 s with an error of one sample each would add up.
  half = len(late_s) // 2
  assert abs(np.median(late_s[:half]) - np.median(late_s[half:])) < 0.004


def test_louder_notes_have_higher_velocities(transcriber):
  score = played(30)
  found = found_in(transcriber, score)
  velocity = {soft: [] for soft in (40, 70, 90)}
  for note in score.notes:
    near = found.notes[
      (found.notes["key"] == note["key"])
      & (np.abs(found.notes["onset_s"] - note["onset_s"]) < 0.05)
    ]
    velocity[int(note["velocity"])] += near["velocity"].tolist()
  means = [np.mean(velocity[soft]) for soft in (40, 70, 90)]
  assert means == sorted(means)
  assert means[2] - means[0] > 15


def test_blocks_and_channels_have_no_effect(transcriber):
  samples = sound_of(played(8), transcriber.rate_hz).mean(1, keepdims=True)
  whole = transcriber.transcribe([samples])
  blocks = np.array_split(np.repeat(samples, 2, axis=1), 37)
  parts = transcriber.transcribe(blocks)
  assert len(whole) > 3
  for name in ("onset_s", "key", "velocity"):
    np.testing.assert_allclose(whole.notes[name], parts.notes[name], atol=1e-3)


def test_silence_and_nothing_hold_no_notes(transcriber):
  assert not len(transcriber.transcribe([]))
  assert not len(transcriber.transcribe([np.zeros((100_000, 2), np.float32)]))


def test_progress_comes_to_the_end(transcriber):
  seen = []
  transcriber.transcribe([np.zeros((110_250, 1), np.float32)], seen.append)
  assert seen == sorted(seen)
  assert 4.9 < seen[-1] < 7
