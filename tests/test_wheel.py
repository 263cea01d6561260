"""A wheel, installed elsewhere: every file is in it, every command runs."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from magenta_midi.cli.main import COMMANDS
from magenta_midi.cli.phrases import PHRASES, phrase_path

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[1]
SESSION = REPOSITORY / "tests/fixtures/saved_by_326db6b/session"

# A model that compiles in seconds.
TINY = (
  *("--preset", "tiny", "--set", "embed_dim=8", "--set", "head_dim=4"),
  *("--set", "mlp_dim=16", "--set", "temporal_layers=1"),
  *("--set", "frames_per_batch=300", "--set", "held_out_windows=4"),
  *("--set", "sample_s=0"),
)
MODEL = ("--checkpoint", "run/checkpoint")

# Lines of the command line, in this order: some read what others wrote.
RUNS = (
  ("info",),
  ("tokenize", "data/prelude.mid", "--out", "back.mid"),
  ("render", "data/prelude.mid", "--wav", "a.wav", "--plot", "a.png"),
  ("prepare", "data", "--out", "packed", "--jobs", "1"),
  ("train", "--data", "packed", "--steps", "2", *TINY, "--out", "run"),
  ("evaluate", "data/prelude.mid", *MODEL),
  ("generate", "--seconds", "2", *MODEL, "--out", "g.mid"),
  ("style", "slow and quiet", "data/prelude.mid"),
  (
    *("finetune", "data", "--name", "me", "--steps", "1", "--rank", "1"),
    *("--continuations", "0", "--base", "run/checkpoint", "--out", "ft"),
  ),
  ("adapters", "list"),
  ("replay", "data/prelude.mid", "--seconds", "2", *MODEL, "--out", "r.mid"),
  ("replay", "r.json", "--out", "r2.mid"),
  ("sessions", "--sessions", "saved", "list"),
  ("bench", *MODEL),
  ("export-t5x", "run/checkpoint", "--out", "t5x"),
  ("import-magenta-rt", "t5x/checkpoint_2", "--out", "again"),
)
# Without ports and files of these names: one line and exit status 2.
REFUSED = (
  ("serve", "--checkpoint", "no such folder"),
  ("transcribe", "no such.wav", "--out", "heard"),
  ("import-encodec", "no such folder", "--out", "codec"),
  ("jam", "--in", "no such port"),
  ("ports", "--calibrate", "--in", "no such port"),
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
  """Built from a copy: what an older build left behind is not packed."""
  folder = tmp_path_factory.mktemp("wheel")
  source = folder / "source"
  shutil.copytree(
    REPOSITORY / "magenta_midi",
    source / "magenta_midi",
    ignore=shutil.ignore_patterns("__pycache__"),
  )
  for name in ("pyproject.toml", "README.md"):
    shutil.copy(REPOSITORY / name, source)
  done = subprocess.run(
    [
      *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"),
      *("--no-build-isolation", "--wheel-dir", folder, source),
    ],
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  (built,) = folder.glob("*.whl")
  return built


@pytest.fixture(scope="module")
def program(wheel, tmp_path_factory):
  """`magenta-midi` of a fresh environment, with the dependencies of this one.

  A .pth file adds the folder of the dependencies. Python reads no .pth file
  in that folder, so an editable install of ours stays out of sight.
  """
  home = tmp_path_factory.mktemp("environment")
  venv.create(home, with_pip=False)
  python = home / "bin" / "python"
  done = subprocess.run(
    [
      *(sys.executable, "-m", "pip", "--python", python, "install"),
      *("--quiet", "--no-deps", "--no-index", wheel),
    ],
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  (packages,) = home.glob("lib/python*/site-packages")
  dependencies = sysconfig.get_path("purelib")
  (packages / "dependencies.pth").write_text(f"{dependencies}\n")
  found = subprocess.run(
    [python, "-c", "import magenta_midi; print(magenta_midi.__file__)"],
    capture_output=True,
    text=True,
    cwd=home,
    env=environment(home),
  )
  assert found.returncode == 0, found.stderr
  assert Path(found.stdout.strip()).is_relative_to(packages)
  return home / "bin" / "magenta-midi"


def environment(home: Path) -> dict[str, str]:
  """This one's, without our sources and with the user's folders in `home`."""
  folders = dict(HOME=str(home))
  for name in ("DATA", "CONFIG", "STATE"):
    folders[f"XDG_{name}_HOME"] = str(home / name.lower())
  return {
    name: value
    for name, value in (os.environ | folders).items()
    if name != "PYTHONPATH"
  }


def files_below(folder: Path) -> dict[str, int]:
  return {
    path.relative_to(folder.parent).as_posix(): path.stat().st_size
    for path in folder.rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
  }


def test_the_wheel_has_every_file_of_the_package(wheel):
  with zipfile.ZipFile(wheel) as archive:
    packed = {
      entry.filename: entry.file_size
      for entry in archive.infolist()
      if ".dist-info/" not in entry.filename
    }
  there = files_below(REPOSITORY / "magenta_midi")
  data = {name for name in there if not name.endswith(".py")}
  assert len(data) >= 10, data
  missing = sorted(there.keys() - packed.keys())
  assert not missing, f"add to package-data in pyproject.toml: {missing}"
  assert packed == there


def test_every_command_runs_from_another_folder(program, tmp_path):
  (tmp_path / "data").mkdir()
  for name in PHRASES:
    shutil.copy(phrase_path(name), tmp_path / "data")
  shutil.copytree(SESSION, tmp_path / "saved/2026-11-28_21-41-06-old")

  def run(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
      [program, *args],
      cwd=tmp_path,
      env=environment(tmp_path / "home"),
      capture_output=True,
      text=True,
      timeout=600,
    )

  assert {line[0] for line in RUNS + REFUSED} == set(COMMANDS)
  for line in RUNS:
    done = run(*line, "--json")
    assert done.returncode == 0, (line, done.stderr)
    json.loads(done.stdout.splitlines()[-1])
  for line in REFUSED:
    assert run(line[0], "--help").stdout.startswith("Usage: ")
    done = run(*line)
    assert done.returncode == 2, (line, done.stderr)
    assert len(done.stderr.splitlines()) == 1, done.stderr
  written = ("back.mid", "a.wav", "a.png", "g.mid", "r2.mid")
  assert all((tmp_path / name).stat().st_size for name in written)
