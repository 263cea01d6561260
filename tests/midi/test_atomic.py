import os

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
