"""Logs of runs that were damaged: the rows that are some, and no others."""

import json
import os

import pytest

from magenta_midi.bounded_files import LINE_BYTES
from magenta_midi.train import plots
from magenta_midi.train.plots import read_log
from magenta_midi.train.watch import RunLog

GOOD = [{"step": 1, "levels": [2.0, 1.0]}, {"step": 2, "held_out": 3.0}]
LATE = {"step": 9, "levels": [1.0, 1.0]}
BAD = [
  b"[" * 100_000 + b"]" * 100_000,
  b'{"step":' + b"[" * 100_000 + b"}",
  b'{"step":' + b"9" * 5000 + b"}",
  b'{"step": 1, "x": "' + b"x" * LINE_BYTES + b'"}',
  b'{"step": true}',
  b'{"step": "1"}',
  b'{"step": 1.5}',
  b'{"st',
  b"[1]",
  b"\xff\xfe",
  b"\0",
  b"",
]


def written(path):
  lines = [*BAD]
  lines[3:3] = [json.dumps(GOOD[0]).encode()]
  lines[9:9] = [json.dumps(GOOD[1]).encode(), json.dumps(LATE).encode()]
  path.write_bytes(b"\n".join(lines))
  return path


def test_rows_among_damaged_lines_are_read(tmp_path):
  assert read_log(written(tmp_path / "log.jsonl")) == [*GOOD, LATE]


def test_a_run_goes_on_after_a_damaged_log(tmp_path):
  pytest.importorskip("tensorboardX")
  with RunLog(tmp_path, 0, ("a", "b")) as log:
    path = log.path
  written(path)
  with RunLog(tmp_path, 2, ("a", "b")):
    pass
  lines = path.read_text().splitlines()
  assert [json.loads(line) for line in lines] == GOOD


ODD = [
  {"levels": [2.0, 1.0]},
  {"levels": {"a": 1}, "minutes": 1.0, "nats": 1.0},
  {"levels": ["x", 1.0], "minutes": 1.0, "nats": 1.0},
  {"levels": [1.0], "minutes": 1.0, "nats": 1.0},
  {"levels": [1.0, 10**400], "minutes": 1.0, "nats": 1.0},
  {"levels": [1.0, 1.0], "minutes": None, "nats": 1.0},
  {"held_out": 3.0, "minutes": 1.0},
  {"held_out": {}, "minutes": 1.0},
  {"held_out": {"nats_per_note": "x"}, "minutes": 1.0},
]
WHOLE = [
  {"minutes": 0.5, "nats": 3.0, "levels": [2.0, 1.0]},
  {"minutes": 1.0, "nats": float("nan"), "levels": [1.5, float("inf")]},
  {"minutes": 1.5, "held_out": {"nats_per_note": 9.0}},
]


def drawn(monkeypatch, plot, folder, rows):
  """The points of all lines of a plot of a log."""
  found = []

  def keep(figure, path):
    del path
    for axes in figure.axes:
      found.extend(line.get_xydata().tolist() for line in axes.lines)

  monkeypatch.setattr(plots, "save_figure", keep)
  path = folder / "log.jsonl"
  path.write_text("".join(f"{json.dumps({'step': 1, **r})}\n" for r in rows))
  plot(path)
  return repr(found)


@pytest.mark.parametrize(
  "plot",
  [
    lambda path: plots.plot_losses(path, path, ("a", "b")),
    lambda path: plots.plot_finetune(path, path),
  ],
)
def test_rows_that_cannot_be_drawn_are_left_out(tmp_path, monkeypatch, plot):
  odd = [row for row in ODD if row.get("levels") != [1.0]]
  mixed = [*odd[:4], *WHOLE, *odd[4:]]
  whole = drawn(monkeypatch, plot, tmp_path, WHOLE)
  assert "9.0" in whole and "3.0" in whole
  assert drawn(monkeypatch, plot, tmp_path, mixed) == whole


def test_a_row_of_other_levels_is_left_out(tmp_path, monkeypatch):
  def plot(path):
    plots.plot_losses(path, path, ("a", "b"))

  whole = drawn(monkeypatch, plot, tmp_path, WHOLE)
  assert drawn(monkeypatch, plot, tmp_path, [*ODD, *WHOLE]) == whole


def test_a_log_is_a_regular_file(tmp_path):
  os.mkfifo(tmp_path / "log.jsonl")
  with pytest.raises(OSError, match="no regular file"):
    read_log(tmp_path / "log.jsonl")
