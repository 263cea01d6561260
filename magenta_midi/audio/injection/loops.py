"""Loops that land on the beat: grid, metronome, a looped recording."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from magenta_midi.audio.injection.settings import InjectionSettings
from magenta_midi.typing import Float

__all__ = ["BeatGrid", "LoopedRecording", "Metronome", "beep"]

_BEEP_S, _BEEP_RAMP, _BEEP_VOLUME = 0.04, 100, 0.25
# Of the first beat of a loop, and of the others.
_BEEP_HERTZ = (880.0, 440.0)
# A recording that is so little longer than whole beats is cut.
_CUT_S = 0.02


@dataclass(frozen=True, kw_only=True)
class BeatGrid:
  """Samples at which beats fall; loops follow each other without a gap.

  All loops have the same whole number of samples, so that a sound that is a
  loop late lies at the same place of its beat, to the sample.

  Attributes:
    loop_samples: Of a loop.
    beats: Of a loop, from its first sample.
    beat_samples: Where each beat of a loop begins.
  """

  loop_samples: int
  beats: int
  beat_samples: tuple[int, ...]

  @classmethod
  def of(cls, settings: InjectionSettings, sample_rate: int) -> BeatGrid:
    """The grid of a tempo: each place is rounded to the nearest sample.

    The original cuts the loop to whole samples, then the beat to whole samples
    of the loop, so that late beats come early, by up to 14 samples.
    """
    beats = settings.beats_per_loop
    exact = beats * 60 / settings.bpm * sample_rate
    if settings.faithful:
      loop = int(exact)
      places = tuple(beat * (loop // beats) for beat in range(beats))
    else:
      loop = round(exact)
      places = tuple(round(beat * loop / beats) for beat in range(beats))
    return cls(loop_samples=loop, beats=beats, beat_samples=places)

  def sample(self, beat: int) -> int:
    """The first sample of a beat, counted from 0 over all loops."""
    loop, within = divmod(beat, self.beats)
    return loop * self.loop_samples + self.beat_samples[within]

  def whole_beats(
    self, samples: Float[np.ndarray, "n c"], sample_rate: int
  ) -> Float[np.ndarray, "m c"]:
    """A recording that may be repeated on the beat.

    It gets silence at its end up to the next beat. Where no more than 20 ms
    lie beyond a beat, they are cut.

    Args:
      samples: At least one; begins on a beat.
      sample_rate: In hertz.
    """
    spare = round(_CUT_S * sample_rate)
    beat = 1
    while self.sample(beat) + spare < len(samples):
      beat += 1
    length = self.sample(beat)
    whole = np.zeros((length, samples.shape[1]), np.float32)
    kept = samples[:length]
    whole[: len(kept)] = kept
    return whole


class LoopedRecording:
  """A recording over and over, in chunks."""

  def __init__(self, samples: Float[np.ndarray, "n c"], chunk_samples: int):
    """Makes one.

    Args:
      samples: At least one, of any length beside that of a chunk.
      chunk_samples: Of a chunk.

    Raises:
      ValueError: There are no samples.
    """
    if not len(samples):
      raise ValueError("a recording must have samples, got none.")
    self._samples = np.ascontiguousarray(samples, np.float32)
    self._chunk = np.arange(chunk_samples)

  def chunk(self, number: int) -> Float[np.ndarray, "m c"]:
    """A chunk, counted from 0; chunk -1 is the one before, as looped."""
    start = number * len(self._chunk)
    return self._samples[(start + self._chunk) % len(self._samples)]


def beep(sample_rate: int, *, first: bool) -> Float[np.ndarray, " n"]:
  """The original's click, float32: 40 ms of a sine with short ramps.

  Its phases reach the end of the 40 ms at its last sample.
  """
  samples = int(_BEEP_S * sample_rate)
  phase = np.linspace(0, 2 * np.pi * _BEEP_HERTZ[not first] * _BEEP_S, samples)
  wave = _BEEP_VOLUME * np.sin(phase)
  edge = min(_BEEP_RAMP, samples // 2)
  wave[:edge] *= np.linspace(0, 1, edge)
  wave[samples - edge :] *= np.linspace(1, 0, edge)
  return wave.astype(np.float32)


class Metronome:
  """Clicks on each beat of a grid; that of a loop's first beat is higher."""

  def __init__(self, grid: BeatGrid, sample_rate: int):
    """Makes one; all its sound is computed here."""
    self._wave = np.zeros((grid.loop_samples, 1), np.float32)
    for beat, start in enumerate(grid.beat_samples):
      wave = beep(sample_rate, first=beat == 0)
      place = self._wave[start : start + len(wave), 0]
      place += wave[: len(place)]

  def add(self, out: Float[np.ndarray, "n c"], position: int) -> None:
    """Adds clicks to a stretch of sound, in place.

    Args:
      out: Any length.
      position: Of its first sample, from that of the first loop.
    """
    done, size = 0, len(self._wave)
    while done < len(out):
      start = (position + done) % size
      piece = self._wave[start : start + len(out) - done]
      out[done : done + len(piece)] += piece
      done += len(piece)
