"""Training crops equal what the codec makes of the same music at *now*."""

import dataclasses

import hypothesis.strategies as st
import numpy as np
from hypothesis import assume, given, settings

from magenta_midi.data.corpus import pack_scores
from magenta_midi.data.examples.examples import (
  EXAMPLE_DTYPE,
  NO_AUGMENTATION,
  cut_examples,
  draw_examples,
  frame_counts,
)
from magenta_midi.midi.score import Score
from magenta_midi.tokens.event.codec import EventCodec
from magenta_midi.tokens.note.codec import NoteCodec
from magenta_midi.tokens.vocabulary import NONE

CODEC = NoteCodec()
EVENT = EventCodec()


@st.composite
def notes(draw):
  """Arguments of a score on the millisecond whose first note is at 0."""
  count = draw(st.integers(1, 60))
  gaps = draw(
    st.lists(
      st.sampled_from([0, 0, 3, 5, 7, 10, 40, 125, 500, 1900]),
      min_size=count,
      max_size=count,
    )
  )
  onset = np.cumsum([0, *gaps[1:]]) / 1000
  key = draw(st.lists(st.integers(20, 100), min_size=count, max_size=count))
  duration = draw(
    st.lists(st.integers(1, 12_000), min_size=count, max_size=count)
  )
  velocity = draw(st.lists(st.integers(1, 127), min_size=count, max_size=count))
  pedal_times = draw(
    st.lists(st.integers(0, 20_000), max_size=12, unique=True).map(sorted)
  )
  pedal = [(t / 1000, i % 2 == 0, 0) for i, t in enumerate(pedal_times)]
  return dict(
    onset_s=onset,
    duration_s=np.array(duration) / 1000,
    key=np.array(key),
    velocity=np.array(velocity),
    pedal=pedal,
  )


def example(now_ms: int, context_steps: int = 1000) -> np.ndarray:
  rows = np.zeros(1, EXAMPLE_DTYPE)
  rows["now_ms"] = now_ms
  rows["tempo"] = 1.0
  rows["velocity_gain"] = 1.0
  rows["context_steps"] = context_steps
  return rows


@settings(max_examples=100)
@given(notes(), st.integers(0, 2500), st.sampled_from([0, 1, 130, 1000]))
def test_crops_equal_the_codecs(notes, now_step, context_steps):
  score = Score.from_arrays(**notes)
  corpus = pack_scores([("piece", score)])
  now_s = now_step / 100
  batch, capped = cut_examples(
    CODEC,
    [corpus],
    example(now_step * 10, context_steps),
    context_frames=256,
    target_frames=192,
    target_steps=400,
  )
  assert not capped[0]
  context = CODEC.encode_context(
    score, now_s, context_s=context_steps / 100, max_frames=256
  )
  count = len(context.step)
  to_ids = CODEC.vocabulary.to_ids
  # Packing shortens silences over 3 s: compare pieces that have none.
  last_s = max(score.notes["onset_s"][-1], *score.pedals["time_s"], 0.0)
  assume(corpus.lengths_ms[0] == round(1000 * last_s))
  ids, expected = batch.context_ids[0, :count], to_ids(context.codes)
  np.testing.assert_array_equal(ids[:, :3], expected[:, :3])
  # What remains of a note is a difference of floats: an edge may fall so or
  # so.
  assert (np.abs(ids[:, 3] - expected[:, 3]) <= 1).all()
  np.testing.assert_array_equal(batch.context_time[0, :count], context.step)
  assert not batch.context_ids[0, count:].any()

  own = CODEC.encode_targets(score, now_s, seconds=4.0)
  events = len(own.step)
  np.testing.assert_array_equal(batch.targets[0, :events], to_ids(own.codes))
  np.testing.assert_array_equal(batch.weights[0, :events], own.codes >= 0)
  assert batch.targets[0, events, 0] == to_ids(CODEC.end_frame())[0]
  assert (batch.targets[0, events, 1:] == NONE).all()
  assert batch.weights[0, events].tolist() == [True, False, False, False]
  assert not batch.weights[0, events + 1 :].any()
  # The decoder hears the start, then each own event.
  assert not batch.input_ids[0, 0].any()
  np.testing.assert_array_equal(
    batch.input_ids[0, 1 : events + 1], to_ids(own.codes)
  )
  np.testing.assert_array_equal(batch.input_time[0, 1 : events + 1], own.step)
  counts = frame_counts(
    CODEC, [corpus], example(now_step * 10, context_steps), 400
  )
  assert [int(c[0]) for c in counts] == [count, events]


@settings(max_examples=100)
@given(notes(), st.integers(0, 2500), st.sampled_from([0, 1, 130, 1000]))
def test_crops_equal_those_of_event(notes, now_step, context_steps):
  score = Score.from_arrays(**notes)
  corpus = pack_scores([("piece", score)])
  last_s = max(score.notes["onset_s"][-1], *score.pedals["time_s"], 0.0)
  assume(corpus.lengths_ms[0] == round(1000 * last_s))
  now_s = now_step / 100
  crop = example(now_step * 10, context_steps)
  batch, capped = cut_examples(
    EVENT,
    [corpus],
    crop,
    context_frames=512,
    target_frames=512,
    target_steps=400,
  )
  assert not capped[0]
  to_ids = EVENT.vocabulary.to_ids
  context = EVENT.encode_context(score, now_s, context_s=context_steps / 100)
  count = len(context.step)
  np.testing.assert_array_equal(
    batch.context_ids[0, :count], to_ids(context.codes)
  )
  np.testing.assert_array_equal(batch.context_time[0, :count], context.step)
  assert not batch.context_ids[0, count:].any()
  own = EVENT.encode_targets(score, now_s, seconds=4.0)
  tokens = len(own.step)
  np.testing.assert_array_equal(batch.targets[0, :tokens], to_ids(own.codes))
  assert batch.targets[0, tokens, 0] == to_ids(EVENT.end_frame())[0]
  assert batch.weights[0, : tokens + 1].all()
  assert not batch.weights[0, tokens + 1 :].any()
  assert not batch.input_ids[0, 0].any()
  np.testing.assert_array_equal(
    batch.input_ids[0, 1 : tokens + 1], to_ids(own.codes)
  )
  np.testing.assert_array_equal(batch.input_time[0, 1 : tokens + 1], own.step)
  counts = frame_counts(EVENT, [corpus], crop, 400)
  assert [int(c[0]) for c in counts] == [count, tokens]


def test_rows_of_a_batch_do_not_touch_each_other():
  rng = np.random.default_rng(3)
  score = Score.from_arrays(
    onset_s=np.arange(200) * 0.1,
    duration_s=rng.uniform(0.05, 15.0, 200),
    key=rng.integers(40, 60, 200),
    velocity=rng.integers(20, 110, 200),
    pedal=[(t, i % 2 == 0) for i, t in enumerate(np.arange(0.55, 19, 0.7))],
  )
  corpus = pack_scores([("piece", score)])
  rows = np.concatenate([example(now, 500) for now in (0, 4120, 9990, 25_000)])
  for codec in (CODEC, EVENT):
    shape = dict(context_frames=512, target_frames=512, target_steps=400)
    together, _ = cut_examples(codec, [corpus], rows, **shape)
    for index in range(len(rows)):
      alone, _ = cut_examples(codec, [corpus], rows[index : index + 1], **shape)
      assert together.style is None
      for many, one in zip(together, alone, strict=True):
        assert (many is None) == (one is None)
        if many is None:  # style and outlines
          continue
        np.testing.assert_array_equal(many[index], one[0])


def test_a_capped_example_has_no_end():
  score = Score.from_arrays(
    onset_s=np.arange(50) / 50,
    duration_s=np.full(50, 0.1),
    key=np.arange(50) + 30,
    velocity=np.full(50, 64),
  )
  corpus = pack_scores([("piece", score)])
  batch, capped = cut_examples(
    CODEC,
    [corpus],
    example(0),
    context_frames=64,
    target_frames=16,
    target_steps=400,
  )
  assert capped.tolist() == [True]
  assert batch.weights.all()


def test_where_music_begins_nothing_was_heard_before():
  score = Score.from_arrays(
    onset_s=np.arange(40) / 4,
    duration_s=np.full(40, 3.0),
    key=np.arange(40) + 30,
    velocity=np.full(40, 64),
    pedal=[(0.1, True, 0)],
  )
  corpus = pack_scores([("piece", score)])
  rows = np.concatenate([example(5000), example(5000)])
  rows["begins"] = [False, True]
  for codec in (CODEC, EVENT):
    shape = dict(context_frames=128, target_frames=256, target_steps=400)
    batch, _ = cut_examples(codec, [corpus], rows, **shape)
    nothing = codec.encode_context(Score.empty(), 0.0)
    assert np.count_nonzero(batch.context_ids[0].any(-1)) > len(nothing.codes)
    np.testing.assert_array_equal(
      batch.context_ids[1, : len(nothing.codes)],
      codec.vocabulary.to_ids(nothing.codes),
    )
    assert not batch.context_ids[1, len(nothing.codes) :].any()
    # What comes is the same: the event codec also says what still sounds.
    if codec is CODEC:
      np.testing.assert_array_equal(batch.targets[0], batch.targets[1])


def test_augmentation_says_how_often_music_begins():
  corpus = pack_scores(
    [
      (
        "piece",
        Score.from_arrays(
          onset_s=[0.0, 9.0],
          duration_s=[1.0, 1.0],
          key=[60, 61],
          velocity=[64, 64],
        ),
      )
    ]
  )
  for share in (0.0, 0.25, 1.0):
    augmentation = dataclasses.replace(NO_AUGMENTATION, empty_context=share)
    rows = draw_examples(
      np.random.default_rng(0), [corpus], [1.0], 4000, augmentation, 1000
    )
    assert abs(rows["begins"].mean() - share) < 0.03


def test_augmentation_moves_what_it_says():
  score = Score.from_arrays(
    onset_s=[0.0, 1.0],
    duration_s=[0.5, 0.5],
    key=[60, 64],
    velocity=[60, 60],
  )
  corpus = pack_scores([("piece", score)])
  rows = example(0)
  rows["tempo"] = 1.1
  rows["transpose"] = -3
  rows["velocity_gain"] = 0.5
  rows["velocity_shift"] = 8
  batch, _ = cut_examples(
    CODEC,
    [corpus],
    rows,
    context_frames=16,
    target_frames=16,
    target_steps=400,
  )
  codes = CODEC.vocabulary.to_codes(batch.targets[0, :2])
  assert codes[:, 0].tolist() == [0, 91]
  assert codes[:, 1].tolist() == [57, 61]
  assert codes[:, 2].tolist() == [9, 9]
  expected = CODEC.config.duration_to_code(np.array([0.5 / 1.1]))
  assert codes[0, 3] == expected[0]
  assert dataclasses.is_dataclass(corpus)
