"""Presets and shapes, without computing weights."""

import math

import pytest

from magenta_midi.model.checkpoint import parameter_shapes
from magenta_midi.model.config import (
  PRESETS,
  DepthformerConfig,
  magenta_rt_config,
  preset,
)


@pytest.mark.parametrize(
  ("tag", "parameters", "arrays"),
  [("base", 347_873_472, 430), ("large", 761_651_456, 538)],
)
def test_the_published_models_have_their_size(tag, parameters, arrays):
  config = magenta_rt_config(tag)
  shapes = parameter_shapes(config)
  assert sum(map(math.prod, shapes.values())) == parameters
  assert len(shapes) == arrays
  assert (config.vocab_size, config.levels) == (29824, 16)
  assert config.dtype == "bfloat16"
  assert config.encoder_input == "flat"
  assert config.level_columns == ()
  assert config.style_slots == config.parts == 0


@pytest.mark.parametrize("name", list(PRESETS))
def test_every_preset_fits_a_midi_codec(name):
  config = preset(name, level_sizes=(41, 12), reserved=8)
  assert config.levels == 2
  assert config.columns == ((8, 49), (49, 61))
  assert config.vocab_size == 128
  if name.startswith("magenta_rt_"):
    original = magenta_rt_config(name.removeprefix("magenta_rt_"))
    blocks = {
      part: {
        name: shape
        for name, shape in parameter_shapes(c).items()
        if "_layers." in name
      }
      for part, c in (("midi", config), ("audio", original))
    }
    assert blocks["midi"] == blocks["audio"]


@pytest.mark.parametrize(
  ("field", "value", "match"),
  [
    ("embed_dim", 0, "embed_dim must be at least 1, got 0"),
    ("dtype", "float8", "dtype"),
    ("levels", 0, "levels must be at least 1"),
    ("depth_layers", 0, "need a depth stack"),
    ("temporal_layers", 0, "temporal_layers must be at least 1, got 0"),
    ("encoder_layers", -1, "encoder_layers must be at least 0, got -1"),
    ("depth_dim", 0, "depth_dim must be at least 1, got 0"),
    ("head_dim", True, "head_dim must be an integer, got True"),
    ("depth_heads", "2", "depth_heads must be an integer or null, got '2'"),
    ("level_columns", [[1]], r"must be pairs of integers, got \[\[1\]\]"),
    ("width", 3, "unknown model setting width"),
  ],
)
def test_impossible_shapes_are_refused(field, value, match):
  values = PRESETS["tiny"] | dict(vocab_size=128, levels=2)
  with pytest.raises(ValueError, match=match):
    DepthformerConfig.from_dict(values | {field: value})


def test_an_unknown_tag_is_refused():
  with pytest.raises(ValueError, match="unknown tag 'huge'"):
    magenta_rt_config("huge")
