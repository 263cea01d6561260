import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.midi.io.pairing import pair_notes


def pair(text):
  """One voice: + is a note-on, - a note-off."""
  is_on = np.array([c == "+" for c in text], bool)
  pairs = pair_notes(is_on, np.zeros(len(text), int))
  return dict(zip(pairs.on.tolist(), pairs.off.tolist(), strict=True))


@pytest.mark.parametrize(
  ("text", "expected"),
  [
    ("", {}),
    ("+-+-", {0: 1, 2: 3}),
    ("++--", {0: 2, 1: 3}),  # first on, first off
    ("--+-", {2: 3}),  # note-offs without a note
    ("+--+-", {0: 1, 3: 4}),
    ("+", {0: -1}),
    # One note-off is missing: the pairs after it are not shifted.
    ("++-+-+-", {0: 1, 1: 2, 3: 4, 5: 6}),
    ("+-+", {0: 1, 2: -1}),
  ],
)
def test_one_voice(text, expected):
  assert pair(text) == expected


def test_unreleased_notes_are_counted_per_voice():
  is_on = np.array([True, True, False, True, False, False])
  voice = np.array([7, 9, 9, 7, 9, 8])
  pairs = pair_notes(is_on, voice)
  assert pairs.unreleased == 2
  assert pairs.on.tolist() == [0, 3, 1]
  assert pairs.off.tolist() == [3, -1, 2]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), max_size=60))
def test_voices_do_not_touch_each_other(messages):
  is_on = np.array([on for on, _ in messages], bool)
  voice = np.array([v for _, v in messages], int)
  pairs = pair_notes(is_on, voice)
  together = dict(zip(pairs.on.tolist(), pairs.off.tolist(), strict=True))
  assert sorted(together) == np.flatnonzero(is_on).tolist()
  for v in range(4):
    index = np.flatnonzero(voice == v)
    alone = pair("".join("+" if is_on[i] else "-" for i in index))
    for on, off in alone.items():
      assert together[index[on]] == (-1 if off < 0 else index[off])


@given(st.text("+-", max_size=60))
def test_a_balanced_voice_is_first_in_first_out(text):
  waiting, expected = [], {}
  for i, c in enumerate(text):
    if c == "+":
      waiting.append(i)
    elif waiting:
      expected[waiting.pop(0)] = i
  if not waiting:
    assert pair(text) == expected
