"""A prior on keys: notes of the chord that is asked for.

Notes are of three kinds: those of the chord, those around them, and the rest;
in the bass the lowest note of the chord, its other notes, and the rest. Which
note of a kind is played, the model chooses. Only how often it plays each kind
is moved towards how often real music does over such a chord, at such a place.

To add the logarithm of a density to each key instead would ask a second time
for what the model knows already: then the same notes come again and again.

Tables are inputs of the compiled functions: another chart compiles nothing.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from magenta_midi.limits import CHORD_WEIGHT
from magenta_midi.midi.beat_grid import BeatGrid
from magenta_midi.midi.harmony.chart import Chart, ChordTimeline
from magenta_midi.midi.harmony.chord_density import (
  OFF_BEAT,
  ON_BEAT,
  chord_density,
  register_of_keys,
)
from magenta_midi.midi.harmony.chord_symbols import ChordSymbol
from magenta_midi.typing import Bool, Float, Int

__all__ = [
  "USUAL_WEIGHT",
  "KeyPrior",
  "KeyTables",
  "chart_prior",
  "no_key_tables",
]

# With it as many chord tones are played as in real music, and as many different
# notes a bar (docs/decisions.md).
USUAL_WEIGHT = 0.75
# Kinds of notes over a chord.
_KINDS = 3
# From this density on, of a mean of 1, a note lies around the chord.
_AROUND = 0.25
# Least share of a kind that is asked for, and that the model is taken to have:
# what is rare stays possible, and nothing is forced without end.
_LEAST_ASKED, _LEAST_HELD = 0.005, 1e-4
# So near a beat is on it, in beats.
_NEAR = 0.11
# Where the kind of each key stands in a table: register, then pitch class.
_COLUMN = 12 * register_of_keys() + np.arange(128) % 12


class KeyTables(NamedTuple):
  """What moves the key level, by step from the origin; no rows: nothing.

  Attributes:
    kind: int8 `[s, 24]` kind of each pitch class, in the bass and above.
    asked: float32 `[s, 2, 3]` logarithm of each kind's share, by register.
    weight: float32 `[s]` how far shares move: 0 not at all, 1 all the way.
  """

  kind: Any
  asked: Any
  weight: Any

  def nats(
    self,
    step: Int[jax.Array, ""],
    logits: Float[jax.Array, " 128"],
    legal: Bool[jax.Array, " 128"],
  ) -> Float[jax.Array, " 128"]:
    """What is added to the logits of keys struck at a step."""
    row = jnp.clip(step, 0, self.weight.shape[0] - 1)
    kind, asked, weight = (
      jax.lax.dynamic_index_in_dim(table, row, keepdims=False) for table in self
    )
    # Each key's place among registers and kinds, `[128, 6]`.
    high = jnp.asarray(register_of_keys(), jnp.int32)
    place = _KINDS * high + kind[_COLUMN].astype(jnp.int32)
    one_hot = jax.nn.one_hot(place, 2 * _KINDS, dtype=jnp.float32)
    p = jax.nn.softmax(jnp.where(legal, logits.astype(jnp.float32), -1e30))
    held = (p @ one_hot).reshape(2, _KINDS)
    held /= jnp.maximum(held.sum(axis=1, keepdims=True), 1e-9)
    moved = weight * (asked - jnp.log(jnp.maximum(held, _LEAST_HELD)))
    # Together the notes of a register stay as likely as they were.
    grown = (held * jnp.exp(moved)).sum(axis=1, keepdims=True)
    moved -= jnp.log(jnp.where(grown > 0, grown, 1.0))
    return jnp.where(weight > 0, one_hot @ moved.reshape(-1), 0.0)


def no_key_tables(steps: int) -> KeyTables:
  """Tables that move nothing."""
  return KeyTables(
    np.zeros((steps, 24), np.int8),
    np.zeros((steps, 2, _KINDS), np.float32),
    np.zeros(steps, np.float32),
  )


class KeyPrior(NamedTuple):
  """Which chords are asked for, when.

  Attributes:
    chords: In seconds of the session.
    grid: Beats, of which notes are more often chord tones; None: there is no
      beat.
    weight: 0 plays freely, 1 as real music does over such chords.
    told: Whether a model that reads chords may be given these: of a chart, not
      of a guess.
  """

  chords: ChordTimeline
  grid: BeatGrid | None = None
  weight: float = USUAL_WEIGHT
  told: bool = True

  def tables(
    self, start_s: float | int, steps: int, step_s: float
  ) -> KeyTables:
    """Tables of so many steps from a time on."""
    time_s = start_s + step_s * np.arange(steps)
    place = np.full(steps, OFF_BEAT)
    if self.grid is not None:
      beat = self.grid.places(time_s)
      place[np.abs(beat - np.round(beat)) < _NEAR] = ON_BEAT
    # A row for each chord on and off the beat; the last for none.
    numbers = self.chords.numbers(time_s)
    used, row = np.unique(2 * numbers + place, return_inverse=True)
    found = no_key_tables(len(used))
    for index, name in enumerate(used.tolist()):
      chord = self.chords.chords[name // 2] if name >= 0 else None
      if chord is not None and chord.root is not None:
        found.kind[index] = _kinds(chord).reshape(-1)
        found.asked[index] = _log_shares(chord)[name % 2]
        found.weight[index] = self.weight
    return KeyTables(*(table[row] for table in found))


def chart_prior(
  chart: Chart,
  grid: BeatGrid,
  start_s: float | int,
  *,
  weight: float | int = USUAL_WEIGHT,
) -> KeyPrior:
  """The prior of a chart that goes round from a time on.

  Args:
    chart: What to play over.
    grid: The beat.
    start_s: When the chart's first bar begins.
    weight: See `KeyPrior`.

  Raises:
    ValueError: The weight is out of range.
  """
  return KeyPrior(
    chart.timeline(grid, start_s),
    grid,
    CHORD_WEIGHT.check("the chart's weight", weight),
  )


@functools.lru_cache(maxsize=512)
def _kinds(chord: ChordSymbol) -> Int[np.ndarray, "2 12"]:
  """Kind of each pitch class, in the bass and above."""
  tones = np.isin(np.arange(12), chord.classes)
  around = chord_density(chord)[ON_BEAT, 1] >= _AROUND
  bass = np.where(np.arange(12) == chord.bass, 0, np.where(tones, 1, 2))
  return np.stack([bass, np.where(tones, 0, np.where(around, 1, 2))])


@functools.lru_cache(maxsize=512)
def _log_shares(chord: ChordSymbol) -> Float[np.ndarray, "2 2 k"]:
  """Logarithm of the share of each kind, by place and register."""
  of_kind = _kinds(chord)[:, None, :] == np.arange(_KINDS)[:, None]
  shares = np.einsum("prc,rkc->prk", chord_density(chord), of_kind) / 12
  return np.log(np.maximum(shares, _LEAST_ASKED))
