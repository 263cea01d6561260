"""`magenta-midi prepare`, and what train and evaluate make of its folder."""

import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from magenta_midi.midi.score import Score
from magenta_midi.midi.score_files import write_score
from magenta_midi.model.checkpoint import save_checkpoint
from magenta_midi.testing import tiny_generator
from tests.support.command_line import run


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
  """Eight pieces, one twice, and seven bad files."""
  folder = tmp_path_factory.mktemp("corpus") / "midi"
  folder.mkdir()
  rows = ["path,split,title,composer"]
  for index in range(9):
    rng = np.random.default_rng(index % 8)
    count = 40
    score = Score.from_arrays(
      onset_s=np.sort(rng.uniform(0, 12, count)).round(3),
      duration_s=np.full(count, 0.4),
      key=rng.integers(30, 90, count),
      velocity=rng.integers(20, 110, count),
    )
    write_score(score, folder / f"{index}.mid")
    split = "valid" if index in (2, 3) else "train"
    rows.append(f"{index}.mid,{split},Waltz no. {index},Chopin")
  for index in range(7):
    (folder / f"broken {index}.mid").write_bytes(b"no [red]MIDI")
  folder.with_name("midi.csv").write_text("\n".join(rows) + "\n")
  return folder


def test_counts_and_bad_files(capsys, folder, tmp_path):
  out = tmp_path / "out"
  code, said, err = run(capsys, "prepare", folder, "--out", out, "--json")
  assert code == 0
  facts = json.loads(said.splitlines()[-1])
  assert facts["files"] == 16
  assert facts["pieces"] == 8
  assert (facts["duplicates"], facts["bad"], facts["shards"]) == (1, 7, 1)
  assert facts["notes"] == 320
  assert {s: n["pieces"] for s, n in facts["splits"].items()} == {
    "train": 6,
    "valid": 2,
  }
  assert facts["bytes"] == sum(p.stat().st_size for p in out.iterdir())
  lines = err.strip().splitlines()
  assert len(lines) == 6
  assert lines[0].startswith("left out: broken 0.mid: ")
  assert "2 more" in lines[-1]
  assert "1 copy of a piece" in said


@pytest.mark.parametrize(
  ("out", "match"),
  [
    ("full", "holds other files"),
    ("full/mine.txt", "is a file"),
    ("full/mine.txt/out", "that you may write to"),
    ("/proc/out", "that you may write to"),
  ],
)
def test_one_line_where_it_cannot_write(capsys, folder, tmp_path, out, match):
  (tmp_path / "full").mkdir()
  (tmp_path / "full" / "mine.txt").write_text("mine")
  code, said, err = run(capsys, "prepare", folder, "--out", tmp_path / out)
  assert (code, said) == (2, "")
  assert len(err.strip().splitlines()) == 1
  assert match in err
  assert (tmp_path / "full" / "mine.txt").read_text() == "mine"


def test_one_line_when_the_disk_is_full(capsys, folder, tmp_path):
  script = (
    "import resource, sys; from magenta_midi.cli.main import main;"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000));"
    "main(sys.argv[1:])"
  )
  out = tmp_path / "out"
  command = ["prepare", str(folder), "--out", str(out)]
  full = subprocess.run(
    [sys.executable, "-c", script, *command, "--jobs", "2"],
    capture_output=True,
    text=True,
  )
  assert full.returncode == 2
  (line,) = full.stderr.strip().splitlines()
  assert "file too large. What is finished is kept" in line
  code, _, _ = run(capsys, *command)
  assert code == 0


def test_an_unknown_beam_is_told(capsys, folder, tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "apache_beam", None)
  code, _, err = run(
    capsys, "prepare", folder, "--out", tmp_path / "out", "--beam", ""
  )
  assert code == 2
  assert "pip install 'magenta-midi[beam]'" in err
  # A later test's warnings are seen.
  assert logging.getLogger("x").isEnabledFor(logging.ERROR)
  assert not (tmp_path / "out").exists()


def test_evaluate_gives_the_same_figures(capsys, folder, tmp_path):
  checkpoint, out = tmp_path / "checkpoint", tmp_path / "out"
  save_checkpoint(
    checkpoint,
    tiny_generator().model,
    codec={"name": "note", "settings": {}},
  )
  assert run(capsys, "prepare", folder, "--out", out)[0] == 0
  figures = []
  for path in (folder, out):
    code, said, err = run(
      *(capsys, "evaluate", path, "--split", "valid"),
      *("--checkpoint", checkpoint, "--json"),
    )
    assert code == 0, err
    figures.append(json.loads(said.splitlines()[-1]))
  assert figures[0] == figures[1]
  assert figures[0]["pieces"] == 2
  code, said, err = run(
    capsys, "evaluate", out, "--checkpoint", checkpoint, "--json"
  )
  assert code == 0, err
  assert json.loads(said.splitlines()[-1])["pieces"] == 8
  os.rename(out / "manifest.json", out / "elsewhere.json")
  (out / ".unfinished").mkdir()
  code, _, err = run(capsys, "evaluate", out, "--checkpoint", checkpoint)
  assert code == 2
  assert "its preparation is unfinished" in err


@pytest.mark.slow
def test_train_reads_it_with_its_facts(capsys, folder, tmp_path):
  # Each piece once: copies would be drawn more often from the files.
  midi, out = tmp_path / "midi", tmp_path / "out"
  shutil.copytree(folder, midi)
  shutil.copy(folder.with_name("midi.csv"), tmp_path)
  (midi / "8.mid").unlink()
  assert run(capsys, "prepare", midi, "--out", out)[0] == 0
  rows = []
  for path, name in ((midi, "a"), (out, "b")):
    code, _, err = run(
      *(capsys, "train", "--data", path, "--preset", "tiny", "--steps", 2),
      *("--style", "descriptors", "--out", tmp_path / name),
    )
    assert code == 0, err
    log = (tmp_path / name / "log.jsonl").read_text().splitlines()
    rows.append(json.loads(log[-1]))
    del rows[-1]["minutes"]
  assert rows[0] == rows[1]
  assert rows[0]["held_out_prompted"]["pieces"] == 2
