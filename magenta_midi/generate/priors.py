"""Priors: what is added to the model's logits when it is sampled.

Tables of fixed shape, by the step at which an event begins. They are inputs
of the compiled functions, of chunks and of live plans alike: another beat or
groove compiles nothing.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from magenta_midi.generate.key_prior import KeyPrior, KeyTables, no_key_tables
from magenta_midi.generate.onset_prior import OnsetPrior
from magenta_midi.midi.outline import PLACES, Outline
from magenta_midi.model.depthformer import OutlineFrames
from magenta_midi.tokens.outline_rows import outline_frames
from magenta_midi.typing import Bool, Float, Int

__all__ = ["PriorTables", "Priors"]

# What is given of an outline lies nearer.
_AROUND_S = 10.0


class PriorTables(NamedTuple):
  """What is added, from an origin on.

  Attributes:
    onset: float32 `[p]` nats by step from the origin, for the onset level;
      empty: none.
    key: What moves the key level; empty: nothing.
  """

  onset: Any
  key: KeyTables

  def onset_nats(
    self,
    step: Int[jax.Array, ""],
    logits: Float[jax.Array, " n"],
    legal: Bool[jax.Array, " n"],
  ) -> Float[jax.Array, " n"]:
    """What is added to the logits of onsets at a step and at those after it.

    How likely another note at the same moment is, and any later one at all,
    does not change; only when that later one comes. Otherwise each note of a
    chord on the beat would ask for one more.
    """
    wanted = jax.lax.dynamic_slice_in_dim(self.onset, step, logits.shape[0])
    later = legal.at[0].set(False)
    masked = jnp.where(later, logits.astype(jnp.float32), -1e30)
    log_p = jax.nn.log_softmax(masked)
    grown = jax.nn.logsumexp(jnp.where(later, log_p + wanted, -1e30))
    moves = jnp.any(later) & jnp.any(wanted != 0)
    return jnp.where(later & moves, wanted - grown, 0.0)


class Priors(NamedTuple):
  """What is wanted of the music, in the time of the caller.

  Attributes:
    onset: Where onsets are wanted; None: anywhere.
    key: Which chords are asked for; None: any notes.
  """

  onset: OnsetPrior | None = None
  key: KeyPrior | None = None

  def tables(
    self, start_s: float | int, steps: int, step_s: float
  ) -> PriorTables:
    """Tables from a time on; all 0 where nothing is wanted."""
    onset = np.zeros(steps, np.float32)
    if self.onset is not None:
      onset = self.onset.table(start_s, steps, step_s)
    if self.key is None:
      return PriorTables(onset, no_key_tables(steps))
    return PriorTables(onset, self.key.tables(start_s, steps, step_s))

  def outline(self, now_s: float | int) -> Outline:
    """Beats and chords around a time, in ms: a model may be given them."""
    from_s, until_s = now_s - _AROUND_S, now_s + _AROUND_S
    beats, chords = [], []
    if self.onset is not None:
      grid = self.onset.grid
      meter = min(grid.beats_per_bar, PLACES)
      beats = [
        (1000 * time_s, place % meter, meter)
        for time_s, place in grid.beats_between(from_s, until_s)
      ]
    if self.key is not None and self.key.told and self.key.weight > 0:
      chords = [
        (
          1000 * time_s,
          _or_none(chord.root),
          _or_none(chord.bass),
          chord.classes,
        )
        for time_s, chord in self.key.chords.between(from_s, until_s)
      ]
    return Outline.of(beats, chords)

  def outline_frames(self, now_s: float | int, step_ms: int) -> OutlineFrames:
    """The outline at a time, as the encoder of a model reads it; one row."""
    frames = outline_frames(self.outline(now_s), 1000 * now_s, step_ms)
    return OutlineFrames(*(array[None] for array in frames))


def _or_none(pitch_class: int | None) -> int:
  """As outlines have it: -1 for none."""
  return -1 if pitch_class is None else pitch_class
