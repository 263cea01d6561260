import os
import signal
import subprocess
import sys
import threading

import pytest

from magenta_midi.midi.folder_lock import (
  FolderInUseError,
  file_lock,
  folder_lock,
  lock_file,
)

HOLDER = """
import sys, time
from magenta_midi.midi.folder_lock import {kind}
with {kind}(sys.argv[1]):
  print("held", flush=True)
  sys.stdin.read()
"""


def holder(path, kind="folder_lock"):
  """A process that holds `path` until its input ends."""
  process = subprocess.Popen(
    [sys.executable, "-c", HOLDER.format(kind=kind), str(path)],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
  )
  assert process.stdout.readline() == b"held\n"
  return process


@pytest.mark.parametrize("kind", [folder_lock, file_lock])
def test_a_second_process_is_refused_in_one_line(tmp_path, kind):
  path = tmp_path / "run"
  other = holder(path, kind.__name__)
  with pytest.raises(FolderInUseError) as found, kind(path):
    pass
  assert str(found.value).startswith(
    f"{path}: process {other.pid} is at work there."
  )
  assert "\n" not in str(found.value)
  other.communicate()
  with kind(path):
    pass
  assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_killed_process_gives_it_back(tmp_path):
  other = holder(tmp_path)
  other.send_signal(signal.SIGKILL)
  other.communicate()
  assert [path.name for path in tmp_path.iterdir()] == [".lock"]
  with folder_lock(tmp_path):
    assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"
  assert not list(tmp_path.iterdir())


def test_files_of_one_folder_are_apart(tmp_path):
  with file_lock(tmp_path / "a"), file_lock(tmp_path / "b"):
    assert len(list(tmp_path.iterdir())) == 2
  assert not list(tmp_path.iterdir())


def test_a_thread_may_hold_it_again_only_if_it_says_so(tmp_path):
  with folder_lock(tmp_path):
    with folder_lock(tmp_path, again=True):
      pass
    # The inner one has not given it back.
    with (
      pytest.raises(FolderInUseError, match=f"process {os.getpid()}"),
      folder_lock(tmp_path),
    ):
      pass
    refused = []

    def try_it():
      try:
        with folder_lock(tmp_path, again=True):
          pass
      except FolderInUseError:
        refused.append(True)

    thread = threading.Thread(target=try_it)
    thread.start()
    thread.join()
    assert refused == [True]


def test_folders_that_were_made_and_stay_empty_go_again(tmp_path):
  with folder_lock(tmp_path / "a" / "b"):
    assert (tmp_path / "a" / "b").is_dir()
  assert not (tmp_path / "a").exists()
  with folder_lock(tmp_path / "a" / "b"):
    (tmp_path / "a" / "mine").touch()
  assert [path.name for path in (tmp_path / "a").iterdir()] == ["mine"]


def test_an_error_inside_gives_it_back(tmp_path):
  with pytest.raises(RuntimeError, match="stop"), folder_lock(tmp_path):
    raise RuntimeError("stop")
  with folder_lock(tmp_path):
    pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
# JAX warns of it where another test has loaded it.
@pytest.mark.filterwarnings("ignore:os.fork")
def test_a_forked_child_keeps_nothing(tmp_path):
  read, write = os.pipe()
  with folder_lock(tmp_path):
    child = os.fork()
    if not child:
      os.close(write)
      os.read(read, 1)  # until the parent is done
      os._exit(0)
  try:
    other = holder(tmp_path)
    other.communicate()
    assert other.returncode == 0
  finally:
    os.close(write)
    os.close(read)
    os.waitpid(child, 0)


def test_a_file_in_the_way_is_an_error_of_the_system(tmp_path):
  (tmp_path / "a").touch()
  with (
    pytest.raises(OSError, match="File exists") as found,
    folder_lock(tmp_path / "a"),
  ):
    pass
  assert found.value.filename == str(tmp_path / "a")


def test_a_file_system_without_locks_keeps_nobody_out(tmp_path, monkeypatch):
  fcntl = pytest.importorskip("fcntl")

  def none(fd, flags):
    raise OSError(95, "Operation not supported")

  monkeypatch.setattr(fcntl, "flock", none)
  with open(tmp_path / "a", "wb") as file:
    assert lock_file(file.fileno()) is None
  with folder_lock(tmp_path):
    pass
