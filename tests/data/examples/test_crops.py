"""Examples cut together, taken apart and joined, are those cut alone."""

import dataclasses
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from magenta_midi.data.corpus import pack_scores
from magenta_midi.data.examples.conditioning import StyleRows
from magenta_midi.data.examples.crops import Crops, join_crops, take_crops
from magenta_midi.data.examples.examples import (
  Augmentation,
  cut_examples,
  pad_sides,
)
from magenta_midi.data.examples.pools import Pools
from magenta_midi.data.examples.style_shifts import HANDS, PEDAL
from magenta_midi.midi.score import Score
from magenta_midi.style.registry import get_style_model
from magenta_midi.tokens.event.codec import EventCodec
from magenta_midi.tokens.note.codec import NoteCodec

DUET = dict(solo=0.3, hands=0.4, turns=0.3)


def music(seed, notes=300):
  rng = np.random.default_rng(seed)
  return Score.from_arrays(
    onset_s=np.cumsum(rng.exponential(0.15, notes)),
    duration_s=rng.uniform(0.05, 3.0, notes),
    key=rng.integers(40, 80, notes),
    velocity=rng.integers(20, 110, notes),
    pedal=[(0.7 * i, i % 2 == 0) for i in range(40)],
  )


CORPUS = pack_scores([("a", music(0)), ("b", music(1))])


def pools(codec, partners, size=24):
  return Pools(
    codec=codec,
    corpora=[CORPUS],
    shares=[1.0],
    augmentation=Augmentation(),
    target_steps=400,
    context_steps=1000,
    seed=5,
    partners=partners,
    size=size,
  )


def equal(a: Crops, b: Crops):
  np.testing.assert_array_equal(a.examples, b.examples)
  np.testing.assert_array_equal(a.sizes, b.sizes)
  for one, other in zip(a.sides, b.sides, strict=True):
    for name, field in one._asdict().items():
      np.testing.assert_array_equal(field, getattr(other, name), err_msg=name)


@settings(max_examples=30)
@given(
  st.lists(st.integers(0, 23), max_size=20),
  st.integers(0, 20),
  st.sampled_from([(NoteCodec(), DUET), (EventCodec(), dict(solo=1.0))]),
)
def test_taking_and_joining_are_cutting(rows, at, kind):
  made = pools(*kind)
  crops = made.crops(0)
  rows = np.array(rows, int)
  taken = take_crops(crops, rows)
  equal(taken, made.cut(crops.examples[rows]))
  at = min(at, len(rows))
  parts = [take_crops(taken, slice(at)), take_crops(taken, slice(at, None))]
  equal(join_crops(parts), taken)


@settings(max_examples=20)
@given(
  st.integers(0, 10_000),
  st.sampled_from(["solo", "hands", "turns"]),
  st.sampled_from([2.0, 4.0]),
)
def test_sizes_hold_the_frames_and_little_more(seed, mode, target_s):
  style = StyleRows(get_style_model("descriptors"), seed=3)
  made = dataclasses.replace(
    pools(NoteCodec(), {mode: 1.0}, size=64),
    seed=seed,
    target_steps=round(target_s * 100),
    # So that examples depart from their context.
    style=style,
  )
  crops = made.crops(0)
  more = crops.sizes - np.stack(crops.frame_counts(), axis=1)
  assert more.min() >= 0
  kept = ~np.isin(crops.examples["departure"], (HANDS, PEDAL))
  assert more[kept].mean() < 4
  np.testing.assert_array_equal(made.planned(crops.examples).sizes, crops.sizes)


@pytest.mark.parametrize("codec", [NoteCodec(), EventCodec()])
def test_padding_crops_is_cutting_a_batch(codec):
  crops = pools(codec, dict(solo=1.0)).crops(3)
  shape: Any = dict(context_frames=300, target_frames=100)
  whole, capped = cut_examples(
    codec, [CORPUS], crops.examples, target_steps=400, **shape
  )
  late = crops.examples["delay_ms"].astype(np.int32)
  padded, also = pad_sides(codec, *crops.sides, late, **shape)
  np.testing.assert_array_equal(capped, also)
  for one, other in zip(whole[:-1], padded[:-1], strict=True):
    np.testing.assert_array_equal(one, other)


def test_a_pool_is_a_function_of_its_number():
  made = pools(NoteCodec(), DUET)
  again = pools(NoteCodec(), DUET)
  # In whatever order they are asked for.
  later = again.crops(7)
  for expected, found in zip((5, 6), again.since(5), strict=False):
    assert found.context is None
    equal(made.cut(found.examples), made.crops(expected))
    np.testing.assert_array_equal(found.sizes, made.crops(expected).sizes)
  equal(made.crops(7), later)
  assert not np.array_equal(later.examples, made.examples(6))
