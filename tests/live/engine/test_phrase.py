"""A reply is as long as its call, roughly, and stops as its player does."""

from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.live.engine.phrase import Phrase, Reply
from magenta_midi.live.protocol.events import SECOND

MS = SECOND // 1000

onsets = st.lists(st.integers(0, 20 * SECOND), min_size=1, max_size=20)
begins = st.integers(0, 3600 * SECOND)
played = st.integers(0, 60 * SECOND)
gaps = st.integers(0, 10 * SECOND)


def reply_to(onsets_ns, begins_ns, by_bars=False):
  """To a phrase that ends half a second after its last onset."""
  phrase = Phrase()
  for onset_ns in sorted(onsets_ns):
    phrase.add(onset_ns, 64)
  call = phrase.closed(max(onsets_ns) + SECOND // 2)
  return Reply(begins_ns, call, by_bars)


@given(onsets, begins, played, gaps)
def test_it_ends_between_four_fifths_of_its_call_and_half_as_much_again(
  onsets_ns, begins_ns, played_ns, gap_ns
):
  reply = reply_to(onsets_ns, begins_ns)
  now_ns = begins_ns + played_ns
  ends = reply.should_end(now_ns, now_ns - gap_ns, 1.2)
  assert reply.latest_end_ns is not None
  if now_ns >= reply.latest_end_ns:
    assert ends
  elif not reply.may_end(now_ns):
    assert not ends
  else:
    # A pause that would end a phrase ends a reply too; a chord's spread never.
    assert ends or gap_ns < 1200 * MS
    assert not ends or gap_ns >= 300 * MS


@given(onsets, begins, played)
def test_until_it_may_end_it_does_not_pause_for_long(
  onsets_ns, begins_ns, played_ns
):
  reply = reply_to(onsets_ns, begins_ns)
  gap_ns = reply.max_gap_ns(begins_ns + played_ns)
  assert (gap_ns is None) == reply.may_end(begins_ns + played_ns)
  assert gap_ns is None or 600 * MS <= gap_ns <= 2 * SECOND


@given(onsets, begins, played)
def test_where_bars_count_its_length_does_not(onsets_ns, begins_ns, played_ns):
  reply = reply_to(onsets_ns, begins_ns, by_bars=True)
  assert reply.latest_end_ns is None
  assert not reply.may_end(begins_ns + played_ns)


def test_to_no_call_it_is_four_seconds_long():
  reply = Reply(SECOND, None)
  assert reply.measure_ns == 4 * SECOND
  assert not reply.should_end(4 * SECOND, 3 * SECOND, 1.2)
  assert reply.should_end(5 * SECOND, 4 * SECOND, 1.2)
  assert reply.should_end(7 * SECOND, 7 * SECOND, 1.2)
