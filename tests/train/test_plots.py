"""Pictures of held-out figures, made of figures alone."""

import json

import numpy as np
import pytest
from matplotlib.image import imread

from magenta_midi.evaluation.comparison import Comparison
from magenta_midi.evaluation.evaluate import LEVEL_NAMES, Evaluation
from magenta_midi.train.plots import plot_evaluation, plot_finetune

TOKENS = ("time_shift", "note_on", "velocity", "note_off")
# Neither TeX nor in the font, and longer than there is room for.
NAMES = ("a $1$ $", "b 曲", "c\udcff", "d" * 300)


def figures(pieces: int, seed: int, names=LEVEL_NAMES) -> tuple:
  rng = np.random.default_rng(seed)
  notes = rng.integers(1, 3000, pieces)
  titles = tuple(NAMES[i % len(NAMES)] + str(i) for i in range(pieces))
  evaluation = Evaluation(
    rng.gamma(8.0, 0.1, (pieces, 6)) * notes[:, None],
    notes,
    np.full(pieces, 60.0),
    names,
    titles,
  )
  facts = evaluation.figures()
  facts["by_piece"] = evaluation.by_piece()
  facts["checkpoint"] = f"runs/{NAMES[seed]}/checkpoint"
  return evaluation, facts


@pytest.mark.parametrize("pieces", [1, 3, 60])
@pytest.mark.parametrize("against", [None, LEVEL_NAMES, TOKENS])
def test_a_picture_is_whole_and_alone(tmp_path, pieces, against):
  evaluation, facts = figures(pieces, 0)
  if against is not None:
    other, facts["against"] = figures(pieces, 1, against)
    facts["difference"] = Comparison(evaluation, other).figures()
  path = tmp_path / "picture"
  plot_evaluation(facts, path)
  pixels = imread(path, format="png")
  assert pixels.shape == (550, 990, 4)
  assert pixels[..., :3].std() > 0.02
  assert [p.name for p in tmp_path.iterdir()] == ["picture"]


def test_a_piece_without_notes_is_left_out(tmp_path):
  _, facts = figures(3, 0)
  facts["by_piece"][1]["nats_per_note"] = None
  plot_evaluation(facts, tmp_path / "x.png")
  facts["against"] = facts
  facts["difference"] = dict(nats_per_note=0.0, ci95=[0.0, 0.0])
  plot_evaluation(facts, tmp_path / "x.png")
  assert (tmp_path / "x.png").stat().st_size > 10_000


@pytest.mark.parametrize("nats", [[], [9.5], [9.5, 9.4, 9.6, float("nan")]])
def test_a_fine_tuning_run_is_drawn(tmp_path, nats):
  log = tmp_path / "log.jsonl"
  rows = [
    dict(step=10 * place, held_out=dict(nats_per_note=value))
    for place, value in enumerate(nats)
  ]
  rows += [
    dict(step=place, nats=9.0, levels=[9.0]) for place in range(len(nats))
  ]
  log.write_text("".join(json.dumps(row) + "\n" for row in rows))
  plot_finetune(log, tmp_path / "x.png")
  assert imread(tmp_path / "x.png").shape == (550, 990, 4)
