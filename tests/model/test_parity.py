"""Magenta RealTime's own arrays, where the fixtures are present."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from magenta_midi.model.config import DepthformerConfig
from magenta_midi.model.depthformer import Depthformer
from magenta_midi.model.layers import relative_buckets, sinusoid
from magenta_midi.model.original import load_t5x, teacher_forced, to_t5x_name

# Stage of ours -> array of theirs.
STAGES = {
  "encoded": "enc.out",
  "temporal": "train.temporal_out",
  "depth": "train.depth_out",
}


@pytest.fixture(scope="module")
def fixtures(shared):
  folder = shared / "fixtures" / "magenta_rt_v1"
  if not folder.is_dir():
    pytest.skip("no fixtures of Magenta RealTime")
  return folder


def original_model(folder, name, levels, dtype="float32"):
  weights = "A" if name == "C" else name
  arrays = dict(np.load(folder / f"{weights}_params.npz"))
  if levels == 1:
    # The original needs two depth buckets to run at all; one level uses one.
    table = (
      "target.decoder.decoder.depth_decoder.relpos_bias_depth.rel_embedding"
    )
    arrays[table] = arrays[table][:, :1]
  config = DepthformerConfig(
    vocab_size=256,
    levels=levels,
    embed_dim=64,
    num_heads=4,
    head_dim=16,
    mlp_dim=128,
    encoder_layers=2,
    temporal_layers=2,
    depth_layers=2,
    dtype=dtype,
  )
  model = Depthformer(config, rngs=nnx.Rngs(0))
  load_t5x(model, arrays)
  model.eval()
  return model, arrays


def passes(model, recorded):
  return teacher_forced(
    model,
    jnp.asarray(recorded["in.encoder_input_tokens"]),
    jnp.asarray(recorded["in.decoder_target_tokens"]),
  )


@pytest.mark.corpus
@pytest.mark.parametrize(("name", "levels"), [("A", 4), ("B2", 1)])
def test_every_stage_equals_the_original(fixtures, name, levels):
  model, _ = original_model(fixtures, name, levels)
  recorded = np.load(fixtures / f"{name}_io.npz")
  out = passes(model, recorded)
  for stage, theirs in (STAGES | {"logits": "train.logits_jit"}).items():
    np.testing.assert_allclose(
      getattr(out, stage), recorded[theirs], atol=1e-5, rtol=0, err_msg=stage
    )


@pytest.mark.corpus
def test_bfloat16_is_as_near_as_the_original_to_itself(fixtures):
  model, _ = original_model(fixtures, "C", 4, "bfloat16")
  recorded = np.load(fixtures / "C_io.npz")
  out = passes(model, recorded)
  difference = np.abs(np.asarray(out.logits) - recorded["train.logits_eager"])
  assert difference.max() <= 0.06
  assert difference.mean() <= 0.01


@pytest.mark.corpus
def test_names_map_one_to_one(fixtures):
  model, arrays = original_model(fixtures, "A", 4)
  flat = nnx.to_flat_state(nnx.state(model, nnx.Param))
  ours = ["target." + to_t5x_name(path) for path, _ in flat]
  assert sorted(ours) == sorted(arrays)
  meta = json.loads((fixtures / "A_meta.json").read_text())
  total = sum(
    leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param))
  )
  assert total == meta["num_params"]


@pytest.mark.corpus
def test_buckets_and_sinusoids_equal_the_original(fixtures):
  extras = np.load(fixtures / "extras.npz")
  for key in extras.files:
    if key.startswith("sinusoid"):
      table = extras[key]
      np.testing.assert_allclose(
        sinusoid(*table.shape[-2:]), table.reshape(table.shape[-2:]), atol=1e-5
      )


def test_a_wrong_checkpoint_names_every_fault():
  config = DepthformerConfig(
    vocab_size=128,
    levels=2,
    embed_dim=16,
    num_heads=1,
    head_dim=16,
    mlp_dim=16,
    encoder_layers=1,
    temporal_layers=1,
    depth_layers=1,
  )
  model = Depthformer(config, rngs=nnx.Rngs(0))
  flat = nnx.to_flat_state(nnx.state(model, nnx.Param))
  arrays = {"target." + to_t5x_name(p): np.asarray(v[...]) for p, v in flat}
  del arrays["target.decoder.logits_dense.kernel"]
  arrays["target.encoder.encoder_norm.scale"] = np.ones(3)
  with pytest.raises(
    ValueError,
    match=r"encoder_norm.*\(3,\).*logits_dense|logits_dense.*missing.*encoder_norm",
  ):
    load_t5x(model, arrays)


def test_exact_half_of_the_buckets():
  distance = np.arange(200)
  buckets = relative_buckets(distance, 128, 128)
  np.testing.assert_array_equal(buckets[:64], distance[:64])
  assert buckets.max() == 127
  assert (np.diff(buckets) >= 0).all()
  assert (relative_buckets(distance, 1, 1) == 0).all()
