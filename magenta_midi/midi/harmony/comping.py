"""Plain accompaniment of a chart: what is struck, on which beat.

Each chord is struck as it begins, with its bass, and again at each bar line
that it lasts over; in the middle of the bar its shell is restated, softer. That
is all: it leaves room.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

from magenta_midi.midi.harmony.chart import Chart
from magenta_midi.midi.harmony.chord_symbols import ChordSymbol
from magenta_midi.midi.harmony.voicings import voicings

__all__ = ["BASE_VELOCITY", "CompHit", "comp_hits", "comp_velocity"]

# Of the player, where nothing was played yet.
BASE_VELOCITY = 64
# Below the player: the accompaniment is behind.
_BELOW = 14
# Velocity by what is struck, against that.
_CHORD, _GOES_ON, _RESTATED = 0, -4, -12
_LOWEST, _HIGHEST = 20, 90
# Share of the time to the next hit that a shell and its restatement sound.
_HELD, _SHORT = 0.9, 0.6
# The bass sounds until just before the next one, beats.
_BREATH = 0.06


class CompHit(NamedTuple):
  """Keys that are struck together.

  Attributes:
    beat: Of the chart, from 0; not whole where chords begin between beats.
    keys: MIDI keys and how long each sounds, in beats.
    softer: Added to the velocity.
    ends: Whether all that sounds from before ends. Without keys, that is all.
  """

  beat: float
  keys: tuple[tuple[int, float], ...]
  softer: int = 0
  ends: bool = True


class _Piece(NamedTuple):
  """What of a chord lies in one bar."""

  beat: float
  beats: float
  chord: ChordSymbol
  begins: bool
  whole_bar: bool


@functools.lru_cache(maxsize=8)
def comp_hits(chart: Chart) -> tuple[CompHit, ...]:
  """What is struck in one round of a chart, by beat; N.C. is silence.

  The last chord leads to the first: voices are led around.
  """
  pieces = _pieces(chart)
  # Led through one round first: so the second begins where the first ended.
  twice = voicings([piece.chord for piece in pieces] * 2)
  hits: list[CompHit] = []
  for piece, voicing in zip(pieces, twice[len(pieces) :], strict=True):
    if not voicing.bass:
      hits.append(CompHit(piece.beat, ()))
      continue
    again = _restated(piece)
    shell_beats = _HELD * (again or piece.beats)
    keys = [(key, max(piece.beats - _BREATH, 0.1)) for key in voicing.bass]
    keys += [(key, shell_beats) for key in voicing.shell]
    softer = _CHORD if piece.begins else _GOES_ON
    hits.append(CompHit(piece.beat, tuple(keys), softer))
    if again:
      length = _SHORT * (piece.beats - again)
      shell = tuple((key, length) for key in voicing.shell)
      hits.append(CompHit(piece.beat + again, shell, _RESTATED, ends=False))
  return tuple(hits)


def comp_velocity(
  hit: CompHit, player_velocity: float | int, loudness: int
) -> int:
  """Velocity of a hit, 1 to 127: below the player's.

  Args:
    hit: What is struck.
    player_velocity: Of the player's last notes.
    loudness: Added.
  """
  usual = player_velocity - _BELOW + hit.softer
  usual = min(max(usual, _LOWEST), _HIGHEST)
  return round(min(max(usual + loudness, 1), 127))


def _restated(piece: _Piece) -> float:
  """Beats from a hit to its restatement; 0: there is none."""
  beats = round(piece.beats)
  # Chords that share a bar move enough.
  if abs(piece.beats - beats) > 1e-6 or beats < (2 if piece.whole_bar else 3):
    return 0.0
  return float((beats + 1) // 2)


def _pieces(chart: Chart) -> list[_Piece]:
  """Chords of one round, cut at bar lines."""
  pieces: list[_Piece] = []
  chord = chart.place(0).chord
  for start, bar in zip(chart.bar_starts.tolist(), chart.bars, strict=False):
    length = bar.meter.beats
    begins = [(beat, changed, True) for beat, changed in bar.changes]
    if not begins or begins[0][0] > 0:
      begins.insert(0, (0.0, chord, False))
    ends = [beat for beat, _, _ in begins[1:]] + [float(length)]
    for (beat, chord, new), end in zip(begins, ends, strict=True):
      whole = end - beat == length
      pieces.append(_Piece(start + beat, end - beat, chord, new, whole))
  return pieces
