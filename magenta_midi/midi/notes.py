"""Arrays of notes and the rules every such array keeps.

Sorted by onset, key and part; inside a part the notes of one key neither
overlap nor begin together; every note lasts.
"""

from __future__ import annotations

import numpy as np

from magenta_midi.midi.repairs import Repairs

NOTE_DTYPE = np.dtype(
  [
    ("onset_s", "f8"),
    ("duration_s", "f8"),
    ("key", "i2"),
    ("velocity", "i2"),
    ("part", "i2"),
  ]
)

# A note that ends where it begins was meant to sound: the codec's grid step.
MIN_DURATION_S = 0.01

# Rounding of onset + duration must not count as an overlap.
_OVERLAP_S = 1e-6


def tidy_notes(notes: np.ndarray) -> tuple[np.ndarray, Repairs]:
  """Puts notes in order and enforces the rules above.

  Notes of equal part, key and onset become one, with the greatest velocity
  and the latest end; an overlapping note ends at the next onset of its key.

  Args:
    notes: Of `NOTE_DTYPE`, in any order; values are in range.

  Returns:
    A new array, and the count of what was changed.
  """
  if not len(notes):
    return notes.copy(), Repairs()
  notes = notes.copy()
  # To the nanosecond: what is kept apart here stays apart when times are
  # shifted, and what only rounding has parted is together again.
  onset_s = notes["onset_s"] = np.round(notes["onset_s"], 9)
  voice = notes["part"].astype(np.int32) * 128 + notes["key"]
  order = np.lexsort((onset_s, voice))
  notes, voice = notes[order], voice[order]
  onset_s, duration_s = notes["onset_s"], notes["duration_s"]

  empty = duration_s <= 0
  duration_s[empty] = MIN_DURATION_S

  same_voice = voice[1:] == voice[:-1]
  fresh = np.append(True, ~(same_voice & (onset_s[1:] == onset_s[:-1])))
  duplicates = len(notes) - int(fresh.sum())
  if duplicates:
    first = np.flatnonzero(fresh)
    velocity = np.maximum.reduceat(notes["velocity"], first)
    longest = np.maximum.reduceat(duration_s, first)
    notes, voice = notes[first], voice[first]
    notes["velocity"], notes["duration_s"] = velocity, longest
    onset_s, duration_s = notes["onset_s"], notes["duration_s"]
    same_voice = voice[1:] == voice[:-1]

  room_s = np.where(same_voice, np.diff(onset_s), np.inf)
  overlaps = int((duration_s[:-1] > room_s + _OVERLAP_S).sum())
  np.minimum(duration_s[:-1], room_s, out=duration_s[:-1])

  by_onset = np.lexsort((notes["part"], notes["key"], onset_s))
  return notes[by_onset], Repairs(
    duplicates=duplicates,
    overlaps_trimmed=overlaps,
    zero_length=int(empty.sum()),
  )
