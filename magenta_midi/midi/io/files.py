"""Scores from MIDI files and back."""

from __future__ import annotations

import math
from os import PathLike
from pathlib import Path

import numpy as np

from magenta_midi.midi.atomic import write_atomically
from magenta_midi.midi.io.assembly import score_from_bytes
from magenta_midi.midi.io.smf import BadMidiError
from magenta_midi.midi.score import Score
from magenta_midi.midi.tempo import TempoMap, TickClock

SUFFIXES = (".mid", ".midi", ".kar", ".rmi")

# The largest of the files at hand has 0.5 MB; this is no music.
MAX_BYTES = 16 * 2**20

# Onsets are rounded to ticks: half of this is the greatest error.
_TICK_S = 0.001
_TICKS_PER_BEAT = 480
_MAX_TICKS_PER_BEAT = 32640  # the largest multiple of 480 in 15 bits
_MAX_TICK = 2**28 - 1  # what a delta time holds
_BPM_RANGE = (4.0, 2000.0)  # a tempo has 24 bits of microseconds a beat


class MidiFileError(ValueError):
  """A file was not read; the message names it and the reason, in one line."""


def read_score(path: str | PathLike[str]) -> Score:
  """Reads a MIDI file of any kind.

  What had to be put right is in the score's `repairs`. A file without notes
  is a score without notes.

  Raises:
    MidiFileError: The file is not there, is no MIDI file, or is damaged
      beyond what can be read sensibly.
  """
  path = Path(path)
  try:
    size = path.stat().st_size
    if size > MAX_BYTES:
      raise BadMidiError(
        f"has {size / 2**20:.0f} MiB, at most {MAX_BYTES // 2**20} are read"
      )
    return score_from_bytes(path.read_bytes())
  except OSError as error:
    reason = (error.strerror or str(error)).lower()
    raise MidiFileError(f"{path}: {reason}") from error
  except BadMidiError as error:
    raise MidiFileError(f"{path}: {error}") from error


def read_folder(
  folder: str | PathLike[str],
) -> tuple[list[tuple[Path, Score]], list[tuple[Path, str]]]:
  """Reads every MIDI file in a folder and the folders inside it.

  Returns:
    What was read, and what was refused with the reason; sorted by path.

  Raises:
    MidiFileError: The folder is not there.
  """
  folder = Path(folder)
  if not folder.is_dir():
    raise MidiFileError(f"{folder}: no such folder")
  scores, refused = [], []
  for path in sorted(folder.rglob("*")):
    if path.suffix.lower() not in SUFFIXES or path.is_dir():
      continue
    try:
      scores.append((path, read_score(path)))
    except MidiFileError as error:
      refused.append((path, str(error).removeprefix(f"{path}: ")))
  return scores, refused


def write_score(score: Score, path: str | PathLike[str]) -> None:
  """Writes a type-1 MIDI file, whole or not at all.

  A track per part, with its name; the pedal as controller 64, 127 or 0; the
  tempo, at a resolution that keeps onsets within half a millisecond. Parts
  from the sixteenth on share channels with others.

  Raises:
    OSError: The file cannot be written there.
    ValueError: The score is longer than 24 hours.
  """
  write_atomically(path, score_to_bytes(score))


def score_to_bytes(score: Score) -> bytes:
  """The bytes that `write_score` writes."""
  from symusic.core import (
    ControlChangeTickList,
    NoteTickList,
    ScoreTick,
    TempoTick,
    TrackTick,
  )

  if score.end_s > 24 * 3600:
    raise ValueError(
      f"a MIDI file holds at most 24 hours, got {score.end_s / 3600:.1f}. "
      "Crop the score."
    )
  clock, per_beat = _writing_clock(score.tempo, score.end_s)
  piece = ScoreTick(per_beat)
  for tick, per_tick in zip(clock.tick, clock.seconds_per_tick, strict=True):
    us = round(per_tick * per_beat * 1e6)
    piece.tempos.append(TempoTick(int(tick), mspq=us))
  for part, name in enumerate(score.part_names):
    track = TrackTick(name)
    notes = score.notes[score.notes["part"] == part]
    start, length = _note_ticks(notes, clock)
    track.notes = NoteTickList.from_numpy(
      start.astype(np.int32),
      length.astype(np.int32),
      notes["key"].astype(np.int8),
      notes["velocity"].astype(np.int8),
    )
    pedals = score.pedals[score.pedals["part"] == part]
    track.controls = ControlChangeTickList.from_numpy(
      _apart(clock.ticks_at(pedals["time_s"])).astype(np.int32),
      np.full(len(pedals), 64, np.uint8),
      np.where(pedals["down"], 127, 0).astype(np.uint8),
    )
    piece.tracks.append(track)
  return piece.dumps_midi()


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
