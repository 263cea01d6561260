"""Assembly of a MIDI file's messages into notes, pedals, parts and tempo.

A part is what one channel of one track plays: in most files a track, in a
type-0 file a channel.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from magenta_midi.bounded_files import (
  MIDI_HOURS,
  MIDI_MESSAGES,
  MIDI_PARTS,
  MIDI_PEDALS,
)
from magenta_midi.midi.io.chunks import BadMidiError, split_chunks
from magenta_midi.midi.io.names import decode_names
from magenta_midi.midi.io.pairing import pair_notes
from magenta_midi.midi.io.smf import MAX_HINTS, Track, in_sequence, read_track
from magenta_midi.midi.notes import NOTE_DTYPE, tidy_notes
from magenta_midi.midi.pedal import (
  PEDAL_DTYPE,
  apart,
  half_pedal_changes,
  pedal_array,
  pedal_events,
  sort_pedals,
)
from magenta_midi.midi.repairs import Repairs
from magenta_midi.midi.tempo import TempoMap, TickClock

# A note that is never released lasts to the last note message of the file, and
# at least this long: final chords are what most often lacks its note-offs.
UNRELEASED_S = 1.0
# It lasts no longer than this: 99.9 % of 210,000 notes of piano rolls and 99 %
# of transcribed ones end sooner. In a damaged file, in whose middle it stands,
# it would else ring through all that follows.
MAX_UNRELEASED_S = 4.0

_DRUMS = 9  # channel 10, counted from 0
_SUSTAIN, _RESET = 64, 121
_SILENCE = (120, 123, 124, 125, 126, 127)  # all sound off, all notes off


class FileMusic(NamedTuple):
  """Contents of a MIDI file, in seconds; fields as in `Score`."""

  notes: np.ndarray  # `NOTE_DTYPE`, tidy
  pedals: np.ndarray  # `PEDAL_DTYPE`, tidy
  part_names: tuple[str, ...]  # one per part, at least one
  tempo: TempoMap
  repairs: Repairs


def parse_music(data: bytes) -> FileMusic:
  """Reads a MIDI file's bytes.

  The songs of a type-2 file follow one another; each channel is one part.
  A file with SMPTE division counts time in frames and has no tempo; the
  tempo is then 120 bpm.

  Raises:
    BadMidiError: With the reason, one line, without a file's name.
  """
  chunks = split_chunks(data)
  tracks, most = [], MIDI_MESSAGES
  for body in chunks.tracks:
    tracks.append(read_track(body, most))
    most -= tracks[-1].messages
  damaged = chunks.missing + sum(track.damaged for track in tracks)
  if damaged and not any(len(track.tick) for track in tracks):
    raise BadMidiError("damaged before its first note")
  if chunks.format == 2:
    tracks = [in_sequence(tracks)]
  clock, tempo, bad_tempos = _clock(tracks, chunks.division)
  music = _assemble(tracks, clock, tempo)
  found = Repairs(
    bad_tempos=bad_tempos,
    damaged_tracks=damaged,
    illegal_bytes=chunks.skipped + sum(t.illegal_bytes for t in tracks),
    out_of_range=sum(track.clipped for track in tracks),
    long_deltas=sum(track.long_deltas for track in tracks),
    leading_bytes=chunks.leading,
    unknown_types=int(chunks.unknown_format),
  )
  return music._replace(repairs=music.repairs + found)


def _clock(
  tracks: list[Track], division: int
) -> tuple[TickClock, TempoMap, int]:
  """Seconds of the ticks; the tempos; how many tempos were impossible."""
  if division & 0x8000:
    frames, per_frame = 256 - (division >> 8), division & 0xFF
    if frames not in (24, 25, 29, 30) or not per_frame:
      raise BadMidiError(
        f"unknown SMPTE division 0x{division:04x} "
        f"({frames} frames a second, {per_frame} ticks a frame)"
      )
    fps = 30000 / 1001 if frames == 29 else frames
    return TickClock.steady(1 / (fps * per_frame)), TempoMap.constant(), 0
  tick = np.concatenate([track.tempo_tick for track in tracks])
  us = np.concatenate([track.tempo_us for track in tracks])
  order = np.argsort(tick, kind="stable")
  order = order[us[order] > 0]
  clock = TickClock.from_tempos(tick[order], us[order], division)
  return clock, clock.tempo_map(division), int((us == 0).sum())


def _assemble(
  tracks: list[Track], clock: TickClock, tempo: TempoMap
) -> FileMusic:
  tick = np.concatenate([track.tick for track in tracks])
  status = np.concatenate([track.status for track in tracks])
  data1 = np.concatenate([track.data1 for track in tracks])
  data2 = np.concatenate([track.data2 for track in tracks])
  sizes = [len(track.tick) for track in tracks]
  kind, channel = status & 0xF0, status & 0x0F
  source = np.repeat(np.arange(len(tracks), dtype=np.int32) * 16, sizes)
  source += channel

  is_on = (kind == 0x90) & (data2 > 0)
  is_note = is_on | (kind == 0x80) | (kind == 0x90)
  drums = is_note & (channel == _DRUMS)
  is_note &= ~drums

  last_s = 0.0
  if is_note.any():
    last_s = float(clock.seconds_at(tick[is_note].max(keepdims=True))[0])
    if last_s > MIDI_HOURS * 3600:
      raise BadMidiError(
        f"lasts {last_s / 3600:.0f} hours, at most {MIDI_HOURS} are read"
      )

  control = np.flatnonzero((kind == 0xB0) & (channel != _DRUMS))
  sources = np.unique(source[is_note & is_on])
  if not len(sources):
    sources = np.unique(source[control[data1[control] == _SUSTAIN]])
  if len(sources) > MIDI_PARTS:
    raise BadMidiError(
      f"has {len(sources)} parts, at most {MIDI_PARTS} are read"
    )

  note = np.flatnonzero(is_note)
  pairs = pair_notes(is_on[note], source[note] * 128 + data1[note])
  on = note[pairs.on]
  on_s = clock.seconds_at(tick[on])
  end_s = clock.seconds_at(tick[note[pairs.off]]) if len(note) else on_s
  hanging = np.flatnonzero(pairs.off < 0)
  if len(hanging):
    silence = _next_of_source(
      on[hanging], control[np.isin(data1[control], _SILENCE)], source
    )
    silenced = silence >= 0
    end_s[hanging] = np.where(
      silenced,
      np.minimum(clock.seconds_at(tick[silence]), last_s + MAX_UNRELEASED_S),
      np.clip(
        last_s,
        on_s[hanging] + UNRELEASED_S,
        on_s[hanging] + MAX_UNRELEASED_S,
      ),
    )

  notes = np.empty(len(on), NOTE_DTYPE)
  notes["onset_s"] = on_s
  notes["duration_s"] = end_s - on_s
  notes["key"] = data1[on]
  notes["velocity"] = data2[on]
  notes["part"] = np.searchsorted(sources, source[on])
  notes, repairs = tidy_notes(notes)

  pedals, half_pedal = _pedals(
    tick, source, data1, data2, control, sources, clock
  )
  return FileMusic(
    notes=notes,
    pedals=pedals[pedals["time_s"] <= MIDI_HOURS * 3600],
    part_names=_part_names(tracks, sources) or ("",),
    tempo=tempo,
    repairs=repairs
    + Repairs(
      unreleased=pairs.unreleased,
      half_pedal=half_pedal,
      drums_left_out=int((drums & is_on).sum()),
    ),
  )


def _next_of_source(
  message: np.ndarray, others: np.ndarray, source: np.ndarray
) -> np.ndarray:
  """For each message the next of the others in its source, or -1.

  Args:
    message: Indices of messages.
    others: Likewise, ascending.
    source: Of every message.
  """
  others = others[np.argsort(source[others], kind="stable")]
  # Sorted by source, then place: one number for both.
  place = source[others].astype(np.int64) * len(source) + others
  wanted = source[message].astype(np.int64) * len(source) + message
  found = np.append(others, -1)[np.searchsorted(place, wanted)]
  return np.where(source[found] == source[message], found, -1)


def _pedals(
  tick: np.ndarray,
  source: np.ndarray,
  data1: np.ndarray,
  data2: np.ndarray,
  control: np.ndarray,
  sources: np.ndarray,
  clock: TickClock,
) -> tuple[np.ndarray, int]:
  """Gives every part its pedal; counts the changes of half-pedalling left out.

  A part without pedal messages of its own gets those that other tracks send
  on its channel. Where no part has any (the pedal is on a track and channel
  without notes), all parts get the pedal.
  """
  control = control[np.isin(data1[control], (_SUSTAIN, _RESET))]
  with_pedal = np.unique(source[control[data1[control] == _SUSTAIN]])
  if not len(with_pedal):
    return np.empty(0, PEDAL_DTYPE), 0
  control = control[np.isin(source[control], with_pedal)]
  # Parts with a pedal of their own; the others share one a channel, or all.
  own = np.isin(sources, with_pedal)
  by_channel = np.isin(sources % 16, with_pedal % 16)
  if by_channel.any():
    feeds = np.where(own, 16 + sources, sources % 16)[by_channel]
  else:
    feeds = np.full(len(sources), -1)
  parts = np.flatnonzero(by_channel | ~by_channel.any())
  changes: dict[int, tuple[np.ndarray, np.ndarray]] = {}
  half: dict[int, int] = {}
  pedals, total, half_pedal = [np.empty(0, PEDAL_DTYPE)], 0, 0
  by_source = _Groups(source[control])
  by_its_channel = _Groups(source[control] % 16)
  for part, feed in zip(parts.tolist(), feeds.tolist(), strict=True):
    if feed not in changes:
      if feed >= 16:
        given = control[by_source.members(feed - 16)]
      elif feed >= 0:
        given = control[by_its_channel.members(feed)]
      else:
        given = control
      given = given[np.argsort(tick[given], kind="stable")]
      value = np.where(data1[given] == _SUSTAIN, data2[given], 0).astype(int)
      half[feed] = half_pedal_changes(value)
      at, down = pedal_events(value)
      changes[feed] = apart(clock.seconds_at(tick[given[at]]), down)
    pedals.append(pedal_array(*changes[feed], part))
    total += len(pedals[-1])
    half_pedal += half[feed]
    if total > MIDI_PEDALS:
      raise BadMidiError(
        f"has more than {MIDI_PEDALS:,} changes of the pedals of its parts"
      )
  return sort_pedals(np.concatenate(pedals)), half_pedal


class _Groups:
  """Places of equal numbers, sorted once."""

  def __init__(self, number: np.ndarray):
    self._order = np.argsort(number, kind="stable")
    self._sorted = number[self._order]

  def members(self, number: int) -> np.ndarray:
    """The places of a number, ascending."""
    first, last = np.searchsorted(self._sorted, (number, number + 1))
    return self._order[first:last]


def _part_names(tracks: list[Track], sources: np.ndarray) -> tuple[str, ...]:
  hints = [hint for track in tracks for hint in track.hints]
  read = decode_names([track.name for track in tracks], hints[:MAX_HINTS])
  alone = np.bincount(sources // 16, minlength=len(tracks)) == 1
  names = []
  for source in sources:
    track, channel = divmod(int(source), 16)
    name = read[track] or f"track {track + 1}"
    names.append(name if alone[track] else f"{name}, channel {channel + 1}")
  return tuple(names)
