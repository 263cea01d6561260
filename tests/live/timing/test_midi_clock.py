"""MIDI clock: estimates under jitter, losses, and a round trip."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magenta_midi.live.protocol.events import SECOND, Message
from magenta_midi.live.timing.bars import Bars
from magenta_midi.live.timing.midi_clock import ClockFollower, ClockSender
from magenta_midi.midi.meter import Meter

TICK, START, CONTINUE, STOP = (bytes((b,)) for b in (0xF8, 0xFA, 0xFB, 0xFC))


def follow(follower, times, data=TICK):
  for time_ns in times:
    follower.receive(Message(int(time_ns), data))


def tick_times(bpm, count, first_ns=0, jitter_ms=0.0, seed=0):
  """Ticks at a tempo, late by up to the jitter, in order."""
  times = first_ns + np.arange(count) * (60 * SECOND / bpm / 24)
  late = np.random.default_rng(seed).uniform(0, jitter_ms * 1e6, count)
  return np.maximum.accumulate((times + late).astype(np.int64))


def started(bpm, count, **more):
  follower = ClockFollower()
  follower.receive(Message(0, START))
  times = tick_times(bpm, count, **more)
  follow(follower, times)
  return follower, int(times[-1])


@settings(max_examples=50)
@given(
  st.floats(40, 240),
  st.floats(0, 5),
  st.integers(0, 1000),
  st.integers(96, 400),
)
def test_tempo_and_phase_under_jitter(bpm, jitter_ms, seed, count):
  follower, last = started(bpm, count, jitter_ms=jitter_ms, seed=seed)
  assert follower.bpm(last) == pytest.approx(bpm, rel=0.005)
  bars = follower.bars(last)
  beat = (count - 1) / 24
  assert bars.beats_per_bar == 4
  # Ticks are late by half the jitter on average: so is the clock, for us.
  now = round(beat * 60 * SECOND / bpm + jitter_ms * 5e5)
  heard = (now - bars.start_ns) / bars.beat_ns
  error_ms = (heard - beat) * bars.beat_ns / 1e6
  assert abs(error_ms) < 0.1 + 0.4 * jitter_ms
  assert follower.lost_ticks == 0


def test_a_late_tick_is_not_a_lost_one():
  times = tick_times(120, 200)
  times[100:102] += np.array([38_000_000, 18_000_000])
  times = np.maximum.accumulate(times)
  follower = ClockFollower()
  follower.receive(Message(0, START))
  follow(follower, times)
  now = int(times[-1])
  assert follower.lost_ticks == 0
  assert follower.bpm(now) == pytest.approx(120, rel=1e-4)
  assert follower.bars(now).start_ns == pytest.approx(0, abs=200_000)


@pytest.mark.parametrize("lost", [1, 2, 7, 30])
def test_lost_ticks_are_counted_and_the_place_kept(lost):
  times = tick_times(100, 200, jitter_ms=1.0)
  follower = ClockFollower()
  follower.receive(Message(0, START))
  follow(follower, np.delete(times, range(110, 110 + lost)))
  now = int(times[-1])
  assert follower.lost_ticks == lost
  assert follower.bars(now).start_ns == pytest.approx(0, abs=2_000_000)


def test_the_place_is_known_while_it_is_not_known_what_was_lost():
  times = tick_times(100, 200)
  follower = ClockFollower()
  follower.receive(Message(0, START))
  kept = np.delete(times, range(150, 152))
  for time_ns in kept:
    follower.receive(Message(int(time_ns), TICK))
    bars = follower.bars(int(time_ns))
    if bars is not None:
      # Two ticks off at most, for the few ticks until that is decided.
      assert abs(bars.start_ns) < 2.01 * 25_000_000
  assert abs(bars.start_ns) < 1000


@pytest.mark.parametrize("bpm", [60, 119, 126, 200])
def test_a_change_of_tempo_is_followed_within_a_beat(bpm):
  follower, last = started(120, 120)
  after = last + tick_times(bpm, 26)[1:]
  follow(follower, after)
  assert follower.bpm(int(after[-1])) == pytest.approx(bpm, rel=0.002)
  assert follower.lost_ticks == 0
  bars = follower.bars(int(after[-1]))
  beats = (int(after[-1]) - bars.start_ns) / bars.beat_ns
  assert beats == pytest.approx(144 / 24, abs=0.01)


def test_silence_is_noticed_and_bridged_for_two_seconds():
  follower, last = started(120, 120)
  assert not follower.lost(last + SECOND // 5)
  assert follower.lost(last + SECOND // 3)
  assert follower.bars(last + 2 * SECOND) is not None
  assert follower.bars(last + 2 * SECOND + 1) is None
  assert follower.bpm(last + 3 * SECOND) is None


def test_start_stop_and_continue():
  follower = ClockFollower(Meter(3))
  times = tick_times(120, 400, first_ns=SECOND)
  follow(follower, times[:100])
  assert follower.bpm(int(times[99])) == pytest.approx(120, rel=1e-6)
  assert follower.bars(int(times[99])) is None  # ticks do not tell the place
  follower.receive(Message(int(times[99]) + 1, START))
  bars = follower.bars(int(times[99]) + 1)  # starts with the next tick
  assert bars.start_ns == pytest.approx(int(times[100]), abs=10)
  assert bars.beats_per_bar == 3
  follow(follower, times[100:150])
  bars = follower.bars(int(times[149]))
  assert bars.start_ns == pytest.approx(int(times[100]), abs=10)
  follower.receive(Message(int(times[149]) + 1, STOP))
  assert follower.bars(int(times[149]) + 1) is None
  follow(follower, times[150:250])
  follower.receive(Message(int(times[249]) + 1, CONTINUE))
  follow(follower, times[250:300])
  # Tick 150 of the clock was the 51st of the song, and 250 is now.
  bars = follower.bars(int(times[299]))
  assert bars.start_ns == pytest.approx(int(times[200]), abs=10)


def test_song_position_counts_sixteenths():
  follower = ClockFollower()
  times = tick_times(120, 200)
  follow(follower, times[:100])
  # 0x01 + 0x02 * 128 = 257 sixteenths.
  assert follower.receive(Message(int(times[99]), b"\xf2\x01\x02"))
  follower.receive(Message(int(times[99]), CONTINUE))
  follow(follower, times[100:])
  place = follower.bars(int(times[100])).position(int(times[100]))
  assert place.bar * 4 + place.beat == pytest.approx(257 / 4, abs=1e-6)


def test_a_clock_that_ticks_only_while_it_runs_keeps_its_place():
  follower, last = started(120, 100)
  follower.receive(Message(last, STOP))
  again = last + SECOND  # no ticks meanwhile
  follower.receive(Message(again, START))
  times = tick_times(120, 50, first_ns=again)
  follow(follower, times[:1])
  assert follower.bars(again).start_ns == pytest.approx(again, abs=10)
  follow(follower, times[1:])
  bars = follower.bars(int(times[-1]))
  assert bars.start_ns == pytest.approx(again, abs=10)
  assert follower.lost_ticks == 0


@given(
  st.lists(
    st.tuples(
      st.integers(-SECOND, 3 * SECOND),
      st.binary(max_size=3)
      | st.sampled_from([TICK, START, STOP, CONTINUE, b"\xf2\x7f\x7f"]),
    ),
    max_size=80,
  )
)
def test_any_messages_are_survived(drawn):
  follower, now = ClockFollower(), SECOND
  for step, data in drawn:
    now += step
    known = len(data) > 0 and (
      data[0] in (0xF8, 0xFA, 0xFB, 0xFC) or (data[0], len(data)) == (0xF2, 3)
    )
    assert follower.receive(Message(now, data)) == known
    follower.bars(now)


def drive(sender, until_ns, late_ns=700_000, from_ns=0):
  """Takes what is due, a little late; what came, at the time it came."""
  sent, now = [], from_ns
  while now < until_ns:
    sent += [(now, message) for message in sender.due(now)]
    due_ns = sender.next_due_ns
    now = until_ns if due_ns is None else max(due_ns, now) + late_ns
  return sent


@given(
  st.floats(40, 240),
  st.integers(1, 7),
  st.integers(0, 3 * SECOND),
  st.integers(0, 3 * SECOND),
)
def test_sender_to_follower_and_back(bpm, beats, start_ns, asked_ns):
  bars = Bars(bpm, beats, start_ns)
  sender, follower = ClockSender(bars), ClockFollower(Meter(beats))
  sender.start(asked_ns)
  line_ns = bars.next_bar_ns(max(asked_ns, start_ns))
  until = line_ns + 5 * SECOND
  for now, message in drive(sender, until, from_ns=asked_ns):
    assert 0 <= now - message.time_ns <= 1_000_000
    follower.receive(message)
  heard = follower.bars(until)
  assert heard.bpm == pytest.approx(bpm, rel=1e-5)
  # Their bar 0 is the one they were started in; ours is that bar.
  assert heard.start_ns == pytest.approx(line_ns, abs=100_000)


def test_start_comes_between_two_ticks():
  sender = ClockSender(Bars(120, 4, SECOND))
  assert sender.next_due_ns is None
  assert sender.due(0) == []
  sender.start(0)
  assert sender.next_due_ns == 0
  sent = [message for _, message in drive(sender, SECOND + 2_000_000)]
  at = [m.data for m in sent].index(START)
  assert [m.data for m in sent].count(START) == 1
  assert sent[at - 1].time_ns < sent[at].time_ns < sent[at + 1].time_ns
  assert sent[at + 1] == Message(SECOND, TICK)


def test_stop_and_resume_find_the_place():
  sender, follower = ClockSender(Bars(110, 3, 0)), ClockFollower(Meter(3))
  sender.start(0)
  for _, message in drive(sender, 4 * SECOND):
    follower.receive(message)
  sender.stop(4 * SECOND)
  for _, message in drive(sender, 7 * SECOND, from_ns=4 * SECOND):
    assert message.data in (STOP, TICK)
    follower.receive(message)
  assert not follower.running
  assert follower.bpm(7 * SECOND) == pytest.approx(110, rel=1e-5)
  sender.resume(7 * SECOND)
  for _, message in drive(sender, 9 * SECOND, from_ns=7 * SECOND):
    follower.receive(message)
  assert follower.bars(9 * SECOND).start_ns == pytest.approx(0, abs=100_000)
  sender.close(9 * SECOND)
  assert [m.data for m in sender.due(20 * SECOND)] == [STOP]
  assert sender.next_due_ns is None


def test_a_long_session_keeps_its_place_in_the_bar():
  # Beyond 16383 sixteenths a song position cannot count.
  sender, follower = ClockSender(Bars(240, 3, 0)), ClockFollower(Meter(3))
  hour = 3600 * SECOND
  sender.resume(hour + 12_345)
  for _, message in drive(sender, hour + 4 * SECOND, from_ns=hour + 12_345):
    follower.receive(message)
  bars = follower.bars(hour + 4 * SECOND)
  ours = Bars(240, 3, 0).position(hour + 4 * SECOND).beat
  assert bars.position(hour + 4 * SECOND).beat == pytest.approx(ours, abs=0.01)


@pytest.mark.parametrize("pause_ms", [50, 130, 3000])
def test_no_burst_after_a_pause(pause_ms):
  sender, follower = ClockSender(Bars(120, 4, 0)), ClockFollower()
  sender.start(0)
  for _, message in drive(sender, 2 * SECOND):
    follower.receive(message)
  resumed = 2 * SECOND + pause_ms * 1_000_000
  at_once = sender.due(resumed)
  assert len(at_once) <= 7
  for message in at_once:
    follower.receive(message._replace(time_ns=resumed))
  for _, message in drive(sender, resumed + 5 * SECOND, from_ns=resumed):
    follower.receive(message)
  bars = follower.bars(resumed + 5 * SECOND)
  assert bars.start_ns == pytest.approx(0, abs=1_000_000)
  assert bars.bpm == pytest.approx(120, rel=1e-3)


def test_a_start_that_lies_ahead_survives_a_pause():
  sender = ClockSender(Bars(120, 4, 4 * SECOND))
  sender.start(0)
  sender.due(100_000_000)
  assert sender.due(3 * SECOND) == []
  data = [m.data for _, m in drive(sender, 5 * SECOND, from_ns=3 * SECOND)]
  assert data.count(START) == 1 and STOP not in data


def test_a_start_missed_in_a_pause_is_made_up_for():
  sender, follower = ClockSender(Bars(120, 4, SECOND)), ClockFollower()
  sender.start(0)
  sender.due(500_000_000)
  for now, message in drive(sender, 6 * SECOND, from_ns=2 * SECOND):
    assert now - message.time_ns <= 1_000_000
    follower.receive(message)
  assert follower.running
  heard = follower.bars(6 * SECOND)
  assert heard.start_ns == pytest.approx(SECOND, abs=100_000)


@given(st.sampled_from(["4/4", "3/4", "6/8", "12/8", "2/2"]))
def test_a_beat_of_any_length_has_24_ticks_a_quarter(text):
  meter = Meter.parse(text)
  bars = Bars(80, meter.beats, SECOND)
  sender, follower = ClockSender(bars, meter.quarters), ClockFollower(meter)
  sender.start(0)
  for _, message in drive(sender, 9 * SECOND):
    follower.receive(message)
  heard = follower.bars(9 * SECOND)
  assert heard.bpm == pytest.approx(80, rel=1e-4)
  assert heard.beats_per_bar == meter.beats
  assert heard.start_ns == pytest.approx(SECOND, abs=200_000)


@given(
  st.floats(60, 180),
  st.lists(st.floats(-0.004, 0.004), min_size=1, max_size=60),
)
def test_a_tempo_that_moves_is_sent_without_a_gap(bpm, changes):
  """Each change as a pulse lock makes it: from the present beat on."""
  bars = Bars(bpm, 4, SECOND)
  sender, sent, now = ClockSender(bars), [], 0
  sender.start(0)
  for change in (0.0, *changes):
    beat = (now - bars.start_ns) // round(bars.beat_ns)
    new = bars.bpm * (1 + change)
    start_ns = bars.time_of(0, beat) - round(beat * 60 * SECOND / new)
    bars = Bars(new, 4, start_ns)
    sender.retime(bars, now)
    sent += drive(sender, now + SECOND // 5, from_ns=now)
    now += SECOND // 5
  data = [message.data for _, message in sent]
  assert STOP not in data
  assert data.count(START) == 1 or now < 1.2 * SECOND
  times = np.array([at for at, m in sent if m.data == TICK])
  gap_ns = np.diff(times)
  usual_ns = 60 * SECOND / bpm / 24
  assert gap_ns.min() > 0 and gap_ns.max() < 1.7 * usual_ns


def test_another_beat_stops_the_others_and_continues_them_there():
  sender, follower = ClockSender(Bars(120, 4, 0)), ClockFollower()
  sender.start(0)
  for _, message in drive(sender, 4 * SECOND):
    follower.receive(message)
  # A third of a beat later, and faster.
  bars = Bars(150, 4, 170_000_000)
  sender.retime(bars, 4 * SECOND)
  sent = drive(sender, 9 * SECOND, from_ns=4 * SECOND)
  assert [m.data[0] for _, m in sent if m.data != TICK] == [0xFC, 0xF2, 0xFB]
  for _, message in sent:
    follower.receive(message)
  heard = follower.bars(9 * SECOND)
  assert heard.bpm == pytest.approx(150, rel=1e-3)
  place = heard.position(9 * SECOND).beat
  assert place == pytest.approx(bars.position(9 * SECOND).beat, abs=0.01)


def test_a_start_that_waits_is_moved_with_its_bar():
  sender = ClockSender(Bars(120, 4, 4 * SECOND))
  sender.start(0)
  drive(sender, SECOND)
  sender.retime(Bars(120, 4, 6 * SECOND), SECOND)
  starts = [
    m for _, m in drive(sender, 8 * SECOND, from_ns=SECOND) if m.data == START
  ]
  assert len(starts) == 1
  assert starts[0].time_ns == pytest.approx(6 * SECOND, abs=25_000_000)
