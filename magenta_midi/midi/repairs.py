"""Counts of the repairs made to a piece of music."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True)
class Repairs:
  """Counts of the repairs made to a score since it was read or built."""

  overlaps_trimmed: int = 0  # notes cut at the next onset of their key
  duplicates: int = 0  # notes merged into one of same part, key and onset
  unreleased: int = 0  # note-ons without a note-off; ended after 4 s at most
  zero_length: int = 0  # notes lengthened to `MIN_DURATION_S`
  out_of_range: int = 0  # data bytes over 127, taken as 127
  drums_left_out: int = 0  # notes on channel 10
  bad_tempos: int = 0  # tempo messages of zero, ignored
  illegal_bytes: int = 0  # bytes that no MIDI file may hold there, skipped
  half_pedal: int = 0  # pedal changes between half and up, left out
  damaged_tracks: int = 0  # tracks that end early or are missing
  long_deltas: int = 0  # delta times of more than four bytes
  leading_bytes: int = 0  # before the file's header, skipped
  unknown_types: int = 0  # 1 if the header's type is none: read as type 1

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
  "out_of_range": "data bytes over 127 taken as 127: {}",
  "long_deltas": "delta times of more than four bytes: {}",
  "leading_bytes": "bytes before the header skipped: {}",
  "unknown_types": "the header has an unknown type, read as type 1",
  "bad_tempos": "impossible tempos ignored: {}",
  "unreleased": "notes never released, ended after 4 s at most: {}",
  "half_pedal": "pedal changes left out, since half-way is not up: {}",
  "zero_length": "notes of no length made 10 ms long: {}",
  "duplicates": "duplicate notes merged: {}",
  "overlaps_trimmed": "notes ended at the next onset of their key: {}",
}
# Of these, music may be missing.
_LOSSES = ("damaged_tracks", "illegal_bytes")
