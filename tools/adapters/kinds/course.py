"""Training of a variant, with finetune's batches, optimizer and schedule."""

import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from safetensors.numpy import save

from magenta_midi.data.examples.examples import Batch
from magenta_midi.evaluation.losses import training_loss
from magenta_midi.finetune.config import FinetuneConfig, train_config
from magenta_midi.finetune.mixture import Mixture
from magenta_midi.finetune.trainer import recordings_source
from magenta_midi.model.depthformer import Depthformer
from magenta_midi.model.dropout import seed_dropout
from magenta_midi.tokens.codec import Codec
from magenta_midi.train.optimizers import learning_rate, make_optimizer
from magenta_midi.train.sharding import path_name
from tools.adapters.kinds.variants import Variant

__all__ = ["Course", "file_bytes", "named_arrays"]


class Course:
  """A variant on its way.

  Args:
    config: The run's, with `steps`; its batches, optimizer and schedule are
      those that `AdapterTrainer` makes of it.
    variant: What is trained.
    codec: The base's.
    music: What examples are cropped from.

  Attributes:
    learned: The arrays of this moment.
    step: Steps done.
    step_s: Processor time of each step that compiled nothing, s.
  """

  def __init__(
    self,
    config: FinetuneConfig,
    variant: Variant,
    codec: Codec,
    music: Mixture,
  ):
    assert config.steps is not None
    self.steps = config.steps
    self.settings = train_config(config, variant.model.config, codec)
    self._stream = recordings_source(self.settings, codec, music)
    model = variant.model
    model.train()
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    model.eval()
    self._scored = nnx.split(model, nnx.Param, ...)
    self._adapt = variant.adapt
    self._params = params
    self._key = jax.random.key(config.seed)
    optimizer = make_optimizer(self.settings)
    # Copies: the first step is given these buffers.
    self.learned = jax.tree.map(jnp.copy, variant.learned)
    self._state = optimizer.init(self.learned)
    self._update = jax.jit(
      functools.partial(
        _update,
        graph,
        rest,
        optimizer,
        variant.adapt,
        model.config.dropout_rate > 0,
      ),
      donate_argnums=(0, 1),
    )
    self._shapes: set[tuple[int, ...]] = set()
    self.step = 0
    self.step_s: list[float] = []

  def train_step(self) -> float:
    """One step; the loss before it, nats an event."""
    begun_s = time.process_time()
    batch = self._stream.next()
    fraction = self.step / self.steps
    rate = jnp.float32(learning_rate(self.settings, self.step, fraction))
    key = jax.random.fold_in(self._key, self.step)
    self.learned, self._state, loss = self._update(
      self.learned, self._state, self._params, batch, key, rate
    )
    loss = float(loss)
    shape = (*batch.context_ids.shape, *batch.targets.shape)
    if shape in self._shapes:
      self.step_s.append(time.process_time() - begun_s)
    self._shapes.add(shape)
    self.step += 1
    return loss

  def adapted(self) -> Depthformer:
    """The model of this moment, for evaluation."""
    graph, params, rest = self._scored
    return nnx.merge(graph, self._adapt(params, self.learned, None), rest)


def _update(
  graph: nnx.GraphDef,
  rest: nnx.State,
  optimizer: optax.GradientTransformation,
  adapt: Callable[..., nnx.State],
  has_dropout: bool,
  learned: Any,
  state: Any,
  params: nnx.State,
  batch: Batch,
  key: jax.Array,
  rate: jax.Array,
) -> tuple[Any, Any, jax.Array]:
  def mean(learned: Any) -> jax.Array:
    model = nnx.merge(graph, adapt(params, learned, key), rest)
    if has_dropout:
      seed_dropout(model, key)
    loss, (_, frames) = training_loss(model, batch)
    return loss / frames

  loss, grads = jax.value_and_grad(mean)(learned)
  updates, state = optimizer.update(grads, state, learned)
  moved = jax.tree.map(lambda p, u: p - rate * u, learned, updates)
  return moved, state, loss


def named_arrays(learned: Any) -> dict[str, np.ndarray]:
  """Every learned array under a name of its own."""
  leaves = jax.tree_util.tree_leaves_with_path(learned)
  return {path_name(path): np.asarray(leaf) for path, leaf in leaves}


def file_bytes(arrays: dict[str, np.ndarray], dtype: Any) -> int:
  """Of a safetensors file of the arrays, without metadata."""
  return len(save({name: x.astype(dtype) for name, x in arrays.items()}))
