"""Encoding of notes, pedals, parts and tempo as MIDI files."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence

import numpy as np

from magenta_midi.midi.tempo import TempoMap, TickClock

__all__ = ["encode_music", "encode_tempo"]

# Onsets are rounded to ticks: half of this is the greatest error.
_TICK_S = 0.001
_TICKS_PER_BEAT = 480
_MAX_TICKS_PER_BEAT = 32640  # the largest multiple of 480 in 15 bits
_MAX_TICK = 2**28 - 1  # what a delta time holds
_BPM_RANGE = (4.0, 2000.0)  # a tempo has 24 bits of microseconds a beat


def encode_music(
  notes: np.ndarray,
  pedals: np.ndarray,
  part_names: Sequence[str],
  tempo: TempoMap,
  *,
  end_s: float,
) -> bytes:
  """The bytes of a type-1 MIDI file, a track per part.

  Args:
    notes: `NOTE_DTYPE`, tidy.
    pedals: `PEDAL_DTYPE`, tidy; written as controller 64, 127 or 0.
    part_names: One per part. Parts from the sixteenth on share channels.
    tempo: Written at a resolution that keeps onsets within 0.5 ms.
    end_s: The end of the last note or pedal change.

  Raises:
    ValueError: The music is longer than 24 hours.
  """
  from symusic.core import (
    ControlChangeTickList,
    NoteTickList,
    ScoreTick,
    TempoTick,
    TrackTick,
  )

  if end_s > 24 * 3600:
    raise ValueError(
      f"a MIDI file holds at most 24 hours, got {end_s / 3600:.1f}. "
      "Crop the score."
    )
  clock, per_beat = _writing_clock(tempo, end_s)
  piece = ScoreTick(per_beat)
  for tick, per_tick in zip(clock.tick, clock.seconds_per_tick, strict=True):
    us = round(per_tick * per_beat * 1e6)
    piece.tempos.append(TempoTick(int(tick), mspq=us))
  for part, name in enumerate(part_names):
    track = TrackTick(name)
    own = notes[notes["part"] == part]
    start, length = _note_ticks(own, clock)
    track.notes = NoteTickList.from_numpy(
      start.astype(np.int32),
      length.astype(np.int32),
      own["key"].astype(np.int8),
      own["velocity"].astype(np.int8),
    )
    changes = pedals[pedals["part"] == part]
    track.controls = ControlChangeTickList.from_numpy(
      _apart(clock.ticks_at(changes["time_s"])).astype(np.int32),
      np.full(len(changes), 64, np.uint8),
      np.where(changes["down"], 127, 0).astype(np.uint8),
    )
    piece.tracks.append(track)
  return piece.dumps_midi()


def encode_tempo(
  tempo: TempoMap, bars: Sequence[tuple[float, int]], *, end_s: float
) -> bytes:
  """The bytes of a type-0 MIDI file of tempos and time signatures alone.

  Args:
    tempo: Of the piece.
    bars: When the beats a bar change, in seconds, and how many they are;
      the beat is a quarter note.
    end_s: Where the file ends.
  """
  events = [
    (float(time_s), b"\x51\x03" + round(60e6 / bpm).to_bytes(3))
    for time_s, bpm in zip(tempo.time_s, _plain_tempo(tempo).bpm, strict=True)
  ]
  beats = None
  for time_s, beats_per_bar in bars:
    if beats_per_bar != beats:
      beats = beats_per_bar
      # Over 2**2; 24 MIDI clocks and 8 thirty-second notes a beat.
      signature = bytes((0x58, 4, beats, 2, 24, 8))
      events.append((float(time_s), signature))
  events.sort(key=lambda event: event[0])
  at_s = np.array([time_s for time_s, _ in events] + [end_s])
  ticks = np.rint(tempo.beats_at(at_s) * _TICKS_PER_BEAT).astype(int)
  ticks = np.maximum.accumulate(ticks).tolist()
  name = b"\x03\x05tempo"
  messages = [name, *(data for _, data in events), b"\x2f\x00"]
  body = _track_bytes(zip([0, *ticks], messages, strict=True))
  header = struct.pack(">4sIHHH", b"MThd", 6, 0, 1, _TICKS_PER_BEAT)
  return header + struct.pack(">4sI", b"MTrk", len(body)) + body


def _track_bytes(messages: Iterable[tuple[int, bytes]]) -> bytes:
  """Meta messages and their ticks as the body of a track."""
  body, before = bytearray(), 0
  for tick, data in messages:
    delta = tick - before
    before = tick
    # Seven bits a byte, the highest first; all but the last have bit 7.
    size = max(1, -(-delta.bit_length() // 7))
    body += bytes(
      delta >> 7 * place & 0x7F | (0x80 if place else 0)
      for place in reversed(range(size))
    )
    body += b"\xff" + data
  return bytes(body)


def _apart(tick: np.ndarray) -> np.ndarray:
  """Pedal changes a tick apart at least: a reader keeps one a tick."""
  place = np.arange(len(tick))
  return np.maximum.accumulate(tick - place) + place


def _writing_clock(tempo: TempoMap, end_s: float) -> tuple[TickClock, int]:
  """A clock on whole ticks and microseconds, and its ticks a beat."""
  tempo = _plain_tempo(tempo)
  slowest_s = 60 / tempo.bpm.min()
  per_beat = _TICKS_PER_BEAT * math.ceil(slowest_s / _TICK_S / _TICKS_PER_BEAT)
  per_beat = min(per_beat, _MAX_TICKS_PER_BEAT)
  tick = np.rint(tempo.beats_at(tempo.time_s) * per_beat).astype(np.int64)
  us = np.rint(60e6 / tempo.bpm).astype(np.int64)
  clock = TickClock.from_tempos(tick, us, per_beat)
  if clock.ticks_at(np.array([end_s]))[0] < _MAX_TICK:
    return clock, per_beat
  # Very fast tempos over a very long time: keep the times, not the tempo.
  return _writing_clock(TempoMap.constant(), end_s)


def _plain_tempo(tempo: TempoMap) -> TempoMap:
  low, high = _BPM_RANGE
  if tempo.bpm.min() < low or tempo.bpm.max() > high:
    return TempoMap(tempo.time_s, np.clip(tempo.bpm, low, high))
  return tempo


def _note_ticks(
  notes: np.ndarray, clock: TickClock
) -> tuple[np.ndarray, np.ndarray]:
  """Start and length; at least a tick long, none beyond the key's next."""
  start = clock.ticks_at(notes["onset_s"])
  end = clock.ticks_at(notes["onset_s"] + notes["duration_s"])
  return start, np.maximum(end - start, 1)
