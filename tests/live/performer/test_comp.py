"""The comp keeps to bars and chart, and leaves nothing sounding."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magenta_midi.live.performer.comp import Comp, comp_channel
from magenta_midi.live.protocol.events import (
  SECOND,
  Message,
  is_note_off,
  is_note_on,
)
from magenta_midi.live.timing.bars import Bars
from magenta_midi.midi.harmony.comping import comp_hits
from magenta_midi.midi.harmony.text_chart import read_chart_text
from magenta_midi.midi.io.messages import note_on

MS = SECOND // 1000


def take(comp, text, now_ns=0):
  chart = read_chart_text(text)
  comp.set_chart(comp_hits(chart), chart.beats, now_ns)


def playing(text="| Dm7 | G7 |", bpm=60, start_s=0.0):
  comp = Comp(3)
  comp.switch(True, 0)
  take(comp, text)
  comp.set_bars(Bars(bpm, 4, round(start_s * SECOND)), 0)
  return comp


def run(comp, from_s, until_s):
  """What is sent meanwhile, asked each time that something is due."""
  sent, now_ns = [], round(from_s * SECOND)
  until_ns = round(until_s * SECOND)
  while now_ns < until_ns:
    sent += comp.due(now_ns)
    due_ns = comp.next_due_ns()
    now_ns = max(now_ns + 1, until_ns if due_ns is None else due_ns)
  return sent


def struck(sent):
  """Times of onsets, s, and the lowest key of each."""
  found = {}
  for time_ns, data in sent:
    if is_note_on(data):
      at = round(time_ns / SECOND, 3)
      found[at] = min(found.get(at, 128), data[1])
  return found


def left(sent):
  """Keys that were struck and not ended."""
  keys = set()
  for _, data in sent:
    (keys.add if is_note_on(data) else keys.discard)(data[1])
  return keys


def test_it_plays_the_chart_with_the_bars():
  sent = run(playing(start_s=1.0), 0.0, 17.5)
  found = struck(sent)
  assert list(found) == [1.0 + 2 * i for i in range(9)]
  assert [found[t] % 12 for t in (1.0, 5.0, 9.0, 13.0)] == [2, 7, 2, 7]
  assert all(data[0] & 15 == 2 for _, data in sent)  # channel 3
  # Every end but those of the last chord.
  assert left(sent) == set(key for key in left(sent) if key in left(sent[-8:]))


def test_nothing_before_the_first_bar_without_chart_or_when_off():
  assert run(playing(start_s=5.0), 0.0, 4.9) == []
  silent = playing()
  silent.switch(False, 0)
  assert run(silent, 0.0, 9.0) == []
  without = Comp(3)
  without.switch(True, 0)
  without.set_bars(Bars(60, 4, 0), 0)
  assert run(without, 0.0, 9.0) == []


def test_switched_on_it_begins_with_the_next_hit():
  comp = playing()
  comp.switch(False, 0)
  run(comp, 0.0, 4.5)
  comp.switch(True, round(4.5 * SECOND))
  assert list(struck(run(comp, 4.5, 8.5))) == [6.0, 8.0]


def test_switched_off_its_notes_end_in_time():
  comp = playing()
  sent = run(comp, 0.0, 0.5)
  comp.switch(False, SECOND // 2)
  sent += run(comp, 0.5, 9.0)
  assert list(struck(sent)) == [0.0] and not left(sent)
  assert comp.next_due_ns() is None


def test_a_small_change_of_the_bars_neither_repeats_nor_loses_a_hit():
  comp = playing()
  sent = run(comp, 0.0, 4.0 + 1e-3)
  # The player is a little later, then a little earlier than was thought.
  for at_s, start_ms in ((4.001, 60), (5.999, -60)):
    comp.set_bars(Bars(60, 4, start_ms * MS), round(at_s * SECOND))
    sent += run(comp, at_s, at_s + 1.9)
  times = list(struck(sent))
  assert times == pytest.approx([0.0, 2.0, 4.0, 5.94], abs=1e-3)


def test_another_tempo_is_followed():
  comp = playing()
  sent = run(comp, 0.0, 3.0)
  # Twice as fast from the beat at 3 s on: the beat number stays.
  comp.set_bars(Bars(120, 4, round(1.5 * SECOND)), 3 * SECOND)
  sent += run(comp, 3.0, 5.6)
  assert list(struck(sent)) == [0.0, 2.0, 3.5, 4.5, 5.5]
  assert not left(sent) - left(sent[-6:])


def test_another_chart_goes_on_at_its_place():
  comp = playing()
  sent = run(comp, 0.0, 4.5)
  take(comp, "| C | F | Bb |", round(4.5 * SECOND))
  sent += run(comp, 4.5, 8.1)
  found = struck(sent)
  # The restatement of F, then Bb with its bass.
  assert list(found) == [0.0, 2.0, 4.0, 6.0, 8.0]
  assert found[8.0] % 12 == 10


def test_without_bars_it_falls_silent():
  comp = playing()
  sent = run(comp, 0.0, 0.5)
  comp.set_bars(None, SECOND // 2)
  ended = run(comp, 0.5, 9.0)
  assert {time_ns for time_ns, _ in ended} == {SECOND // 2}
  assert not left(sent + ended)


def test_panic_ends_every_note_at_once():
  comp = playing()
  sent = run(comp, 0.0, 0.5)
  sounding = comp.sounding
  silenced = comp.silence(SECOND // 2)
  offs = [data[1] for _, data in silenced if is_note_off(data)]
  assert sounding == offs and len(offs) == 3
  assert [data[1] for _, data in silenced if data[0] >> 4 == 11] == [123, 120]
  assert not left(sent + silenced[:3])


def test_no_burst_after_the_machine_stood_still():
  comp = playing()
  run(comp, 0.0, 0.5)
  sent = comp.due(60 * SECOND)  # on a beat, and everything before it is past
  assert set(struck(sent)) <= {60.0}


def test_nothing_is_struck_while_the_instrument_is_away():
  comp = playing()
  sent = run(comp, 0.0, 0.5) + comp.lost(SECOND // 2)
  assert not left(sent)
  assert not struck(run(comp, 0.5, 5.0))
  comp.back()
  assert list(struck(run(comp, 5.0, 6.5))) == [6.0]


def test_it_is_softer_than_the_player_and_follows_them():
  def velocities(played):
    comp = playing("| C |")
    for _ in range(40):
      comp.receive(Message(0, note_on(1, 60, played)))
    return [m.data[2] for m in run(comp, 0.0, 1.0) if is_note_on(m.data)]

  assert max(velocities(100)) < 100
  assert max(velocities(50)) < 50 < min(velocities(100))
  louder = playing("| C |")
  louder.loudness = 20
  usual = max(m.data[2] for m in playing("| C |").due(0) if is_note_on(m.data))
  found = {m.data[2] for m in louder.due(0) if is_note_on(m.data)}
  assert found == {usual + 20}


def test_its_channel_is_its_own():
  assert [comp_channel(model) for model in (1, 2, 3, 16)] == [3, 3, 4, 3]


changes = st.one_of(
  st.tuples(st.just("bars"), st.floats(30, 300), st.integers(-3000, 3000)),
  st.tuples(st.just("none")),
  st.tuples(st.just("on"), st.booleans()),
  st.tuples(
    st.just("chart"),
    st.sampled_from(["| C |", "| Dm7 G7 | N.C. |", "| 7/8 F#o7 | C5/G |"]),
  ),
  st.tuples(st.just("wait"), st.floats(0, 5)),
)


@given(st.lists(changes, max_size=20))
@settings(deadline=None, max_examples=60)
def test_whatever_changes_every_note_is_ended_once(made):
  comp, now_s, sent = playing(), 0.0, []
  for kind, *values in made:
    now_ns = round(now_s * SECOND)
    if kind == "bars":
      comp.set_bars(Bars(values[0], 4, now_ns + values[1] * MS), now_ns)
    elif kind == "none":
      comp.set_bars(None, now_ns)
    elif kind == "on":
      comp.switch(values[0], now_ns)
    elif kind == "chart":
      take(comp, values[0], now_ns)
    else:
      sent += run(comp, now_s, now_s + values[0])
      now_s += values[0]
  now_ns = round(now_s * SECOND)
  sent += comp.silence(now_ns)
  down = set()
  for _, data in sent:
    if is_note_on(data):
      assert data[1] not in down
      down.add(data[1])
    elif is_note_off(data):
      down.remove(data[1])
  assert not down
