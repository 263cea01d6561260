"""The original's loss and metrics, over flat tokens.

Source: t5x 7781d16 `losses.cross_entropy_with_logits` and
`models.EncoderDecoderModel`, as magenta-realtime v1 configures them.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from magenta_midi.typing import Float, Int

__all__ = ["Z_LOSS", "TokenNats", "sequence_scores", "t5x_metrics"]
__all__ += ["token_nats"]

# Weight of log(Z)^2, which keeps logits from drifting.
Z_LOSS = 1e-4


class TokenNats(NamedTuple):
  """Sums over a batch; nothing is averaged."""

  cross_entropy: jax.Array  # ()
  z_loss: jax.Array  # ()
  correct: jax.Array  # () weight of tokens whose likeliest id is right
  weights: jax.Array  # ()

  @property
  def loss(self) -> jax.Array:
    """The minimized loss."""
    return self.cross_entropy + self.z_loss


def _nats(
  logits: Float[jax.Array, "b n v"], targets: Int[jax.Array, "b n"]
) -> tuple[Float[jax.Array, "b n"], Float[jax.Array, "b n"]]:
  """Cross entropy and log normalizer of each token."""
  log_z = jax.nn.logsumexp(logits, axis=-1)
  picked = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
  return log_z - picked, log_z


def token_nats(
  logits: Float[jax.Array, "b n v"],
  targets: Int[jax.Array, "b n"],
  weights: Float[jax.Array, "b n"],
  *,
  z_loss: float = Z_LOSS,
) -> TokenNats:
  """Cross entropy with z-loss, summed over the weighted tokens.

  Args:
    logits: Over the whole vocabulary, float32.
    targets: Global ids.
    weights: 0 where a token does not count.
    z_loss: Weight of log(Z)^2.
  """
  nats, log_z = _nats(logits, targets)
  correct = jnp.argmax(logits, axis=-1) == targets
  return TokenNats(
    jnp.sum(nats * weights),
    jnp.sum(z_loss * jnp.square(log_z) * weights),
    jnp.sum(correct * weights),
    jnp.sum(weights),
  )


def sequence_scores(
  logits: Float[jax.Array, "b n v"],
  targets: Int[jax.Array, "b n"],
  weights: Float[jax.Array, "b n"],
) -> Float[jax.Array, " b"]:
  """Log likelihood of each row, without z-loss."""
  return -jnp.sum(_nats(logits, targets)[0] * weights, axis=-1)


def t5x_metrics(
  nats: TokenNats, batch: Mapping[str, jax.Array]
) -> dict[str, jax.Array]:
  """T5X's metrics of one step by its names; times are left to the driver.

  Args:
    nats: Of the batch.
    batch: With T5X's keys.
  """
  encoder = batch["encoder_input_tokens"]
  decoder = batch["decoder_target_tokens"]
  weights = batch["decoder_loss_weights"]
  rows = decoder.shape[0]

  def filled(tokens: jax.Array) -> jax.Array:
    return jnp.sum(tokens != 0)

  real = filled(encoder) + filled(decoder)
  return {
    "accuracy": nats.correct / nats.weights,
    "loss": nats.loss,
    "cross_ent_loss": nats.cross_entropy,
    "z_loss": nats.z_loss,
    "loss_per_all_target_tokens": nats.loss / decoder.size,
    "cross_ent_loss_per_all_target_tokens": nats.cross_entropy / decoder.size,
    "z_loss_per_all_target_tokens": nats.z_loss / decoder.size,
    "loss_per_nonpadding_target_token": nats.loss / nats.weights,
    "non_padding_fraction/encoder_input_tokens": filled(encoder) / encoder.size,
    "non_padding_fraction/decoder_target_tokens": filled(decoder)
    / decoder.size,
    "non_padding_fraction/loss_weights": jnp.sum(weights) / weights.size,
    "non_padding_fraction/overall": real / (encoder.size + decoder.size),
    "effective_batch_size/encoder_input_tokens": jnp.float32(rows),
    "effective_batch_size/decoder_target_tokens": jnp.float32(rows),
    "timing/seqs": jnp.int32(rows),
  }
