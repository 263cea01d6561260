"""A tiny checkpoint, an app without sessions, and a server that plays."""

import contextlib
import threading
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest

from magenta_midi.midi.score import Score
from magenta_midi.server.serving import Server
from magenta_midi.server.settings import ServerSettings


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory):
  """A checkpoint of a tiny model for two; what it plays was never learnt."""
  from tests.support.checkpoints import save_tiny

  return save_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def phrase(tmp_path):
  """A MIDI file of twelve notes in 3.6 s."""
  path = tmp_path / "phrase.mid"
  a_score().to_file(path)
  return path


def a_score(count=12, gap_s=0.3):
  return Score.from_arrays(
    onset_s=gap_s * np.arange(count),
    duration_s=np.full(count, 0.25),
    key=60 + np.arange(count) % 12,
    velocity=np.full(count, 70),
  )


def _no_piano():
  return {"ready": True, "samples": []}


@pytest.fixture
def server(tmp_path, monkeypatch):
  """Starts servers; each gives its `Server`. No session is prepared."""
  monkeypatch.setattr("magenta_midi.server.app.piano_facts", _no_piano)
  with contextlib.ExitStack() as stack:

    def start(**settings):
      ready = threading.Event()
      defaults = {
        "port": 0,
        "takes": tmp_path / "takes",
        "sessions": 2,
        "spare_s": 0.0,
      }
      found = Server(
        ServerSettings(**defaults | settings), lambda address: ready.set()
      )
      thread = threading.Thread(target=found.run, daemon=True)
      thread.start()
      stack.callback(thread.join, 60)
      stack.callback(found.stop)
      assert ready.wait(60)
      return found

    yield start


@pytest.fixture
def web(server):
  """Makes an HTTP client of a server of its own."""
  with contextlib.ExitStack() as stack:

    def make(**settings):
      found = server(**settings)
      port = urlsplit(found.address).port
      url = f"http://127.0.0.1:{port}"
      return stack.enter_context(httpx.Client(base_url=url, timeout=60))

    yield make
