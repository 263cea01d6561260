"""T5X checkpoints: read in every layout, written as the original does."""

import io
import json
import lzma
import shutil
import tarfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import tensorstore as ts
from flax import nnx, serialization

from magenta_midi.magenta_rt.names import to_t5x_name
from magenta_midi.magenta_rt.t5x_archive import unpack_t5x
from magenta_midi.magenta_rt.t5x_checkpoint import (
  T5xCheckpoint,
  find_t5x,
  write_t5x,
)
from magenta_midi.magenta_rt.t5x_transfer import export_t5x, import_t5x
from magenta_midi.model.checkpoint import (
  StoredCheckpoint,
  load_checkpoint,
  parameter_shapes,
  save_checkpoint,
)
from magenta_midi.model.config import DepthformerConfig, preset
from magenta_midi.model.depthformer import Depthformer
from magenta_midi.model.weights_file import CheckpointError

SMALL = DepthformerConfig(
  vocab_size=128,
  levels=2,
  embed_dim=16,
  num_heads=2,
  head_dim=8,
  mlp_dim=24,
  encoder_layers=1,
  temporal_layers=2,
  depth_layers=1,
)
CODEC = dict(name="spectrostream", settings=dict(levels=2))
HEAD = "decoder.logits_dense.kernel"
NORM = "encoder.encoder_norm.scale"


def drawn(config=SMALL, dtype=np.float32, seed=0):
  rng = np.random.default_rng(seed)
  return {
    to_t5x_name(name, config): rng.normal(size=shape).astype(dtype)
    for name, shape in parameter_shapes(config).items()
  }


@pytest.fixture
def arrays():
  return drawn()


@pytest.fixture
def folder(tmp_path, arrays):
  return write_t5x(tmp_path / "t5x", 7, arrays.items())


def imported(folder, out, config=SMALL):
  facts = import_t5x(T5xCheckpoint(folder), config, out, codec=CODEC)
  return facts, StoredCheckpoint(out)


def assert_same(stored, arrays, config=SMALL):
  assert len(stored.infos) == len(arrays)
  for name, info in stored.infos.items():
    expected = arrays[to_t5x_name(name, config)]
    assert info.dtype == expected.dtype
    read = stored.read(name)
    np.testing.assert_array_equal(
      read.view(np.uint8), expected.view(np.uint8), err_msg=name
    )


def rewrite_index(folder, change):
  path = folder / "checkpoint"
  tree = serialization.msgpack_restore(path.read_bytes())
  change(tree["optimizer"]["target"])
  path.write_bytes(serialization.msgpack_serialize(tree))


def rewrite_array(folder, name, array, chunks, **metadata):
  shutil.rmtree(folder / f"target.{name}")
  spec = {
    "driver": "zarr",
    "dtype": array.dtype.name,
    "kvstore": {"driver": "file", "path": f"{folder}/target.{name}/"},
    "metadata": {"shape": list(array.shape), "chunks": chunks, **metadata},
  }
  ts.open(spec, create=True).result().write(array).result()


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_import_keeps_every_bit(tmp_path, dtype):
  arrays = drawn(dtype=dtype)
  arrays[NORM][0] = np.nan  # a payload is bits too
  folder = write_t5x(tmp_path, 7, arrays.items())
  seen = []
  facts = import_t5x(
    T5xCheckpoint(folder),
    SMALL,
    tmp_path / "out",
    codec=CODEC,
    on_array=lambda name, done, total: seen.append((done, total)),
  )
  stored = StoredCheckpoint(tmp_path / "out")
  assert_same(stored, arrays)
  assert facts["dtype"] == np.dtype(dtype).name == stored.facts["storage"]
  assert facts["parameters"] == sum(a.size for a in arrays.values())
  assert facts["arrays"] == len(arrays)
  assert seen[-1] == (facts["bytes"], facts["bytes"])
  assert stored.facts["notes"]["step"] == 7
  assert stored.facts["codec"] == CODEC
  model, _ = load_checkpoint(tmp_path / "out")
  np.testing.assert_array_equal(
    model.logits_dense.kernel[...], arrays[HEAD].astype(np.float32)
  )


@pytest.mark.parametrize(
  ("chunks", "metadata"),
  [
    ([5, 50], {}),
    ([16, 16], {"compressor": None, "dimension_separator": "/"}),
    ([16, 128], {"compressor": {"id": "zlib", "level": 9}, "order": "F"}),
    ([3, 128], {"compressor": {"id": "blosc"}}),
  ],
)
def test_any_chunking_reads_the_same(
  tmp_path, folder, arrays, chunks, metadata
):
  rewrite_array(folder, HEAD, arrays[HEAD], chunks, **metadata)
  assert_same(imported(folder, tmp_path / "out")[1], arrays)


def test_inline_arrays_and_other_paths(tmp_path, folder, arrays):
  def change(target):
    target["encoder"]["encoder_norm"]["scale"] = arrays[NORM]
    # As saved on another machine, and under a name of its own.
    spec = target["token_embedder"]["embedding"]["kvstore"]
    spec["path"] = "gs-bucket/run/checkpoint_7/target.token_embedder.embedding/"
    spec = target["decoder"]["logits_dense"]["kernel"]["kvstore"]
    spec["path"] = "parts/head/"

  rewrite_index(folder, change)
  shutil.rmtree(folder / f"target.{NORM}")
  (folder / "parts").mkdir()
  (folder / f"target.{HEAD}").rename(folder / "parts" / "head")
  assert_same(imported(folder, tmp_path / "out")[1], arrays)
  # The same from an archive, which is searched by the names of the index.
  archive = tmp_path / "t5x.tar.gz"
  with tarfile.open(archive, "w:gz") as tar:
    tar.add(folder, folder.name)
  unpacked = unpack_t5x(archive, tmp_path / "unpacked")
  assert_same(imported(unpacked, tmp_path / "out2")[1], arrays)


def test_a_path_out_of_the_folder_is_not_followed(tmp_path, folder):
  outside = tmp_path / "outside"
  (folder / f"target.{HEAD}").rename(outside)

  def change(target):
    spec = target["decoder"]["logits_dense"]["kernel"]["kvstore"]
    spec["path"] = "../../outside/"

  rewrite_index(folder, change)
  with pytest.raises(CheckpointError, match=f"target.{HEAD} is missing"):
    T5xCheckpoint(folder)


def test_every_wrong_array_is_named(tmp_path, folder, arrays):
  shutil.rmtree(folder / f"target.{HEAD}")
  (folder / f"target.{NORM}" / ".zarray").write_text("{")
  with pytest.raises(CheckpointError) as caught:
    T5xCheckpoint(folder)
  message = str(caught.value)
  assert f"target.{HEAD} is missing" in message
  assert f"target.{NORM} cannot be opened" in message
  assert "\n" not in message

  arrays[NORM] = np.ones(3, np.float32)
  arrays["decoder.surprise.kernel"] = np.ones((2, 2), np.float32)
  del arrays[HEAD]
  other = write_t5x(tmp_path / "other", 0, arrays.items())
  out = tmp_path / "out"
  with pytest.raises(CheckpointError) as caught:
    imported(other, out)
  message = str(caught.value)
  assert f"target.{HEAD} is missing" in message
  assert f"target.{NORM} has shape (3,), expected (16,)" in message
  assert "target.decoder.surprise.kernel is unknown" in message
  assert not out.exists()


def test_integers_are_refused(tmp_path, arrays):
  arrays[NORM] = np.ones(16, np.int32)
  folder = write_t5x(tmp_path, 0, arrays.items())
  with pytest.raises(CheckpointError, match=f"{NORM} is int32, not float32"):
    T5xCheckpoint(folder)


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
@pytest.mark.parametrize("fill", [False, True])
def test_a_damaged_chunk_names_its_array(
  tmp_path, folder, arrays, damage, fill
):
  if fill:
    # By zarr's rules an absent chunk would read as this.
    metadata = dict(fill_value=0.0, dtype="<f4")
    rewrite_array(
      folder, HEAD, arrays[HEAD], [16, 128],
      compressor={"id": "zlib", "level": 1}, **metadata,
    )  # fmt: skip
  chunk = folder / f"target.{HEAD}" / "0.0"
  data = bytearray(chunk.read_bytes())
  if damage == "truncate":
    chunk.write_bytes(data[: len(data) // 2])
  elif damage == "flip":
    data[len(data) // 2] ^= 0xFF
    chunk.write_bytes(data)
  else:
    # Not zeros, which zarr would read where nothing is.
    chunk.unlink()
  out = tmp_path / "out"
  with pytest.raises(CheckpointError, match=f"{HEAD} is damaged") as caught:
    imported(folder, out)
  assert str(tmp_path) not in str(caught.value)
  assert not out.exists()


@pytest.mark.parametrize("index", [b"", b"\x93", b"not msgpack", b"\xc1"])
def test_a_damaged_index_is_one_line(folder, index):
  (folder / "checkpoint").write_bytes(index)
  with pytest.raises(CheckpointError, match="no T5X index") as caught:
    T5xCheckpoint(folder)
  assert "\n" not in str(caught.value)
  assert "Error" not in str(caught.value)


@pytest.mark.parametrize(
  ("tree", "message"),
  [
    (5, "no T5X index: it has no tree of parameters"),
    ({"optimizer": None}, "no T5X index: it has no tree of parameters"),
    ({"target": {}}, "names no arrays"),
    ({"target": {"x": 5}}, "target.x is no array"),
    ({"target": {"x": {"kvstore": 5}}}, "target.x is no array"),
  ],
)
def test_an_index_of_another_kind_says_what_it_lacks(folder, tree, message):
  data = serialization.msgpack_serialize(tree)
  (folder / "checkpoint").write_bytes(data)
  with pytest.raises(CheckpointError, match=message):
    T5xCheckpoint(folder)


@pytest.mark.parametrize(
  ("state", "step"),
  [
    ({"step": np.array([9], np.int32)}, 9),
    ({"step": {"kvstore": {"path": "state.step/"}}}, 0),
    ({"step": np.ones(2)}, 0),
    ({"step": "many"}, 0),
    (None, 0),
  ],
)
def test_a_step_of_any_kind_is_no_hindrance(folder, arrays, state, step):
  data = serialization.msgpack_serialize(
    {"target": {"x": arrays[NORM]}, "state": state}
  )
  (folder / "checkpoint").write_bytes(data)
  assert T5xCheckpoint(folder).step == step


def test_a_checkpoint_is_found_in_its_folders(tmp_path, folder):
  assert find_t5x(folder) == folder
  assert find_t5x(tmp_path) == folder
  assert find_t5x(folder / "checkpoint") == folder
  with pytest.raises(CheckpointError, match="no T5X checkpoint there"):
    find_t5x(folder / f"target.{HEAD}")
  shutil.copytree(folder, folder.with_name("checkpoint_8"))
  with pytest.raises(CheckpointError, match=r"holds 2.*checkpoint_7.*Name one"):
    find_t5x(tmp_path)


# Archives ------------------------------------------------------------------


def packed(folder: Path, archive: Path, mode: str) -> Path:
  # The state of an optimizer: unreadable, and of no interest.
  state = folder / "state.param_states.encoder.encoder_norm.scale.v"
  state.mkdir(exist_ok=True)
  (state / "0").write_bytes(b"nothing")
  with tarfile.open(archive, mode) as tar:
    tar.add(folder, f"model/{folder.name}")
  return archive


@pytest.mark.parametrize("suffix", ["", ":gz", ":bz2", ":xz"])
def test_archives_of_any_compression(tmp_path, folder, arrays, suffix):
  archive = packed(folder, tmp_path / "a.tar", "w" + suffix)
  seen = []
  unpacked = unpack_t5x(
    archive,
    tmp_path / "unpacked",
    on_bytes=lambda done, total: seen.append(done <= total),
  )
  assert seen and all(seen)
  assert not any("state." in str(p) for p in unpacked.rglob("*"))
  assert_same(imported(unpacked, tmp_path / "out")[1], arrays)


def test_a_truncated_archive_names_where(tmp_path, folder):
  for mode, whole in (("w", 0.5), ("w:gz", 0.5), ("w:xz", 0.7)):
    archive = packed(folder, tmp_path / "a.tar", mode)
    data = archive.read_bytes()
    archive.write_bytes(data[: int(len(data) * whole)])
    into = tmp_path / mode.replace(":", "")
    with pytest.raises(CheckpointError) as caught:
      T5xCheckpoint(unpack_t5x(archive, into))
    assert "target." in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_archive_says_so(tmp_path):
  path = tmp_path / "x.tar"
  for data in (b"", b"hello", bytes(2048), lzma.compress(b"hello")):
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"x\.tar") as caught:
      unpack_t5x(path, tmp_path / "unpacked")
    assert "ReadError" not in str(caught.value)


@pytest.mark.parametrize("name", ["../target.x/0", "/tmp/target.evil/0"])
def test_an_archive_that_writes_elsewhere_is_refused(tmp_path, name):
  archive = tmp_path / "a.tar"
  with tarfile.open(archive, "w") as tar:
    member = tarfile.TarInfo(name)
    member.size = 1
    tar.addfile(member, io.BytesIO(b"x"))
  into = tmp_path / "a" / "unpacked"
  into.mkdir(parents=True)
  with pytest.raises(CheckpointError, match="outside"):
    unpack_t5x(archive, into)
  assert sorted(p.name for p in tmp_path.rglob("*")) == [
    "a",
    "a.tar",
    "unpacked",
  ]


def test_links_in_an_archive_are_not_made(tmp_path, folder):
  shutil.rmtree(folder / f"target.{HEAD}")
  archive = packed(folder, tmp_path / "a.tar", "w")
  with tarfile.open(archive, "a") as tar:
    member = tarfile.TarInfo(f"model/{folder.name}/target.{HEAD}")
    member.type, member.linkname = tarfile.SYMTYPE, str(folder)
    tar.addfile(member)
  unpacked = unpack_t5x(archive, tmp_path / "unpacked")
  assert not any(p.is_symlink() for p in tmp_path.rglob("*"))
  with pytest.raises(CheckpointError, match=f"target.{HEAD} is missing"):
    T5xCheckpoint(unpacked)


# Export --------------------------------------------------------------------


def test_export_is_read_by_tensorstore_alone(tmp_path, folder, arrays):
  """Independent of our reader: the index's own specs, from its folder."""
  tree = serialization.msgpack_restore((folder / "checkpoint").read_bytes())
  assert tree["version"] == 3
  assert tree["optimizer"]["state"]["param_states"] == {}
  assert tree["optimizer"]["state"]["step"] == 7
  for name, array in arrays.items():
    spec = tree["optimizer"]["target"]
    for part in name.split("."):
      spec = spec[part]
    spec["kvstore"]["path"] = f"{folder}/{spec['kvstore']['path']}"
    # With its metadata: tensorstore refuses an array of another layout.
    read = ts.open(spec, open=True).result().read().result()
    np.testing.assert_array_equal(read, array, err_msg=name)


@pytest.mark.parametrize("storage", ["float32", "bfloat16", "int8"])
def test_a_midi_checkpoint_goes_there_and_back(tmp_path, storage):
  config = preset("tiny", level_sizes=(41, 12, 8, 16), reserved=8, depth_dim=16)
  model = Depthformer(config, rngs=nnx.Rngs(0))
  codec = dict(name="note", settings={})
  save_checkpoint(tmp_path / "a", model, codec=codec, storage=storage)
  stored = StoredCheckpoint(tmp_path / "a")
  facts = export_t5x(stored, tmp_path / "t5x", 3)
  assert {name.split(".")[0] for name in facts["added"]} == {
    "time_projection",
    "part_embedder",
    "style_embedder",
    "depth_projection",
  }
  import_t5x(
    T5xCheckpoint(Path(facts["checkpoint"])),
    config,
    tmp_path / "b",
    codec=codec,
  )
  again = StoredCheckpoint(tmp_path / "b")
  assert again.config == config
  for name in stored.infos:
    np.testing.assert_array_equal(
      again.read(name), stored.read(name), err_msg=name
    )
  if storage != "int8":
    assert (tmp_path / "a" / "weights.safetensors").read_bytes() == (
      tmp_path / "b" / "weights.safetensors"
    ).read_bytes()


def test_an_export_is_whole_or_not_there(tmp_path, arrays):
  def broken():
    yield from list(arrays.items())[:3]
    raise OSError("disk")

  with pytest.raises(OSError, match="disk"):
    write_t5x(tmp_path / "out", 1, broken())
  assert not (tmp_path / "out").exists()
  write_t5x(tmp_path / "out", 1, arrays.items())
  with pytest.raises(CheckpointError, match="is there already"):
    write_t5x(tmp_path / "out", 1, arrays.items())
  assert [p.name for p in (tmp_path / "out").iterdir()] == ["checkpoint_1"]


# The original's own --------------------------------------------------------


@pytest.mark.corpus
def test_the_fixture_goes_there_and_back_file_by_file(tmp_path, shared):
  fixtures = shared / "fixtures" / "magenta_rt_v1"
  archive = fixtures / "A_ckpt.tar.xz"
  if not archive.is_file():
    pytest.skip("no fixtures of Magenta RealTime")
  folder = unpack_t5x(archive, tmp_path / "unpacked")
  config = DepthformerConfig(
    vocab_size=256,
    levels=4,
    embed_dim=64,
    num_heads=4,
    head_dim=16,
    mlp_dim=128,
    encoder_layers=2,
    temporal_layers=2,
    depth_layers=2,
  )
  facts, stored = imported(folder, tmp_path / "ours", config)
  with np.load(fixtures / "A_ckpt_params.npz") as params:
    arrays = {
      name.removeprefix("target."): params[name]
      for name in params.files
      if name != "step"
    }
    assert stored.facts["notes"]["step"] == params["step"]
  meta = json.loads((fixtures / "A_meta.json").read_text())
  assert facts["parameters"] == meta["num_params"]
  assert_same(stored, arrays, config)
  written = Path(export_t5x(stored, tmp_path / "t5x", 3)["checkpoint"])
  assert written.name == folder.name == "checkpoint_3"
  files = [p.relative_to(folder) for p in folder.rglob("*") if p.is_file()]
  assert sorted([*files, Path("magenta_midi.json")]) == sorted(
    p.relative_to(written) for p in written.rglob("*") if p.is_file()
  )
  for file in files:
    if file.name != "checkpoint":
      assert (written / file).read_bytes() == (folder / file).read_bytes()
  theirs, ours = (
    serialization.msgpack_restore((f / "checkpoint").read_bytes())
    for f in (folder, written)
  )
  assert ours["optimizer"]["target"] == theirs["optimizer"]["target"]
  assert ours["version"] == theirs["version"]
  step = theirs["optimizer"]["state"]["step"]
  assert ours["optimizer"]["state"]["step"].dtype == step.dtype


def test_what_a_killed_export_left_is_removed(tmp_path):
  left = tmp_path / ".checkpoint_7.12345"
  left.mkdir()
  (left / "half").touch()
  other = tmp_path / ".checkpoint_8.12345"
  other.mkdir()
  write_t5x(tmp_path, 7, drawn().items())
  assert sorted(p.name for p in tmp_path.iterdir()) == [
    other.name,
    "checkpoint_7",
  ]
