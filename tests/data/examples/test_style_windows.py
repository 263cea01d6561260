"""The window a style is taken from: what self plays from *now* on, alone."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from magenta_midi.data.corpus import pack_scores
from magenta_midi.data.examples.examples import EXAMPLE_DTYPE, cut_examples
from magenta_midi.data.examples.partners import MODES
from magenta_midi.data.examples.style_windows import (
  style_frames,
  style_scores,
  style_windows,
)
from magenta_midi.midi.score import Score
from magenta_midi.tokens.note.codec import PEDAL_DOWN, NoteCodec

CODEC = NoteCodec()
SLICES = [CODEC.vocabulary.level_slice(level) for level in range(4)]


@st.composite
def pieces(draw):
  """Arguments of a score of 20 s on the 10 ms grid; its first note is at 0."""
  onset = draw(
    st.lists(st.integers(0, 2000), min_size=1, max_size=60).map(sorted)
  )
  count = len(onset)

  def each(low, high):
    return np.array(
      draw(st.lists(st.integers(low, high), min_size=count, max_size=count))
    )

  pedal = draw(st.lists(st.integers(0, 2000), max_size=8, unique=True))
  return dict(
    onset_s=(np.array(onset) - onset[0]) / 100,
    duration_s=each(1, 300) / 100,
    key=each(30, 90),
    velocity=each(1, 127),
    pedal=[
      (time / 100, place % 2 == 0) for place, time in enumerate(sorted(pedal))
    ],
  )


def example(now_ms, **fields):
  rows = np.zeros(1, EXAMPLE_DTYPE)
  values = dict(tempo=1.0, velocity_gain=1.0, context_steps=1000)
  for name, value in (values | dict(now_ms=now_ms) | fields).items():
    rows[name] = value
  return rows


@settings(max_examples=60)
@given(
  pieces(),
  st.integers(0, 1500),
  st.sampled_from(MODES),
  st.integers(0, 2),
  st.sampled_from([0.9, 1.0, 1.1]),
  st.integers(-5, 6),
)
def test_frames_are_those_of_the_score(
  notes, now_step, mode, pedal, tempo, transpose
):
  corpus = pack_scores([("piece", Score.from_arrays(**notes))])
  row = example(
    now_step * 10,
    mode=MODES.index(mode),
    pedal=pedal,
    tempo=tempo,
    transpose=transpose,
  )
  (window,) = style_scores([corpus], row)
  assert window.end_s < 10 + 10
  frames = style_frames(CODEC, [corpus], row, 256)
  expected = CODEC.encode_context(window, 10.0)
  used = frames.ids[0, :, 0] > 0
  assert used.sum() == len(expected.step)
  np.testing.assert_array_equal(frames.time[0, used], expected.step)
  np.testing.assert_array_equal(
    frames.ids[0, used], CODEC.vocabulary.to_ids(expected.codes)
  )
  assert not frames.part.any()


@pytest.mark.parametrize("mode", ["solo", "tracks", "hands"])
@pytest.mark.parametrize("swapped", [False, True])
def test_it_is_the_music_of_the_targets(mode, swapped):
  random = np.random.default_rng(0)
  onset = np.arange(0, 20, 0.15)
  score = Score.from_arrays(
    onset_s=np.repeat(onset, 2),
    duration_s=np.full(2 * len(onset), 0.1),
    key=np.stack(
      [random.integers(36, 50, len(onset)), random.integers(66, 80, len(onset))]
    ).T.ravel(),
    velocity=random.integers(30, 90, 2 * len(onset)),
    part=np.tile([0, 1], len(onset)),
    part_names=("left", "melody"),
    pedal=[(0.5, True), (6.0, False)],
  )
  corpus = pack_scores([("piece", score)])
  row = example(
    5000,
    mode=MODES.index(mode),
    swapped=swapped,
    tempo=1.05,
    transpose=3,
    velocity_gain=1.1,
    velocity_shift=-4,
  )
  batch, _ = cut_examples(
    CODEC,
    [corpus],
    row,
    context_frames=256,
    target_frames=192,
    target_steps=400,
    other_part=False,
  )
  (window,) = style_scores([corpus], row)
  stream = batch.input_ids[0, 1:][batch.input_ids[0, 1:, 0] > 0]
  stream = stream - [part.start for part in SLICES]
  notes = stream[stream[:, 1] < PEDAL_DOWN]
  assert len(notes) > 20
  first = window.notes[window.notes["onset_s"] < 3.995]
  np.testing.assert_array_equal(first["key"], notes[:, 1])
  np.testing.assert_array_equal(
    CODEC.config.velocity_to_code(first["velocity"]), notes[:, 2]
  )


def test_in_turns_it_is_the_music_of_both():
  onset = np.arange(0, 40, 0.25)
  score = Score.from_arrays(
    onset_s=onset,
    duration_s=np.full(len(onset), 0.2),
    key=np.full(len(onset), 60),
    velocity=np.full(len(onset), 60),
  )
  corpus = pack_scores([("piece", score)])
  row = example(10_000, mode=MODES.index("turns"), turns=7)
  (window,) = style_scores([corpus], row)
  assert len(window) == 40


def test_what_began_before_is_left_out_but_for_the_pedal():
  score = Score.from_arrays(
    onset_s=[0.0, 1.0, 2.5, 13.0],
    duration_s=[9.0, 0.5, 0.5, 0.5],
    key=[40, 60, 62, 64],
    velocity=[50, 50, 50, 50],
    pedal=[(0.5, True), (3.0, False)],
  )
  corpus = pack_scores([("piece", score)])
  (window,) = style_scores([corpus], example(2000))
  assert window.notes["key"].tolist() == [62]
  assert window.notes["onset_s"].tolist() == [0.5]
  assert window.pedals["time_s"].tolist() == [0.0, 1.0]
  assert window.pedals["down"].tolist() == [True, False]


def test_the_end_of_a_piece_has_no_music():
  score = Score.from_arrays(
    onset_s=[0.0], duration_s=[1.0], key=[40], velocity=[50]
  )
  corpus = pack_scores([("piece", score)])
  windows = style_windows(CODEC, [corpus], example(500))
  assert len(windows.score(0)) == 0
  assert not windows.frames(64).ids.any()


def test_measures_are_those_of_the_first_seconds():
  score = Score.from_arrays(
    onset_s=[0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 6.0],
    duration_s=[0.4] * 7,
    key=[50, 52, 54, 56, 58, 60, 100],
    velocity=[40, 50, 60, 70, 80, 90, 120],
    pedal=[(1.0, True), (2.0, False), (3.0, True), (5.0, False)],
  )
  corpus = pack_scores([("piece", score)])
  windows = style_windows(CODEC, [corpus], example(0))
  measures = windows.measures(4.0)
  assert windows.notes().tolist() == [7]
  assert measures.density[0] == pytest.approx(6 / 4)
  assert measures.loudness[0] == pytest.approx(65)
  assert measures.pedal[0] == pytest.approx(2 / 4)
  assert measures.center[0] == pytest.approx(55)
  assert measures.width[0] == pytest.approx(10)
  # The pedal that is down already counts from the start.
  held = style_windows(CODEC, [corpus], example(1500)).measures(1.0)
  assert held.pedal[0] == pytest.approx(0.5)
  assert np.isnan(held.width[0])


def test_silence_is_a_density_only_where_music_follows():
  score = Score.from_arrays(
    onset_s=[0.0, 5.0], duration_s=[4.9, 1.0], key=[60, 60], velocity=[50, 50]
  )
  corpus = pack_scores([("piece", score)])
  rows = np.concatenate([example(500), example(5500)])
  measures = style_windows(CODEC, [corpus], rows).measures(4.0)
  assert measures.density[0] == 0
  assert np.isnan(measures.density[1])
  for other in measures[1:]:
    assert np.isnan(other).all()


@settings(max_examples=40)
@given(pieces(), st.integers(0, 1500))
def test_the_pedals_share_is_the_scores(notes, now_step):
  corpus = pack_scores([("piece", Score.from_arrays(**notes))])
  windows = style_windows(CODEC, [corpus], example(now_step * 10))
  (window,) = windows.scores()
  found = windows.measures(4.0).pedal[0]
  if np.isnan(found):
    return
  length = np.clip(
    (window.notes["onset_s"] + window.notes["duration_s"]).max(), 1.0, 4.0
  )
  time = np.append(window.pedals["time_s"], length).clip(0, length)
  expected = np.diff(time)[window.pedals["down"]].sum() / length
  assert found == pytest.approx(expected, abs=1e-6)
