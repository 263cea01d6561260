"""Decoding of audio tokens: token for token as the original."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from magenta_midi.generate.sampling import kth_largest
from magenta_midi.magenta_rt.teacher_forcing import teacher_forced
from magenta_midi.magenta_rt.token_decoder import (
  TokenSampling,
  decode_tokens,
  guide,
  make_token_decoder,
)
from magenta_midi.model.depthformer import Depthformer
from magenta_midi.testing.original import ORIGINAL_CONFIGS

RUNS = (
  "greedy",
  "argmax_temp0",
  "cfg_greedy",
  "cfg_sample",
  "cfg_sample_b4",
  "sample_nocfg",
  "cfg_sample_topk0",
  "cfg_sample_short",
  "cfg_eos_early",
)


def drawn_model(name="A"):
  model = Depthformer(ORIGINAL_CONFIGS[name], rngs=nnx.Rngs(0))
  model.eval()
  return model


@functools.cache
def compiled(original, name, guided):
  """One decoder for all runs of a config: settings are traced."""
  length = original.recorded(name)["in.decoder_target_tokens"].shape[1]
  return make_token_decoder(original.model(name), length=length, guided=guided)


def recorded_run(original, name, run):
  recorded = original.recorded(name)
  facts = original.meta(name)[f"dec.{run}"]
  tokens = recorded["dec.encoder_input_tokens"][np.array(facts["rows"])]
  settings = TokenSampling(
    guidance=facts["guidance_weight"],
    temperature=facts["temperature"],
    top_k=facts["topk"],
    max_steps=facts["max_decode_steps"],
    eos_id=facts["eos_id"],
  )
  length = recorded["in.decoder_target_tokens"].shape[1]
  return (
    recorded,
    (jnp.asarray(tokens), jax.random.key(facts["seed"]), settings),
    dict(length=length, guided=facts["guidance_weight"] != 0),
  )


@pytest.mark.corpus
@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("name", ["A", "B", "B2"])
def test_tokens_equal_the_original(original, name, run):
  recorded, args, kwargs = recorded_run(original, name, run)
  decode, leaves = compiled(original, name, kwargs["guided"])
  decoded = decode(leaves, *args)
  np.testing.assert_array_equal(decoded.tokens, recorded[f"dec.{run}.tokens"])
  # Of a guided pair the original also reports a draw that it throws away.
  step = 2 if kwargs["guided"] else 1
  np.testing.assert_allclose(
    decoded.scores[::step], recorded[f"dec.{run}.scores"][::step], atol=1e-3
  )


@pytest.mark.corpus
@pytest.mark.parametrize("name", ["A", "B2"])
def test_recorded_noise_gives_the_recorded_tokens(original, name):
  recorded, (tokens, _, sampling), kwargs = recorded_run(
    original, name, "cfg_sample"
  )
  decoded = decode_tokens(
    original.model(name),
    tokens,
    jax.random.key(999),
    sampling,
    noise=jnp.asarray(recorded["dec.cfg_sample.gumbel"]),
    **kwargs,
  )
  np.testing.assert_array_equal(
    decoded.tokens, recorded["dec.cfg_sample.tokens"]
  )


@pytest.mark.corpus
@pytest.mark.parametrize(
  ("name", "atol"), [("A", 1e-5), ("B", 1e-5), ("B2", 1e-5), ("C", 0.06)]
)
def test_cached_logits_equal_the_original(original, name, atol):
  recorded = original.recorded(name)
  targets = jnp.asarray(recorded["dec.forced.targets"])
  decoded = decode_tokens(
    original.model(name),
    jnp.asarray(recorded["dec.encoder_input_tokens"]),
    jax.random.key(0),
    TokenSampling(eos_id=-1),
    length=targets.shape[1],
    guided=False,
    forced=targets,
    keep_logits=True,
  )
  np.testing.assert_allclose(
    decoded.logits, recorded["dec.forced.step_logits"], atol=atol, rtol=0
  )
  for weight in (4, 5):
    np.testing.assert_allclose(
      guide(decoded.logits[:, 0], jnp.float32(weight)),
      recorded[f"dec.cfg_logits_step0_w{weight}"],
      atol=atol * (1 + 2 * weight),
      rtol=0,
    )


@pytest.mark.parametrize("name", ["A", "B", "B2"])
def test_cached_equals_teacher_forced(name):
  model = drawn_model(name)
  rng = np.random.default_rng(0)
  context = jnp.asarray(rng.integers(1, 256, (3, 17)))
  # No padding: teacher forcing masks it, decoding has none.
  targets = jnp.asarray(rng.integers(1, 256, (3, 24)))
  decoded = decode_tokens(
    model,
    context,
    jax.random.key(0),
    TokenSampling(eos_id=-1),
    length=24,
    guided=False,
    forced=targets,
    keep_logits=True,
  )
  np.testing.assert_allclose(
    decoded.logits, teacher_forced(model, context, targets).logits, atol=2e-5
  )


def test_a_drawn_end_ends_no_forced_row():
  model = drawn_model()
  rng = np.random.default_rng(2)
  context = jnp.asarray(rng.integers(1, 256, (2, 9)))
  targets = jnp.asarray(rng.integers(1, 256, (2, 24)))
  decode = functools.partial(
    decode_tokens, model, context, jax.random.key(0), length=24
  )
  greedy = TokenSampling(guidance=0.0, temperature=0.0, eos_id=-1)
  # The rows of a pair get the same tokens: all end at the first.
  end = int(decode(greedy).tokens[0, 0])
  ending = greedy._replace(eos_id=end)
  assert int(jnp.count_nonzero(decode(ending).tokens[:, 4:])) == 0
  forced = decode(ending, forced=targets, keep_logits=True)
  np.testing.assert_array_equal(forced.tokens, targets)
  np.testing.assert_allclose(
    forced.logits, teacher_forced(model, context, targets).logits, atol=2e-5
  )


def test_rows_of_a_pair_get_the_same_tokens_and_ends_are_padded():
  model = drawn_model()
  rng = np.random.default_rng(1)
  context = jnp.asarray(rng.integers(1, 256, (4, 9)))
  decode, leaves = make_token_decoder(model, length=24)
  sampling = TokenSampling(guidance=1.0, temperature=3.0, top_k=0, eos_id=-1)
  free = decode(leaves, context, jax.random.key(3), sampling).tokens
  np.testing.assert_array_equal(free[0::2], free[1::2])
  # Any token of the first row may be declared its end.
  end = int(free[0, 10])
  ended = decode(
    leaves, context, jax.random.key(3), sampling._replace(eos_id=end)
  ).tokens
  stop = int(np.argmax(np.asarray(free[0]) == end))
  np.testing.assert_array_equal(ended[0, : stop + 1], free[0, : stop + 1])
  assert (np.asarray(ended[0, stop + 1 :]) == 0).all()


def test_wrong_lengths_and_rows_are_refused():
  model = drawn_model()
  context = jnp.ones((3, 5), jnp.int32)
  with pytest.raises(ValueError, match="multiple of the 4 levels, got 22"):
    decode_tokens(model, context, jax.random.key(0), TokenSampling(), length=22)
  with pytest.raises(ValueError, match="come in pairs, got 3"):
    decode_tokens(model, context, jax.random.key(0), TokenSampling(), length=24)
  with pytest.raises(ValueError, match=r"shape \(3, 24\), got \(3, 20\)"):
    decode_tokens(
      model,
      context,
      jax.random.key(0),
      TokenSampling(),
      length=24,
      guided=False,
      forced=jnp.ones((3, 20), jnp.int32),
    )


@given(
  st.lists(st.floats(allow_nan=False, width=32), min_size=1, max_size=60),
  st.integers(1, 70),
)
@settings(max_examples=60)
def test_kth_largest_is_that_of_a_sort(values, k):
  x = jnp.asarray(np.array(values, np.float32))
  expected = np.sort(np.array(values, np.float32))[::-1][
    min(k, len(values)) - 1
  ]
  assert float(kth_largest(x, k)) == float(expected)
