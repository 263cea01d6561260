"""The table of controls: what it says is what the engine takes."""

import json

import pytest

from magenta_midi.live.protocol.controls import Controls, changed
from magenta_midi.server.control_table import NOT_SERVED, control_table

ROWS = {row["name"]: row for row in control_table()}


def test_every_control_is_there_once():
  names = set(Controls._fields) - {"adapters", *NOT_SERVED}
  assert set(ROWS) == names and len(control_table()) == len(names)
  json.dumps(control_table())


@pytest.mark.parametrize("name", sorted(ROWS))
def test_defaults_are_those_of_a_new_session(name):
  assert changed(Controls(), name, ROWS[name]["default"]) == Controls()


@pytest.mark.parametrize(
  "row", [r for r in control_table() if r["kind"] == "number"], ids=str
)
def test_both_ends_are_taken_and_more_is_not(row):
  for value in (row["low"], row["top"], row["high"]):
    changed(Controls(), row["name"], value)
  for value in (row["low"] - 1, row["high"] + 1):
    with pytest.raises(ValueError):
      changed(Controls(), row["name"], value)


def test_choices_are_taken():
  for row in ROWS.values():
    for choice in row.get("choices", ()):
      found = changed(Controls(), row["name"], choice)
      assert getattr(found, row["name"]) == choice
