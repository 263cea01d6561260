"""Files saved by commit 326db6b: a run, a live session, a replay; all are read.

What sounded can be heard and exported for ever; to be made again it needs the
weights of its time.

The run was made with the bundled phrases and `--preset tiny`, smaller still,
and stopped after 20 of 24 steps; the session with `jam --demo`, the replay with
`replay prelude.mid --seconds 8 --seed 3`.
"""

import json
import shutil
import tarfile
from pathlib import Path

import pytest

from magenta_midi.cli.phrases import PHRASES, phrase_path
from magenta_midi.midi.score import Score
from tests.support.command_line import run, run_json

SAVED = Path(__file__).parent / "fixtures" / "saved_by_326db6b"


@pytest.fixture
def phrases(tmp_path):
  folder = tmp_path / "data"
  folder.mkdir()
  for name in PHRASES:
    shutil.copy(phrase_path(name), folder)
  return folder


@pytest.fixture
def sessions(tmp_path):
  folder = tmp_path / "sessions"
  shutil.copytree(SAVED / "session", folder / "2026-11-28_21-41-06-old")
  return folder


def test_a_run_goes_on(capsys, tmp_path, phrases):
  with tarfile.open(SAVED / "run.tar.xz") as archive:
    archive.extraction_filter = getattr(tarfile, "data_filter", None)
    archive.extractall(tmp_path)
  run_json(
    capsys,
    *("train", "--data", phrases, "--preset", "tiny", "--steps", 24),
    *("--set", "embed_dim=8", "--set", "head_dim=4", "--set", "mlp_dim=16"),
    *("--set", "temporal_layers=1", "--set", "frames_per_batch=300"),
    *("--set", "held_out_windows=4", "--set", "sample_s=0"),
    *("--out", tmp_path / "run"),
  )
  notes = json.loads((tmp_path / "run/checkpoint/config.json").read_text())
  assert notes["notes"]["step"] == 24
  lines = (tmp_path / "run/log.jsonl").read_text().splitlines()
  assert json.loads(lines[0])["step"] == 20


def test_a_live_session_is_listed_and_exported(capsys, tmp_path, sessions):
  at = ("sessions", "--sessions", sessions)
  (entry,) = run_json(capsys, *at, "list")["sessions"]
  assert (entry["notes_player"], entry["notes_ai"]) == (39, 27)
  out = tmp_path / "out"
  code, _, problem = run(capsys, *at, "export", "last", out)
  assert code == 0, problem
  assert len(Score.from_file(next(out.rglob("both.mid")))) == 66


def test_a_session_without_its_files_is_recovered(capsys, sessions):
  folder = next(sessions.iterdir())
  for name in ("session.json", "session.mid"):
    (folder / name).unlink()
  (entry,) = run_json(capsys, "sessions", "--sessions", sessions, "list")[
    "sessions"
  ]
  assert entry["notes_player"] == 39


@pytest.mark.parametrize("name", ["replay.json", "session/session.json"])
def test_a_session_of_earlier_weights_is_one_line(capsys, tmp_path, name):
  # The embedded weights are others since.
  code, _, problem = run(
    capsys, "replay", SAVED / name, "--out", tmp_path / "again.mid"
  )
  assert code == 2
  (said,) = problem.strip().splitlines()
  assert "was played with another checkpoint (embedded)" in said
  assert not (tmp_path / "again.mid").exists()
