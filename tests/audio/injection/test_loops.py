"""Loops, beats and clicks, to the sample."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.audio.injection.loops import (
  BeatGrid,
  LoopedRecording,
  Metronome,
  beep,
)
from magenta_midi.audio.injection.settings import InjectionSettings

RATE = 48000


def grid(bpm, beats, *, rate=RATE, faithful=False):
  settings = InjectionSettings(bpm=bpm, beats_per_loop=beats, faithful=faithful)
  return BeatGrid.of(settings, rate)


def test_a_loop_of_8_beats_at_120():
  # 4 s, a beat each half second; alike in both modes.
  for faithful in (False, True):
    found = grid(120, 8, faithful=faithful)
    assert found.loop_samples == 192_000
    assert found.beat_samples == tuple(range(0, 192_000, 24_000))
  assert grid(120, 8).sample(17) == 408_000


def test_a_tempo_whose_beats_are_no_whole_samples():
  # 5 beats at 130: 2.3076923 s = 110769.23 samples, a beat 22153.8.
  assert grid(130, 5).loop_samples == 110_769
  assert grid(130, 5).beat_samples == (0, 22154, 44308, 66461, 88615)
  found = grid(130, 5, faithful=True)
  assert found.loop_samples == 110_769
  assert found.beat_samples == (0, 22153, 44306, 66459, 88612)
  # 7 beats at 90.5: 222762.43; 13 at 99: 378181.82, up here, down there.
  assert grid(99, 13).loop_samples == 378_182
  assert grid(99, 13, faithful=True).loop_samples == 378_181


@given(st.floats(20, 400), st.integers(1, 16), st.integers(0, 2000))
def test_beats_fall_within_a_sample_of_their_time(bpm, beats, beat):
  found = grid(bpm, beats)
  loop, within = divmod(beat, beats)
  # Each loop is off its exact length by half a sample at most.
  exact = within * 60 / bpm * RATE
  start = found.sample(beat) - loop * found.loop_samples
  assert abs(start - exact) <= 1.001
  # A loop later is the same beat, to the sample.
  assert found.sample(beat + beats) == found.sample(beat) + found.loop_samples


def test_the_click_is_the_originals():
  high, low = beep(RATE, first=True), beep(RATE, first=False)
  assert len(high) == len(low) == 1920
  # 880 * .04 = 35.2 turns to the last sample, so 17.6 lie before the middle.
  turns = 35.2 * 1000 / 1919
  assert high[1000] == pytest.approx(0.25 * np.sin(2 * np.pi * turns), abs=1e-6)
  assert low[1000] == pytest.approx(0.25 * np.sin(np.pi * turns), abs=1e-6)
  # The ramp: the 50th of 100 gains is 50 / 99.
  expected = 0.25 * np.sin(2 * np.pi * 35.2 * 50 / 1919) * 50 / 99
  assert high[50] == pytest.approx(expected, abs=1e-6)
  assert high[0] == high[-1] == 0
  assert 0.249 < np.abs(high).max() <= 0.25


def test_clicks_begin_on_the_beats_and_the_first_is_higher():
  found = grid(130, 5)
  out = np.zeros((2 * found.loop_samples, 2), np.float32)
  Metronome(found, RATE).add(out, 0)
  sounding = np.flatnonzero(out[:, 0])
  for beat in range(10):
    start = found.sample(beat)
    wave = beep(RATE, first=beat % 5 == 0)
    np.testing.assert_array_equal(out[start : start + 1920, 0], wave)
    # Silence before each.
    assert not out[max(0, start - 100) : start].any()
  np.testing.assert_array_equal(out[:, 0], out[:, 1])
  assert len(sounding) <= 10 * 1920


@given(st.lists(st.integers(0, 40_000), max_size=12), st.integers(0, 500_000))
def test_clicks_in_pieces_are_those_of_one_long_call(pieces, position):
  metronome = Metronome(grid(400, 2, rate=8000), 8000)
  whole = np.zeros((sum(pieces), 1), np.float32)
  metronome.add(whole, position)
  done = 0
  for piece in pieces:
    part = np.zeros((piece, 1), np.float32)
    metronome.add(part, position + done)
    np.testing.assert_array_equal(part, whole[done : done + piece])
    done += piece


def test_clicks_are_added_to_the_sound():
  metronome = Metronome(grid(120, 8), RATE)
  silent = np.zeros((2000, 1), np.float32)
  metronome.add(silent, 0)
  loud = np.full((2000, 1), 0.5, np.float32)
  metronome.add(loud, 0)
  np.testing.assert_allclose(loud, silent + 0.5, atol=1e-6)


@given(st.integers(1, 50), st.integers(1, 30), st.integers(0, 20))
def test_a_recording_goes_round_at_its_own_length(length, chunk, number):
  samples = np.arange(length, dtype=np.float32)[:, None]
  looped = LoopedRecording(samples, chunk)
  expected = [(number * chunk + n) % length for n in range(chunk)]
  assert looped.chunk(number)[:, 0].tolist() == expected


def test_the_chunk_before_the_first_is_the_end_of_the_recording():
  looped = LoopedRecording(np.arange(10, dtype=np.float32)[:, None], 4)
  assert looped.chunk(-1)[:, 0].tolist() == [6, 7, 8, 9]


def test_a_recording_without_samples_is_refused():
  with pytest.raises(ValueError, match="must have samples, got none"):
    LoopedRecording(np.zeros((0, 2), np.float32), 4)


@pytest.mark.parametrize(
  ("length", "whole"),
  [
    (1, 500),
    (500, 500),
    (520, 500),  # 20 ms too long: cut
    (521, 1000),
    (1999, 2000),
    (4000, 4000),
    (4300, 4500),
  ],
)
def test_a_recording_is_made_to_end_on_a_beat(length, whole):
  # A beat is 500 samples at 1 kHz.
  samples = np.arange(1, length + 1, dtype=np.float32)[:, None]
  found = grid(120, 8, rate=1000).whole_beats(samples, 1000)
  assert len(found) == whole
  kept = min(length, whole)
  np.testing.assert_array_equal(found[:kept], samples[:kept])
  assert not found[kept:].any()


@given(st.floats(20, 400), st.integers(1, 16), st.integers(1, 5))
def test_whole_loops_come_round_on_the_beat_to_the_sample(bpm, beats, loops):
  found = grid(bpm, beats, rate=1000)
  length = loops * found.loop_samples
  samples = np.zeros((length, 1), np.float32)
  samples[0] = 1
  whole = found.whole_beats(samples, 1000)
  looped = LoopedRecording(whole, 3 * length)
  starts = np.flatnonzero(looped.chunk(0)[:, 0]).tolist()
  assert starts == [found.sample(k * loops * beats) for k in range(3)]
