"""Shell voicings: a bass note and the tones that tell what a chord is."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import NamedTuple

from magenta_midi.midi.harmony.chord_symbols import ChordSymbol

__all__ = ["Voicing", "shell_tones", "voicings"]

# Keys of the bass: A1 to C3; and of the shell: C#3 to G4.
_BASS = range(33, 49)
_SHELL = range(49, 68)
# Mean keys of bass and shell, to which they tend to return.
_BASS_HOME, _SHELL_HOME = 40.0, 58.0
# How much a semitone from there counts, against one of movement.
_PULL = 0.3
# In the shell no seconds but of a chord that has no other place.
_CLOSE, _CLOSE_COST = 2, 3.0

_THIRDS, _SUSPENDED, _SEVENTHS = (3, 4), (5, 2), (10, 11, 9)
_FIFTH = 7


class Voicing(NamedTuple):
  """Keys of a chord; empty: silence.

  Attributes:
    bass: MIDI keys, one or none.
    shell: MIDI keys, ascending.
  """

  bass: tuple[int, ...] = ()
  shell: tuple[int, ...] = ()


def shell_tones(chord: ChordSymbol) -> tuple[int, ...]:
  """Pitch classes of the tones that tell what a chord is.

  Third and seventh, or what stands for them: a fourth or second, a sixth, the
  fifth of a triad; and a fifth that is lowered or raised, of a triad or of a
  half-diminished chord. Without a chord none.
  """
  root, intervals = chord.root, chord.intervals
  if root is None:
    return ()
  suspended = [x for x in _SUSPENDED if x in intervals]
  third = _first(intervals, _THIRDS) or suspended
  tones = third[:1] + _first(intervals, _SEVENTHS)[:1]
  altered = [x for x in (6, 8) if x in intervals and _FIFTH not in intervals]
  # Of an altered dominant both are tensions; its third and seventh say enough.
  if len(altered) == 1:
    tones += altered
  if len(tones) < 2 and _FIFTH in intervals:
    tones.append(_FIFTH)
  if not tones:
    tones = list(intervals[:1])
  return tuple((root + tone) % 12 for tone in tones)


def _first(intervals: Iterable[int], wanted: tuple[int, ...]) -> list[int]:
  """Those that are wanted, in the order of the chord."""
  return [x for x in intervals if x in wanted]


def voicings(chords: Iterable[ChordSymbol]) -> list[Voicing]:
  """Voicings of chords that follow one another, each close to the one before.

  Args:
    chords: In order.

  Returns:
    As many; a voicing without keys where there is no chord.
  """
  found: list[Voicing] = []
  last = Voicing()
  for chord in chords:
    voicing = Voicing()
    if chord.root is not None:
      voicing = _nearest(chord, last)
      last = voicing
    found.append(voicing)
  return found


def _nearest(chord: ChordSymbol, last: Voicing) -> Voicing:
  assert chord.bass is not None
  home = last.bass[0] if last.bass else _BASS_HOME
  bass = min(
    (key for key in _BASS if key % 12 == chord.bass),
    key=lambda key: abs(key - home) + _PULL * abs(key - _BASS_HOME),
  )
  places = [
    [key for key in _SHELL if key % 12 == tone] for tone in shell_tones(chord)
  ]
  shell = min(
    (tuple(sorted(keys)) for keys in itertools.product(*places)),
    key=lambda keys: _cost(keys, last.shell),
  )
  return Voicing((bass,), shell)


def _cost(keys: tuple[int, ...], last: tuple[int, ...]) -> float:
  """How far voices move, and how far they are from home."""
  home = sum(abs(key - _SHELL_HOME) for key in keys) / len(keys)
  gaps = [b - a for a, b in itertools.pairwise(keys)]
  close = sum(gap <= _CLOSE for gap in gaps) + sum(gap > 12 for gap in gaps)
  moved = 0.0
  if last:
    moved = sum(min(abs(key - old) for old in last) for key in keys)
    moved += sum(min(abs(key - old) for key in keys) for old in last)
  return moved / 2 + _PULL * home + _CLOSE_COST * close
