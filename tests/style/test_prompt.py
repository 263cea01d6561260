from pathlib import Path

import numpy as np
import pytest

from magenta_midi.midi import MidiFileError, Score
from magenta_midi.style.prompt import embed_prompt


def axis(item):
  """Text x, y or -x as an axis; a score is the third one."""
  sign = -1 if str(item).startswith("-") else 1
  axis = 2 if isinstance(item, Score) else "xy".index(item[-1])
  return (sign * np.eye(3)[axis]).astype(np.float32)


@pytest.mark.parametrize("scale", [1, 0.001, 1e9])
def test_weights_count_relative_to_each_other(scale):
  mixed = embed_prompt([("x", 3 * scale), ("y", 4 * scale)], axis)
  np.testing.assert_allclose(mixed, [0.6, 0.8, 0], atol=1e-6)


def test_zero_weight_has_no_effect():
  mixed = embed_prompt([("x", 0), ("y", np.float32(2))], axis)
  assert mixed.tolist() == [0, 1, 0]
  assert mixed.dtype == np.float32


def test_embeddings_are_used_unchanged():
  given = np.array([0.6, 0.0, 0.8])
  found = embed_prompt(given, axis)
  assert found.dtype == np.float32
  np.testing.assert_allclose(found, given, atol=1e-6)
  mixed = embed_prompt([(given, 1), ("y", 1)], axis)
  np.testing.assert_allclose(mixed, np.array([0.6, 1, 0.8]) / 2**0.5, atol=1e-6)
  for bad in (np.zeros(3), np.array([1.0, np.nan]), np.eye(2)):
    with pytest.raises(ValueError, match="finite numbers, not all 0, got"):
      embed_prompt([("x", 1), (bad, 1)], axis)


@pytest.mark.parametrize("as_text", [False, True])
def test_files(tmp_path, slow, as_text):
  path = tmp_path / "Take 1.MID"
  slow.to_file(path)
  prompt = str(path) if as_text else path
  assert embed_prompt(prompt, axis).tolist() == [0, 0, 1]
  mixed = embed_prompt([(prompt, 1), ("x", 0)], axis)
  assert mixed.tolist() == [0, 0, 1]


@pytest.mark.parametrize("prompt", ["absent.mid", Path("absent")])
def test_missing_file(prompt):
  with pytest.raises(MidiFileError, match=r"absent.*no such file"):
    embed_prompt(prompt, axis)


@pytest.mark.parametrize(
  ("prompt", "message"),
  [
    ([("x", -1.0), ("y", 3.0)], "from 0 to 1000000000000 .*, got -1"),
    ([("x", float("nan"))], "from 0 to 1000000000000 "),
    ([("x", float("inf"))], "from 0 to 1000000000000 "),
    ([("x", 0.0), ("y", 0)], "positive sum"),
    ([], "positive sum"),
    (["x", "y"], "pairs, got 'x'"),
    (("x", 2.0), "pairs, got 'x'"),
    ([("x", "2")], "pairs"),
    ([([("x", 1.0)], 1.0)], "pairs"),
    ([("x", 1.0), ("-x", 1.0)], "cancel out"),
  ],
)
def test_refused(prompt, message):
  with pytest.raises(ValueError, match=message) as error:
    embed_prompt(prompt, axis)
  assert "\n" not in str(error.value)
