"""Rotary positions: attention that depends on distances and intervals."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from magenta_midi.model.config import preset
from magenta_midi.model.depthformer import Depthformer, Frames
from magenta_midi.model.layers import Attention
from magenta_midi.model.rotary import angles_of, rotate

SIZES = (41, 130, 8, 16)
ROTARY = {"rotary_time": 3, "rotary_key": 3}


def made(**overrides):
  config = preset("tiny", level_sizes=SIZES, reserved=8, **overrides)
  model = Depthformer(config, rngs=nnx.Rngs(0))
  model.eval()
  return model


def frames(rng, count, config, keys=(40, 80)):
  ids = np.stack(
    [rng.integers(a, b, (1, count)) for a, b in config.columns], axis=-1
  )
  start, _ = config.columns[1]
  ids[..., 1] = start + rng.integers(*keys, (1, count))
  time = np.sort(rng.integers(-1000, 0, (1, count)), axis=1)
  return Frames(*map(jnp.asarray, (ids, time, np.zeros((1, count), int))))


def logits_of(attention, x, time, key, **pairs):
  angles = angles_of(time, key, head_dim=attention.head_dim, **pairs)
  query = rotate(attention._heads(attention.query(x)), angles)
  return query @ jnp.swapaxes(attention.key_value(x, angles).key, -1, -2)


@pytest.mark.parametrize("pairs", [(7, 0), (0, 8), (5, 3)])
def test_a_shift_of_all_times_or_all_keys_changes_no_logit(pairs):
  pairs = dict(zip(("time_pairs", "key_pairs"), pairs, strict=True))
  rng = np.random.default_rng(0)
  attention = Attention(12, 2, 16, rngs=nnx.Rngs(0), dtype=jnp.dtype("float32"))
  x = jnp.asarray(rng.normal(size=(1, 9, 12)), jnp.float32)
  time = jnp.asarray(rng.integers(-1000, 0, (1, 9)))
  key = jnp.asarray(rng.integers(30, 90, (1, 9)))
  at = logits_of(attention, x, time, key, **pairs)
  for shifted in ((time + 317, key), (time, key + 7), (time - 40, key - 12)):
    found = logits_of(attention, x, *shifted, **pairs)
    np.testing.assert_allclose(at, found, atol=2e-4)
  # And where one note moves alone, what is turned by it changes.
  if pairs["time_pairs"]:
    alone = logits_of(attention, x, time.at[0, 4].add(25), key, **pairs)
    assert np.abs(at - alone)[0, :, 4, :4].max() > 1e-3
  if pairs["key_pairs"]:
    alone = logits_of(attention, x, time, key.at[0, 4].add(1), **pairs)
    assert np.abs(at - alone)[0, :, 4, :4].max() > 1e-3


def test_an_encoder_without_absolute_time_does_not_hear_when_it_all_was():
  model = made(time_features=False, parts=0, style_slots=0, **ROTARY)
  context = frames(np.random.default_rng(1), 9, model.config)
  moved = context._replace(time=context.time - 200)
  np.testing.assert_allclose(
    model.encode(context).states, model.encode(moved).states, atol=2e-4
  )
  apart = context._replace(time=context.time.at[0, 3].add(-20))
  found = model.encode(apart).states - model.encode(context).states
  assert np.abs(found).max() > 1e-3


def test_what_is_no_note_stands_at_the_middle_key():
  model = made(**ROTARY)
  start, stop = model.config.columns[1]
  time = jnp.zeros((1, 4), jnp.int32)
  ids = jnp.zeros((1, 4, 4), jnp.int32)
  # Middle key, pedal-down, an unused level, the start of a stream.
  ids = ids.at[0, :, 1].set(jnp.asarray([start + 64, stop - 1, 2, 0]))
  angles = model.angles(Frames(ids, time, time))
  np.testing.assert_array_equal(angles, np.zeros_like(angles))


def test_a_rotation_keeps_lengths():
  rng = np.random.default_rng(2)
  x = jnp.asarray(rng.normal(size=(2, 3, 5, 16)), jnp.float32)
  angles = jnp.asarray(rng.normal(size=(2, 5, 8)), jnp.float32)
  np.testing.assert_allclose(
    jnp.sum(rotate(x, angles) ** 2, -1), jnp.sum(x**2, -1), rtol=1e-5
  )


def test_rotary_positions_add_no_parameters():
  with_them, without = (
    nnx.state(made(**options), nnx.Param).flat_state()
    for options in (ROTARY, {})
  )
  assert [(p, v.shape) for p, v in with_them] == [
    (p, v.shape) for p, v in without
  ]


@pytest.mark.parametrize(
  ("values", "message"),
  [
    ({"rotary_time": 7, "rotary_key": 2}, "at most 8 together"),
    ({"rotary_time": -1}, "rotary_time must be at least 0"),
    ({"rotary_key": 11, "head_dim": 64}, r"rotary_key must be in 0\.\.10"),
    ({"rotary_time": 1, "encoder_input": "flat"}, "have no time"),
    (
      {
        "rotary_key": 1,
        "level_columns": ((8, 49), (49, 60), (60, 68), (68, 84)),
      },
      "128 columns",
    ),
  ],
)
def test_configs_that_cannot_turn_are_refused(values, message):
  with pytest.raises(ValueError, match=message):
    preset("tiny", level_sizes=SIZES, reserved=8, **values)
