"""Beats and chords told to the encoder."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from magenta_midi.midi.outline import Outline
from magenta_midi.model.config import preset
from magenta_midi.model.depthformer import Depthformer, Frames, OutlineFrames
from magenta_midi.tokens.outline_rows import ROWS, no_frames, outline_frames

SIZES = (41, 130, 8, 16)
OUTLINE = Outline.of(
  [(500 * i, i % 4, 4) for i in range(20)], [(4000, 9, 7, (9, 0, 4, 7))]
)


def made(**overrides):
  config = preset(
    "tiny", level_sizes=SIZES, reserved=8, **{"outline_rows": ROWS, **overrides}
  )
  model = Depthformer(config, rngs=nnx.Rngs(0))
  model.eval()
  return model


def told(outline, now_ms=5000):
  frames = outline_frames(outline, now_ms, 10)
  return OutlineFrames(*(jnp.asarray(array)[None] for array in frames))


def scored(model, outline, seed=0):
  rng = np.random.default_rng(seed)
  columns = model.config.columns

  def frames(count, low, high):
    ids = np.stack([rng.integers(a, b, (1, count)) for a, b in columns], -1)
    time = np.sort(rng.integers(low, high, (1, count)), axis=1)
    part = np.zeros((1, count), int)
    return Frames(*(jnp.asarray(a, jnp.int32) for a in (ids, time, part)))

  context, inputs = frames(7, -1000, 0), frames(5, 0, 400)
  return model(context, inputs, inputs.ids, None, outline)


@pytest.mark.parametrize("rotary", [0, 3])
def test_nothing_told_is_no_outline(rotary):
  model = made(rotary_time=rotary, rotary_key=rotary)
  nothing = OutlineFrames(*map(jnp.asarray, no_frames(1)))
  for one, other in zip(
    scored(model, None), scored(model, nothing), strict=True
  ):
    np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("part", ["beats", "chords"])
def test_what_is_told_changes_what_is_expected(part):
  model = made(rotary_time=3, rotary_key=3)
  free = scored(model, None)[0]
  outline = OUTLINE.without(**{part: True})
  assert np.abs(scored(model, told(outline))[0] - free).max() > 1e-3
  # And another one is expected differently.
  moved = OUTLINE.without(**{part: True}).moved(up=1, by_ms=70)
  difference = scored(model, told(moved))[0] - scored(model, told(outline))[0]
  assert np.abs(difference).max() > 1e-4


def test_the_order_of_frames_says_nothing():
  model = made(rotary_time=3, rotary_key=3)
  frames = told(OUTLINE)
  turned = OutlineFrames(*(jnp.flip(array, axis=1) for array in frames))
  for one, other in zip(
    scored(model, frames), scored(model, turned), strict=True
  ):
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_model_without_the_input_leaves_them_out():
  model = made(outline_rows=0)
  for one, other in zip(
    scored(model, None), scored(model, told(OUTLINE)), strict=True
  ):
    np.testing.assert_array_equal(one, other)


def test_flat_inputs_have_no_outlines():
  with pytest.raises(ValueError, match="outline_rows needs encoder_input"):
    made(encoder_input="flat")
