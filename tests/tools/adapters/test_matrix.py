"""Every adapter on every player's music: rows, intervals and the table."""

import numpy as np
import pytest

from magenta_midi.evaluation.evaluate import Evaluation
from tools.adapters.matrix import compared, pairs, table


def evaluation(nats_per_note):
  """Of four pieces that differ in length."""
  notes = np.array([10, 20, 30, 40])
  nats = np.zeros((4, 6))
  nats[:, 0] = nats_per_note * notes
  return Evaluation(nats, notes, np.full(4, 2.0))


def test_changes_are_from_the_base_and_against_the_own_adapter():
  scores = dict(base=evaluation(10.0), ann=evaluation(9.0), bo=evaluation(9.5))
  row = compared(scores, "ann")
  assert row["ann"]["percent"] == pytest.approx(-10.0)
  assert row["ann"]["ci95_percent"] == pytest.approx([-10.0, -10.0])
  assert "own_less_this" not in row["ann"]
  assert row["bo"]["own_less_this"]["nats_per_note"] == pytest.approx(-0.5)
  assert row["base"]["own_less_this"]["ci95"] == pytest.approx([-1.0, -1.0])
  assert "own_less_this" not in compared(scores, None)["bo"]


def test_the_table_marks_own_adapters():
  scores = dict(base=evaluation(10.0), ann=evaluation(9.0), bo=evaluation(9.5))
  rows = dict(ann=compared(scores, "ann"))
  rows["dee"] = compared(dict(base=scores["base"], bo=scores["bo"]), None)
  assert table(rows, dict(ann="ann")).splitlines() == [
    "| held-out music of | base | ann | bo |",
    "|---|---|---|---|",
    "| ann | 10.000 | **-10.0 %** | -5.0 % |",
    "| dee | 10.000 |  | -5.0 % |",
  ]


def test_options_name_a_player():
  assert pairs(("a=b", "c=d=e"), "--own") == [("a", "b"), ("c", "d=e")]
  with pytest.raises(ValueError, match="--own x: expected PLAYER=NAME"):
    pairs(("x",), "--own")
