"""Encoding of notes, pedals, parts and tempo as MIDI files."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import numpy as np

from magenta_midi.midi.bar_map import BarMap
from magenta_midi.midi.clicks import CLICK_S
from magenta_midi.midi.tempo import TempoMap, TickClock

__all__ = ["encode_music", "encode_tempo"]

_TICKS_PER_BEAT = 480  # what is written is a multiple of it
# Onsets are rounded to ticks: half a tick is the greatest error. At 120 bpm
# this is 4800 ticks a beat, and the codec's 10 ms are 96 ticks.
_FINE_TICKS_A_SECOND = 9600
_FINEST = 19200  # Ardour writes as many ticks a beat
# Pretty_midi refuses files of ten million ticks. Long music is written more
# coarsely, down to what the next two say.
_OTHERS_READ = 9_990_000
_COARSE_TICKS_A_SECOND = 1000
_MAX_TICKS_PER_BEAT = 32640  # the largest multiple of 480 in 15 bits
_MAX_TICK = 2**28 - 1  # what a delta time holds
_MAX_MARKER = 127  # bytes: its length is one byte
_Entry = TypeVar("_Entry", bound=tuple[Any, ...])
_BPM_RANGE = (4.0, 2000.0)  # a tempo has 24 bits of microseconds a beat


def encode_music(
  notes: np.ndarray,
  pedals: np.ndarray,
  part_names: Sequence[str],
  tempo: TempoMap,
  *,
  end_s: float,
  bars: BarMap | None = None,
) -> bytes:
  """The bytes of a type-1 MIDI file, a track per part.

  Args:
    notes: `NOTE_DTYPE`, tidy.
    pedals: `PEDAL_DTYPE`, tidy; written as controller 64, 127 or 0.
    part_names: One per part. Parts from the sixteenth on share channels.
    tempo: Written at a resolution that keeps onsets within 0.1 ms in 15
      minutes of music at a steady tempo, within 0.5 ms in a day.
    end_s: The end of the last note or pedal change.
    bars: Meters, chord symbols (as markers) and clicks, on a last track and
      channel 10. Their tempo counts in place of `tempo`.

  Raises:
    ValueError: The music is longer than 24 hours.
  """
  from symusic.core import (
    ControlChangeTickList,
    NoteTick,
    NoteTickList,
    ScoreTick,
    TempoTick,
    TextMetaTick,
    TimeSignatureTick,
    TrackTick,
  )

  if end_s > 24 * 3600:
    raise ValueError(
      f"a MIDI file holds at most 24 hours, got {end_s / 3600:.1f}. "
      "Crop the score."
    )
  bars = bars or BarMap(tempo)
  clock, per_beat = _writing_clock(bars.tempo, end_s)
  piece = ScoreTick(per_beat)
  for tick, per_tick in zip(clock.tick, clock.seconds_per_tick, strict=True):
    us = round(per_tick * per_beat * 1e6)
    piece.tempos.append(TempoTick(int(tick), mspq=us))
  for tick, (_, meter) in _placed(bars.meters, clock):
    piece.time_signatures.append(
      TimeSignatureTick(tick, meter.count, meter.unit)
    )
  for tick, (_, name) in _placed(bars.chords, clock):
    text = name.encode()[:_MAX_MARKER].decode(errors="ignore")
    piece.markers.append(TextMetaTick(tick, text))
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
  if bars.clicks:
    track = TrackTick("count-in", 0, True)
    length = max(1, int(clock.ticks_at(np.array([CLICK_S]))[0]))
    for tick, click in _placed(bars.clicks, clock):
      track.notes.append(NoteTick(tick, length, click.key, click.velocity))
    piece.tracks.append(track)
  return piece.dumps_midi()


def _placed(
  entries: Sequence[_Entry], clock: TickClock
) -> list[tuple[int, _Entry]]:
  """Entries that begin with a time in seconds, and their ticks."""
  if not entries:
    return []
  ticks = clock.ticks_at(np.array([float(entry[0]) for entry in entries]))
  return list(zip(ticks.tolist(), entries, strict=True))


def encode_tempo(bars: BarMap, *, end_s: float) -> bytes:
  """The bytes of a type-0 MIDI file of tempos, meters and chord symbols alone.

  Args:
    bars: Of the piece; clicks are left out.
    end_s: Where the file ends.
  """
  tempo = bars.tempo
  events = [
    (float(time_s), b"\x51\x03" + round(60e6 / bpm).to_bytes(3))
    for time_s, bpm in zip(tempo.time_s, _plain_tempo(tempo).bpm, strict=True)
  ]
  before = None
  for time_s, meter in bars.meters:
    if meter != before:
      before = meter
      # The unit as a power of 2; 24 MIDI clocks a click, 8 thirty-second notes
      # a quarter note.
      power = meter.unit.bit_length() - 1
      signature = bytes((0x58, 4, meter.count, power, 24, 8))
      events.append((float(time_s), signature))
  for time_s, name in bars.chords:
    text = name.encode()[:_MAX_MARKER]
    events.append((float(time_s), bytes((0x06, len(text))) + text))
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
  beats = float(tempo.beats_at(np.array([end_s]))[0])
  fine = _multiple(slowest_s * _FINE_TICKS_A_SECOND)
  readable = int(_OTHERS_READ / max(beats, 1.0) / _TICKS_PER_BEAT)
  per_beat = max(
    min(fine, _FINEST, readable * _TICKS_PER_BEAT),
    min(_multiple(slowest_s * _COARSE_TICKS_A_SECOND), _MAX_TICKS_PER_BEAT),
  )
  tick = np.rint(tempo.beats_at(tempo.time_s) * per_beat)
  us = np.rint(60e6 / tempo.bpm).astype(np.int64)
  # Damaged files have tempos days after their last note.
  fits = tick < _MAX_TICK
  clock = TickClock.from_tempos(tick[fits].astype(np.int64), us[fits], per_beat)
  if clock.ticks_at(np.array([end_s]))[0] < _MAX_TICK:
    return clock, per_beat
  # Very fast tempos over a very long time: keep the times, not the tempo.
  return _writing_clock(TempoMap.constant(), end_s)


def _multiple(ticks_per_beat: float) -> int:
  """The next multiple of `_TICKS_PER_BEAT`."""
  # Rounding must not add one.
  return _TICKS_PER_BEAT * math.ceil(ticks_per_beat / _TICKS_PER_BEAT - 1e-9)


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
