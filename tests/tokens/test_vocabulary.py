import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.tokens.note.codec import NoteCodec
from magenta_midi.tokens.vocabulary import (
  MASK,
  NONE,
  PAD,
  RESERVED,
  Vocabulary,
)

sizes_of_levels = st.lists(st.integers(1, 500), min_size=1, max_size=5)


def vocabulary_of(sizes):
  names = tuple(f"level {i}" for i in range(len(sizes)))
  return Vocabulary(level_names=names, level_sizes=tuple(sizes))


@given(sizes_of_levels, st.data())
def test_codes_and_ids_are_a_bijection(sizes, data):
  vocabulary = vocabulary_of(sizes)
  rows = data.draw(st.integers(0, 5))
  columns = [
    data.draw(hnp.arrays(np.int32, rows, elements=st.integers(-1, size - 1)))
    for size in sizes
  ]
  codes = np.stack(columns, axis=-1)
  ids = vocabulary.to_ids(codes)
  assert ids.shape == codes.shape
  assert np.all(ids < vocabulary.size)
  np.testing.assert_array_equal(vocabulary.to_codes(ids), codes)
  np.testing.assert_array_equal(ids == NONE, codes == -1)


@given(sizes_of_levels)
def test_every_id_belongs_to_one_level_or_is_reserved(sizes):
  vocabulary = vocabulary_of(sizes)
  owners = np.zeros(vocabulary.size, int)
  owners[:RESERVED] += 1
  for level in range(vocabulary.levels):
    owners[vocabulary.level_slice(level)] += 1
  assert np.all(owners == 1)
  assert vocabulary.padded_size % 128 == 0
  assert 0 <= vocabulary.padded_size - vocabulary.size < 128


def test_note_vocabulary_is_pinned():
  # Rows of the embedding: a change breaks all checkpoints.
  vocabulary = NoteCodec().vocabulary
  assert (PAD, MASK, NONE, RESERVED) == (0, 1, 2, 8)
  assert vocabulary.level_sizes == (401, 130, 32, 64)
  assert vocabulary.offsets == (0, 401, 531, 563)
  assert (vocabulary.size, vocabulary.padded_size) == (635, 640)
  assert vocabulary.level_slice(1) == slice(409, 539)


def test_works_inside_jit():
  vocabulary = NoteCodec().vocabulary
  codes = np.array([[3, 60, 20, 9], [400, -1, -1, -1]], np.int32)
  ids = jax.jit(lambda c: vocabulary.to_ids(c, xp=jnp))(codes)
  np.testing.assert_array_equal(ids, vocabulary.to_ids(codes))
  back = jax.jit(lambda i: vocabulary.to_codes(i, xp=jnp))(ids)
  np.testing.assert_array_equal(back, codes)


def test_reserved_ids_have_no_codes():
  ids = np.array([[PAD, MASK, NONE, 7]], np.int32)
  assert np.all(NoteCodec().vocabulary.to_codes(ids) == -1)


@pytest.mark.parametrize(
  ("codes", "message"),
  [
    ([[401, 0, 0, 0]], r"'onset' must be in -1\.\.400, got 401 at \(0,\)"),
    ([[0, 0, -2, 0]], r"'velocity' must be in -1\.\.31, got -2"),
    ([[0, 0, 0]], r"4 levels in the last axis, got shape \(1, 3\)"),
  ],
)
def test_codes_out_of_range_are_refused(codes, message):
  with pytest.raises(ValueError, match=message):
    NoteCodec().vocabulary.to_ids(np.array(codes, np.int32))


@pytest.mark.parametrize(
  ("ids", "message"),
  [
    ([[8, 8, 540, 572]], r"'key' must be in 409\.\.538, got 8"),
    ([[8, 539, 540, 572]], r"'key' must be in 409\.\.538, got 539"),
    ([[8, 409, 540, 635]], r"'duration' must be in 571\.\.634, got 635"),
    ([[-1, 409, 540, 572]], "ids must be 0 or more, got -1"),
  ],
)
def test_ids_of_another_level_are_refused(ids, message):
  with pytest.raises(ValueError, match=message):
    NoteCodec().vocabulary.to_codes(np.array(ids, np.int32))


def test_invalid_vocabularies_are_refused():
  with pytest.raises(ValueError, match="one length, got 1 and 2"):
    Vocabulary(level_names=("a",), level_sizes=(1, 2))
  with pytest.raises(ValueError, match="positive integers, got"):
    Vocabulary(level_names=("a",), level_sizes=(0,))
