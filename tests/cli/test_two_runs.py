"""Two commands that write into one folder: the second is refused."""

import os
import shutil
import threading

import pytest

from magenta_midi.cli.phrases import PHRASES, phrase_path
from magenta_midi.midi.folder_lock import folder_lock
from tests.support.command_line import refused


@pytest.fixture
def takes(tmp_path):
  folder = tmp_path / "takes"
  folder.mkdir()
  for name in PHRASES:
    shutil.copy(phrase_path(name), folder)
  return folder


@pytest.fixture
def held(tmp_path):
  """A folder that another run holds."""
  folder, taken, done = tmp_path / "out", threading.Event(), threading.Event()

  def other_run():
    with folder_lock(folder):
      taken.set()
      done.wait()

  thread = threading.Thread(target=other_run)
  thread.start()
  taken.wait()
  yield folder
  done.set()
  thread.join()


@pytest.mark.parametrize(
  "command",
  [
    ("train", "--data", "{takes}", "--preset", "tiny", "--steps", "1", "--out"),
    ("finetune", "{takes}", "--name", "me", "--steps", "1", "--out"),
    ("prepare", "{takes}", "--out"),
  ],
  ids=lambda command: command[0],
)
def test_the_second_is_refused_before_any_work(
  capsys, monkeypatch, tmp_path, takes, held, command
):
  monkeypatch.setenv("MAGENTA_MIDI_ADAPTERS", str(tmp_path / "adapters"))
  words = [word.format(takes=takes) for word in command]
  line = refused(capsys, *words, held)
  assert f"{held}: process {os.getpid()} is at work there. Wait" in line
  assert [path.name for path in held.iterdir()] == [".lock"]
