"""Fuzzing: it counts what happens, finds faults, and repeats itself."""

import gc
import json
import random
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from tools.fuzzing import runs
from tools.fuzzing.files import main, table
from tools.fuzzing.kind import Kind
from tools.fuzzing.kinds import KINDS
from tools.fuzzing.mutations import mutated_bytes, mutated_json
from tools.fuzzing.runs import Limits


def run(*words):
  return CliRunner().invoke(main, words, catch_exceptions=False)


def test_a_run_counts_every_input():
  found = run("--kind", "osc", "--inputs", "60", "--jobs", "1", "--json")
  assert found.exit_code == 0, found.output
  (row,) = json.loads(found.stdout.splitlines()[-1])["kinds"]
  assert row["inputs"] == 60 == row["read"] + row["refused"]
  assert row["read"] and row["refused"]
  assert f"| osc | 60 | {row['read']} |" in found.stdout


def test_one_input_is_made_again(tmp_path):
  words = ("--kind", "osc", "--only", "7", "--keep")
  for name in ("a", "b"):
    assert run(*words, str(tmp_path / name)).exit_code == 0
  (first,), (second,) = ((tmp_path / n).iterdir() for n in ("a", "b"))
  assert first.name == second.name == "osc-0-7.osc"
  assert first.read_bytes() == second.read_bytes()


def test_mutations_depend_on_the_generator_alone():
  tree = {"a": [1, {"b": "x"}], "c": None}
  for change, value in ((mutated_json, tree), (mutated_bytes, bytes(99))):
    texts = [change(value, random.Random(seed)) for seed in range(50)]
    assert texts == [change(value, random.Random(seed)) for seed in range(50)]
    assert len(set(texts)) > 20
  assert tree == {"a": [1, {"b": "x"}], "c": None}


def faulty(read):
  return Kind(
    "x", lambda folder: None, _touched, read, ("builtins:ValueError",)
  )


def _touched(folder: Path, made: object, rng: random.Random) -> Path:
  del made, rng
  (folder / "x").touch()
  return folder / "x"


def _raise(error):
  raise error


@pytest.mark.parametrize(
  ("read", "result"),
  [
    (lambda folder: None, "read"),
    (lambda folder: _raise(ValueError("one line")), "refused"),
    (lambda folder: _raise(ValueError("two\nlines")), "crash"),
    (lambda folder: _raise(ValueError("x" * 100_000)), "crash"),
    (lambda folder: _raise(KeyError("x")), "crash"),
    (lambda folder: b"\xff".decode(), "crash"),
    (lambda folder: json.loads("{"), "crash"),
    (lambda folder: _raise(MemoryError()), "memory"),
    # Far beyond the limit: what earlier tests left may be freed meanwhile.
    (lambda folder: bytearray(200 * 2**20), "memory"),
    (lambda folder: time.sleep(60), "hang"),
  ],
)
def test_each_result_is_told_apart(tmp_path, read, result):
  gc.collect()
  limits = Limits(0.5 if result == "hang" else 20.0, 50)
  outcome = runs._outcome(faulty(read), tmp_path, 3, (ValueError,), limits)
  assert (outcome.number, outcome.result) == (3, result)
  tally = runs._tally("x", [outcome], 1.0)
  bad = tally.crashes + tally.hangs + tally.over_memory
  assert bad == (result not in ("read", "refused")) == len(tally.failures)
  assert table([tally]).count("\n") == 2


def inputs(name: str, folder: Path) -> list[bytes]:
  folder.mkdir()
  made = KINDS[name].make(folder)
  return [
    KINDS[name].write(folder, made, random.Random(number)).read_bytes()
    for number in range(30)
  ]


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_makes_inputs_again(tmp_path, name):
  if name == "tar":
    pytest.importorskip("tensorstore")
  first = inputs(name, tmp_path / "first")
  assert len(set(first)) > 15
  time.sleep(1.1)  # files may hold the time of day, in seconds
  assert inputs(name, tmp_path / "again") == first
