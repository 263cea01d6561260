"""Archives of T5X checkpoints as fuzzed."""

import io
import json
import random
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from tools.fuzzing.kind import Kind, written
from tools.fuzzing.mutations import (
  mutated_bytes,
  mutated_json,
)

__all__ = ["KINDS"]


def _make_tar(folder: Path) -> dict[str, bytes]:
  from magenta_midi.magenta_rt.t5x_checkpoint import write_t5x

  arrays = [
    ("encoder.layers_0.x", np.ones((4, 3), np.float32)),
    ("token_embedder.embedding", np.ones((6, 4), np.float32)),
  ]
  source = write_t5x(folder / "seed", 7, arrays, notes='{"a": 1}')
  made = {
    path.relative_to(source.parent).as_posix(): path.read_bytes()
    for path in sorted(source.rglob("*"))
    if path.is_file()
  }
  shutil.rmtree(folder / "seed")
  return made


def _write_tar(
  folder: Path, made: dict[str, bytes], rng: random.Random
) -> Path:
  members = dict(made)
  for _ in range(rng.choice((0, 1, 2))):
    name = rng.choice(sorted(members))
    data = members[name]
    if name.endswith(".zarray") and rng.random() < 0.8:
      members[name] = mutated_json(json.loads(made[name]), rng)
    else:
      members[name] = mutated_bytes(data, rng)
  buffer = io.BytesIO()
  mode: Any = rng.choice(("w", "w:gz", "w:bz2", "w:xz"))
  form = rng.choice((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT))
  with tarfile.open(fileobj=buffer, mode=mode, format=form) as tar:
    for name, data in members.items():
      info = tarfile.TarInfo(name)
      if rng.random() < 0.1:
        info.name = rng.choice(
          ("../x", "/x", "a" * 300, "target.x/\x01", "checkpoint", name * 3)
        )
      if rng.random() < 0.05:
        info.type = rng.choice((*tarfile.SUPPORTED_TYPES, b"Z"))
        info.linkname = rng.choice(("/etc/passwd", "..", name))
      info.size = len(data)
      tar.addfile(info, io.BytesIO(data))
  data = buffer.getvalue()
  if mode == "w:gz":  # without the time of day
    data = data[:4] + bytes(4) + data[8:]
  if rng.random() < 0.5:
    data = mutated_bytes(data, rng)
    if mode == "w":
      data = _with_checksums(data, rng)
  return written(folder / "x.tar", data)


def _with_checksums(data: bytes, rng: random.Random) -> bytes:
  """Mends the first headers' checksums, so that their faults are read."""
  blocks = bytearray(data)
  for at in range(0, min(len(blocks), 20 * 512) - 511, 512):
    header = blocks[at : at + 512]
    if b"ustar" in header[257:263] and rng.random() < 0.9:
      header[148:156] = b" " * 8
      blocks[at + 148 : at + 156] = b"%06o\0 " % sum(header)
  return bytes(blocks)


def _read_tar(folder: Path) -> None:
  from magenta_midi.magenta_rt.t5x_archive import unpack_t5x
  from magenta_midi.magenta_rt.t5x_checkpoint import T5xCheckpoint

  into = folder / "into"
  shutil.rmtree(into, ignore_errors=True)
  into.mkdir()
  checkpoint = T5xCheckpoint(unpack_t5x(folder / "x.tar", into))
  for name in checkpoint.infos:
    checkpoint.read(name)


KINDS: dict[str, Kind] = {
  "tar": Kind(
    "archives of T5X checkpoints",
    _make_tar,
    _write_tar,
    _read_tar,
    ("magenta_midi.model.weights_file:CheckpointError", "builtins:OSError"),
  ),
}
