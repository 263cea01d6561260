import pytest

from magenta_midi.testing.clock import FakeClock


def test_time_moves_only_forward_and_only_by_calls():
  clock = FakeClock(5)
  assert clock.now_ns == 5
  assert clock.advance(0) == 5
  assert clock.advance(7) == clock.now_ns == 12
  with pytest.raises(ValueError, match="by 0 ns or more, got -1"):
    clock.advance(-1)
