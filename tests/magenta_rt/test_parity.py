"""Every stage of the training pass against Magenta RealTime's own arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from magenta_midi.magenta_rt.names import from_t5x_name, load_t5x, to_t5x_name
from magenta_midi.magenta_rt.teacher_forcing import teacher_forced
from magenta_midi.model import depthformer
from magenta_midi.model.depthformer import Depthformer
from magenta_midi.model.layers import relative_buckets, sinusoid
from magenta_midi.testing.original import ORIGINAL_CONFIGS

# Stage of ours -> array of theirs.
STAGES = {
  "encoded": "enc.out",
  "temporal": "train.temporal_out",
  "depth": "train.depth_out",
  "logits": "train.logits_jit",
}
FLOAT32 = ("A", "B", "B2")


def inputs(recorded):
  return (
    jnp.asarray(recorded["in.encoder_input_tokens"]),
    jnp.asarray(recorded["in.decoder_target_tokens"]),
  )


@nnx.jit
def compiled(model, encoder_tokens, targets):
  return teacher_forced(model, encoder_tokens, targets)


@pytest.mark.corpus
@pytest.mark.parametrize("name", FLOAT32)
def test_every_stage_equals_the_original(original, name):
  recorded = original.recorded(name)
  out = teacher_forced(original.model(name), *inputs(recorded))
  compared = 0
  for stage, theirs in STAGES.items():
    if theirs in recorded:
      compared += 1
      np.testing.assert_allclose(
        getattr(out, stage), recorded[theirs], atol=1e-5, rtol=0, err_msg=stage
      )
  # The plain decoder has neither a temporal nor a depth stack to record.
  assert compared == (2 if name == "B" else 4)


@pytest.mark.corpus
@pytest.mark.parametrize("name", FLOAT32)
def test_every_layer_equals_the_original(original, name, monkeypatch):
  recorded = original.recorded(name)
  seen = {"enc.layer": [], "train.declayer": []}
  for layer, key in (
    (depthformer.EncoderLayer, "enc.layer"),
    (depthformer.DecoderLayer, "train.declayer"),
  ):

    def spy(self, *args, call=layer.__call__, outputs=seen[key], **kwargs):
      out = call(self, *args, **kwargs)
      outputs.append(np.asarray(out))
      return out

    monkeypatch.setattr(layer, "__call__", spy)
  teacher_forced(original.model(name), *inputs(recorded))
  for key, outputs in seen.items():
    assert len(outputs) == sum(name.startswith(key) for name in recorded)
    for index, out in enumerate(outputs):
      np.testing.assert_allclose(
        out, recorded[f"{key}{index}"], atol=1e-5, rtol=0, err_msg=key
      )


@pytest.mark.corpus
def test_bfloat16_op_by_op_is_as_near_as_the_original_to_itself(original):
  recorded = original.recorded("C")
  with jax.disable_jit():
    out = teacher_forced(original.model("C"), *inputs(recorded))
  difference = np.abs(np.asarray(out.logits) - recorded["train.logits_eager"])
  assert difference.max() <= 0.06


@pytest.mark.corpus
def test_bfloat16_fused_stays_near(original):
  recorded = original.recorded("C")
  out = compiled(original.model("C"), *inputs(recorded))
  difference = np.abs(np.asarray(out.logits) - recorded["train.logits_eager"])
  assert difference.max() <= 0.1
  assert difference.mean() <= 0.01


@pytest.mark.corpus
@pytest.mark.parametrize("name", [*FLOAT32, "C"])
def test_parameters_go_there_and_back_without_loss(original, name):
  arrays = original.arrays(name)
  model = original.model(name)
  config = ORIGINAL_CONFIGS[name]
  flat = nnx.to_flat_state(nnx.state(model, nnx.Param))
  back = {
    "target." + to_t5x_name(path, config): np.asarray(variable[...])
    for path, variable in flat
  }
  assert sorted(back) == sorted(arrays)
  for key, array in arrays.items():
    np.testing.assert_array_equal(back[key], array, err_msg=key)
    ours = from_t5x_name(key, config)
    assert "target." + to_t5x_name(ours, config) == key
  total = sum(array.size for array in arrays.values())
  assert total == original.meta(name)["num_params"]


@pytest.mark.corpus
def test_sinusoids_and_buckets_equal_the_original(shared):
  extras = np.load(shared / "fixtures" / "magenta_rt_v1" / "extras.npz")
  tables = [key for key in extras.files if key.startswith("sinusoid")]
  assert len(tables) == 2
  for key in tables:
    positions, width = (int(x) for x in key.split(".")[1].split("x"))
    table = extras[key]
    np.testing.assert_allclose(
      sinusoid(positions, width)[: len(table)], table, atol=1e-5
    )
  distance = -extras["relpos.memory_minus_query"]
  for buckets in (128, 16, 4, 2):
    np.testing.assert_array_equal(
      relative_buckets(distance, buckets, buckets),
      extras[f"relpos.bucket.nb{buckets}.md{buckets}.causal"],
    )


def test_a_wrong_checkpoint_names_every_fault():
  model = Depthformer(ORIGINAL_CONFIGS["A"], rngs=nnx.Rngs(0))
  flat = nnx.to_flat_state(nnx.state(model, nnx.Param))
  arrays = {
    "target." + to_t5x_name(path, model.config): np.asarray(variable[...])
    for path, variable in flat
  }
  del arrays["target.decoder.logits_dense.kernel"]
  arrays["target.encoder.encoder_norm.scale"] = np.ones(3)
  with pytest.raises(ValueError, match=r"logits_dense\.kernel is missing") as e:
    load_t5x(model, arrays)
  assert "encoder_norm.scale has shape (3,), expected (64,)" in str(e.value)


def test_exact_half_of_the_buckets():
  distance = np.arange(200)
  buckets = relative_buckets(distance, 128, 128)
  np.testing.assert_array_equal(buckets[:64], distance[:64])
  assert buckets.max() == 127
  assert (np.diff(buckets) >= 0).all()
  assert (relative_buckets(distance, 1, 1) == 0).all()
