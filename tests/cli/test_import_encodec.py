"""`import-encodec`: published weights through the command line."""

import http.server
import threading

import numpy as np
import pytest

from magenta_midi.audio.codec.encodec.weights import load_encodec
from tests.support.command_line import refused, run_json
from tests.support.encodec_files import write_published


def test_a_published_folder_becomes_a_codec(capsys, tmp_path):
  folder, out = write_published(tmp_path / "published"), tmp_path / "out"
  facts = run_json(capsys, "import-encodec", folder, "--out", out)
  assert facts["sample_rate"] == 24_000
  assert facts["levels"] == 2
  assert facts["streams"] is True
  assert sorted(p.name for p in out.iterdir() if p.name[0] != ".") == [
    "config.json",
    "weights.safetensors",
  ]
  codec = load_encodec(out)
  assert codec.encode(np.zeros((60, 1), np.float32)).shape == (10, 2)
  line = refused(capsys, "import-encodec", folder, "--out", out)
  assert "Give a new folder" in line


def test_what_is_refused(capsys, tmp_path):
  folder, out = write_published(tmp_path / "published"), tmp_path / "out"
  command = "import-encodec"
  assert "--out" in refused(capsys, command, folder)
  assert "either PATH" in refused(capsys, command, "--out", out)
  line = refused(capsys, command, folder, "--download", "--out", out)
  assert "either PATH" in line
  line = refused(capsys, command, tmp_path / "absent", "--out", out)
  assert "no such file or folder" in line
  line = refused(capsys, command, folder, "--out", folder / "config.json")
  assert "config.json" in line
  (folder / "model.safetensors").write_bytes(b"\xff" * 100)
  assert "header" in refused(capsys, command, folder, "--out", out)
  assert not out.exists()


@pytest.fixture
def repository(tmp_path, monkeypatch):
  """A server with the files of one published model."""
  folder = write_published(tmp_path / "facebook/encodec_24khz/resolve/main")

  class Handler(http.server.SimpleHTTPRequestHandler):
    def __init__(self, *args, **kwargs):
      super().__init__(*args, directory=str(tmp_path), **kwargs)

    def log_message(self, format, *args):
      del format, args

  server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
  thread = threading.Thread(target=server.serve_forever, args=(0.01,))
  thread.start()
  monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
  try:
    yield folder
  finally:
    server.shutdown()
    server.server_close()
    thread.join()


def test_download_then_import(capsys, tmp_path, repository):
  args = ("import-encodec", "--download", "--out")
  run_json(capsys, *args, tmp_path / "out")
  kept = tmp_path / "cache/magenta_midi/encodec/24khz/model.safetensors"
  published = repository / "model.safetensors"
  assert kept.read_bytes() == published.read_bytes()
  # From the cache.
  published.unlink()
  run_json(capsys, *args, tmp_path / "again")
  line = refused(capsys, *args, tmp_path / "c", "--model", "48khz")
  assert "encodec_48khz/resolve/main/config.json cannot be fetched" in line
  assert "404" in line


def test_without_a_network_one_line_says_what_to_do(
  capsys, tmp_path, monkeypatch
):
  monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
  line = refused(
    capsys, "import-encodec", "--download", "--out", tmp_path / "out"
  )
  assert "cannot be fetched" in line
  assert "refused" in line
  assert "magenta-midi import-encodec FOLDER --out DIR" in line
