import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.audio.room import Room, add_room


def room_of(mix):
  out = mix.copy()
  add_room(out, 8000)
  return out - mix


def test_a_click_is_answered_softly_later_and_not_for_long():
  mix = np.zeros((2, 24_000), np.float32)
  mix[:, 4000] = 1
  answer = room_of(mix)
  assert np.abs(answer[:, :4000]).max() < 1e-6
  assert 0.05 < np.sqrt(np.sum(answer**2) / 2) < 0.2
  assert np.abs(answer[:, 4000 + 8000 :]).max() < 1e-6


def test_blocks_leave_no_seams():
  # Longer than one block: the answer to a late click is that to an early one.
  mix = np.zeros((2, 120_000), np.float32)
  mix[0, 100] = 1
  early = room_of(mix)[:, 100:9000]
  for at in (15_000, 25_600, 99_999):
    mix[:] = 0
    mix[0, at] = 1
    np.testing.assert_allclose(
      room_of(mix)[:, at : at + 8900], early, atol=1e-6
    )


@given(
  cuts=st.lists(st.integers(0, 60_000), max_size=8),
  quiet=st.tuples(st.integers(0, 60_000), st.integers(0, 60_000)),
)
def test_a_room_in_blocks_is_the_room_of_the_whole(cuts, quiet):
  mix = np.random.default_rng(0).standard_normal((2, 60_000))
  mix = mix.astype(np.float32)
  mix[:, min(quiet) : max(quiet)] = 0
  whole = mix.copy()
  add_room(whole, 8000)
  room, edges = Room(8000), sorted({0, 60_000, *cuts})
  for begin, end in itertools.pairwise(edges):
    room.add(mix[:, begin:end])
  np.testing.assert_allclose(mix, whole, atol=1e-6)


def test_whole_pieces_of_a_room_are_exact():
  mix = np.random.default_rng(0).standard_normal((2, 100_000))
  mix = mix.astype(np.float32)
  whole = mix.copy()
  add_room(whole, 8000)
  room = Room(8000)
  for begin in range(0, 100_000, room.hop):
    room.add(mix[:, begin : begin + room.hop])
  np.testing.assert_array_equal(mix, whole)


def test_a_room_falls_silent():
  room = Room(8000)
  assert room.silent
  struck = np.zeros((2, 100), np.float32)
  struck[:, 50] = 1
  room.add(struck)
  assert not room.silent
  room.add(np.zeros((2, 8000), np.float32))
  assert room.silent
  later = np.zeros((2, 30_000), np.float32)
  room.add(later)
  assert not later.any()
