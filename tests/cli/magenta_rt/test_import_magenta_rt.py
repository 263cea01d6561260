"""Checkpoints of Magenta RealTime through the command line."""

import dataclasses
import hashlib
import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from flax import nnx

from magenta_midi.cli.magenta_rt import download
from magenta_midi.cli.terminal import download as terminal_download
from magenta_midi.cli.terminal.errors import UserError
from magenta_midi.cli.terminal.output import progress_bar
from magenta_midi.magenta_rt.config import published_tag
from magenta_midi.magenta_rt.names import to_t5x_name
from magenta_midi.magenta_rt.t5x_checkpoint import write_t5x
from magenta_midi.midi.folder_lock import FolderInUseError, file_lock
from magenta_midi.model.checkpoint import (
  StoredCheckpoint,
  parameter_shapes,
  save_checkpoint,
)
from magenta_midi.model.config import DepthformerConfig, magenta_rt_config
from magenta_midi.model.depthformer import Depthformer
from tests.support.command_line import refused, run, run_json

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
HEAD = "decoder.logits_dense.kernel"


def write(folder, config=SMALL, change=lambda arrays: None):
  rng = np.random.default_rng(0)
  arrays = {
    to_t5x_name(name, config): rng.normal(size=shape).astype(np.float32)
    for name, shape in parameter_shapes(config).items()
  }
  change(arrays)
  return write_t5x(folder, 5, arrays.items())


@pytest.fixture
def settings(tmp_path):
  path = tmp_path / "settings.json"
  path.write_text(SMALL.to_json())
  return path


@pytest.fixture
def folder(tmp_path):
  return write(tmp_path / "t5x")


def pack(folder, archive, mode="w"):
  with tarfile.open(archive, mode) as tar:
    tar.add(folder, folder.name)
  return archive


@pytest.mark.parametrize("form", ["folder", "parent", "tar", "tar.xz"])
def test_import_then_export(capsys, tmp_path, folder, settings, form):
  path = {"folder": folder, "parent": folder.parent}.get(form)
  if path is None:
    mode = "w:xz" if form == "tar.xz" else "w"
    path = pack(folder, tmp_path / f"a.{form}", mode)
  out = tmp_path / "imported" / "here"
  facts = run_json(
    capsys, "import-magenta-rt", path, "--config", settings, "--out", out
  )
  assert facts.keys() == {
    *("checkpoint", "tag", "parameters", "arrays", "dtype", "bytes"),
    "seconds",
  }
  assert facts["checkpoint"] == str(out)
  assert facts["dtype"] == "float32"
  assert facts["bytes"] == 4 * facts["parameters"]
  # No temporary folder is left beside it.
  assert [p.name for p in out.parent.iterdir()] == ["here"]
  info = run_json(capsys, "info", "--checkpoint", out)
  assert info["parameters"] == facts["parameters"]
  assert info["codec"]["name"] == "spectrostream"
  back = run_json(capsys, "export-t5x", out, "--out", tmp_path / "back")
  assert back["step"] == 5
  assert back["added"] == []
  for file in folder.rglob("*"):
    if file.is_file():
      copy = Path(back["checkpoint"]) / file.relative_to(folder)
      assert copy.read_bytes() == file.read_bytes(), file
  line = refused(
    capsys,
    *("generate", "--seconds", 2, "--checkpoint", out),
    *("--out", tmp_path / "x.mid"),
  )
  assert "spectrostream" in line


@pytest.mark.corpus
def test_the_fixture_imports(capsys, tmp_path, shared):
  fixtures = shared / "fixtures" / "magenta_rt_v1"
  if not fixtures.is_dir():
    pytest.skip("no fixtures of Magenta RealTime")
  facts = run_json(
    capsys,
    *("import-magenta-rt", fixtures / "A_ckpt.tar.xz", "--tag", "base"),
    *("--config", fixtures / "A_meta.json", "--out", tmp_path / "a"),
  )
  assert (facts["parameters"], facts["tag"]) == (312_848, None)
  stored = StoredCheckpoint(tmp_path / "a")
  with np.load(fixtures / "A_ckpt_params.npz") as params:
    for name in stored.infos:
      theirs = params["target." + to_t5x_name(name, stored.config)]
      np.testing.assert_array_equal(stored.read(name), theirs, err_msg=name)
  line = refused(
    capsys,
    *("import-magenta-rt", fixtures / "A_ckpt.tar.xz", "--tag", "base"),
    *("--out", tmp_path / "b"),
  )
  assert "no base checkpoint" in line
  assert "embed_dim 64 (expected 768)" in line
  assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_wrong_tag_says_which_it_is(capsys, tmp_path):
  # The large model's shapes; zarr stores nothing where all is zero.
  config = magenta_rt_config("large")
  target: dict = {}
  folder = tmp_path / "checkpoint_1"
  for name, shape in parameter_shapes(config).items():
    theirs = to_t5x_name(name, config)
    place = folder / f"target.{theirs}"
    place.mkdir(parents=True)
    metadata = dict(
      zarr_format=2,
      shape=shape,
      chunks=shape,
      dtype="<f4",
      compressor=None,
      fill_value=0.0,
      order="C",
      filters=None,
    )
    (place / ".zarray").write_text(json.dumps(metadata))
    node = target
    *parents, last = theirs.split(".")
    for parent in parents:
      node = node.setdefault(parent, {})
    node[last] = dict(kvstore=dict(path=f"target.{theirs}/"))
  from flax import serialization

  (folder / "checkpoint").write_bytes(
    serialization.msgpack_serialize({"optimizer": {"target": target}})
  )
  out = tmp_path / "out"
  line = refused(
    capsys, "import-magenta-rt", folder, "--tag", "base", "--out", out
  )
  assert "this is a large checkpoint" in line
  assert "Give --tag large" in line
  assert not out.exists()
  # An array too few is not another model.
  shutil.rmtree(folder / f"target.{HEAD}")
  line = refused(
    capsys, "import-magenta-rt", folder, "--tag", "large", "--out", out
  )
  assert f"target.{HEAD} is missing" in line


def test_mistakes_are_one_line_and_leave_nothing(
  capsys, tmp_path, folder, settings
):
  out = tmp_path / "out"
  to = ("--out", out)
  (tmp_path / "text.tar").write_text("no archive")
  (tmp_path / "empty").mkdir()
  (tmp_path / "full").mkdir()
  (tmp_path / "full" / "thesis.txt").write_text("dear")
  unknown = tmp_path / "unknown.json"
  unknown.write_text('{"EMBED_DIMM": 3}')
  narrow = tmp_path / "narrow.json"
  narrow.write_text(dataclasses.replace(SMALL, embed_dim=8).to_json())
  deep = tmp_path / "deep.json"
  deep.write_text(dataclasses.replace(SMALL, encoder_layers=2).to_json())
  truncated = pack(folder, tmp_path / "cut.tar")
  truncated.write_bytes(truncated.read_bytes()[:9000])
  broken = write(tmp_path / "broken")
  (broken / f"target.{HEAD}" / "0.0").write_bytes(b"")

  def change(arrays):
    del arrays["encoder.encoder_norm.scale"]
    arrays["decoder.decoder_norm.scale"] = np.ones(4, np.float32)

  faulty = write(tmp_path / "faulty", change=change)
  run(
    capsys, "import-magenta-rt", folder, "--config", settings, "--out",
    tmp_path / "good",
  )  # fmt: skip
  good = tmp_path / "good"
  weights = shutil.copytree(good, tmp_path / "cut") / "weights.safetensors"
  weights.write_bytes(weights.read_bytes()[:-5])
  before = sorted(tmp_path.iterdir())
  load = "import-magenta-rt"
  config = ("--config", settings)
  cases = [
    ((load, *to), "PATH is missing"),
    ((load, folder), "--out"),
    ((load, tmp_path / "absent", *to), "no such file or folder"),
    ((load, tmp_path / "text.tar", *config, *to), "no tar archive"),
    ((load, tmp_path / "empty", *config, *to), "no T5X checkpoint there"),
    ((load, folder, *to), "none of the published shapes"),
    ((load, folder, "--tag", "base", *to), "embed_dim 16 (expected 768)"),
    ((load, folder, "--tag", "huge", *to), "huge"),
    ((load, folder, "--config", tmp_path / "absent", *to), "no such file"),
    ((load, folder, "--config", unknown, *to), "unknown setting EMBED_DIMM"),
    ((load, folder, "--config", narrow, *to), "embed_dim 16 (expected 8)"),
    (
      (load, folder, "--config", deep, *to),
      "target.encoder.layers_1.mlp.wo.kernel is missing",
    ),
    ((load, truncated, *config, *to), "truncated or damaged at"),
    ((load, broken, *config, *to), f"target.{HEAD} is damaged"),
    (
      (load, faulty, *config, *to),
      "expected (16,); target.encoder.encoder_norm.scale is missing",
    ),
    ((load, folder, *config, "--out", tmp_path / "full"), "thesis.txt"),
    ((load, folder, *config, "--out", settings), "is a file"),
    ((load, "--download", *to), "--download needs --tag"),
    (("export-t5x", tmp_path / "empty", *to), "no checkpoint there"),
    (("export-t5x", tmp_path / "cut", *to), "truncated"),
    (("export-t5x", good, "--out", tmp_path / "t5x"), "is there already"),
    (("export-t5x", good, "--step", -1, *to), "-1"),
    (("info", "--checkpoint", tmp_path / "cut"), "truncated"),
    (("info", "--checkpoint", tmp_path / "empty"), "no checkpoint there"),
    (
      ("evaluate", folder, "--checkpoint", tmp_path / "empty"),
      "holds no MIDI file",
    ),
  ]
  for args, message in cases:
    assert message in refused(capsys, *args), args
  assert sorted(tmp_path.iterdir()) == before


def test_a_checkpoint_is_not_overwritten(capsys, tmp_path, folder, settings):
  out = tmp_path / "out"
  args = ("import-magenta-rt", folder, "--config", settings, "--out", out)
  run_json(capsys, *args)
  before = {p.name: p.read_bytes() for p in out.iterdir()}
  line = refused(capsys, *args)
  assert "holds a checkpoint. Give a new folder" in line
  # Nor what an interrupted write left.
  (out / "config.json").unlink()
  assert "weights.safetensors" in refused(capsys, *args)
  del before["config.json"]
  assert {p.name: p.read_bytes() for p in out.iterdir()} == before


@pytest.mark.parametrize("form", ["folder", "tar", "index"])
def test_an_export_carries_settings_and_notes(capsys, tmp_path, form):
  codec = dict(name="note", settings=dict(chunk_s=2.0))
  notes = dict(step=9, held_out=dict(nats_per_note=2.5))
  model = Depthformer(SMALL, rngs=nnx.Rngs(0))
  save_checkpoint(tmp_path / "a", model, codec=codec, notes=notes)
  made = run_json(capsys, "export-t5x", tmp_path / "a", "--out", tmp_path)
  path = Path(made["checkpoint"])
  if form == "tar":
    path = pack(path, tmp_path / "a.tar")
  elif form == "index":
    path /= "checkpoint"
  out = tmp_path / "b"
  run_json(capsys, "import-magenta-rt", path, "--out", out)
  facts = StoredCheckpoint(out).facts
  assert facts["codec"] == codec
  assert facts["notes"].items() >= notes.items()
  assert facts["notes"]["source"] == "T5X"
  name = "weights.safetensors"
  assert (out / name).read_bytes() == (tmp_path / "a" / name).read_bytes()
  if form == "folder":
    (path / "magenta_midi.json").write_text('{"model": {}, "codec": "note"}')
    line = refused(capsys, "import-magenta-rt", path, "--out", tmp_path / "c")
    assert 'magenta_midi.json: codec must be an object, got "note"' in line


def test_a_tag_is_only_of_a_published_model(capsys, tmp_path, folder):
  config = magenta_rt_config("large")
  assert published_tag(config) == "large"
  assert published_tag(dataclasses.replace(config, dropout_rate=0.0)) == "large"
  assert published_tag(SMALL) is None
  settings = tmp_path / "settings.json"
  settings.write_text(SMALL.to_json())
  code, out, err = run(
    capsys, "import-magenta-rt", folder, "--tag", "base", "--config", settings,
    "--out", tmp_path / "out", "--json",
  )  # fmt: skip
  assert code == 0, err
  assert "not the published base model; written without the tag" in err
  assert json.loads(out.splitlines()[-1])["tag"] is None
  notes = StoredCheckpoint(tmp_path / "out").facts["notes"]
  assert (notes["tag"], notes["source"]) == (None, "T5X")


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (b"\xff\xfe\x00", "is no text in UTF-8"),
    (None, "is a folder"),
    (b'{"model": {}, "codec": "note"}', 'codec must be an object, got "note"'),
    (
      b'{"model": {}, "codec": {"name": 3}}',
      "codec.name must be a string, got 3",
    ),
    (
      b'{"model": {}, "codec": {"name": "x", "settings": null}}',
      "codec.settings must be an object, got null",
    ),
    (b'{"num_heads": "2"}', "num_heads must be an integer, got '2'"),
    # Of a long value, only its beginning.
    (
      b'{"num_heads": "' + b"x" * 100_000 + b'"}',
      "num_heads must be an integer, got '" + "x" * 58 + "…",
    ),
    (b'{"encoder_layers": -1}', "encoder_layers must be at least 0, got -1"),
    (b'{"time_features": 1}', "time_features must be true or false, got 1"),
    (b'{"dropout_rate": "0"}', "dropout_rate must be a number, got '0'"),
    (b'{"level_columns": 3}', "level_columns must be pairs of integers"),
  ],
)
def test_a_config_of_wrong_types_names_the_field(
  capsys, tmp_path, folder, content, message
):
  path = tmp_path / "config"
  if content is None:
    path.mkdir()
  else:
    path.write_bytes(content)
  line = refused(
    capsys, "import-magenta-rt", folder, "--config", path,
    "--out", tmp_path / "out",
  )  # fmt: skip
  assert message in line


@pytest.mark.parametrize(
  "command",
  [("info", "--checkpoint"), ("export-t5x", "--out", "unused")],
)
def test_t5x_in_place_of_ours_points_to_the_import(
  capsys, tmp_path, folder, command
):
  archive = pack(folder, tmp_path / "a.tar")
  for path in (folder, folder.parent, archive):
    line = refused(capsys, *command, path)
    assert f"import-magenta-rt {path} --out DIR" in line
  line = refused(capsys, *command, tmp_path / "absent")
  assert "--checkpoint" not in line


def test_sigterm_removes_what_was_unpacked(tmp_path, settings):
  wide = dataclasses.replace(SMALL, vocab_size=1 << 19)
  settings.write_text(wide.to_json())
  archive = pack(write(tmp_path / "t5x", wide), tmp_path / "a.tar")
  out = tmp_path / "imported" / "x"
  command = [
    *(sys.executable, "-m", "magenta_midi.cli.main", "import-magenta-rt"),
    *(str(archive), "--config", str(settings), "--out", str(out)),
  ]
  process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
  try:
    while not list(tmp_path.glob("imported/.x.unpacked/*")):
      assert process.poll() is None, process.communicate()
      time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
  finally:
    process.kill()
  assert process.returncode == 130
  assert "stopped" in err
  assert not out.parent.exists()


# Downloads -----------------------------------------------------------------


class Repository(http.server.BaseHTTPRequestHandler):
  """A server like the real one: it names the checksum and redirects."""

  data = b""
  sha256: str | None = None
  ranges = True
  # Connections that break off after so many bytes.
  breaks: tuple[int, ...] = ()
  requests: tuple[tuple[str, str | None], ...] = ()

  def log_message(self, format, *args):
    del format, args

  def do_GET(self):
    server = type(self)
    asked = self.headers.get("Range")
    server.requests += ((self.path, asked),)
    if self.path.startswith("/google/magenta-realtime/resolve/main/"):
      self.send_response(302)
      if server.sha256:
        self.send_header("X-Linked-ETag", f'"{server.sha256}"')
      self.send_header("Location", "/store/file")
      self.send_header("Content-Length", "0")
      self.end_headers()
      return
    if self.path != "/store/file":
      self.send_error(404)
      return
    start = 0
    size = len(server.data)
    if asked and server.ranges:
      start = int(asked.removeprefix("bytes=").removesuffix("-"))
      if start >= size:
        self.send_response(416)
        self.send_header("Content-Range", f"bytes */{size}")
        self.send_header("Content-Length", "0")
        self.end_headers()
        return
      self.send_response(206)
      self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
    else:
      self.send_response(200)
    self.send_header("Content-Length", str(size - start))
    self.end_headers()
    body = server.data[start:]
    if server.breaks:
      body, server.breaks = body[: server.breaks[0]], server.breaks[1:]
    self.wfile.write(body)


@pytest.fixture
def repository(tmp_path, folder, monkeypatch):
  archive = pack(folder, tmp_path / "published.tar")
  data = archive.read_bytes()
  archive.unlink()
  handler = type(
    "Handler",
    (Repository,),
    dict(data=data, sha256=hashlib.sha256(data).hexdigest()),
  )
  server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
  thread = threading.Thread(target=server.serve_forever, args=(0.01,))
  thread.start()
  monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
  monkeypatch.setenv("MAGENTA_RT_CACHE_DIR", str(tmp_path / "cache"))
  try:
    yield handler
  finally:
    server.shutdown()
    server.server_close()
    thread.join()


def fetch(path):
  with progress_bar() as bar:
    return download.fetch_checkpoint("base", path, bar)


def test_download_then_import(capsys, tmp_path, repository, settings):
  args = ("import-magenta-rt", "--download", "--tag", "base")
  args += ("--config", settings, "--out", tmp_path / "out")
  facts = run_json(capsys, *args)
  # Another shape than the tag's is not called by it.
  assert facts["tag"] is None
  cached = tmp_path / "cache" / "assets" / download.ARCHIVES["base"]
  assert cached.read_bytes() == repository.data
  assert [p.name for p in cached.parent.iterdir()] == [cached.name]
  path, _ = repository.requests[0]
  assert path.endswith(
    "/google/magenta-realtime/resolve/main/checkpoints/"
    "llm_base_x4286_c1860k.tar"
  )
  asked = len(repository.requests)
  shutil.rmtree(tmp_path / "out")
  run_json(capsys, *args)
  assert len(repository.requests) == asked  # from the cache


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("kept", [0, 1, 5000, None])
def test_a_download_resumes(tmp_path, repository, ranges, kept):
  repository.ranges = ranges
  path = tmp_path / "x.tar"
  size = len(repository.data)
  kept = size if kept is None else kept
  part = tmp_path / "x.tar.part"
  part.write_bytes(repository.data[:kept])
  assert fetch(path).read_bytes() == repository.data
  assert not part.exists()
  expected = f"bytes={kept}-" if kept else None
  assert {asked for _, asked in repository.requests} == {expected}


def test_broken_connections_are_taken_up_again(tmp_path, repository):
  repository.breaks = (1000, 2000, 3000)
  path = tmp_path / "x.tar"
  assert fetch(path).read_bytes() == repository.data
  asked = [r for p, r in repository.requests if p == "/store/file"]
  assert asked == [None, "bytes=1000-", "bytes=3000-", "bytes=6000-"]


def test_a_dead_connection_is_given_up_and_what_came_is_kept(
  capsys, tmp_path, repository, monkeypatch
):
  monkeypatch.setattr(terminal_download, "_RETRIES", 1)
  repository.breaks = (1000, 0, 0, 0)
  out = tmp_path / "out"
  line = refused(
    capsys,
    *("import-magenta-rt", "--download", "--tag", "large", "--out", out),
  )
  assert "broke at 1000 of" in line
  assert "What came is kept: the same command continues" in line
  part = tmp_path / "cache" / "assets" / download.ARCHIVES["large"]
  assert part.with_name(part.name + ".part").stat().st_size == 1000


@pytest.mark.parametrize("kept", [b"", b"something else", bytes(200_000)])
def test_what_arrives_damaged_is_deleted(tmp_path, repository, kept):
  path = tmp_path / "x.tar"
  part = tmp_path / "x.tar.part"
  part.write_bytes(kept)
  if not kept:
    repository.sha256 = "0" * 64
  if len(kept) > len(repository.data):
    # Longer than the file, it cannot be a beginning of it.
    assert fetch(path).read_bytes() == repository.data
    return
  with pytest.raises(UserError, match=r"damaged.*deleted"):
    fetch(path)
  assert not part.exists()
  assert not path.exists()


def test_without_a_checksum_the_size_must_do(capsys, tmp_path, repository):
  repository.sha256 = None
  code, _, err = run(
    capsys,
    *("import-magenta-rt", "--download", "--tag", "base"),
    *("--out", tmp_path / "out"),
  )
  assert "no checksum" in err
  assert code == 2  # a small model under a large name
  assert "no base checkpoint" in err


def test_offline_says_how_to_get_it_by_hand(capsys, tmp_path, monkeypatch):
  monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
  monkeypatch.setenv("MAGENTA_RT_CACHE_DIR", str(tmp_path / "cache"))
  out = tmp_path / "out"
  line = refused(
    capsys,
    *("import-magenta-rt", "--download", "--tag", "large", "--out", out),
  )
  assert re.search(
    r"http://127\.0\.0\.1:9/google/magenta-realtime/resolve/main/checkpoints/"
    r"llm_large_x3047_c1860k\.tar cannot be fetched: .*refused",
    line,
  )
  assert "magenta-midi import-magenta-rt llm_large_x3047_c1860k.tar" in line
  assert "--tag large" in line
  assert "kept" not in line


def test_an_unknown_file_says_the_servers_answer(
  capsys, tmp_path, repository, monkeypatch
):
  monkeypatch.setattr(download, "REPOSITORY", "nobody/nothing")
  line = refused(
    capsys,
    *("import-magenta-rt", "--download", "--tag", "base"),
    *("--out", tmp_path / "out"),
  )
  assert "cannot be fetched: 404 Not Found" in line


def test_the_cache_is_where_the_original_has_it(monkeypatch):
  monkeypatch.delenv("MAGENTA_RT_CACHE_DIR", raising=False)
  monkeypatch.setenv("XDG_CACHE_HOME", "/x")
  assert download.cache_folder() == Path("/x/magenta_rt")
  monkeypatch.delenv("XDG_CACHE_HOME")
  home = Path.home() / ".cache" / "magenta_rt"
  assert download.cache_folder() == home
  monkeypatch.setenv("MAGENTA_RT_CACHE_DIR", "/y")
  assert download.cache_folder() == Path("/y")
  monkeypatch.delenv("HF_ENDPOINT", raising=False)
  assert download.checkpoint_url("base").startswith(
    "https://huggingface.co/google/magenta-realtime/resolve/main/"
  )
  assert os.path.basename(download.checkpoint_url("base")).endswith(".tar")


def test_two_downloads_of_one_file(tmp_path, repository):
  with (
    file_lock(tmp_path / "x.tar"),
    pytest.raises(FolderInUseError, match=rf"x\.tar: process {os.getpid()} is"),
  ):
    fetch(tmp_path / "x.tar")
  assert not repository.requests
  # Another file of the folder is nobody's business.
  with file_lock(tmp_path / "y.tar"):
    fetch(tmp_path / "x.tar")
  assert [path.name for path in tmp_path.glob("*x.tar*")] == ["x.tar"]
