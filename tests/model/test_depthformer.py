"""Causality, padding, slots and shapes of the model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from magenta_midi.model.config import preset
from magenta_midi.model.depthformer import Depthformer, Frames

SIZES = (41, 12, 8, 16)


def tiny(**overrides):
  config = preset("tiny", level_sizes=SIZES, reserved=8, **overrides)
  model = Depthformer(config, rngs=nnx.Rngs(0))
  model.eval()
  return model


def frames(rng, batch, count, config):
  ids = np.stack(
    [rng.integers(a, b, (batch, count)) for a, b in config.columns], axis=-1
  )
  time = np.sort(rng.integers(0, 400, (batch, count)), axis=1)
  part = rng.integers(0, 2, (batch, count))
  return Frames(jnp.asarray(ids), jnp.asarray(time), jnp.asarray(part))


def test_a_logit_depends_on_no_later_frame_and_no_higher_level():
  model = tiny()
  rng = np.random.default_rng(0)
  context = frames(rng, 1, 5, model.config)
  inputs = frames(rng, 1, 6, model.config)
  targets = frames(rng, 1, 6, model.config).ids
  before = model(context, inputs, targets)
  at, level = 3, 1
  changed = targets.at[0, at, level:].set(targets[0, at, level:] + 1)
  later = inputs._replace(
    ids=inputs.ids.at[0, at + 1 :].set(20), time=inputs.time.at[0, -1].add(7)
  )
  after = model(context, later, changed)
  for index in range(4):
    same = np.s_[0, : at + 1] if index <= level else np.s_[0, :at]
    np.testing.assert_allclose(
      before[index][same], after[index][same], atol=1e-6
    )
  assert np.abs(before[0][0, at + 1] - after[0][0, at + 1]).max() > 1e-4
  assert np.abs(before[2][0, at] - after[2][0, at]).max() > 1e-4


def test_padding_of_the_context_changes_nothing():
  model = tiny()
  rng = np.random.default_rng(1)
  context = frames(rng, 2, 5, model.config)
  inputs = frames(rng, 2, 4, model.config)
  targets = frames(rng, 2, 4, model.config).ids
  padded = Frames(
    jnp.pad(context.ids, ((0, 0), (0, 9), (0, 0))),
    jnp.pad(context.time, ((0, 0), (0, 9))),
    jnp.pad(context.part, ((0, 0), (0, 9))),
  )
  for a, b in zip(
    model(context, inputs, targets), model(padded, inputs, targets), strict=True
  ):
    np.testing.assert_allclose(a, b, atol=1e-5)


def test_an_empty_context_is_finite():
  model = tiny()
  rng = np.random.default_rng(2)
  inputs = frames(rng, 1, 3, model.config)
  nothing = Frames(
    jnp.zeros((1, 8, 4), int), jnp.zeros((1, 8), int), jnp.zeros((1, 8), int)
  )
  for logits in model(nothing, inputs, inputs.ids):
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("field", ["time", "part"])
def test_attributes_change_the_output(field):
  model = tiny()
  rng = np.random.default_rng(3)
  context = frames(rng, 1, 5, model.config)
  inputs = frames(rng, 1, 4, model.config)
  before = model(context, inputs, inputs.ids)[0]
  other = context._replace(**{field: 1 - getattr(context, field)})
  assert np.abs(model(other, inputs, inputs.ids)[0] - before).max() > 1e-4


def test_style_rows_change_the_output_and_none_is_the_mask():
  model = tiny(style_vocab_size=9)
  rng = np.random.default_rng(4)
  context = frames(rng, 1, 5, model.config)
  inputs = frames(rng, 1, 4, model.config)
  none = model(context, inputs, inputs.ids)[0]
  masked = model(context, inputs, inputs.ids, jnp.zeros((1, 2), int))[0]
  styled = model(context, inputs, inputs.ids, jnp.full((1, 2), 3))[0]
  np.testing.assert_array_equal(none, masked)
  assert np.abs(styled - none).max() > 1e-4


def test_flat_and_frames_inputs_have_their_positions():
  rng = np.random.default_rng(5)
  for kind, positions in (("flat", 5 * 4 + 2), ("frames", 5 + 2)):
    model = tiny(encoder_input=kind)
    memory = model.encode(frames(rng, 1, 5, model.config))
    assert memory.states.shape == (1, positions, 32)


@pytest.mark.parametrize("name", ["tiny", "small", "base"])
def test_presets_build(name):
  config = preset(name, level_sizes=SIZES, reserved=8)
  model = nnx.eval_shape(lambda: Depthformer(config, rngs=nnx.Rngs(0)))
  total = sum(x.size for x in jax.tree.leaves(nnx.state(model, nnx.Param)))
  low, high = {
    "tiny": (1e4, 1e5),
    "small": (6e6, 12e6),
    "base": (6e7, 2e8),
  }[name]
  assert low < total < high


def test_invalid_configs_are_refused():
  with pytest.raises(ValueError, match="unknown preset 'huge'"):
    preset("huge", level_sizes=SIZES, reserved=8)
  with pytest.raises(ValueError, match="unknown model setting widht"):
    preset("tiny", level_sizes=SIZES, reserved=8, widht=3)
  with pytest.raises(ValueError, match="encoder_input"):
    preset("tiny", level_sizes=SIZES, reserved=8, encoder_input="both")
  with pytest.raises(ValueError, match="dropout_rate must be a number"):
    preset("tiny", level_sizes=SIZES, reserved=8, dropout_rate=1.0)
