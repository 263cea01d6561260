"""T5X's model interface over a Depthformer: pure functions of parameters.

A T5X trainer asks a model for initial variables, a loss with metrics, scores
and predictions, and keeps parameters and optimizer itself. Parameters are the
nested tree that T5X stores (`encoder`, `decoder`, `token_embedder`).
"""

import numbers
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx, traverse_util
from jax.core import Tracer

from magenta_midi.magenta_rt.names import to_t5x_name
from magenta_midi.magenta_rt.t5x_losses import (
  sequence_scores,
  t5x_metrics,
  token_nats,
)
from magenta_midi.magenta_rt.teacher_forcing import teacher_forced
from magenta_midi.magenta_rt.token_decoder import TokenSampling, decode_tokens
from magenta_midi.model.config import DepthformerConfig
from magenta_midi.model.depthformer import Depthformer
from magenta_midi.model.dropout import seed_dropout

__all__ = ["T5XModel"]

Params = Mapping[str, Any]
Batch = Mapping[str, jax.Array]


class T5XModel:
  """A Depthformer as a T5X `EncoderDecoderModel`.

  Batches carry `encoder_input_tokens` [b, s], `decoder_target_tokens` [b, n],
  `decoder_input_tokens` (its shift, which is not read) and
  `decoder_loss_weights` (1 where a target counts; absent: where it is no
  padding), as seqio's `EncDecFeatureConverter` gives them.

  Predictions sample by default without guidance (`guidance_weight` 0.0), at
  `temperature` 1.0 from all tokens (`topk` 0), for the length of the decoder
  inputs (`max_decode_steps` bounds it) or until `eos_id` 1; -1 ends no row.
  A `guidance_weight` but 0 takes rows as pairs, conditioned and not: it is a
  Python number, known before a function is traced.

  Args:
    config: With the flat encoder input.

  Raises:
    ValueError: The model takes inputs that such a batch does not carry.
  """

  def __init__(self, config: DepthformerConfig):
    ours = config.time_features or config.parts or config.style_slots
    if config.encoder_input != "flat" or ours:
      raise ValueError(
        "T5X batches carry tokens only: give a config with encoder_input"
        " 'flat' and without time_features, parts or style_slots."
      )
    self.config = config
    model = nnx.eval_shape(lambda: Depthformer(config, rngs=nnx.Rngs(0)))
    self._graph, params, rest = nnx.split(model, nnx.Param, ...)
    # The rest are the random streams of dropout, reseeded before use.
    self._rest = jax.tree.map(_blank, rest)
    self._params = params
    self._paths = [
      (path, tuple(to_t5x_name(path, config).split(".")))
      for path, _ in nnx.to_flat_state(params)
    ]

  def get_initial_variables(
    self,
    rng: jax.Array,
    input_shapes: Mapping[str, tuple[int, ...]],
    input_types: Mapping[str, Any] | None = None,
  ) -> dict[str, Any]:
    """Freshly drawn parameters.

    Args:
      rng: Random key.
      input_shapes: Of a batch; the parameters do not depend on them.
      input_types: Likewise.

    Returns:
      `{"params": tree}`.
    """
    del input_shapes, input_types
    model = Depthformer(self.config, rngs=nnx.Rngs(rng))
    flat = dict(nnx.to_flat_state(nnx.state(model, nnx.Param)))
    named = {name: flat[path][...] for path, name in self._paths}
    return {"params": traverse_util.unflatten_dict(named)}

  def loss_fn(
    self, params: Params, batch: Batch, dropout_rng: jax.Array | None
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The summed loss, to be differentiated, and metrics by T5X's names.

    Args:
      params: The tree of `get_initial_variables`.
      batch: As the class says.
      dropout_rng: None: no dropout.
    """
    batch = _with_weights(batch)
    logits = self._logits(params, batch, dropout_rng)
    nats = token_nats(
      logits, batch["decoder_target_tokens"], batch["decoder_loss_weights"]
    )
    return nats.loss, t5x_metrics(nats, batch)

  def eval_fn(
    self, params: Params, batch: Batch
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """`loss_fn` without dropout."""
    return self.loss_fn(params, batch, None)

  def score_batch(self, params: Params, batch: Batch) -> jax.Array:
    """Log likelihood of each row of targets, float32 [b]."""
    batch = _with_weights(batch)
    return sequence_scores(
      self._logits(params, batch, None),
      batch["decoder_target_tokens"],
      batch["decoder_loss_weights"],
    )

  def predict_batch_with_aux(
    self,
    params: Params,
    batch: Batch,
    rng: jax.Array | None = None,
    decoder_params: Mapping[str, Any] | None = None,
    return_all_decodes: bool = False,
    num_decodes: int = 1,
    prompt_with_targets: bool = False,
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Samples targets for encoder tokens.

    Args:
      params: The tree of `get_initial_variables`.
      batch: `encoder_input_tokens`, and `decoder_input_tokens` for their
        length.
      rng: Random key; None: that of seed 0.
      decoder_params: Settings in place of the class's defaults. All but
        `guidance_weight` may be traced.
      return_all_decodes: Whether tokens get an axis for decodes.
      num_decodes: 1.
      prompt_with_targets: Allowed for empty prompts: the original's own
        continuation of others differs from its decoding.

    Returns:
      Tokens [b, n], 0 after a row's end, and `{"scores": [b]}`.

    Raises:
      ValueError: A setting is unknown, or more than one decode is asked for.
      TypeError: The guidance weight is an array or traced.
    """
    if num_decodes != 1:
      raise ValueError(f"num_decodes must be 1, got {num_decodes}.")
    decoder_inputs = batch["decoder_input_tokens"]
    traced = isinstance(decoder_inputs, Tracer)
    if prompt_with_targets and not traced and jnp.any(decoder_inputs > 0):
      raise ValueError(
        "a prompt of targets is not supported: give decoder_input_tokens of"
        " zeros, and what came before in encoder_input_tokens."
      )
    given = dict(decoder_params or {})
    guidance = given.pop("guidance_weight", 0.0)
    if not isinstance(guidance, numbers.Real):
      raise TypeError(
        "guidance_weight must be a Python number, as it decides whether rows"
        f" are pairs; got a {type(guidance).__name__}. Pass float(weight) from"
        " outside jit, or close over it."
      )
    settings = TokenSampling(
      guidance=float(guidance),
      temperature=given.pop("temperature", 1.0),
      top_k=given.pop("topk", 0),
      max_steps=given.pop("max_decode_steps", 2**30),
      eos_id=given.pop("eos_id", TokenSampling().eos_id),
    )
    if given:
      raise ValueError(
        f"unknown decoder setting {', '.join(sorted(given))}. Known:"
        " eos_id, guidance_weight, max_decode_steps, temperature, topk."
      )
    decoded = decode_tokens(
      self._model(params, None),
      batch["encoder_input_tokens"],
      jax.random.key(0) if rng is None else rng,
      settings,
      length=decoder_inputs.shape[1],
      guided=guidance != 0.0,
    )
    tokens, scores = decoded.tokens, decoded.scores
    if return_all_decodes:
      tokens, scores = tokens[:, None], scores[:, None]
    return tokens, {"scores": scores}

  def predict_batch(
    self, params: Params, batch: Batch, rng: jax.Array | None = None
  ) -> jax.Array:
    """The tokens of `predict_batch_with_aux`."""
    return self.predict_batch_with_aux(params, batch, rng)[0]

  def _model(
    self, params: Params, dropout_rng: jax.Array | None
  ) -> Depthformer:
    named = traverse_util.flatten_dict(dict(params))
    arrays = nnx.from_flat_state(
      [
        (path, variable.replace(named[name]))
        for (path, variable), (_, name) in zip(
          nnx.to_flat_state(self._params), self._paths, strict=True
        )
      ]
    )
    model = nnx.merge(self._graph, arrays, self._rest)
    if dropout_rng is None:
      model.eval()
    else:
      model.train()
      seed_dropout(model, dropout_rng)
    return model

  def _logits(
    self, params: Params, batch: Batch, dropout_rng: jax.Array | None
  ) -> jax.Array:
    return teacher_forced(
      self._model(params, dropout_rng),
      batch["encoder_input_tokens"],
      batch["decoder_target_tokens"],
    ).logits


def _blank(leaf: Any) -> jax.Array:
  if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
    return jnp.broadcast_to(jax.random.key(0), leaf.shape)
  return jnp.zeros(leaf.shape, leaf.dtype)


def _with_weights(batch: Batch) -> Batch:
  if "decoder_loss_weights" in batch:
    return batch
  weights = (batch["decoder_target_tokens"] > 0).astype(jnp.float32)
  return {**batch, "decoder_loss_weights": weights}
