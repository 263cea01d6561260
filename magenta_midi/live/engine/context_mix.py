"""Mix of both players' music in the model's context."""

from dataclasses import replace

import numpy as np

from magenta_midi.midi.analysis.analysis import (
  key_correlations,
  pitch_class_weights,
)
from magenta_midi.midi.analysis.chords import chord_tones, find_chords
from magenta_midi.midi.pedal import union_of_pedals
from magenta_midi.midi.score import Score
from magenta_midi.typing import Float, Int

__all__ = ["inject", "ringing_ends_s"]

# The chord at a time is that of what sounds so long before and after it.
_CHORD_BEFORE_S, _CHORD_AFTER_S = 1.0, 0.5
# Factor on the velocity of the model's notes.
_SOFTER = 0.75
# Minor second, tritone, major seventh and their compounds.
_HARSH = np.isin(np.arange(12), (1, 6, 11))
# The player's loudness is that of about so many notes, and the model's notes
# stay below this share of it.
_LOUDNESS_NOTES = 8
_BENEATH = 0.85

_MAJOR_SCALE = (0, 2, 4, 5, 7, 9, 11)
_MINOR_SCALE = (0, 2, 3, 5, 7, 8, 10, 11)  # with its leading note


def inject(
  player: Score, model: Score, mode: str, *, mix_ratio: float = 0.3
) -> tuple[Score, Score]:
  """Chooses what the context holds of both players.

  `both`: all, the parts apart. `interleave`: one stream, as if the model had
  played both; the model's notes have a share of at most `mix_ratio`, and which
  ones hardly changes from one call to the next. `harmonic`: notes of the model
  that belong to the player's chord at that time, or to the player's key and
  not a semitone above a tone of the chord; softer. `harmonic-strict`: of
  these, those that are never a minor second, a tritone or a major seventh from
  what the player sounds meanwhile. `velocity`: all notes of the model, each
  softer than the player is around it.

  Args:
    player: The player's music, one part.
    model: The model's, one part, on the same clock.
    mode: One of these names.
    mix_ratio: Share of the model's notes, 0 to 1, for `interleave`.

  Returns:
    The model's and the player's music as the context holds them.

  Raises:
    ValueError: There is no such mode.
  """
  if mode == "both":
    return model, player
  if mode == "interleave":
    mixed = _interleaved(player, model, mix_ratio)
    return mixed, Score.empty(player.part_names)
  if mode not in ("harmonic", "harmonic-strict", "velocity"):
    raise ValueError(
      "injection must be both, interleave, harmonic, harmonic-strict or"
      f" velocity, got {mode!r}."
    )
  if not len(player) or not len(model):
    return model, player
  if mode == "velocity":
    return _beneath(player, model), player
  model = replace(model, notes=model.notes[_agrees(player, model)])
  if mode == "harmonic-strict":
    model = replace(model, notes=model.notes[~_harsh(player, model)])
  notes = model.notes.copy()
  notes["velocity"] = np.maximum(1, notes["velocity"] * _SOFTER)
  return replace(model, notes=notes), player


def _interleaved(player: Score, model: Score, mix_ratio: float) -> Score:
  kept = len(model)
  if len(player) and mix_ratio < 1:
    wanted = len(player) * mix_ratio / (1 - mix_ratio)
    kept = min(kept, int(wanted + 1e-9))
  # The lowest hashes: as the window moves on, few notes come or go.
  chosen = np.sort(np.argsort(_hashes(model.notes), kind="stable")[:kept])
  mixed = replace(model, notes=model.notes[chosen]).joined(player)
  return replace(mixed.merged(), part_names=model.part_names)


def _hashes(notes: np.ndarray) -> np.ndarray:
  """Numbers that stay with a note when the window moves, as if random."""
  onset_s = notes["onset_s"]
  since_s = np.diff(onset_s, prepend=onset_s[:1])
  mixed = np.zeros(len(notes), np.uint64)
  for column in (
    notes["key"],
    notes["velocity"],
    np.round(notes["duration_s"] * 1000),
    np.round(since_s * 1000),
  ):
    # The finalizer of SplitMix64, after each column.
    mixed += column.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
  return mixed


def _beneath(player: Score, model: Score) -> Score:
  loudness = _loudness_at(player, model.notes["onset_s"])
  ceiling = np.maximum(1.0, _BENEATH * loudness)
  notes = model.notes.copy()
  # Squeezed, not cut off: accents stay accents.
  share = 0.5 + 0.5 * notes["velocity"] / 127
  beneath = np.minimum(notes["velocity"], ceiling * share)
  notes["velocity"] = np.maximum(1, beneath)
  return replace(model, notes=notes)


def _loudness_at(
  player: Score, time_s: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
  """Mean velocity of the notes around each time."""
  onset_s, velocity = player.notes["onset_s"], player.notes["velocity"]
  total = np.append(0, np.cumsum(velocity))
  at = np.searchsorted(onset_s, time_s)
  low = np.clip(at - _LOUDNESS_NOTES // 2, 0, None)
  low = np.minimum(low, max(len(onset_s) - _LOUDNESS_NOTES, 0))
  high = np.minimum(low + _LOUDNESS_NOTES, len(onset_s))
  return (total[high] - total[low]) / (high - low)


def _agrees(player: Score, model: Score) -> np.ndarray:
  """Mask of the model's notes in the player's chord and key at their onset."""
  tone = model.notes["key"] % 12
  chord = chord_tones(_chords_at(player, model.notes["onset_s"]))
  rows = np.arange(len(tone))
  in_chord = chord[rows, tone]
  above_chord = chord[rows, (tone - 1) % 12]
  return in_chord | (_scale(player)[tone] & ~above_chord)


def _scale(player: Score) -> np.ndarray:
  """Pitch classes of the player's key, bool `[12]`."""
  best = int(key_correlations(pitch_class_weights(player)).argmax())
  minor, tonic = divmod(best, 12)
  intervals = _MINOR_SCALE if minor else _MAJOR_SCALE
  scale = np.zeros(12, bool)
  scale[(tonic + np.array(intervals)) % 12] = True
  return scale


def _chords_at(
  player: Score, time_s: Float[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
  """Numbers of the player's chords around each time; -1 in silence."""
  notes, starts, tones = _by_tone(player.notes)
  onset_s, end_s = notes["onset_s"], notes["onset_s"] + notes["duration_s"]
  # float32: half the memory of a matrix of all pairs, half the time.
  sounds_s = np.minimum(
    end_s.astype(np.float32),
    (time_s + _CHORD_AFTER_S).astype(np.float32)[:, None],
  )
  sounds_s -= np.maximum(
    onset_s.astype(np.float32),
    (time_s - _CHORD_BEFORE_S).astype(np.float32)[:, None],
  )
  np.maximum(sounds_s, 0.0, out=sounds_s)
  weights = np.zeros((len(time_s), 12))
  weights[:, tones] = np.add.reduceat(sounds_s, starts, axis=1)
  lowest = np.where(sounds_s > 0, notes["key"], 128).min(axis=1)
  bass = np.where(lowest < 128, lowest, -1)
  return find_chords(weights, bass.astype(np.int64))


def _by_tone(notes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Sorts notes by pitch class: notes, where each begins, and which it is."""
  notes = notes[np.argsort(notes["key"] % 12, kind="stable")]
  tones, starts = np.unique(notes["key"] % 12, return_index=True)
  return notes, starts, tones


def ringing_ends_s(score: Score) -> Float[np.ndarray, " n"]:
  """When each note of a part is damped: by its key, or by the pedal.

  A note that the pedal never lets go rings on for ever.
  """
  end_s = score.notes["onset_s"] + score.notes["duration_s"]
  pedals = union_of_pedals(score.pedals)
  if not len(pedals):
    return end_s
  at = np.searchsorted(pedals["time_s"], end_s, side="right") - 1
  pedalled = (at >= 0) & pedals["down"][np.maximum(at, 0)]
  lifted_s = np.append(pedals["time_s"], np.inf)[at + 1]
  return np.where(pedalled, lifted_s, end_s)


def _harsh(player: Score, model: Score) -> np.ndarray:
  """Mask of the model's notes that form a harsh interval with the player's."""
  ours, theirs = model.notes, player.notes.copy()
  theirs["duration_s"] = ringing_ends_s(player) - theirs["onset_s"]
  theirs, starts, tones = _by_tone(theirs)
  together = theirs["onset_s"] < ringing_ends_s(model)[:, None]
  together &= (
    ours["onset_s"][:, None] < theirs["onset_s"] + theirs["duration_s"]
  )
  # [model note, pitch class]: what the player sounds meanwhile.
  met = np.logical_or.reduceat(together, starts, axis=1)
  harsh = _HARSH[(ours["key"][:, None] - tones) % 12]
  return np.any(met & harsh, axis=1)
