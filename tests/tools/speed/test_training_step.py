"""The cost of a training step: its parts are those of the model's own pass."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner

from magenta_midi.train.run_settings import TrainConfig
from tools.speed import training_step
from tools.speed.training_step import cost_of, main, parts_of

SMALL = dict(rotary_time=2, rotary_key=2, temporal_layers=1)


def test_every_part_has_a_row(monkeypatch):
  made = parts_of(TrainConfig(steps=1, preset="tiny", model=SMALL), 2, 6, 4)
  monkeypatch.setattr(training_step, "PRODUCTS", ((8, 8, 8),))
  monkeypatch.setattr(training_step, "parts_of", lambda *_: made)
  found = CliRunner().invoke(main, ["--repeat", "1"])
  assert found.exit_code == 0, found.output
  rows = found.output.splitlines()
  assert rows[0].startswith("products in float32: ")
  assert [row.split(" | ")[0] for row in rows[4:]] == [f"| {p}" for p in made]


def test_parts_alone_are_parts_of_the_whole_gradient():
  config = TrainConfig(steps=1, preset="tiny", model=SMALL, dtype="float32")
  made = parts_of(config, 2, 6, 4)
  flop = {
    name: cost_of(call, *inputs, repeat=1).gflop
    for name, (call, inputs) in made.items()
  }
  stacks = sum(
    flop[name] for name in ("encoder", "temporal stack", "depth stack, head")
  )
  assert stacks == pytest.approx(flop["gradient"], rel=0.15)
  assert flop["forward"] < 0.6 * flop["gradient"]
  # The encoder's part learns nothing about other stacks.
  call, inputs = made["encoder"]
  grads = jax.tree_util.tree_leaves_with_path(jax.jit(call)(*inputs))
  moved = {
    jax.tree_util.keystr(path) for path, g in grads if np.any(np.asarray(g))
  }
  assert any("encoder_layers" in name for name in moved)
  assert not any("temporal_layers" in name for name in moved)


def test_a_product_counts_what_it_multiplies():
  x = jnp.ones((10, 20))
  assert cost_of(jnp.dot, x, x.T, repeat=1).gflop == pytest.approx(
    2e-9 * 10 * 20 * 10, rel=0.1
  )
