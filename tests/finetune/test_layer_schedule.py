"""Which part of a model learns when, and how fast."""

import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.finetune.layer_schedule import (
  GROUPS,
  check_learns,
  check_schedule,
  group_of,
  group_rates,
)
from magenta_midi.model.lora.lora import (
  DEFAULT_TARGETS,
  array_names,
  target_names,
)
from magenta_midi.testing import tiny_generator

fractions = st.floats(0, 1, exclude_max=True)


@given(
  rates=st.dictionaries(st.sampled_from(GROUPS), st.floats(0, 10)),
  unfreeze=st.dictionaries(st.sampled_from(GROUPS), fractions),
  fraction=st.floats(0, 1),
)
def test_a_part_learns_at_its_rate_from_its_time_on(rates, unfreeze, fraction):
  check_schedule(rates, unfreeze)
  found = group_rates(rates, unfreeze, fraction)
  for group, rate in zip(GROUPS, found.tolist(), strict=True):
    frozen = fraction < unfreeze.get(group, 0.0)
    expected = 0.0 if frozen else rates.get(group, 1.0)
    assert rate == np.float32(expected)
  # At the end, all of them learn.
  last = group_rates({}, unfreeze, 1.0)
  np.testing.assert_array_equal(last, np.ones(len(GROUPS)))


def test_every_array_that_can_be_adapted_has_a_group():
  params = nnx.state(tiny_generator().model, nnx.Param)
  names = target_names(array_names(params), DEFAULT_TARGETS)
  groups = {name: group_of(name) for name in names}
  assert set(groups.values()) == set(GROUPS)
  others = {
    "logits_dense.kernel": "head",
    "token_embedder.embedding": "embeddings",
  }
  for name, group in groups.items():
    assert group == others.get(name, name.partition("_layers")[0]), name


def test_what_no_part_can_do_is_refused():
  with pytest.raises(ValueError, match=r"stack_rates: unknown part encodr\."):
    check_schedule({"encodr": 1.0}, {})
  with pytest.raises(
    ValueError, match="factor of head must be a number from 0"
  ):
    check_schedule({"head": -1.0}, {})
  with pytest.raises(
    ValueError, match="unfreeze: where depth begins must be a number"
  ):
    check_schedule({}, {"depth": 1.0})
  names = ["encoder_layers.0.mlp.wo.kernel", "depth_layers.0.mlp.wo.kernel"]
  check_learns(names, {"encoder": 0.0}, {})
  with pytest.raises(
    ValueError, match="nothing learns at first: of encoder, d"
  ):
    check_learns(names, {"encoder": 0.0}, {"depth": 0.1})
