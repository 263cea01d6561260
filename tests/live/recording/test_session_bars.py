"""Bars of a session's file are those that were played."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.live.protocol.events import SECOND
from magenta_midi.live.recording.serialization import stored_bars
from magenta_midi.live.recording.session_bars import (
  beats_of,
  session_bars,
  tempo_rows,
)
from magenta_midi.live.timing.bars import Bars
from magenta_midi.midi.meter import Meter

MINUTE = 60 * SECOND


@given(
  st.lists(
    st.tuples(st.integers(0, MINUTE), st.floats(30, 240), st.integers(1, 7)),
    min_size=1,
    max_size=5,
  )
)
def test_beats_stand_on_the_files_beats(drawn):
  counted = sorted(
    ((at, Bars(bpm, beats, at // 3)) for at, bpm, beats in drawn),
    key=lambda pair: pair[0],
  )
  # The longest bars have 14 s: three of them follow the last change.
  beats = beats_of(counted, 2 * MINUTE, None)
  bars = session_bars(counted, [], 2 * MINUTE, None)
  time_s = np.array([beat.time_s for beat in beats if beat.time_s > 3.0])
  at = bars.tempo.beats_at(time_s)
  np.testing.assert_allclose(at, np.round(at), atol=1e-3)
  assert np.diff(np.round(at)).tolist() == [1] * (len(at) - 1)
  # Of the last bars all lines are there, as they were played.
  from_ns, last = counted[-1]
  line_ns = last.next_bar_ns(from_ns + round(2 * last.bar_ns))
  start_s, meter = bars.meters[-1]
  line = bars.tempo.beats_at(np.array([start_s, line_ns / SECOND]))
  inside = (line[1] - line[0]) % meter.count
  assert min(inside, meter.count - inside) == pytest.approx(0, abs=1e-2)
  assert meter == Meter(last.beats_per_bar, 4)


def test_bars_from_the_beginning_are_one_tempo():
  bars = session_bars([(0, Bars(90, 4, 0))], [], MINUTE, Meter())
  (row,) = tempo_rows(bars)
  assert row == {
    "time_s": 0.0,
    "bpm": pytest.approx(90.0),
    "beats_per_bar": 4,
    "meter": "4/4",
  }
  assert session_bars([], [(0, "| C |")], MINUTE, Meter()) is None


def test_a_beat_of_the_meter_is_what_was_counted():
  bars = session_bars([(0, Bars(60, 7, 0))], [], MINUTE, Meter(7, 8))
  assert bars.tempo.bpm == pytest.approx([30.0])
  assert bars.meters == ((0.0, Meter(7, 8)),)


@pytest.mark.parametrize(
  "bars",
  [
    None,
    [],
    {"end_ns": 1},
    {"counted": 5, "end_ns": 1},
    {"counted": [[0, 90, 4]], "end_ns": 1},
    {"counted": [[0, 1e9, 4, 0]], "end_ns": 1},
    {"counted": [[0, 90, 4, 0], [2**62, 90, 4, 0]], "end_ns": 1},
    {"counted": [[0, 90, 4, 0]], "end_ns": 2**70},
    {"counted": [[0, 90, 4, float("nan")]], "end_ns": 1},
  ],
)
def test_bars_of_strangers_are_left_out(bars):
  session = {
    "controls": {"chords": ""},
    "settings": {"engine": {"meter": "4/4"}},
    "bars": {"counted": [[0, 90.0, 4, 0]], "end_ns": MINUTE},
  }
  assert stored_bars(session).tempo.bpm == pytest.approx([90])
  assert stored_bars(session | {"bars": bars}) is None


@pytest.mark.parametrize("change_s", [11.9, 10.4])
def test_bars_that_move_earlier_lose_no_beat_and_no_chord(change_s):
  counted = [
    (0, Bars(120, 4, 0)),
    (round(change_s * SECOND), Bars(120, 4, -130_000_000)),
  ]
  beats = beats_of(counted, 20 * SECOND, None)
  time_s = np.array([beat.time_s for beat in beats])
  gaps = np.diff(time_s[time_s > 3])
  assert gaps.min() > 0.36 and gaps.max() < 0.51
  assert [beat.place for beat in beats] == [n % 4 for n in range(len(beats))]
  bars = session_bars(counted, [(0, "| C | F | G | A |")], 20 * SECOND, None)
  assert [name for _, name in bars.chords][:6] == ["C", "F", "G", "A", "C", "F"]
