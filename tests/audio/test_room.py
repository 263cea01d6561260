import numpy as np

from magenta_midi.audio.room import add_room


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
