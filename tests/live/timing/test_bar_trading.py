import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.live.protocol.events import SECOND
from magenta_midi.live.timing.bar_trading import Trade


@given(
  st.sampled_from([4, 8]),
  st.booleans(),
  st.integers(300_000_000, 4 * SECOND),
  st.integers(-10 * SECOND, 60 * SECOND),
  st.integers(-1, 6),
)
def test_the_next_own_turn_is_found_to_the_nanosecond(
  length, ai_first, bar_ns, from_ns, after
):
  trade = Trade(length, lambda t: t // bar_ns, ai_first=ai_first)
  at_ns = trade.next_model_ns(from_ns, after)
  assert at_ns is not None and at_ns >= from_ns
  turn = trade.turn_at(at_ns)
  assert trade.is_models(turn) and turn > after
  if at_ns > from_ns:
    assert trade.turn_at(at_ns - 1) < turn
    # None was passed over.
    assert not any(
      trade.is_models(t) and t > after
      for t in range(trade.turn_at(from_ns), turn)
    )


def test_turns_alternate_from_the_first_bar():
  trade = Trade(4, lambda t: t // SECOND, ai_first=False)
  assert [trade.is_models(t) for t in (-1, 0, 1, 2, 3)] == [
    False,
    False,
    True,
    False,
    True,
  ]
  assert Trade(4, lambda t: t // SECOND, ai_first=True).is_models(0)


def test_a_clock_that_stands_has_no_next_turn():
  assert Trade(4, lambda t: 2, ai_first=False).next_model_ns(0, -1) is None


def test_only_fours_and_eights():
  with pytest.raises(ValueError, match="4 or 8 bars, got 5"):
    Trade(5, lambda t: 0, ai_first=False)
