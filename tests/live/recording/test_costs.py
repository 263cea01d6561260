"""Tables of costs: theirs and others'."""

import json
import os

import pytest

from magenta_midi.live.recording.costs import CostTable

ROWS = {
  name: {"base": number + 0.5, "each": 0.25}
  for number, name in enumerate(CostTable.NAMES)
}


def test_a_table_is_read_as_it_was_written(tmp_path):
  path = tmp_path / "costs.json"
  path.write_text(json.dumps(ROWS))
  table = CostTable.load(path)
  assert table.to_json() == ROWS
  assert table.ns("react", 2) == 2_000_000


@pytest.mark.parametrize(
  "value",
  [None, "x", [], 10**400, float("nan"), float("inf"), -1, 10_000, "9" * 5000],
)
def test_a_cost_that_cannot_be_is_refused(tmp_path, value):
  path = tmp_path / "costs.json"
  path.write_text(json.dumps({**ROWS, "react": {"base": value, "each": 0}}))
  with pytest.raises(ValueError) as caught:
    CostTable.load(path)
  assert str(caught.value).startswith(f"{path}: ")
  assert "\n" not in str(caught.value)
  assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
  "text",
  ["", "[]", "{}", "[" * 100_000 + "]" * 100_000, "9" * 5000, '{"react": 1}'],
)
def test_what_is_no_table_is_refused(tmp_path, text):
  path = tmp_path / "costs.json"
  path.write_text(text)
  with pytest.raises(ValueError, match="a cost table must give") as caught:
    CostTable.load(path)
  assert len(str(caught.value)) < 500


def test_a_table_is_a_regular_file(tmp_path):
  os.mkfifo(tmp_path / "costs.json")
  with pytest.raises(OSError, match="no regular file"):
    CostTable.load(tmp_path / "costs.json")
