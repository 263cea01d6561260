"""Names of the original, and settings in its words."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magenta_midi.magenta_rt.config import (
  complete_config,
  misfits,
  parse_settings,
  recognized_tag,
)
from magenta_midi.magenta_rt.names import (
  from_t5x_name,
  lacked_by_t5x,
  to_t5x_name,
)
from magenta_midi.model.checkpoint import parameter_shapes
from magenta_midi.model.config import (
  PRESETS,
  DepthformerConfig,
  magenta_rt_config,
  preset,
)

MACROS = """
# a comment, and imports as gin has them
from __gin__ import dynamic_registration
EMBED_DIM = 64
HEAD_DIM = 16
NUM_HEADS = 4  # of each stack
MLP_DIM = 128
NUM_ENCODER_LAYERS = 2
NUM_DECODER_LAYERS = 3
NUM_TEMPORAL_LAYERS = 2
NUM_DEPTH_LAYERS = 2
NUM_LEVELS = 4
ACTIVATION_DTYPE = 'float32'
TASK_FEATURE_LENGTHS = {
    'inputs': 23,
    'targets': 24,
}
seqio.PassThroughVocabulary.size = 130
trainer.Trainer.weight_metrics_computer = None
"""
A = DepthformerConfig(
  vocab_size=256,
  levels=4,
  embed_dim=64,
  num_heads=4,
  head_dim=16,
  mlp_dim=128,
  encoder_layers=2,
  temporal_layers=2,
  depth_layers=2,
)
PLAIN = dataclasses.replace(
  A, levels=1, depth_layers=0, temporal_positions="sinusoid"
)


def t5x_shapes(config):
  return {
    to_t5x_name(name, config): shape
    for name, shape in parameter_shapes(config).items()
  }


@settings(max_examples=20)
@given(
  encoder=st.integers(1, 3),
  temporal=st.integers(1, 11),
  depth=st.integers(0, 2),
  plain=st.booleans(),
  midi=st.booleans(),
)
def test_names_go_there_and_back(encoder, temporal, depth, plain, midi):
  config = DepthformerConfig(
    vocab_size=128,
    levels=2 if depth else 1,
    embed_dim=4,
    num_heads=1,
    head_dim=2,
    mlp_dim=2,
    encoder_layers=encoder,
    temporal_layers=temporal,
    depth_layers=depth,
    temporal_positions="sinusoid" if plain else "relative",
    time_features=midi,
    parts=2 * midi,
    style_slots=2 * midi,
    depth_dim=2 if midi else None,
    depth_heads=1,
  )
  ours = list(parameter_shapes(config))
  theirs = [to_t5x_name(name, config) for name in ours]
  assert len(set(theirs)) == len(ours)
  assert [from_t5x_name(name, config) for name in theirs] == ours
  assert [from_t5x_name("target." + name, config) for name in theirs] == ours
  assert to_t5x_name(ours[0].split("."), config) == theirs[0]
  lacked = lacked_by_t5x(ours, config)
  assert len(lacked) == (4 if midi else 0)
  assert all(to_t5x_name(name, config) == name for name in lacked)


@pytest.mark.corpus
@pytest.mark.parametrize("name", ["A", "B", "B2", "C"])
def test_the_fixtures_settings_give_the_fixtures_names(shared, name):
  folder = shared / "fixtures" / "magenta_rt_v1"
  if not folder.is_dir():
    pytest.skip("no fixtures of Magenta RealTime")
  weights = "A" if name == "C" else name
  with np.load(folder / f"{weights}_params.npz") as params:
    shapes = {
      key.removeprefix("target."): params[key].shape for key in params.files
    }
  settings = parse_settings((folder / f"{name}_meta.json").read_text())
  config = complete_config(settings.fields, shapes)
  assert config.dtype == ("bfloat16" if name == "C" else "float32")
  assert t5x_shapes(config) == shapes
  expected = {"A": A, "B": PLAIN, "C": dataclasses.replace(A, dtype="bfloat16")}
  if name in expected:
    assert config == expected[name]
  else:
    assert (config.levels, config.depth_buckets) == (1, 2)


def test_settings_in_every_form():
  shapes = t5x_shapes(A)
  fields = dataclasses.asdict(A)
  partial = {k: fields[k] for k in ("embed_dim", "levels", "mlp_dim")}
  upper = {"EMBED_DIM": 64, "NUM_LEVELS": 4, "ACTIVATION_DTYPE": "float32"}
  texts = [
    MACROS,
    json.dumps({"overrides": MACROS, "num_params": 1}),
    A.to_json(),
    json.dumps({"format": 1, "model": fields, "codec": {"name": "x"}}),
    json.dumps(partial),
    json.dumps(upper),
    json.dumps({**upper, "mlp_dim": 128}),
    "{}",
  ]
  for text in texts:
    settings = parse_settings(text)
    assert complete_config(settings.fields, shapes) == A, text
  assert parse_settings(texts[3]).codec == {"name": "x"}


def test_macros_of_the_plain_decoder():
  text = MACROS.replace("NUM_LEVELS = 4", "NUM_LEVELS = 1")
  text += "DECODER_FACTORY = @t5_architecture.Decoder\n"
  config = complete_config(parse_settings(text).fields, {})
  assert config == dataclasses.replace(PLAIN, temporal_layers=3)


@pytest.mark.parametrize(
  "config",
  [
    A,
    PLAIN,
    magenta_rt_config("base"),
    magenta_rt_config("large"),
    preset("tiny", level_sizes=(41, 12), reserved=8, depth_dim=16),
  ],
)
def test_shapes_tell_what_they_can(config):
  """What no shape tells, and so must be given where it is not the default."""
  told_nowhere = ("dtype", "level_columns", "encoder_input", "style_slots")
  given_fields = {
    name: getattr(config, name) for name in (*told_nowhere, "num_heads")
  }
  shapes = t5x_shapes(config)
  completed = complete_config(given_fields, shapes)
  assert t5x_shapes(completed) == shapes
  assert completed.head_dim == config.head_dim
  tags = {magenta_rt_config(tag): tag for tag in ("base", "large")}
  assert recognized_tag(shapes) == tags.get(config)


def test_another_model_is_told_from_a_damaged_one():
  base, large = magenta_rt_config("base"), magenta_rt_config("large")
  shapes = t5x_shapes(base)
  assert misfits(base, shapes) == ""
  assert "embed_dim 768 (expected 1024)" in misfits(large, shapes)
  # One wrong array or a lost layer is a fault, not another model.
  shapes["encoder.encoder_norm.scale"] = (3,)
  shapes["encoder.layers_0.mlp.wi_0.kernel"] = (3, 3)
  shapes = {k: v for k, v in shapes.items() if "layers_11" not in k}
  assert misfits(base, shapes) == ""


@pytest.mark.parametrize(
  ("text", "match"),
  [
    ('{"EMBED_DIMS": 64}', "unknown setting EMBED_DIMS. Known: EMBED_DIM"),
    ('{"embed_dim": 64, "widht": 2, "x": 1}', "unknown setting widht, x"),
    ("EMBED_DIMS = 64", "unknown setting EMBED_DIMS"),
    ("[1, 2]", "expected a JSON object or lines"),
    ("hello", "expected a JSON object or lines NAME = value, got 'hello'"),
    ("", "got none"),
    ("seqio.PassThroughVocabulary.size = 'a'", "must be an integer, got 'a'"),
  ],
)
def test_settings_that_say_nothing_known(text, match):
  with pytest.raises(ValueError, match=match):
    parse_settings(text)


def test_missing_settings_are_named():
  with pytest.raises(ValueError, match="missing: vocab_size, levels, embed_d"):
    complete_config({}, {})
  with pytest.raises(ValueError, match=r"embed_dim must be .* got '64'"):
    complete_config({"embed_dim": "64"}, t5x_shapes(A))
  with pytest.raises(ValueError, match="missing: num_heads, head_dim"):
    complete_config({}, t5x_shapes(PLAIN))
  assert set(PRESETS) >= {"magenta_rt_base", "magenta_rt_large"}
