import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.style.text.words import GRAM_ROWS, MAX_TEXT, Words


@pytest.fixture(scope="module")
def words() -> Words:
  vectors = np.array([[127, 0, 0], [0, -127, 5], [1, 2, 3]], np.int8)
  return Words(("slow", "waltz", "cafe"), vectors)


def test_known_words_have_their_vectors(words):
  found = words.inputs(["Slow, WALTZ!", "caf\u00e9 slow's zzyzx"], width=4)
  assert found.known.tolist() == 2 * [[True, True, False, False]]
  assert found.mask.sum(axis=1).tolist() == [2, 3]
  np.testing.assert_array_equal(found.vectors[0, 0], found.vectors[1, 1])
  np.testing.assert_allclose(
    np.linalg.norm(found.vectors[0, :2], axis=1), 3**0.5, rtol=1e-5
  )
  assert not found.vectors[~found.known].any()


def test_every_word_has_letters(words):
  found = words.inputs(["slow zzyzx \u97f3\u4e50", "a"], width=3)
  assert (found.grams.max(axis=2) > 0).tolist() == found.mask.tolist()
  assert found.grams.max() < GRAM_ROWS


def test_similar_words_share_letter_pieces(words):
  rows = words.inputs(["thunderous thunderously quiet"], width=3).grams[0]
  sets = [set(row[row > 0].tolist()) for row in rows]
  assert len(sets[0] & sets[1]) > 5 > len(sets[0] & sets[2])


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused_in_one_line(text):
  words = Words(("slow",), np.ones((1, 3), np.int8))
  try:
    found = words.inputs([text], width=8)
  except ValueError as error:
    assert "\n" not in str(error)
  else:
    assert np.isfinite(found.vectors).all()
    assert found.mask[0].any()


@pytest.mark.parametrize(
  ("text", "reason"),
  [
    ("", "must have a word"),
    ("?!", "must have a word"),
    ("a" * (MAX_TEXT + 1), "at most 2000 characters"),
  ],
)
def test_invalid_texts_are_refused(words, text, reason):
  with pytest.raises(ValueError, match=reason):
    words.inputs([text])


def test_words_and_vectors_must_have_equal_counts():
  with pytest.raises(ValueError, match="2 words do not go with 1 vectors"):
    Words(("a", "b"), np.ones((1, 3), np.int8))
