"""Adapters that a stranger made: each is refused or read, and harms none."""

import json
import os

import numpy as np
import pytest
from click.testing import CliRunner

import magenta_midi.model.lora.adapter_file as adapter_file
from magenta_midi.cli.adapters import command
from magenta_midi.model.lora.adapter_file import (
  Adapter,
  AdapterError,
  read_adapter,
  write_adapter,
)
from magenta_midi.model.lora.lora import LoraConfig, LowRank
from magenta_midi.style.players import find_mentions, name_players_alone

DEEP = '{"a":' * 100_000 + "1" + "}" * 100_000


def good(name="good", **changes):
  values = dict(
    name=name,
    factors={
      "encoder_layers.0.mlp.wo.kernel": LowRank(
        np.ones((6, 2), np.float32), np.ones((2, 5), np.float32)
      )
    },
    config=LoraConfig(rank=2, alpha=3.0, targets=("mlp",)),
    base="embedded",
    base_sha256="ab" * 32,
    codec={"name": "note", "settings": {}},
    figures={"nats_per_note_before": 9.5, "nats_per_note_after": 9.0},
  )
  return Adapter(**(values | changes))


def changed(path, *, arrays=None, **texts):
  """Writes an adapter with other texts in its metadata."""
  write_adapter(path, good())
  raw = path.read_bytes()
  size = int.from_bytes(raw[:8], "little")
  header, data = json.loads(raw[8 : 8 + size]), raw[8 + size :]
  header["__metadata__"] |= texts
  header |= arrays or {}
  text = json.dumps(header).encode()
  path.write_bytes(len(text).to_bytes(8, "little") + text + data)
  return path


HOSTILE = dict(
  figures_deep=dict(figures=DEEP),
  codec_deep=dict(codec="[" * 100_000 + "]" * 100_000),
  codec_weird=dict(codec='{"name": {"x": 1}}'),
  alpha_infinite=dict(alpha="Infinity"),
  alpha_nan=dict(alpha="NaN"),
  alpha_large=dict(alpha="1e300"),
  alpha_digits=dict(alpha="9" * 400),
  alpha_too_many_digits=dict(alpha="9" * 5000),
  dropout_digits=dict(dropout="-" + "9" * 400),
  rank_large=dict(rank=str(10**12)),
  rank_negative=dict(rank="-2"),
  name_path=dict(name='"../../x"'),
  name_null=dict(name='"a\\u0000b"'),
  name_surrogate=dict(name='"\\ud800"'),
  name_long=dict(name=json.dumps("가" * 300)),
  format_digits=dict(format="9" * 4000),
  kind_long=dict(kind=json.dumps("x" * 100_000)),
  base_number=dict(base="3"),
  digest_other=dict(digest='"00"'),
  array_surrogate=dict(
    arrays={"\ud800": dict(dtype="F32", shape=[0], data_offsets=[88, 88])}
  ),
)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_adapter_is_refused_in_one_line(tmp_path, name):
  path = changed(tmp_path / "x.safetensors", **HOSTILE[name])
  with pytest.raises(AdapterError) as caught:
    read_adapter(path)
  message = str(caught.value)
  assert str(path) in message
  assert "\n" not in message
  assert len(message) < 600


def test_weird_texts_that_change_nothing_are_read(tmp_path):
  path = changed(
    tmp_path / "x.safetensors",
    targets='[{"a": 1}, 3]',
    licence='"free\\u001b[2J"',
    figures='{"nats_per_note_before": Infinity}',
  )
  assert read_adapter(path).figures == {"nats_per_note_before": float("inf")}


@pytest.mark.parametrize("kind", ["fifo", "device", "folder"])
def test_only_regular_files_are_adapters(tmp_path, kind):
  path = tmp_path / "x.safetensors"
  if kind == "fifo":
    os.mkfifo(path)
  elif kind == "device":
    path.symlink_to("/dev/zero")
  else:
    path.mkdir()
  with pytest.raises(AdapterError, match=r"no regular file|is a folder"):
    read_adapter(path)


def test_a_huge_adapter_is_refused_before_it_is_read(tmp_path):
  size = 2**31
  path = tmp_path / "x.safetensors"
  entry = dict(dtype="F32", shape=[size // 4], data_offsets=[0, size])
  text = json.dumps({"x": entry}).encode()
  path.write_bytes(len(text).to_bytes(8, "little") + text)
  os.truncate(path, path.stat().st_size + size)
  with pytest.raises(AdapterError, match="at most 1024 are read"):
    read_adapter(path)


@pytest.fixture
def crowd(tmp_path, monkeypatch):
  """A folder of one good adapter among all the hostile ones."""
  folder = tmp_path / "adapters"
  folder.mkdir()
  monkeypatch.setenv("MAGENTA_MIDI_ADAPTERS", str(folder))
  for name, texts in HOSTILE.items():
    changed(folder / f"{name}.safetensors", **texts)
  os.mkfifo(folder / "fifo.safetensors")
  (folder / "zero.safetensors").symlink_to("/dev/zero")
  (folder / "lost.safetensors").symlink_to("nowhere")
  (folder / "folder.safetensors").mkdir()
  (folder / "empty.safetensors").touch()
  (folder / "deep.safetensors").write_bytes(
    (400_000).to_bytes(8, "little") + b"[" * 200_000 + b"]" * 200_000
  )
  write_adapter(folder / "good.safetensors", good())
  return folder


def run(*words):
  result = CliRunner().invoke(command, words, catch_exceptions=False)
  return result.exit_code, result.stdout, result.stderr


def test_hostile_neighbours_are_named_and_the_good_one_is_listed(crowd):
  code, out, err = run("list", "--json")
  assert code == 0
  rows = json.loads(out.splitlines()[-1])["adapters"]
  assert [row["name"] for row in rows] == ["good"]
  for path in crowd.iterdir():
    assert (path.name in err) == (path.stem != "good")


def test_hostile_neighbours_do_not_disable_other_commands(crowd, tmp_path):
  assert run("show", "good")[0] == 0
  target = tmp_path / "shared.safetensors"
  assert run("export", "good", str(target))[0] == 0
  assert run("import", str(target), "--name", "second")[0] == 0
  assert run("remove", "codec_deep")[0] == 0
  assert not (crowd / "codec_deep.safetensors").exists()
  assert name_players_alone(["@good"])
  mentions, rest = find_mentions(
    "@good ballad", [path.stem for path in crowd.iterdir()]
  )
  assert [mention.name for mention in mentions] == ["good"]
  assert rest == "ballad"


def test_figures_of_any_json_are_shown(crowd):
  for number in ("9" * 400, "true", "1e999", '"x"', "null"):
    figures = f'{{"nats_per_note_before": {number}, "nats_per_note_after": 1}}'
    changed(crowd / "figures.safetensors", figures=figures)
    assert run("show", "figures")[:2][0] == 0
    assert "figures: no figures" in run("list")[1]


def test_the_limit_is_that_of_the_reader():
  assert adapter_file.ADAPTER_BYTES == 2**30
