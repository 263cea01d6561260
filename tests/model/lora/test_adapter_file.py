"""Adapter files: round trip, and one-line errors."""

import dataclasses
import json

import numpy as np
import pytest
from safetensors.numpy import save

from magenta_midi.model.lora.adapter_file import (
  Adapter,
  AdapterError,
  PlayerStyle,
  check_base,
  check_name,
  read_adapter,
  write_adapter,
)
from magenta_midi.model.lora.lora import LoraConfig, LowRank

SHA256 = "ab" * 32


def a_style(vector):
  return PlayerStyle(vector, "midicoca", "00ff", {"nats_per_note": 9.0})


def an_adapter(**changes):
  rng = np.random.default_rng(0)
  factors = {
    f"encoder_layers.{i}.mlp.wo.kernel": LowRank(
      rng.normal(size=(6, 2)).astype(np.float32),
      rng.normal(size=(2, 5)).astype(np.float32),
    )
    for i in range(2)
  }
  values = dict(
    name="me",
    factors=factors,
    config=LoraConfig(rank=2, alpha=3.0, targets=("mlp",), dropout=0.1),
    base="embedded",
    base_sha256=SHA256,
    codec={"name": "note", "settings": {"step_ms": 10}},
    style=a_style(np.arange(768, dtype=np.float32)),
    figures={"nats_per_note_before": 9.5, "nats_per_note_after": 9.0},
  )
  return Adapter(**(values | changes))


@pytest.mark.parametrize("style", [None, a_style(np.ones(768, np.float32))])
def test_round_trip(tmp_path, style):
  path = tmp_path / "new" / "me.safetensors"
  adapter = an_adapter(style=style)
  assert write_adapter(path, adapter) == path.stat().st_size
  found = read_adapter(path)
  for field in dataclasses.fields(Adapter):
    if field.name not in ("factors", "style"):
      assert getattr(found, field.name) == getattr(adapter, field.name)
  assert found.scale == 1.5
  assert found.factors.keys() == adapter.factors.keys()
  for name, pair in found.factors.items():
    np.testing.assert_array_equal(pair.a, adapter.factors[name].a)
    np.testing.assert_array_equal(pair.b, adapter.factors[name].b)
  if style is None:
    assert found.style is None
  else:
    np.testing.assert_array_equal(found.style.vector, style.vector)
    assert found.style[1:] == style[1:]
  assert [p.name for p in path.parent.iterdir()] == ["me.safetensors"]


def test_another_base_is_refused():
  check_base(an_adapter(), SHA256, "embedded")
  with pytest.raises(
    AdapterError, match=r"me was trained on embedded .*checkpoint is runs/x"
  ):
    check_base(an_adapter(), "cd" * 32, "runs/x")


def test_nan_and_infinity_are_neither_written_nor_read(tmp_path, monkeypatch):
  path = tmp_path / "me.safetensors"
  adapter = an_adapter()
  next(iter(adapter.factors.values())).b[0, 0] = np.nan
  with pytest.raises(AdapterError, match="NaN or infinity"):
    write_adapter(path, adapter)
  assert not path.exists()
  monkeypatch.setattr(
    "magenta_midi.model.lora.adapter_file._check_finite", lambda *_: None
  )
  write_adapter(path, adapter)
  monkeypatch.undo()
  with pytest.raises(AdapterError, match="NaN or infinity"):
    read_adapter(path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused(tmp_path, share):
  path = tmp_path / "me.safetensors"
  write_adapter(path, an_adapter())
  data = path.read_bytes()
  path.write_bytes(data[: int(share * len(data))])
  with pytest.raises(AdapterError, match=r"me\.safetensors: cannot be read"):
    read_adapter(path)


def test_a_changed_number_is_found(tmp_path):
  path = tmp_path / "me.safetensors"
  write_adapter(path, an_adapter())
  data = bytearray(path.read_bytes())
  data[-7] ^= 1
  path.write_bytes(bytes(data))
  with pytest.raises(AdapterError, match="damaged: its numbers"):
    read_adapter(path)


def rewritten(path, **entries):
  """The same file with other metadata; None removes an entry."""
  from magenta_midi.model.weights_file import WeightsFile

  file = WeightsFile(path)
  arrays = {name: file.read(name) for name in file.infos}
  metadata = file.metadata | {k: json.dumps(v) for k, v in entries.items()}
  metadata = {k: v for k, v in metadata.items() if v != "null"}
  path.write_bytes(save(arrays, metadata))


@pytest.mark.parametrize(
  ("entries", "reason"),
  [
    (dict(base_sha256=None), "not an adapter"),
    (dict(format=2), "of format 2, this version reads 1"),
    (dict(kind="dora"), "of the kind 'dora'"),
    (dict(rank=3), "expected rank 3"),
    (dict(rank="2"), "metadata say no rank"),
    (dict(rank=True), "metadata say no rank"),
    (dict(name="../me"), "an adapter's name must be"),
    (dict(codec=None), "metadata say no codec"),
    (dict(style=None), "of which style model its style is"),
    (dict(style={"model": "midicoca"}), "of which style model its style is"),
    (
      dict(style={"model": "midicoca", "digest": 7, "figures": {}}),
      "of which style model its style is",
    ),
  ],
)
def test_invalid_metadata_are_refused(tmp_path, entries, reason):
  path = tmp_path / "me.safetensors"
  write_adapter(path, an_adapter())
  rewritten(path, **entries)
  with pytest.raises(AdapterError, match=reason):
    read_adapter(path)


def test_files_that_are_not_adapters(tmp_path):
  with pytest.raises(AdapterError, match="cannot be read: No such file"):
    read_adapter(tmp_path / "none.safetensors")
  other = tmp_path / "weights.safetensors"
  other.write_bytes(save({"x": np.zeros(3, np.float32)}))
  with pytest.raises(AdapterError, match="names no base"):
    read_adapter(other)
  half = tmp_path / "half.safetensors"
  write_adapter(half, an_adapter(style=a_style(np.zeros(3, np.float32))))
  with pytest.raises(AdapterError, match=r"style must be of shape \(768,\)"):
    read_adapter(half)


@pytest.mark.parametrize("name", ["me", "Ohhalim 2", "손열음", "é", "a.b-c_d"])
def test_names(name):
  assert check_name(name) == name


@pytest.mark.parametrize(
  "name",
  ["", "a/b", "..", ".me", "a\\b", "a:0.5", "-x", "@me", "x" * 65, "a\n", "a."],
)
def test_invalid_names_are_refused(name):
  with pytest.raises(AdapterError, match="an adapter's name must be"):
    check_name(name)


def test_an_older_file_stays_if_the_new_one_cannot_be_written(
  tmp_path, monkeypatch
):
  path = tmp_path / "me.safetensors"
  write_adapter(path, an_adapter())
  before = path.read_bytes()

  def full(*_):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr("magenta_midi.midi.atomic.os.replace", full)
  with pytest.raises(OSError, match=r"No space left.*me\.safetensors"):
    write_adapter(path, an_adapter(style=None))
  assert path.read_bytes() == before
  assert [p.name for p in tmp_path.iterdir()] == ["me.safetensors"]
