import pytest

from magenta_midi.live.performer.limits import Gate, Limits
from magenta_midi.live.protocol.events import SECOND, PlannedNote

MS = 1_000_000


def note(time_ms, key=60):
  return PlannedNote(0, time_ms * MS, 100 * MS, key, 80)


def test_the_limits_are_those_of_a_piano():
  limits = Limits()
  assert limits.velocity_cap == 110
  assert (limits.lowest_key, limits.highest_key) == (21, 108)
  assert (limits.sounding, limits.onsets_per_s) == (12, 25)
  assert (limits.restrike_ms, limits.longest_s, limits.late_ms) == (40, 11, 30)


@pytest.mark.parametrize(
  ("wrong", "said"),
  [
    ({"lowest_key": 60, "highest_key": 59}, "lowest first; got 60 to 59"),
    ({"highest_key": 128}, "keys must be in 0..127"),
    ({"velocity_cap": 0}, "velocity_cap must be in 1..127, got 0"),
    ({"sounding": 0}, "sounding must be a whole number from 1 .*, got 0"),
    (
      {"onsets_per_s": -1},
      "onsets_per_s must be a whole number from 1 .*, got -1",
    ),
    ({"longest_s": 0.0}, "longest_s must be a number above 0"),
    ({"restrike_ms": 0}, "restrike_ms must be a whole number from 1 .*, got 0"),
  ],
)
def test_what_no_instrument_could_be_played_with_is_refused(wrong, said):
  with pytest.raises(ValueError, match=said):
    Limits(**wrong)


def test_onsets_are_counted_over_any_second():
  gate = Gate(Limits(onsets_per_s=2))
  for time_ms in (0, 900):
    assert not gate.refusal(note(time_ms), 0)
    gate.counted(time_ms * MS)
  assert gate.refusal(note(999), 0) == "onsets"
  assert not gate.refusal(note(1000), 0)
  gate.counted(SECOND)
  assert gate.refusal(note(1899), 0) == "onsets"
  assert not gate.refusal(note(1900), 0)


def test_a_key_rests_from_its_planned_time_and_from_that_of_sending():
  gate = Gate(Limits())
  gate.note_on(60, 100 * MS, 120 * MS)
  assert gate.refusal(note(139), 0) == "re-strike"
  assert not gate.refusal(note(140), 0)
  assert gate.ready_ns(note(140)) == 160 * MS
  assert gate.ready_ns(note(170)) == 170 * MS
  assert gate.ready_ns(note(140, key=61)) == 140 * MS


def test_one_more_than_may_sound_is_refused():
  gate = Gate(Limits())
  assert not gate.refusal(note(0), 11)
  assert gate.refusal(note(0), 12) == "sounding"
