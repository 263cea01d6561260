"""Counts of the repairs made to a piece of music."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True)
class Repairs:
  """Counts of the repairs made to a score since it was read or built."""

  overlaps_trimmed: int = 0  # notes cut at the next onset of their key
  duplicates: int = 0  # notes merged into one of same part, key and onset
  unreleased: int = 0  # note-ons without a note-off
  zero_length: int = 0  # notes lengthened to `MIN_DURATION_S`
  out_of_range: int = 0  # values over 127: clipped, or the note left out
  drums_left_out: int = 0  # notes on channel 10
  bad_tempos: int = 0  # tempo messages of zero, ignored
  illegal_bytes: int = 0  # bytes that no MIDI file may hold there, skipped
  damaged_tracks: int = 0  # tracks that end early or are missing

  def __add__(self, other: Repairs) -> Repairs:
    return Repairs(
      **{
        f.name: getattr(self, f.name) + getattr(other, f.name)
        for f in fields(Repairs)
      }
    )

  def messages(self) -> list[str]:
    """One line per kind of repair that happened; empty if none did."""
    return self._of(_TEXTS)

  def damage(self) -> list[str]:
    """The lines of `messages` where music may be missing."""
    return self._of(_LOSSES)

  def _of(self, names: Iterable[str]) -> list[str]:
    return [
      _TEXTS[name].format(n) for name in names if (n := getattr(self, name))
    ]


_TEXTS = {
  "drums_left_out": "drums (channel 10) left out: {} notes",
  "damaged_tracks": "tracks damaged or missing, read as far as possible: {}",
  "illegal_bytes": "illegal bytes skipped: {}",
  "out_of_range": "values over 127 clipped or left out: {}",
  "bad_tempos": "impossible tempos ignored: {}",
  "unreleased": "notes never released, ended later: {}",
  "zero_length": "notes of no length made 10 ms long: {}",
  "duplicates": "duplicate notes merged: {}",
  "overlaps_trimmed": "notes ended at the next onset of their key: {}",
}
# Of these, music may be missing.
_LOSSES = ("damaged_tracks", "illegal_bytes")
