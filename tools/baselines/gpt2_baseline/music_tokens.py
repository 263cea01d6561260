"""MidiTok's tokens of the music that the `note` codec describes.

The notes and pedal changes on the codec's grid (onsets of 10 ms, 32
velocities, its durations, duplicates merged) become a symusic score of which
one tick is one step, and MidiTok's tokens: a beat is 0.5 s in 50 positions,
and a bar of REMI is 2 s. So both models are asked about the same music. What
the tokens lose beyond that, `Losses` counts.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import numpy as np
from miditok import REMI, TSD, MIDILike, TokenizerConfig
from symusic import Note, Pedal, Score, Track

from magenta_midi.tokens.note.codec import (
  PEDAL_DOWN,
  NoteCodec,
  NoteCodecConfig,
)
from magenta_midi.typing import Bool, Int

__all__ = ["BEGIN", "KINDS", "NAMES", "Losses", "MusicTokens", "Tokens"]

# Positions of a beat; at 120 beats a minute one is 10 ms.
_RESOLUTION = 50
# Tokenizer, and the beats of its longest duration or time shift. REMI and TSD
# name durations, up to the codec's 10 s; MIDI-Like names time shifts only, of
# 10 ms to 1 s as Oore et al. have them.
_TOKENIZERS: dict[str, tuple[Any, int]] = dict(
  remi=(REMI, 20), midilike=(MIDILike, 2), tsd=(TSD, 20)
)
KINDS = tuple(_TOKENIZERS)

# Columns of nats; note-offs of MIDI-Like count as durations.
NAMES = ("time", "key", "velocity", "duration", "pedal")
_TYPES = dict(
  Bar=0,
  Position=0,
  TimeShift=0,
  Pitch=1,
  NoteOn=1,
  Velocity=2,
  Duration=3,
  NoteOff=3,
  Pedal=4,
  PedalOff=4,
)
TIME, NOTE = 0, 1
# Before the first token of all that is known.
BEGIN = 0


class Tokens(NamedTuple):
  """A stream of tokens.

  A time token (bar, position, time shift) has the step of the event that it
  leads to: it is part of that event's description.
  """

  ids: Int[np.ndarray, " n"]
  step: Int[np.ndarray, " n"]  # from the origin, ascending


@dataclasses.dataclass
class Losses:
  """Counts of notes that tokens left out or changed."""

  notes: int = 0
  # MIDI-Like: notes ended by the next one of their key.
  clipped: int = 0
  pedals: int = 0  # changes
  # Changes that another one undoes within 10 ms.
  undone: int = 0

  def shares(self) -> dict[str, float]:
    """Of the notes and of the pedal changes that were encoded."""
    return dict(
      clipped_notes=self.clipped / max(1, self.notes),
      undone_pedals=self.undone / max(1, self.pedals),
    )


class MusicTokens:
  """One of MidiTok's vocabularies.

  Args:
    kind: Of `KINDS`.
    duration_bins: Of the grid on which notes last: 63 is the codec's own;
      more are finer, 990 are nearly every 10 ms.

  Attributes:
    codec: Gives the grid.
    size: Number of ids, `BEGIN` included.
    name_of: `[size]` index of each id in `NAMES`; -1 for BEGIN.
    losses: Counted over all that was encoded.

  Raises:
    ValueError: There is no such kind.
  """

  def __init__(self, kind: str, duration_bins: int = 63):
    if kind not in KINDS:
      raise ValueError(
        f"tokens must be one of {', '.join(KINDS)}, got {kind!r}."
      )
    self.kind = kind
    self.codec = NoteCodec(config=NoteCodecConfig(duration_bins=duration_bins))
    table_s = self.codec.config.duration_table_s
    self.duration_steps = np.floor(table_s * 100 + 0.5).astype(np.int32)
    tokenizer, beats = _TOKENIZERS[kind]
    self._tokenizer = tokenizer(
      TokenizerConfig(
        pitch_range=(0, 127),
        beat_res={(0, beats): _RESOLUTION},
        num_velocities=self.codec.config.velocity_bins,
        special_tokens=["PAD"],
        use_sustain_pedals=True,
        use_pitchdrum_tokens=False,
        use_time_signatures=False,
        time_signature_range={4: [4]},
      )
    )
    self._velocities = np.asarray(self._tokenizer.velocities, np.int32)
    # Ids that cannot occur are left out: special ones, and durations that are
    # not on the grid. Those that are left are numbered from 1.
    used = [
      number
      for token, number in sorted(
        self._tokenizer.vocab.items(), key=lambda item: item[1]
      )
      if self._occurs(token)
    ]
    self._theirs = np.array([-1, *used], np.int32)
    self._ours = np.full(len(self._tokenizer.vocab), -1, np.int32)
    self._ours[used] = np.arange(1, 1 + len(used))
    self.size = len(self._theirs)
    types = {number: t for t, number in self._tokenizer.vocab.items()}
    self.name_of = np.array(
      [-1] + [_TYPES[types[number].split("_")[0]] for number in used]
    )
    self.losses = Losses()

  def _occurs(self, token: str) -> bool:
    kind, _, value = token.partition("_")
    if kind != "Duration":
      return kind in _TYPES
    beats, positions, _ = map(int, value.split("."))
    return beats * _RESOLUTION + positions in self._lengths

  @functools.cached_property
  def _lengths(self) -> frozenset[int]:
    return frozenset(self.duration_steps.tolist())

  def encode(
    self,
    step: Int[np.ndarray, " n"],
    codes: Int[np.ndarray, "n 4"],
    *,
    until: int | None = None,
  ) -> Tokens:
    """Tokens of frames.

    Args:
      step: From the origin, ascending, 0 or later.
      codes: Of the `note` codec, in its order: onset (not read), key or pedal,
        velocity, duration. A pedal held at the origin is a change there.
      until: Events from this step on are left out; None: all stand, but for
        the release of a pedal that the frames do not release.
    """
    key = codes[:, 1]
    is_note = key < PEDAL_DOWN
    onset = step[is_note].astype(np.int32)
    duration = self.duration_steps[codes[is_note, 3]]
    key = key[is_note].astype(np.int8)
    velocity = self._velocities[codes[is_note, 2]].astype(np.int8)
    if self.kind == "midilike":
      duration = self._clipped(onset, key, duration)
      # Notes that sound at the origin, if their key begins anew.
      sounds = duration > 0
      onset, duration, key, velocity = (
        field[sounds] for field in (onset, duration, key, velocity)
      )
    ends = onset + duration
    # The release that MidiTok wants of a pedal held to the last.
    end = 1 + int(max(step.max(initial=-1), ends.max(initial=-1)))
    down, held = self._pedals(step[~is_note], codes[~is_note, 1], end)
    # Its types are made when it is imported.
    track: Any = Track(program=0, is_drum=False, name="")
    track.notes = Note.from_numpy(
      time=onset,
      duration=duration,
      pitch=key,
      velocity=velocity,
    )
    track.pedals = Pedal.from_numpy(time=down, duration=held)
    score: Any = Score(_RESOLUTION)
    score.tracks.append(track)
    self.losses.notes += len(onset)
    if not len(onset) and not len(down):
      return Tokens(np.zeros(0, np.int32), np.zeros(0, np.int32))
    (sequence,) = self._tokenizer.encode(score)
    ids = self._ours[np.asarray(sequence.ids)]
    time = np.array([event.time for event in sequence.events], np.int64)
    is_time = self.name_of[ids] == TIME
    time[is_time] = np.iinfo(np.int64).max
    # Times ascend: the least of all that follow is the next event's.
    time = np.minimum.accumulate(time[::-1])[::-1]
    kept = time < (end if until is None else min(end, until))
    return Tokens(ids[kept], time[kept].astype(np.int32))

  def begins(self, ids: Int[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Mask of the places to cut a stream: bars, without them time tokens."""
    if self.kind == "remi":
      bar = self._ours[self._tokenizer.vocab["Bar_None"]]
      return np.asarray(ids == bar)
    return np.asarray(self.name_of[ids] == TIME)

  def decode(self, ids: Int[np.ndarray, " n"]) -> Any:
    """The symusic score of tokens without BEGIN; one tick is one step."""
    return self._tokenizer.decode([self._theirs[ids].tolist()])

  def _clipped(
    self, onset: np.ndarray, key: np.ndarray, duration: np.ndarray
  ) -> np.ndarray:
    """Durations up to the next note of the same key: its note-off is one."""
    order = np.lexsort((onset, key))
    again = key[order[1:]] == key[order[:-1]]
    gap = np.full(len(onset), np.iinfo(np.int32).max, np.int32)
    gap[order[:-1][again]] = np.diff(onset[order])[again]
    self.losses.clipped += int(np.count_nonzero(gap < duration))
    return np.minimum(duration, gap)

  def _pedals(
    self, step: np.ndarray, key: np.ndarray, end: int
  ) -> tuple[np.ndarray, np.ndarray]:
    """When the pedal goes down and for how long; what 10 ms undo is gone."""
    self.losses.pedals += len(step)
    spans: list[list[int]] = []
    since: int | None = None
    for at, is_down in zip(step.tolist(), key == PEDAL_DOWN, strict=True):
      if is_down and since is None:
        since = at
      elif not is_down and since is not None:
        spans.append([since, at])
        since = None
    if since is not None:
      spans.append([since, end])
    merged: list[list[int]] = []
    for span in spans:
      if merged and span[0] <= merged[-1][1]:
        merged[-1][1] = span[1]
      elif span[1] > span[0]:
        merged.append(span)
    self.losses.undone += 2 * (len(spans) - len(merged))
    pairs = np.array(merged, np.int32).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1] - pairs[:, 0]
