"""Saving and loading checkpoints; one-line errors."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from flax import nnx

from magenta_midi.model.checkpoint import (
  CheckpointError,
  flat_parameters,
  load_checkpoint,
  save_checkpoint,
)
from magenta_midi.model.config import preset
from magenta_midi.model.depthformer import Depthformer


@pytest.fixture
def model():
  config = preset("tiny", level_sizes=(41, 12, 8, 16), reserved=8)
  return Depthformer(config, rngs=nnx.Rngs(0))


@pytest.mark.parametrize(
  ("storage", "error"),
  [("float32", 0.0), ("bfloat16", 2**-8), ("int8", 1 / 254)],
)
def test_round_trip(tmp_path, model, storage, error):
  save_checkpoint(
    tmp_path / "c", model, codec={"name": "note"}, storage=storage
  )
  loaded, config = load_checkpoint(tmp_path / "c")
  assert config["codec"] == {"name": "note"}
  assert loaded.config == model.config
  before, after = flat_parameters(model), flat_parameters(loaded)
  assert before.keys() == after.keys()
  for name, array in before.items():
    # bfloat16: relative to the value; int8: to the column's largest.
    allowed = (
      error * np.abs(array)
      if storage == "bfloat16"
      else error * (np.abs(array).max(axis=0))
    )
    assert (np.abs(after[name] - array) <= allowed + 1e-7).all(), name


def test_saving_replaces_and_leaves_nothing_behind(tmp_path, model):
  for _ in range(2):
    save_checkpoint(tmp_path, model, codec={"name": "note"})
  assert sorted(p.name for p in tmp_path.iterdir()) == [
    "config.json",
    "weights.safetensors",
  ]


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("at", ["weights", "between", "config", "last"])
def test_an_interrupted_write_leaves_a_whole_checkpoint(
  tmp_path, model, monkeypatch, at, killed
):
  save_checkpoint(tmp_path, model, codec={"name": "note"})
  if killed:  # SIGKILL leaves temporary files
    monkeypatch.setattr(Path, "unlink", lambda *args, **kwargs: None)
  before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
  replace = os.replace

  def interrupted(source, target):
    name = Path(target).name
    stops = dict(config="config.json", last="weights.safetensors")
    if at == "between" or name == stops[at]:
      raise KeyboardInterrupt
    replace(source, target)

  if at == "weights":

    def broken(*args):
      raise KeyboardInterrupt

    monkeypatch.setattr("magenta_midi.model.checkpoint._widened", broken)
  else:
    monkeypatch.setattr(os, "replace", interrupted)
  with pytest.raises(KeyboardInterrupt):
    save_checkpoint(tmp_path, model, codec={"name": "note"}, storage="float32")
  after = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
  if not killed and at != "last":
    assert after == before
  monkeypatch.undo()
  loaded, facts = load_checkpoint(tmp_path)
  assert facts["storage"] == ("float32" if at == "last" else "bfloat16")
  expected = flat_parameters(model)
  for name, array in flat_parameters(loaded).items():
    tolerance = 0 if at == "last" else 2**-8
    np.testing.assert_allclose(array, expected[name], rtol=tolerance)
  # The next save removes all leftovers.
  save_checkpoint(tmp_path, model, codec={"name": "note"})
  assert sorted(p.name for p in tmp_path.iterdir()) == [
    "config.json",
    "weights.safetensors",
  ]


def test_faults_are_named(tmp_path, model):
  with pytest.raises(CheckpointError, match=r"no checkpoint there"):
    load_checkpoint(tmp_path / "absent")
  folder = tmp_path / "c"
  save_checkpoint(folder, model, codec={"name": "note"})
  config = json.loads((folder / "config.json").read_text())

  def rewritten(**changes):
    changed = {**config, **changes}
    (folder / "config.json").write_text(json.dumps(changed))

  rewritten(format=99)
  with pytest.raises(CheckpointError, match="format 99, this version reads 1"):
    load_checkpoint(folder)
  rewritten(model={**config["model"], "embed_dim": 64})
  with pytest.raises(CheckpointError, match="do not fit the config") as caught:
    load_checkpoint(folder)
  assert "\n" not in str(caught.value)
  for changes, message in (
    ({"codec": "note"}, 'codec must be an object, got "note"'),
    ({"codec": {}}, "codec.name must be a string, got null"),
    ({"notes": "none"}, 'notes must be an object, got "none"'),
    ({"model": 3}, "model must be an object, got 3"),
    ({"sha256": 3}, "sha256 must be a string, got 3"),
    ({"model": {**config["model"], "levels": "4"}}, "levels must be an int"),
    ({"sha256": "0" * 64}, r"weights.safetensors: damaged.*expected 0000"),
  ):
    rewritten(**changes)
    with pytest.raises(CheckpointError, match=message):
      load_checkpoint(folder)
  rewritten(model={"levels": 4})
  with pytest.raises(CheckpointError, match="incomplete"):
    load_checkpoint(folder)
  (folder / "config.json").write_text("{")
  with pytest.raises(CheckpointError, match="not a checkpoint's config"):
    load_checkpoint(folder)
  (folder / "config.json").write_text(json.dumps(config))
  weights = folder / "weights.safetensors"
  data = weights.read_bytes()
  # One bit: sizes and shapes do not change.
  weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
  with pytest.raises(CheckpointError, match=r"weights.safetensors: damaged"):
    load_checkpoint(folder)
  for header in (b"[]", b'{"a":1}', b"\xff\xff"):
    weights.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(CheckpointError, match="its header") as caught:
      load_checkpoint(folder)
    assert "object" not in str(caught.value)
  weights.write_bytes(data)
  weights.write_bytes(weights.read_bytes()[:1000])
  with pytest.raises(CheckpointError, match="cannot be read"):
    load_checkpoint(folder)
