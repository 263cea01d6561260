"""Archives and T5X checkpoints that a stranger made."""

import io
import json
import os
import tarfile

import numpy as np
import pytest

from magenta_midi.bounded_files import ARCHIVE_RATIO, GIN_BYTES, INDEX_BYTES
from magenta_midi.model.weights_file import CheckpointError

pytest.importorskip("tensorstore")

from flax import serialization

from magenta_midi.magenta_rt.config import complete_config, parse_settings
from magenta_midi.magenta_rt.t5x_archive import unpack_t5x
from magenta_midi.magenta_rt.t5x_checkpoint import (
  INDEX,
  T5xCheckpoint,
  write_t5x,
)

ARRAYS = [("encoder.x", np.ones((4, 3), np.float32))]


@pytest.fixture
def folder(tmp_path):
  return write_t5x(tmp_path / "t5x", 7, ARRAYS)


def archive(path, members, mode="w"):
  """An archive of (name, size or bytes, kind)."""
  with tarfile.open(path, mode) as tar:
    for name, data, kind in members:
      info = tarfile.TarInfo(name)
      info.type = kind
      if isinstance(data, str):
        info.linkname, data = data, b""
      info.size = len(data)
      tar.addfile(info, io.BytesIO(data))
  return path


def refused(path, into):
  into.mkdir()
  with pytest.raises(CheckpointError) as caught:
    unpack_t5x(path, into)
  assert "\n" not in str(caught.value)
  assert len(str(caught.value)) < 600
  return str(caught.value)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_an_archive_of_a_checkpoint_is_unpacked(tmp_path, folder, mode):
  path = tmp_path / "x.tar"
  with tarfile.open(path, mode) as tar:
    tar.add(folder, "checkpoint_7")
  (tmp_path / "into").mkdir()
  found = T5xCheckpoint(unpack_t5x(path, tmp_path / "into"))
  np.testing.assert_array_equal(found.read("encoder.x"), ARRAYS[0][1])


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("name", ["target.x/0.0", "optimizer/0.0"])
def test_an_archive_unpacks_to_a_multiple_of_its_size(tmp_path, mode, name):
  zeros = bytes(200 * 2**20)
  path = archive(tmp_path / "x.tar", [(name, zeros, tarfile.REGTYPE)], mode)
  assert path.stat().st_size * ARCHIVE_RATIO < len(zeros)
  message = refused(path, tmp_path / "into")
  assert "unpacks to more than" in message
  written = sum(
    p.stat().st_size for p in (tmp_path / "into").rglob("*") if p.is_file()
  )
  assert written == 0


def test_a_header_of_any_size_takes_no_memory(tmp_path):
  # A pax header and a long name of 200 MiB, which tarfile reads whole.
  for kind in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XGLTYPE):
    path = archive(
      tmp_path / f"{kind}.tar.gz",
      [("target.x", bytes(200 * 2**20), kind)],
      "w:gz",
    )
    message = refused(path, tmp_path / f"into{kind}")
    assert "a header of 209,715,200 bytes" in message or "no tar" in message


def test_headers_within_headers_are_refused(tmp_path):
  members = [("n", b"name\0", tarfile.GNUTYPE_LONGNAME)] * 5000
  path = archive(tmp_path / "x.tar", members)
  refused(path, tmp_path / "into")


@pytest.mark.parametrize(
  ("name", "message"),
  [
    ("../target.x/0", "outside of its folder"),
    ("/tmp/target.x/0", "outside of its folder"),
    ("a/../../target.x/0", "outside of its folder"),
    ("target.\x1b[2J/../../0", "outside of its folder"),
  ],
)
def test_nothing_is_written_elsewhere(tmp_path, name, message):
  path = archive(tmp_path / "x.tar", [(name, b"x", tarfile.REGTYPE)])
  found = refused(path, tmp_path / "into")
  assert message in found and "\x1b" not in found
  assert not any((tmp_path / "into").rglob("*"))


def test_only_regular_files_are_unpacked(tmp_path):
  kinds = (
    (tarfile.SYMTYPE, "/etc/passwd"),
    (tarfile.LNKTYPE, "/etc/passwd"),
    (tarfile.FIFOTYPE, b""),
    (tarfile.CHRTYPE, b""),
  )
  members = [
    (f"target.{number}/0", data, kind)
    for number, (kind, data) in enumerate(kinds)
  ]
  path = archive(tmp_path / "x.tar", members)
  assert "no T5X checkpoint there" in refused(path, tmp_path / "into")
  assert not any((tmp_path / "into").rglob("*"))


def test_an_archive_is_a_regular_file(tmp_path):
  os.mkfifo(tmp_path / "x.tar")
  with pytest.raises(OSError, match="no regular file"):
    unpack_t5x(tmp_path / "x.tar", tmp_path)
  with pytest.raises(OSError, match="no regular file"):
    unpack_t5x(tmp_path / "../../../../../dev/zero", tmp_path)


def with_index(folder, tree):
  data = (
    tree if isinstance(tree, bytes) else serialization.msgpack_serialize(tree)
  )
  (folder / INDEX).write_bytes(data)


@pytest.mark.parametrize(
  "data",
  [
    b"\xdd\xff\xff\xff\xff",  # an array of 4 G items
    b"\xdf\xff\xff\xff\xff",  # a map
    b"\xc6\xff\xff\xff\xff",  # bytes
    b"\x91" * 100_000 + b"\xc0",
    b"\x81\xa1a" * 100_000 + b"\xc0",
    b"",
    b"\xc1",
  ],
)
def test_a_hostile_index_is_refused(folder, data):
  with_index(folder, data)
  with pytest.raises(CheckpointError, match="no T5X index"):
    T5xCheckpoint(folder)


def test_an_index_is_bounded_and_regular(folder):
  with open(folder / INDEX, "wb") as file:
    file.truncate(INDEX_BYTES + 1)
  with pytest.raises(OSError, match="at most 8 are read"):
    T5xCheckpoint(folder)
  (folder / INDEX).unlink()
  os.mkfifo(folder / INDEX)
  with pytest.raises(OSError, match="no regular file"):
    T5xCheckpoint(folder)


def test_an_index_names_no_other_store(folder):
  tree = serialization.msgpack_restore((folder / INDEX).read_bytes())
  spec = tree["optimizer"]["target"]["encoder"]["x"]
  for kvstore in (
    {"driver": "http", "base_url": "http://127.0.0.1:1", "path": "x"},
    {"driver": "gcs", "bucket": "b", "path": "gs://x/target.encoder.x"},
    {"driver": "file", "path": "/etc/passwd"},
    {"driver": "file", "path": "../../../etc"},
    {"driver": "file", "path": 3},
  ):
    spec["kvstore"] = kvstore
    with_index(folder, tree)
    # The array beside the index, whatever the index says of stores.
    found = T5xCheckpoint(folder)
    np.testing.assert_array_equal(found.read("encoder.x"), ARRAYS[0][1])


@pytest.mark.parametrize(
  "changes",
  [
    dict(chunks=[2**20, 2**20]),
    dict(chunks=[5, 3]),
    dict(chunks=[4]),
    dict(shape=[2**62, 3]),
    dict(shape=[1] * 100, chunks=[1] * 100),
    dict(shape="x"),
    dict(shape=[-1, 3]),
    dict(filters=[{"id": "x"}]),
    dict(dtype="|O"),
    dict(compressor={"id": "pickle"}),
  ],
)
def test_a_hostile_array_is_refused_before_it_is_opened(folder, changes):
  path = folder / "target.encoder.x" / ".zarray"
  facts = json.loads(path.read_text())
  path.write_text(json.dumps(facts | changes))
  with pytest.raises(CheckpointError, match=r"encoder.x (cannot be opened|is)"):
    T5xCheckpoint(folder)


def test_an_array_of_a_pipe_is_refused(folder):
  chunk = folder / "target.encoder.x" / "0.0"
  chunk.unlink()
  os.mkfifo(chunk)
  with pytest.raises(CheckpointError, match=r"0.0 is a pipe or device"):
    T5xCheckpoint(folder)


def test_many_faults_are_one_line(folder):
  names = {f"x{i}": "no array" for i in range(10_000)}
  with_index(folder, dict(optimizer=dict(target=names)))
  with pytest.raises(CheckpointError, match="and 9960 more") as caught:
    T5xCheckpoint(folder)
  assert len(str(caught.value)) < 10_000


@pytest.mark.parametrize(
  "text",
  [
    '{"model":' + "[" * 100_000 + "]" * 100_000 + "}",
    "A = " + "[" * 100_000 + "]" * 100_000,
    "A = " + "-" * 100_000 + "1",
    "A = {[]: 1}",
    "NUM_LEVELS = " + "9" * 5000,
    '{"EMBED_DIM": 1e400, "NUM_HEADS": 1e30}',
    "[" * 100_000,
    "A = 1\n" * GIN_BYTES,
    "",
  ],
)
def test_hostile_settings_are_refused_or_mean_nothing(text):
  with pytest.raises(ValueError) as caught:
    complete_config(parse_settings(text).fields, {})
  assert "\n" not in str(caught.value)
  assert len(str(caught.value)) < 1000


def test_names_of_arrays_are_no_numbers_of_layers():
  for digits in ("9" * 12, "9" * 5000):
    shapes = {
      f"encoder.layers_{digits}.mlp.wi_0.kernel": (2, 2),
      "token_embedder.embedding": (2, 2),
    }
    with pytest.raises(ValueError):
      complete_config(
        dict(levels=1, num_heads=1, head_dim=1, temporal_layers=1), shapes
      )
