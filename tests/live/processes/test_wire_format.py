"""What crosses the rings arrives as it was."""

from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.live.processes.wire_format import (
  COMMAND_BYTES,
  MAX_EVENTS,
  MESSAGE_BYTES,
  SOUNDED_BYTES,
  CommandRecord,
  pack_end,
  pack_message,
  pack_panic,
  pack_plan,
  pack_release,
  pack_sounded,
  unpack_command,
  unpack_message,
  unpack_sounded,
)
from magenta_midi.live.protocol.events import (
  Message,
  PlannedNote,
  PlannedPedal,
  Sounded,
)

# Days in both directions: what came before the session's start counts, too.
TIMES = st.integers(-(10**14), 10**14)
IDS = st.integers(-1, 2**40)
KEYS = st.integers(0, 127)
NOTES = st.builds(PlannedNote, IDS, TIMES, TIMES, KEYS, st.integers(1, 127))
EVENTS = st.one_of(NOTES, st.builds(PlannedPedal, IDS, TIMES, st.booleans()))
WHYS = st.sampled_from(["react", "deeper", "refresh", "reply", "rest"])


@given(TIMES, st.binary(min_size=1, max_size=3))
def test_messages(time_ns, data):
  record = pack_message(Message(time_ns, data))
  assert len(record) <= MESSAGE_BYTES
  assert unpack_message(record) == Message(time_ns, data)


@given(
  IDS,
  TIMES,
  st.sampled_from(["on", "off", "pedal", "dropped"]),
  st.integers(-1, 127),
  KEYS,
  st.text(st.characters(codec="utf-8", exclude_characters="\0")),
)
def test_what_sounded(id, time_ns, kind, key, velocity, reason):
  record = pack_sounded(Sounded(id, time_ns, kind, key, velocity, reason))
  assert len(record) <= SOUNDED_BYTES
  *rest, kept = unpack_sounded(record)
  assert rest == [id, time_ns, kind, key, velocity]
  # Cut between characters, never inside one, and no more than needed.
  assert reason.startswith(kept)
  if len(reason.encode()) <= 24:
    assert kept == reason
  else:
    assert 21 <= len(kept.encode()) <= 24


@given(
  TIMES,
  st.lists(EVENTS, max_size=60),
  st.lists(TIMES, max_size=40),
  WHYS,
)
def test_plans_of_more_than_fits_keep_the_first(from_ns, events, times, why):
  record = pack_plan(from_ns, events, times, why)
  assert len(record) <= COMMAND_BYTES
  assert unpack_command(record) == CommandRecord(
    "plan", from_ns, tuple(events[:MAX_EVENTS]), tuple(times[:24]), why
  )


def test_the_longest_plan_fits():
  note = PlannedNote(2**62, 2**62, 2**62, 127, 127)
  record = pack_plan(-(2**62), [note] * 99, [2**62] * 99, "rest")
  assert len(record) == COMMAND_BYTES
  assert unpack_command(record).events == (note,) * MAX_EVENTS


@given(
  st.integers(0, 10**14), st.one_of(st.none(), st.lists(KEYS, max_size=128))
)
def test_releases(within_ns, keys):
  record = pack_release(within_ns, keys)
  assert len(record) <= COMMAND_BYTES
  assert unpack_command(record) == CommandRecord(
    "release",
    within_ns=within_ns,
    keys=None if keys is None else tuple(keys),
  )


def test_the_end_and_panic():
  assert unpack_command(pack_end()) == CommandRecord("end")
  assert unpack_command(pack_panic()) == CommandRecord("panic")
