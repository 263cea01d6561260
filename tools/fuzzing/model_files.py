"""Models as fuzzed: weights, configs of checkpoints, adapters."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np

from tools.fuzzing.kind import Kind, mutated, written
from tools.fuzzing.mutations import (
  mutated_bytes,
  mutated_json,
)

__all__ = ["KINDS"]


def _split_weights(data: bytes) -> tuple[Any, bytes]:
  size = int.from_bytes(data[:8], "little")
  return json.loads(data[8 : 8 + size]), data[8 + size :]


def _mutated_weights(data: bytes, rng: random.Random) -> bytes:
  if rng.random() < 0.3:
    return mutated_bytes(data, rng)
  header, rest = _split_weights(data)
  metadata = header.get("__metadata__", {})
  if metadata and rng.random() < 0.6:  # JSON within JSON
    name = rng.choice(sorted(metadata))
    text = mutated_json(json.loads(metadata[name]), rng)
    metadata[name] = text.decode(errors="replace")
    text = json.dumps(header).encode()
  else:
    text = mutated_json(header, rng)
  size = len(text) if rng.random() < 0.95 else rng.getrandbits(64)
  return size.to_bytes(8, "little") + text + rest


def _make_weights(folder: Path) -> bytes:
  from safetensors.numpy import save

  del folder
  arrays = {
    "a.kernel": np.ones((3, 4), np.float32),
    "b.kernel": np.ones((5,), np.int8),
    "b.kernel|scale": np.ones((5,), np.float32),
  }
  return save(arrays, {"note": '{"x": [1, 2]}'})


def _read_weights(folder: Path) -> None:
  from magenta_midi.model.weights_file import WeightsFile

  file = WeightsFile(folder / "x.safetensors")
  for name in file.infos:
    file.read(name)


def _make_checkpoint(folder: Path) -> tuple[Any, bytes]:
  from magenta_midi.model.checkpoint import save_checkpoint
  from magenta_midi.testing.models import STYLE_ENTRY, tiny_styled_generator

  model = tiny_styled_generator().model
  codec: dict[str, Any] = dict(
    name="note", settings=dict(step_ms=10, chunk_s=2.0, velocity_bins=32)
  )
  save_checkpoint(
    folder, model, codec=codec, style=STYLE_ENTRY, notes=dict(nats=[1.5])
  )
  weights = (folder / "weights.safetensors").read_bytes()
  return json.loads((folder / "config.json").read_text()), weights


def _write_checkpoint(
  folder: Path, made: tuple[Any, bytes], rng: random.Random
) -> Path:
  facts, _ = made
  part = rng.random()
  if part < 0.7:  # of the parts that decide what is built
    name = rng.choice(("model", "model", "codec", "style"))
    text = json.dumps({**facts, name: "\0"}).encode()
    mark = json.dumps("\0").encode()
    data = text.replace(mark, mutated_json(facts[name], rng))
  else:
    data = mutated_json(facts, rng)
  return written(folder / "config.json", data)


def _read_checkpoint(folder: Path) -> None:
  from magenta_midi.generate.checkpoint_codec import read_codec
  from magenta_midi.model.checkpoint import StoredCheckpoint
  from magenta_midi.style.slots import StyleSlots

  stored = StoredCheckpoint(folder)
  read_codec(folder)
  if stored.facts.get("style") is not None:
    StyleSlots(stored.facts)


def _make_adapter(folder: Path) -> bytes:
  from magenta_midi.model.lora.adapter_file import (
    Adapter,
    PlayerStyle,
    write_adapter,
  )
  from magenta_midi.model.lora.lora import LoraConfig, LowRank

  pair = LowRank(np.ones((6, 2), np.float32), np.ones((2, 5), np.float32))
  path = folder / "seed.safetensors"
  write_adapter(
    path,
    Adapter(
      name="me",
      factors={"encoder_layers.0.mlp.wo.kernel": pair},
      config=LoraConfig(rank=2, alpha=3.0, targets=("mlp",)),
      base="embedded",
      base_sha256="ab" * 32,
      codec={"name": "note", "settings": {"step_ms": 10}},
      style=PlayerStyle(np.ones(768, np.float32), "midicoca", "00", {"a": 1}),
      figures={"nats_per_note_before": 9.5, "nats_per_note_after": 9.0},
      date="2026-01-01T00:00:00+00:00",
    ),
  )
  data = path.read_bytes()
  path.unlink()
  # Safetensors writes metadata in any order.
  header, rest = _split_weights(data)
  text = json.dumps(header, sort_keys=True).encode()
  return len(text).to_bytes(8, "little") + text + rest


def _read_adapter(folder: Path) -> None:
  from magenta_midi.model.lora.adapter_file import read_adapter

  read_adapter(folder / "x.safetensors")


KINDS: dict[str, Kind] = {
  "safetensors": Kind(
    "weights",
    _make_weights,
    mutated("x.safetensors", _mutated_weights),
    _read_weights,
    ("magenta_midi.model.weights_file:CheckpointError",),
  ),
  "config": Kind(
    "config.json of checkpoints",
    _make_checkpoint,
    _write_checkpoint,
    _read_checkpoint,
    ("magenta_midi.model.weights_file:CheckpointError", "builtins:ValueError"),
  ),
  "adapter": Kind(
    "adapters",
    _make_adapter,
    mutated("x.safetensors", _mutated_weights),
    _read_adapter,
    ("magenta_midi.model.lora.adapter_file:AdapterError",),
  ),
}
