"""Assembly of a MIDI file's messages into notes, pedals, parts and tempo.

A part is what one channel of one track plays: in most files a track, in a
type-0 file a channel.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from magenta_midi.midi.io import smf
from magenta_midi.midi.io.pairing import pair_notes
from magenta_midi.midi.notes import NOTE_DTYPE, tidy_notes
from magenta_midi.midi.pedal import (
  PEDAL_DTYPE,
  pedal_array,
  pedal_events,
  sort_pedals,
)
from magenta_midi.midi.repairs import Repairs
from magenta_midi.midi.tempo import TempoMap, TickClock

# Nobody plays longer; a damaged delta time easily adds up to more.
MAX_HOURS = 24
MAX_PARTS = 256

# A note that is never released lasts to the last message of the file, and
# at least this long: final chords are what most often lacks its note-offs.
UNRELEASED_S = 1.0

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
    smf.BadMidiError: With the reason, one line, without a file's name.
  """
  chunks = smf.split_chunks(data)
  tracks = [smf.read_track(body) for body in chunks.tracks]
  damaged = chunks.damaged + sum(track.damaged for track in tracks)
  if damaged and not any(len(track.tick) for track in tracks):
    raise smf.BadMidiError("damaged before its first note")
  if chunks.format == 2:
    tracks = [smf.in_sequence(tracks)]
  clock, tempo, bad_tempos = _clock(tracks, chunks.division)
  music = _assemble(tracks, clock, tempo)
  found = Repairs(
    bad_tempos=bad_tempos,
    damaged_tracks=damaged,
    illegal_bytes=sum(track.illegal_bytes for track in tracks),
  )
  return music._replace(repairs=music.repairs + found)


def _clock(
  tracks: list[smf.Track], division: int
) -> tuple[TickClock, TempoMap, int]:
  """Seconds of the ticks; the tempos; how many tempos were impossible."""
  if division & 0x8000:
    frames, per_frame = 256 - (division >> 8), division & 0xFF
    if frames not in (24, 25, 29, 30) or not per_frame:
      raise smf.BadMidiError(
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
  tracks: list[smf.Track], clock: TickClock, tempo: TempoMap
) -> FileMusic:
  tick = np.concatenate([track.tick for track in tracks])
  status = np.concatenate([track.status for track in tracks])
  data1 = np.concatenate([track.data1 for track in tracks])
  data2 = np.concatenate([track.data2 for track in tracks])
  sizes = [len(track.tick) for track in tracks]
  kind, channel = status & 0xF0, status & 0x0F
  source = np.repeat(np.arange(len(tracks)) * 16, sizes) + channel

  is_on = (kind == 0x90) & (data2 > 0)
  is_note = is_on | (kind == 0x80) | (kind == 0x90)
  drums = is_note & (channel == _DRUMS)
  wrong_key = is_note & ~drums & (data1 > 127)
  wrong_velocity = is_on & ~drums & ~wrong_key & (data2 > 127)
  is_note &= ~drums & ~wrong_key

  if is_note.any():
    end_s = float(clock.seconds_at(tick[is_note].max(keepdims=True))[0])
    if end_s > MAX_HOURS * 3600:
      raise smf.BadMidiError(
        f"lasts {end_s / 3600:.0f} hours, at most {MAX_HOURS} are read"
      )

  control = np.flatnonzero((kind == 0xB0) & (channel != _DRUMS))
  sources = np.unique(source[is_note & is_on])
  if not len(sources):
    sources = np.unique(source[control[data1[control] == _SUSTAIN]])
  if len(sources) > MAX_PARTS:
    raise smf.BadMidiError(
      f"has {len(sources)} parts, at most {MAX_PARTS} are read"
    )

  note = np.flatnonzero(is_note)
  voice = source[note] * 128 + data1[note]
  pairs = pair_notes(is_on[note], voice)
  on = note[pairs.on]
  on_s = clock.seconds_at(tick[on])
  end_s = clock.seconds_at(tick[note[pairs.off]]) if len(note) else on_s
  hanging = np.flatnonzero(pairs.off < 0)
  if len(hanging):
    silences = control[np.isin(data1[control], _SILENCE)]
    last_s = clock.seconds_at(tick[note].max(keepdims=True))[0]
    for i in hanging:
      end_s[i] = max(last_s, on_s[i] + UNRELEASED_S)
      here = silences[(source[silences] == source[on[i]]) & (silences > on[i])]
      if len(here):
        end_s[i] = clock.seconds_at(tick[here[:1]])[0]

  notes = np.empty(len(on), NOTE_DTYPE)
  notes["onset_s"] = on_s
  notes["duration_s"] = end_s - on_s
  notes["key"] = data1[on]
  notes["velocity"] = np.minimum(data2[on], 127)
  notes["part"] = np.searchsorted(sources, source[on])
  notes, repairs = tidy_notes(notes)

  pedals = _pedals(tick, source, data1, data2, control, sources, clock)
  return FileMusic(
    notes=notes,
    pedals=pedals[pedals["time_s"] <= MAX_HOURS * 3600],
    part_names=_part_names(tracks, sources) or ("",),
    tempo=tempo,
    repairs=repairs
    + Repairs(
      unreleased=pairs.unreleased,
      drums_left_out=int((drums & is_on).sum()),
      out_of_range=int((wrong_key & is_on).sum() + wrong_velocity.sum()),
    ),
  )


def _pedals(
  tick: np.ndarray,
  source: np.ndarray,
  data1: np.ndarray,
  data2: np.ndarray,
  control: np.ndarray,
  sources: np.ndarray,
  clock: TickClock,
) -> np.ndarray:
  """Gives every part its pedal.

  A part without pedal messages of its own gets those that other tracks send
  on its channel. Where no part has any (the pedal is on a track and channel
  without notes), all parts get the pedal.
  """
  control = control[np.isin(data1[control], (_SUSTAIN, _RESET))]
  is_pedal = data1[control] == _SUSTAIN
  with_pedal = np.unique(source[control[is_pedal]])
  feeds = {}
  for part, own in enumerate(sources):
    if own in with_pedal:
      feeds[part] = [own]
    elif len(alike := with_pedal[with_pedal % 16 == own % 16]):
      feeds[part] = list(alike)
  if not feeds and len(with_pedal):
    feeds = {part: list(with_pedal) for part in range(len(sources))}
  pedals = [np.empty(0, PEDAL_DTYPE)]
  for part, given in feeds.items():
    own = control[np.isin(source[control], given)]
    own = own[np.argsort(tick[own], kind="stable")]
    value = np.where(data1[own] == _SUSTAIN, data2[own], 0).astype(int)
    at, down = pedal_events(value)
    pedals.append(pedal_array(clock.seconds_at(tick[own[at]]), down, part))
  return sort_pedals(np.concatenate(pedals))


def _part_names(
  tracks: list[smf.Track], sources: np.ndarray
) -> tuple[str, ...]:
  alone = np.bincount(sources // 16, minlength=len(tracks)) == 1
  names = []
  for source in sources:
    track, channel = divmod(int(source), 16)
    name = tracks[track].name or f"track {track + 1}"
    names.append(name if alone[track] else f"{name}, channel {channel + 1}")
  return tuple(names)
