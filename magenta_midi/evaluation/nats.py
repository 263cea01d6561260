"""Nats of a model on windows of 2 s of one player's music.

The scored part is a sequence of events in time. Each frame of the other part
ends one forecast and begins the next: the first one includes the cost of no
scored event until then, the next one counts from then on. The sum is the cost
of the scored events, given all that was known at each of them; it is comparable
with their cost without the other part.
"""

import jax
import jax.numpy as jnp

from magenta_midi.data.examples.examples import Batch
from magenta_midi.evaluation.losses import level_logits, level_nats
from magenta_midi.model.depthformer import Depthformer
from magenta_midi.tokens.codec import Codec
from magenta_midi.tokens.event.codec import EventCodec
from magenta_midi.tokens.note.codec import PEDAL_DOWN

__all__ = ["CHUNK_STEPS", "window_nats"]

CHUNK_STEPS = 200


def window_nats(
  model: Depthformer,
  codec: Codec,
  batch: Batch,
  delay_ms: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """Nats of a batch of 2 s windows.

  Args:
    model: In evaluation mode.
    codec: The model's.
    batch: Windows of `CHUNK_STEPS`.
    delay_ms: `[b]` delay of the other part, ms.

  Returns:
    `[b, 6]` nats by the codec's names, pedal and END, and `[b]` notes.
  """
  logits = level_logits(model, batch)
  if isinstance(codec, EventCodec):
    columns, note = _event_nats(logits[0], codec, batch)
  else:
    step_ms = codec.config.step_ms
    columns, note = _note_nats(logits, model, batch, delay_ms, step_ms)
  return (
    jnp.stack([jnp.sum(column, axis=1) for column in columns], axis=1),
    jnp.sum(note, axis=1),
  )


def _note_nats(
  logits: tuple[jax.Array, ...],
  model: Depthformer,
  batch: Batch,
  delay_ms: jax.Array,
  step_ms: int,
) -> tuple[list[jax.Array], jax.Array]:
  """Six columns `[b, t]` of nats, and the mask of scored notes."""
  columns = model.config.columns
  used = batch.weights[..., 0]
  other = batch.input_part > 0
  # Of the frame after each position.
  other_next = jnp.pad(other[:, 1:], ((0, 0), (0, 1)))
  last = used & ~jnp.pad(used[:, 1:], ((0, 0), (0, 1)))
  event = used & ~last & ~other_next
  key_code = batch.targets[..., 1] - columns[1][0]
  pedal = event & (key_code >= PEDAL_DOWN)
  note = event & ~pedal
  nats = [
    level_nats(
      logits[level],
      batch.targets[..., level],
      batch.weights[..., level] & event,
      columns[level][0],
    )
    for level in range(4)
  ]

  # Begin of each forecast: no scored event has come since the known frames.
  late = batch.input_time + delay_ms[:, None] // step_ms
  known = jnp.where(other, late + 1, 0)
  begins = jax.lax.cummax(known, axis=1)
  # Its end: when the other part's next frame is known, or with the window.
  ends = jnp.minimum(jnp.pad(known[:, 1:], ((0, 0), (0, 1))), CHUNK_STEPS)
  ends = jnp.maximum(jnp.where(last, CHUNK_STEPS, ends), begins)
  model_time = jnp.where(other, 0, batch.input_time)
  from_step = jax.lax.cummax(model_time, axis=1)
  # The step that each onset code means; END is none.
  step = from_step[..., None] + jnp.arange(logits[0].shape[-1])[None, None]
  step = step.at[..., -1].set(jnp.iinfo(jnp.int32).max)
  beginning = _nats_of_any(logits[0], step >= begins[..., None])
  nothing = _nats_of_any(logits[0], step >= ends[..., None]) - beginning
  nats[0] = nats[0] - jnp.where(event, beginning, 0.0)
  waiting = jnp.where(used & other_next, nothing, 0.0)

  found = [jnp.where(note, level, 0.0) for level in nats]
  found[0] = found[0] + waiting
  found.append(jnp.where(pedal, nats[0] + nats[1], 0.0))
  found.append(jnp.where(last, nothing, 0.0))
  return found, note


def _event_nats(
  logits: jax.Array, codec: EventCodec, batch: Batch
) -> tuple[list[jax.Array], jax.Array]:
  """Six columns `[b, t]` of nats, and where note-ons are."""
  config = codec.config
  first = codec.vocabulary.level_slice(0).start
  code = batch.targets[..., 0] - first
  token = batch.weights[..., 0]
  end = token & (code == config.end)
  nats = level_nats(logits, batch.targets[..., 0], token & ~end, first)

  def between(low: int, high: int) -> jax.Array:
    return token & (code >= low) & (code < high)

  note = between(config.note_on, config.note_off)
  kinds = [
    between(0, config.note_on),
    note,
    between(config.velocity, config.pedal_down),
    between(config.note_off, config.velocity),
    between(config.pedal_down, config.begin),
  ]
  # Nothing more in the chunk: EOS, or a time shift to its end or past it.
  codes = jnp.arange(logits.shape[-1])[None, None]
  past = batch.input_time[..., None] + codes + 1 >= CHUNK_STEPS
  past = (past & (codes < config.note_on)) | (codes == config.end)
  found = [jnp.where(kind, nats, 0.0) for kind in kinds]
  found.append(jnp.where(end, _nats_of_any(logits, past), 0.0))
  return found, note


def _nats_of_any(logits: jax.Array, which: jax.Array) -> jax.Array:
  """Nats of the event that one of several codes comes, `[b, t]`."""
  some = jax.nn.logsumexp(jnp.where(which, logits, -jnp.inf), axis=-1)
  return jax.nn.logsumexp(logits, axis=-1) - some
