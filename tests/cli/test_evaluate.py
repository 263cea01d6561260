"""`magenta-midi evaluate`, with checkpoints of drawn weights."""

import json

import numpy as np
import pytest

from magenta_midi.midi.score import Score
from magenta_midi.model.checkpoint import save_checkpoint
from magenta_midi.testing import tiny_generator
from magenta_midi.testing.models import STYLE_ENTRY, tiny_styled_generator
from magenta_midi.tokens.event.codec import EventCodec
from tests.support.command_line import refused, run, run_json

PIECES = ("a $1$", "b 曲", "c")


@pytest.fixture(scope="module")
def music(tmp_path_factory):
  folder = tmp_path_factory.mktemp("music")
  for seed, name in enumerate(PIECES):
    rng = np.random.default_rng(seed)
    count = 12 * (seed + 1)
    Score.from_arrays(
      onset_s=np.sort(rng.uniform(0, 3, count)).round(3),
      duration_s=rng.uniform(0.05, 1.0, count).round(3),
      key=rng.integers(40, 80, count),
      velocity=rng.integers(20, 110, count),
    ).to_file(folder / f"{name}.mid")
  return folder


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
  """Two that differ in how sure they are."""
  folder = tmp_path_factory.mktemp("checkpoints")
  model = tiny_generator().model
  kernel = model.logits_dense.kernel
  for name in ("one", "two"):
    save_checkpoint(
      folder / name, model, codec={"name": "note", "settings": {}}
    )
    kernel[...] = 1.5 * kernel[...]
  return folder


def difference_line(out: str) -> str:
  (line,) = (x for x in out.splitlines() if x.startswith("difference:"))
  return line


def test_every_piece_is_told(capsys, music, checkpoints):
  facts = run_json(
    capsys, "evaluate", music, "--checkpoint", checkpoints / "one"
  )
  assert facts["checkpoint"] == str(checkpoints / "one")
  rows = facts["by_piece"]
  assert [row["piece"] for row in rows] == [
    str(music / f"{name}.mid") for name in PIECES
  ]
  assert [row["notes"] for row in rows] == [12, 24, 36]
  total = sum(row["notes"] * row["nats_per_note"] for row in rows)
  assert total / facts["notes"] == pytest.approx(facts["nats_per_note"])
  assert "against" not in facts and "difference" not in facts


def test_against_itself_there_is_no_difference(capsys, music, checkpoints):
  one = checkpoints / "one"
  code, out, err = run(
    capsys, "evaluate", music, "--checkpoint", one, "--against", one, "--json"
  )
  assert code == 0, err
  line = difference_line(out)
  assert "+0.000 nats a note (95 % +0.000 to +0.000" in line
  assert line.endswith(": no difference")
  facts = json.loads(out.splitlines()[-1])
  difference = facts["difference"]
  assert difference["nats_per_note"] == difference["nats_per_second"] == 0.0
  assert difference["ci95"] == [0.0, 0.0]
  assert difference["beyond"] is False
  assert set(difference["levels"].values()) == {0.0}
  assert facts["against"]["by_piece"] == facts["by_piece"]


def test_the_difference_is_that_of_two_runs(
  capsys, music, checkpoints, tmp_path
):
  one, two = checkpoints / "one", checkpoints / "two"
  alone = [
    run_json(capsys, "evaluate", music, "--checkpoint", folder)
    for folder in (one, two)
  ]
  plot = tmp_path / "new" / "x.png"
  facts = run_json(
    *(capsys, "evaluate", music, "--checkpoint", one, "--against", two),
    *("--plot", plot),
  )
  difference, against = facts.pop("difference"), facts.pop("against")
  assert (facts, against) == tuple(alone)
  for name in ("nats_per_note", "nats_per_second", "pedal", "end"):
    expected = alone[0][name] - alone[1][name]
    assert difference[name] == pytest.approx(expected), name
  assert difference["nats_per_note"] != 0
  for name, nats in difference["levels"].items():
    expected = alone[0]["levels"][name] - alone[1]["levels"][name]
    assert nats == pytest.approx(expected), name
  low, high = difference["ci95"]
  assert low < difference["nats_per_note"] < high
  assert difference["beyond"] == (low > 0 or high < 0)
  assert_picture(plot)


def assert_picture(path):
  """A whole PNG with something drawn, and nothing else in its folder."""
  from matplotlib.image import imread

  pixels = imread(path, format="png")
  assert pixels.shape[0] > 300 and pixels.shape[1] > 500
  assert pixels[..., :3].std() > 0.02
  assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_one_piece_says_nothing_of_others(capsys, music, checkpoints):
  code, out, err = run(
    *(capsys, "evaluate", music / "c.mid", "--checkpoint", checkpoints / "one"),
    *("--against", checkpoints / "two", "--json"),
  )
  assert code == 0, err
  assert "one piece alone gives no interval" in difference_line(out)
  assert "95 %" not in difference_line(out)
  assert '"beyond": null' in out


@pytest.mark.slow
def test_codecs_compare_as_wholes(capsys, music, checkpoints, tmp_path):
  event = tmp_path / "event"
  save_checkpoint(
    event,
    tiny_generator(codec=EventCodec()).model,
    codec={"name": "event", "settings": {}},
  )
  plot = tmp_path / "new" / "x.png"
  code, out, err = run(
    *(capsys, "evaluate", music, "--checkpoint", checkpoints / "one"),
    *("--against", event, "--plot", plot, "--json"),
  )
  assert code == 0, err
  assert "levels are not compared" in out
  assert '"levels"' not in out[out.index('"difference"') :]
  assert_picture(plot)


def test_the_picture_of_one_checkpoint(capsys, music, checkpoints, tmp_path):
  plot = tmp_path / "new" / "x.png"
  code, out, err = run(
    *(capsys, "evaluate", music, "--checkpoint", checkpoints / "one"),
    *("--plot", plot),
  )
  assert code == 0, err
  assert out.splitlines()[-1] == f"wrote {plot}"
  assert_picture(plot)


@pytest.mark.slow
def test_with_style_the_difference_is_told_twice(capsys, music, tmp_path):
  styled = tmp_path / "styled"
  save_checkpoint(
    styled,
    tiny_styled_generator().model,
    codec={"name": "note", "settings": {}},
    style=STYLE_ENTRY,
  )
  facts = run_json(
    *(capsys, "evaluate", music / "a $1$.mid", "--style-prompted"),
    *("--checkpoint", styled, "--against", styled),
  )
  assert facts["style_prompted"] == facts["against"]["style_prompted"]
  assert facts["style_prompted"]["nats_per_note"] != facts["nats_per_note"]
  assert facts["difference"]["style_prompted"]["nats_per_note"] == 0.0


def test_mistakes_are_told_before_scoring(
  capsys, music, checkpoints, tmp_path, monkeypatch
):
  def scored(*_: object, **__: object):
    raise AssertionError("scored before the mistake was told")

  monkeypatch.setattr("magenta_midi.evaluation.evaluate.evaluate", scored)
  (tmp_path / "file").write_text("")
  one = checkpoints / "one"
  for options, message in (
    (("--against", "nobody"), "--against nobody: no checkpoint of that name"),
    (("--against", tmp_path), "no checkpoint there"),
    (("--plot", tmp_path), "is a folder"),
    (("--plot", tmp_path / "file" / "x.png"), "cannot be written"),
  ):
    line = refused(capsys, "evaluate", music, "--checkpoint", one, *options)
    assert message in line, options
