import os
import time

import pytest

from magenta_midi.midi.atomic import open_atomically, write_atomically


@pytest.mark.parametrize("data", [b"new\r\n", "new\r\n"])
def test_bytes_and_text_take_the_name(tmp_path, data):
  path = tmp_path / "a.txt"
  path.write_text("old")
  write_atomically(path, data)
  assert path.read_bytes() == b"new\r\n"
  assert list(tmp_path.iterdir()) == [path]


def test_text_is_utf_8(tmp_path):
  write_atomically(tmp_path / "a.txt", "♭")
  assert (tmp_path / "a.txt").read_bytes() == b"\xe2\x99\xad"


def test_an_error_on_the_way_leaves_the_old_file(tmp_path):
  path = tmp_path / "a.txt"
  path.write_text("old")
  with pytest.raises(RuntimeError, match="stop"), open_atomically(path) as part:
    part.write(b"half")
    raise RuntimeError("stop")
  assert path.read_text() == "old"
  assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path):
  (tmp_path / "plain").write_text("")
  write_atomically(tmp_path / "a.txt", "new")
  modes = {os.stat(path).st_mode for path in tmp_path.iterdir()}
  assert len(modes) == 1


def test_an_error_of_the_system_names_the_file(tmp_path, monkeypatch):
  with pytest.raises(FileNotFoundError, match=r"no.a\.txt"):
    write_atomically(tmp_path / "no" / "a.txt", "new")

  def full(*_):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(os, "replace", full)
  with pytest.raises(OSError, match=r"No space left.*a\.txt"):
    write_atomically(tmp_path / "a.txt", "new")
  assert not list(tmp_path.iterdir())


@pytest.fixture
def full_disk():
  """Files end at 4096 bytes: as on a full disk, with another number."""
  resource = pytest.importorskip("resource")
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
  yield
  resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_the_old_file_alone(tmp_path, full_disk):
  path = tmp_path / "a.txt"
  write_atomically(path, "old")
  with pytest.raises(OSError, match="File too large") as found:
    write_atomically(path, b"0" * 100_000)
  assert found.value.filename == str(path)
  assert path.read_text() == "old"
  assert list(tmp_path.iterdir()) == [path]


def aged(path, seconds=3600):
  path.write_bytes(b"half")
  os.utime(path, (time.time() - seconds,) * 2)
  return path


def test_what_a_killed_process_left_is_removed(tmp_path):
  pytest.importorskip("fcntl")
  left = aged(tmp_path / ".0123456789abcdef.part")
  kept = [
    # Just begun; of another program; no temporary file at all.
    aged(tmp_path / ".fedcba9876543210.part", seconds=1),
    aged(tmp_path / "0123456789abcdef.part"),
    aged(tmp_path / ".mine.part"),
  ]
  write_atomically(tmp_path / "a.txt", "new")
  assert not left.exists()
  assert all(path.exists() for path in kept)


def test_what_a_living_process_writes_stays(tmp_path):
  with open_atomically(tmp_path / "first.txt") as file:
    file.write(b"half")
    file.flush()
    (part,) = tmp_path.iterdir()
    os.utime(part, (0, 0))
    # A folder that this process has not looked through yet.
    again = tmp_path.with_name("again")
    again.symlink_to(tmp_path)
    from magenta_midi.midi import atomic

    atomic._cleaned.clear()
    write_atomically(again / "second.txt", "new")
    assert part.exists()
  assert (tmp_path / "first.txt").read_bytes() == b"half"
