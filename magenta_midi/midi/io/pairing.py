"""Pairing of note-ons and note-offs to notes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from magenta_midi.typing import Bool, Int


class Pairs(NamedTuple):
  """One entry per note-on."""

  on: np.ndarray  # index of the note-on
  off: np.ndarray  # index of what ends it (a note-off or note-on), or -1
  unreleased: int  # note-ons that lack a note-off


def pair_notes(
  is_on: Bool[np.ndarray, " n"], voice: Int[np.ndarray, " n"]
) -> Pairs:
  """Finds the note-off of every note-on.

  In a voice (a key of a channel of a track) the first note-on takes the
  first note-off: files with overlapping notes are written so. In a voice
  that lacks note-offs this would shift every later pair, so there a note
  ends at the next message of its voice.

  Args:
    is_on: In the order of the file; note-ons, else note-offs.
    voice: Which messages belong together.
  """
  order = np.argsort(voice, kind="stable")
  on, voice = is_on[order], voice[order]
  n = len(order)
  if not n:
    return Pairs(np.empty(0, np.int64), np.empty(0, np.int64), 0)
  fresh = np.append(True, voice[1:] != voice[:-1])
  group = np.cumsum(fresh) - 1
  groups = int(group[-1]) + 1

  # Depth of sounding notes, from 0 in each group; a note-off that takes it
  # to a new low has no note. Lowering each group by more than the depth can
  # change lets one running minimum serve all of them.
  depth = np.cumsum(np.where(on, 1, -1))
  start = np.flatnonzero(fresh)
  depth -= (depth[start] - np.where(on[start], 1, -1))[group]
  drop = group * (n + 1)
  low = np.minimum.accumulate(np.minimum(depth, 0) - drop) + drop
  before = np.append(0, low[:-1])
  before[start] = 0
  ends_a_note = ~on & (low == before)

  on_at = np.flatnonzero(on)
  off_at = np.flatnonzero(ends_a_note)
  ons = np.bincount(group[on_at], minlength=groups)
  offs = np.bincount(group[off_at], minlength=groups)
  rank = np.arange(len(on_at)) - (np.cumsum(ons) - ons)[group[on_at]]
  lacking = (ons > offs)[group[on_at]]

  partner = (np.cumsum(offs) - offs)[group[on_at]] + rank
  off = np.append(off_at, n)[np.minimum(partner, len(off_at))]
  following = on_at + 1
  is_last = np.append(group[1:] != group[:-1], True)[on_at]
  off = np.where(lacking, np.where(is_last, n, following), off)
  return Pairs(order[on_at], np.append(order, -1)[off], int((ons - offs).sum()))
