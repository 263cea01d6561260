"""Real MIDI ports, where JACK is installed."""

import pytest

from magenta_midi.testing.jack import JackServer, jack_missing


@pytest.fixture(scope="session")
def duet_checkpoint(tmp_path_factory):
  """A checkpoint of a tiny model for two; what it plays was never learnt."""
  from tests.support.checkpoints import save_tiny

  return save_tiny(tmp_path_factory.mktemp("duet"))


@pytest.fixture
def jack_server(monkeypatch):
  """A fresh JACK server, to which this process and its children connect."""
  pytest.importorskip("rtmidi")
  if reason := jack_missing():
    pytest.skip(reason)
  try:
    server = JackServer()
  except RuntimeError as error:
    pytest.skip(str(error))
  with server:
    for name, value in server.environment.items():
      monkeypatch.setenv(name, value)
    yield server
