"""Checkpoints that a stranger made: refused in one line, before any work."""

import json
import os
import shutil

import numpy as np
import pytest

from magenta_midi.bounded_files import HEADER_BYTES
from magenta_midi.generate.checkpoint_codec import read_codec
from magenta_midi.model.checkpoint import (
  CONFIG,
  WEIGHTS,
  CheckpointError,
  StoredCheckpoint,
  embedded_path,
  parameter_shapes,
  read_config,
)
from magenta_midi.model.config import DepthformerConfig
from magenta_midi.model.weights_file import WeightsFile

CONF = read_config(embedded_path())


@pytest.fixture
def folder(tmp_path):
  shutil.copy(embedded_path() / CONFIG, tmp_path)
  (tmp_path / WEIGHTS).symlink_to(embedded_path() / WEIGHTS)
  return tmp_path


def with_model(folder, **fields):
  changed = {**CONF, "model": {**CONF["model"], **fields}}
  (folder / CONFIG).write_text(json.dumps(changed))


def one_line(folder):
  with pytest.raises(CheckpointError) as caught:
    StoredCheckpoint(folder)
  assert "\n" not in str(caught.value)
  assert len(str(caught.value)) < 2000
  return str(caught.value)


def test_a_link_to_weights_is_read(folder):
  assert StoredCheckpoint(folder).parameters > 0


@pytest.mark.parametrize(
  "fields",
  [
    dict(encoder_layers=10_000),
    dict(encoder_layers=10**30),
    dict(embed_dim=2**40),
    dict(vocab_size=2**62),
    dict(style_slots=10**9),
    dict(dropout_rate=float("nan")),
    dict(dropout_rate=float("inf")),
    dict(level_columns=[[0, 1]] * 5),
    dict(level_columns=[[0, 10**400]] * 4),
    dict(parts=2**64),
    dict(levels=-1),
  ],
)
def test_a_config_out_of_bounds_is_refused(folder, fields):
  with_model(folder, **fields)
  assert next(iter(fields)) in one_line(folder)


def test_no_model_of_a_config_is_built_before_its_weights_fit(
  folder, monkeypatch
):
  # Within all bounds: only the weights show that there is no such model.
  traced = []
  import magenta_midi.model.depthformer as depthformer

  layer = depthformer.EncoderLayer
  monkeypatch.setattr(
    depthformer,
    "EncoderLayer",
    lambda *args, **keys: traced.append(1) or layer(*args, **keys),
  )
  with_model(folder, encoder_layers=1000, temporal_layers=1000, mlp_dim=2**20)
  message = one_line(folder)
  assert "the weights do not fit the config" in message
  assert "encoder_layers.999.mlp.wi_0.kernel is missing" in message
  assert not traced


def test_shapes_of_many_layers_are_those_of_the_layers_there_are():
  config = DepthformerConfig.from_dict(CONF["model"])
  weights = WeightsFile(embedded_path() / WEIGHTS)
  assert parameter_shapes(config) == {
    name: info.shape
    for name, info in weights.infos.items()
    if not name.endswith("|scale")
  }


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
@pytest.mark.parametrize("kind", ["fifo", "device", "folder"])
def test_only_regular_files_are_read(folder, name, kind):
  path = folder / name
  path.unlink()
  if kind == "fifo":
    os.mkfifo(path)
  elif kind == "device":
    path.symlink_to("/dev/zero")
  else:
    path.mkdir()
  with pytest.raises((CheckpointError, OSError), match=r"no regular|a folder"):
    StoredCheckpoint(folder)


@pytest.mark.parametrize(
  "text",
  [
    '{"format":1,"model":' + "[" * 100_000 + "]" * 100_000 + "}",
    '{"format":1,"model":' + '{"a":' * 100_000 + "1" + "}" * 100_001,
    '{"format":' + "9" * 5000 + "}",
    '{"format":1,"model":{},"sha256":[]}',
    "[1]",
    "",
    "\ud800".encode("utf-16", "surrogatepass"),
  ],
)
def test_hostile_json_is_refused(folder, text):
  data = text if isinstance(text, bytes) else text.encode()
  (folder / CONFIG).write_bytes(data)
  one_line(folder)


@pytest.mark.parametrize(
  ("name", "value"),
  [
    ("chunk_s", 1e18),
    ("chunk_s", float("inf")),
    ("chunk_s", float("nan")),
    ("horizon_s", 1e308),
    ("horizon_s", 10**400),
    ("step_ms", 1e-300),
    ("velocity_bins", 10**9),
    ("duration_bins", 10**12),
    ("longest_shift_s", 1e18),
  ],
)
def test_a_codec_out_of_bounds_is_refused(folder, name, value):
  codec = "event" if name == "longest_shift_s" else "note"
  changed = {**CONF, "codec": {"name": codec, "settings": {name: value}}}
  (folder / CONFIG).write_text(json.dumps(changed))
  with pytest.raises(ValueError, match=name):
    read_codec(folder)


@pytest.mark.parametrize("name", ["x" * 100_000, "\ud800", "a\nb"])
def test_a_codec_of_any_name_is_refused_in_a_line(folder, name):
  changed = {**CONF, "codec": {"name": name, "settings": {}}}
  (folder / CONFIG).write_text(json.dumps(changed))
  with pytest.raises(ValueError) as caught:
    read_codec(folder)
  assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000


@pytest.mark.parametrize("value", ["\ud800", ["\ud800"]])
def test_half_a_surrogate_pair_is_no_setting(folder, value):
  with_model(folder, dropout_rate=value, encoder_layers=value)
  one_line(folder)


def weights_file(path, header, data=b"", length=None):
  text = header if isinstance(header, bytes) else json.dumps(header).encode()
  size = len(text) if length is None else length
  path.write_bytes(size.to_bytes(8, "little") + text + data)
  return path


def entry(shape, first=0, last=0, dtype="F32"):
  return {"dtype": dtype, "shape": shape, "data_offsets": [first, last]}


@pytest.mark.parametrize(
  ("header", "data"),
  [
    ({"x": entry([0, 10**30])}, b""),
    ({"x": entry([0, 2**40, 2**40])}, b""),
    ({"x": entry([1] * 100, 0, 4)}, b"0000"),
    ({"x": entry([1] * 1_000_000, 0, 4)}, b"0000"),
    ({"x": entry([2**62, 2**62, 0])}, b""),
    ({"x": entry([1], -4, 0)}, b""),
    ({"x": entry([1], 0, 4), "y": entry([1], 0, 4)}, b"0000"),
    ({"x": entry([1], 0, 4), "y": entry([1], 8, 12)}, b"0" * 12),
    ({"x": entry([True], 0, 4)}, b"0000"),
    ({"x": entry([1.0], 0, 4)}, b"0000"),
    ({"x": entry([1], 0, 4, "F64")}, b"0000"),
    ({"x": entry([1], 0, 8)}, b"00000000"),
    ({"\ud800" * 9: entry([1], 0, 8)}, b"00000000"),
    ({f"x{i}": 0 for i in range(60_000)}, b""),
    (b"[" * 200_000 + b"]" * 200_000, b""),
    (b'{"x":{"dtype":"F32","shape":[' + b"9" * 5000 + b"]}}", b""),
    (b"\xff\xfe{}", b""),
  ],
)
def test_a_hostile_header_is_refused(tmp_path, header, data):
  path = weights_file(tmp_path / "w.safetensors", header, data)
  with pytest.raises(CheckpointError) as caught:
    WeightsFile(path)
  assert str(path) in str(caught.value)
  assert "\n" not in str(caught.value)
  assert len(str(caught.value)) < 500


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, HEADER_BYTES + 1, 1, 0])
def test_a_header_of_impossible_length_is_refused(tmp_path, length):
  path = weights_file(tmp_path / "w.safetensors", b"{}", length=length)
  with pytest.raises(CheckpointError, match="header"):
    WeightsFile(path)


def test_a_sparse_file_beyond_the_limit_is_refused(tmp_path):
  size = 2**40
  path = tmp_path / "w.safetensors"
  weights_file(path, {"x": entry([size // 4], 0, size)})
  os.truncate(path, path.stat().st_size + size)
  with pytest.raises(CheckpointError, match=r"1048576 MiB, at most 16384"):
    WeightsFile(path)


def test_an_empty_array_is_read(tmp_path):
  path = weights_file(tmp_path / "w.safetensors", {"x": entry([0, 3])})
  assert WeightsFile(path).read("x").shape == (0, 3)


def test_a_file_that_became_shorter_is_refused(tmp_path):
  path = weights_file(
    tmp_path / "w.safetensors",
    {"x": entry([4], 0, 16)},
    np.ones(4, np.float32).tobytes(),
  )
  file = WeightsFile(path)
  os.truncate(path, path.stat().st_size - 4)
  with pytest.raises(CheckpointError, match="changed while it was read"):
    file.read("x")
