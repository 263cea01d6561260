"""T5X's model interface: the original's figures, and a small driver."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util

from magenta_midi.magenta_rt.t5x_model import T5XModel
from magenta_midi.model.config import DepthformerConfig
from magenta_midi.testing.original import ORIGINAL_CONFIGS

TINY = DepthformerConfig(
  vocab_size=128,
  levels=2,
  embed_dim=32,
  num_heads=2,
  head_dim=16,
  mlp_dim=32,
  encoder_layers=1,
  temporal_layers=1,
  depth_layers=1,
  dropout_rate=0.1,
)


def recorded_batch(recorded):
  return {
    key.removeprefix("in."): jnp.asarray(value)
    for key, value in recorded.items()
    if key.startswith("in.")
  }


def tree(arrays):
  return traverse_util.unflatten_dict(
    {
      tuple(key.removeprefix("target.").split(".")): jnp.asarray(array)
      for key, array in arrays.items()
    }
  )


@pytest.mark.corpus
@pytest.mark.parametrize("name", ["A", "B", "B2"])
def test_loss_metrics_and_scores_equal_the_original(original, name):
  recorded = original.recorded(name)
  model = T5XModel(ORIGINAL_CONFIGS[name])
  params, batch = tree(original.arrays(name)), recorded_batch(recorded)
  loss, metrics = jax.jit(model.eval_fn)(params, batch)
  np.testing.assert_allclose(loss, recorded["loss"], rtol=1e-6)
  theirs = {
    key.removeprefix("metric."): value
    for key, value in recorded.items()
    if key.startswith("metric.")
  }
  assert set(theirs) == set(metrics)
  for key, value in theirs.items():
    np.testing.assert_allclose(
      np.float64(metrics[key]), np.float64(value), rtol=1e-5, err_msg=key
    )
  np.testing.assert_allclose(
    model.score_batch(params, batch), recorded["score"], rtol=1e-6
  )


@pytest.mark.corpus
def test_gradients_equal_the_original(original):
  recorded = original.recorded("A")
  model = T5XModel(ORIGINAL_CONFIGS["A"])
  batch = recorded_batch(recorded)
  grads = jax.jit(
    jax.grad(lambda params: model.loss_fn(params, batch, None)[0])
  )(tree(original.arrays("A")))
  ours = traverse_util.flatten_dict(grads, sep=".")
  theirs = {
    key.removeprefix("grad.target."): value
    for key, value in recorded.items()
    if key.startswith("grad.")
  }
  assert set(ours) == set(theirs)
  for key, gradient in theirs.items():
    difference = np.abs(np.asarray(ours[key]) - gradient).max()
    assert difference <= 1e-5 * np.abs(gradient).max(), key


@pytest.mark.corpus
def test_predictions_equal_the_original(original):
  recorded = original.recorded("A")
  facts = original.meta("A")["dec.cfg_sample"]
  model = T5XModel(ORIGINAL_CONFIGS["A"])
  tokens, aux = model.predict_batch_with_aux(
    tree(original.arrays("A")),
    {
      "encoder_input_tokens": jnp.asarray(
        recorded["dec.encoder_input_tokens"][np.array(facts["rows"])]
      ),
      "decoder_input_tokens": jnp.zeros((2, 24), jnp.int32),
    },
    rng=jax.random.key(facts["seed"]),
    decoder_params=dict(
      guidance_weight=facts["guidance_weight"],
      temperature=facts["temperature"],
      topk=facts["topk"],
      max_decode_steps=facts["max_decode_steps"],
      eos_id=facts["eos_id"],
    ),
    prompt_with_targets=True,
  )
  np.testing.assert_array_equal(tokens, recorded["dec.cfg_sample.tokens"])
  assert aux["scores"].shape == (2,)


class Driver:
  """What a T5X trainer does with a model, and no more."""

  def __init__(self, model, batch, seed=0):
    self.model = model
    shapes = {key: value.shape for key, value in batch.items()}
    self.params = model.get_initial_variables(jax.random.key(seed), shapes)[
      "params"
    ]
    self.optimizer = optax.adafactor(3e-2)
    self.state = self.optimizer.init(self.params)

    @jax.jit
    def step(params, state, batch, key):
      (_, metrics), grads = jax.value_and_grad(model.loss_fn, has_aux=True)(
        params, batch, key
      )
      updates, state = self.optimizer.update(grads, state, params)
      return optax.apply_updates(params, updates), state, metrics

    self.step = step

  def run(self, batch, steps):
    for index in range(steps):
      self.params, self.state, metrics = self.step(
        self.params, self.state, batch, jax.random.key(index)
      )
    return metrics


def test_a_driver_trains_evaluates_scores_and_predicts():
  rng = np.random.default_rng(0)
  context = rng.integers(2, 128, (2, 6))
  batch = {
    "encoder_input_tokens": jnp.asarray(context),
    "decoder_target_tokens": jnp.asarray(rng.integers(2, 128, (2, 8))),
  }
  batch["decoder_input_tokens"] = jnp.zeros((2, 8), jnp.int32)
  driver = Driver(T5XModel(TINY), batch)
  model = driver.model
  before = model.eval_fn(driver.params, batch)[1]
  driver.run(batch, 150)
  loss, after = model.eval_fn(driver.params, batch)
  assert after["loss"] < before["loss"] / 10
  assert after["accuracy"] == 1.0
  # Scores leave out z-loss, which is all that lies between the two.
  np.testing.assert_allclose(
    -jnp.sum(model.score_batch(driver.params, batch)),
    loss - after["z_loss"],
    rtol=1e-4,
  )
  tokens = model.predict_batch(driver.params, batch, jax.random.key(0))
  greedy, _ = model.predict_batch_with_aux(
    driver.params, batch, decoder_params=dict(temperature=0.0)
  )
  np.testing.assert_array_equal(greedy, batch["decoder_target_tokens"])
  assert tokens.shape == greedy.shape


def test_dropout_needs_a_key_and_repeats_with_it():
  model = T5XModel(TINY)
  batch = {
    "encoder_input_tokens": jnp.ones((1, 4), jnp.int32),
    "decoder_target_tokens": jnp.full((1, 4), 5, jnp.int32),
  }
  params = model.get_initial_variables(jax.random.key(0), {})["params"]
  losses = [
    float(model.loss_fn(params, batch, key)[0])
    for key in (None, None, *map(jax.random.key, (1, 1, 2)))
  ]
  assert losses[0] == losses[1]
  assert losses[2] == losses[3]
  assert len({losses[0], losses[2], losses[4]}) == 3


def test_guidance_is_a_number_known_before_tracing():
  model = T5XModel(TINY)
  params = model.get_initial_variables(jax.random.key(0), {})["params"]
  batch = {
    "encoder_input_tokens": jnp.ones((2, 4), jnp.int32),
    "decoder_input_tokens": jnp.zeros((2, 4), jnp.int32),
  }

  def predict(guidance, temperature=0.0):
    return model.predict_batch_with_aux(
      params,
      batch,
      decoder_params=dict(guidance_weight=guidance, temperature=temperature),
    )[0]

  for call in (predict, jax.jit(predict)):
    with pytest.raises(TypeError, match="guidance_weight must be a Python num"):
      call(jnp.float32(2.0))
  # The other settings may be traced.
  np.testing.assert_array_equal(
    jax.jit(lambda temperature: predict(2, temperature))(0.0), predict(2.0)
  )


def test_what_a_t5x_batch_cannot_carry_is_refused():
  with pytest.raises(ValueError, match="time_features, parts or style_slots"):
    T5XModel(DepthformerConfig(**{**vars(TINY), "parts": 2}))
  model = T5XModel(TINY)
  params = model.get_initial_variables(jax.random.key(0), {})["params"]
  batch = {
    "encoder_input_tokens": jnp.ones((1, 4), jnp.int32),
    "decoder_input_tokens": jnp.ones((1, 4), jnp.int32),
  }
  with pytest.raises(ValueError, match="prompt of targets"):
    model.predict_batch_with_aux(params, batch, prompt_with_targets=True)
  with pytest.raises(ValueError, match="unknown decoder setting beam"):
    model.predict_batch_with_aux(params, batch, decoder_params=dict(beam=4))
  with pytest.raises(ValueError, match="num_decodes must be 1, got 3"):
    model.predict_batch_with_aux(params, batch, num_decodes=3)
