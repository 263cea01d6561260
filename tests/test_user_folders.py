import os
import sys
from pathlib import Path

import pytest

from magenta_midi.cli.magenta_rt.download import cache_folder as originals
from magenta_midi.generate.compilation.compilation_cache import cache_folder
from magenta_midi.live.io.control_map import config_folder
from magenta_midi.live.recording.recorder import sessions_folder
from magenta_midi.model.lora.adapter_library import adapters_folder
from magenta_midi.user_folders import NoHomeError, data_home, home

# Every folder of this program that the specification places.
FOLDERS = [
  (sessions_folder, "XDG_DATA_HOME", ".local/share", "magenta_midi/sessions"),
  (adapters_folder, "XDG_DATA_HOME", ".local/share", "magenta_midi/adapters"),
  (cache_folder, "XDG_CACHE_HOME", ".cache", "magenta_midi"),
  (originals, "XDG_CACHE_HOME", ".cache", "magenta_rt"),
  (config_folder, "XDG_CONFIG_HOME", ".config", "magenta_midi"),
]


@pytest.fixture(autouse=True)
def plain(monkeypatch, tmp_path):
  if sys.platform == "win32":
    pytest.skip("the specification is not for Windows")
  monkeypatch.setattr("sys.platform", "linux")
  monkeypatch.setenv("HOME", str(tmp_path))
  for name in ("MIDI_CACHE", "MIDI_ADAPTERS", "RT_CACHE_DIR"):
    monkeypatch.delenv(f"MAGENTA_{name}", raising=False)


@pytest.mark.parametrize(("folder", "variable", "usual", "own"), FOLDERS)
def test_only_absolute_paths_count(
  monkeypatch, tmp_path, folder, variable, usual, own
):
  monkeypatch.delenv(variable, raising=False)
  assert folder() == tmp_path / usual / own
  for ignored in ("", "relative", "./here", "~/data"):
    monkeypatch.setenv(variable, ignored)
    assert folder() == tmp_path / usual / own
  monkeypatch.setenv(variable, "/x")
  assert folder() == Path("/x") / own


def test_without_home_the_system_is_asked(monkeypatch):
  pwd = pytest.importorskip("pwd")
  for none in ("", "relative"):
    monkeypatch.setenv("HOME", none)
    assert home() == Path(pwd.getpwuid(os.getuid()).pw_dir)


def test_a_user_without_home_is_told_in_one_line(monkeypatch):
  pwd = pytest.importorskip("pwd")

  def unknown(number):
    raise KeyError(f"uid not found: {number}")

  monkeypatch.delenv("HOME")
  monkeypatch.delenv("XDG_DATA_HOME", raising=False)
  monkeypatch.setattr(pwd, "getpwuid", unknown)
  with pytest.raises(NoHomeError, match=r"no home folder\. Set HOME to a"):
    data_home()
  monkeypatch.setenv("XDG_DATA_HOME", "/x")
  assert data_home() == Path("/x")
