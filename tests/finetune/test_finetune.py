"""Fine-tuning: it learns, resumes exactly, and never makes things worse."""

import dataclasses
import json
import os
import tarfile
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from magenta_midi.data.recordings import recordings_of_scores, split_recordings
from magenta_midi.evaluation.evaluate import evaluate
from magenta_midi.finetune import adapter_task, estimate
from magenta_midi.finetune.config import (
  FinetuneConfig,
  finetune_config,
  train_config,
)
from magenta_midi.finetune.finetune import Base, finetune
from magenta_midi.finetune.mixture import mix
from magenta_midi.finetune.trainer import AdapterTrainer
from magenta_midi.live.engine.compile_counter import CompilationCounter
from magenta_midi.model.checkpoint import flat_parameters
from magenta_midi.model.lora.adapter_file import AdapterError, read_adapter
from magenta_midi.model.lora.lora import LoraConfig, parameter_count
from magenta_midi.testing import tiny_generator
from magenta_midi.tokens.event.codec import EventCodec
from tests.support.finetuning import CODEC, run_config, same, scale
from tests.support.resuming import compiled_when_resumed

SAVED = Path(__file__).parents[1] / "fixtures" / "saved_by_326db6b"


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, base, split):
  out = tmp_path_factory.mktemp("unbroken")
  seen = []
  found = finetune(
    run_config(), base, split, "me", out, on_progress=seen.append
  )
  return found, out, seen


def test_a_resumed_run_compiles_nothing_again(tmp_path, base, split):
  trainer = AdapterTrainer(run_config(), base.model, CODEC, mix(split, (1.0,)))
  assert compiled_when_resumed(trainer, tmp_path / "state") == 0


def test_what_is_trained_is_scored_by_what_scored_the_base(base, split):
  trainer = AdapterTrainer(run_config(), base.model, CODEC, mix(split, (1.0,)))
  trainer.train_step(0.5)
  adapted = trainer.adapted(trainer.factors)
  evaluate(trainer.adapted(None), CODEC, split.held_out)
  with CompilationCounter() as compiled:
    evaluate(adapted, CODEC, split.held_out)
  assert compiled.count == 0


def test_scoring_takes_its_share_of_a_short_run(
  base, split, tmp_path, monkeypatch
):
  monkeypatch.setattr(estimate, "EVALUATED_SHARE", 0.0)
  config = run_config(steps=None, minutes=0.5 / 60)
  assert config.evaluations == 3
  finetune(config, base, split, "me", tmp_path)
  lines = (tmp_path / "log.jsonl").read_text().splitlines()
  scored = [line for line in lines if "held_out" in json.loads(line)]
  # Before, and once it has ended.
  assert len(scored) == 2


def test_it_learns_and_says_so(unbroken, base, split):
  found, out, seen = unbroken
  assert found.after.nats_per_note < found.before.nats_per_note
  assert found.steps == 6
  assert found.difference.nats_per_note < 0
  assert {p.name for p in out.iterdir()} == {
    "run.json",
    "state",
    "log.jsonl",
    "loss.png",
    "tensorboard",
    "me.safetensors",
  }
  stored = read_adapter(out / "me.safetensors")
  same(stored.factors, found.adapter.factors)
  figures = stored.figures
  assert figures["nats_per_note_after"] == found.after.nats_per_note
  assert figures["train_titles"] == 2 and figures["held_out_titles"] == 1
  assert stored.base_sha256 == base.sha256
  stages = list(dict.fromkeys(progress.stage for progress in seen))
  assert stages[:2] == ["scoring before", "training"]
  assert seen[-1].estimate_min > 0
  held = [
    row["held_out"]["nats_per_note"]
    for row in map(json.loads, (out / "log.jsonl").read_text().splitlines())
    if "held_out" in row
  ]
  assert len(held) == 4 and min(held) < held[0]
  assert found.total_parameters - found.trainable_parameters == sum(
    x.size for x in flat_parameters(base.model).values()
  )


def test_the_base_is_left_as_it_is(unbroken, base):
  fresh = flat_parameters(tiny_generator(codec=CODEC).model)
  for name, array in flat_parameters(base.model).items():
    np.testing.assert_array_equal(array, fresh[name], err_msg=name)


def test_the_base_is_held_once(base, split):
  trainer = AdapterTrainer(run_config(), base.model, CODEC, mix(split, (1.0,)))

  def where(state):
    return [x.unsafe_buffer_pointer() for x in jax.tree.leaves(state)]

  own = nnx.state(base.model, nnx.Param)
  assert where(trainer.base) == where(own)
  assert where(nnx.state(trainer.adapted(None), nnx.Param)) == where(own)
  trainer.train_step(0.0)
  assert where(trainer.base) == where(own)
  moments = jax.tree.leaves(trainer._learned.optimizer)
  assert sum(x.size for x in moments) < 2.1 * parameter_count(trainer.factors)


def test_a_base_of_tokens_learns_too(tmp_path):
  codec = EventCodec()
  recordings, _ = recordings_of_scores([("scale.mid", scale(40.0, 60))])
  base = Base(
    model=tiny_generator(codec=codec).model,
    codec=codec,
    name="tiny",
    sha256="",
    codec_entry={"name": "event"},
  )
  found = finetune(
    run_config(steps=2, evaluations=1),
    base,
    split_recordings(recordings),
    "me",
    tmp_path,
  )
  assert found.after.nats_per_note < found.before.nats_per_note
  assert found.adapter.figures["held_out_by_time"]


@pytest.mark.parametrize("stop_at", [0, 3])
def test_a_stopped_run_continues_exactly(
  unbroken, base, split, tmp_path, stop_at
):
  asked = []

  def stop():
    asked.append(1)
    return len(asked) > stop_at

  args = (run_config(), base, split, "me", tmp_path)
  assert finetune(*args, should_stop=stop) is None
  assert not (tmp_path / "me.safetensors").exists()
  resumed = finetune(*args)
  expected = unbroken[0]
  assert resumed.steps == 6
  same(resumed.adapter.factors, expected.adapter.factors)
  np.testing.assert_array_equal(resumed.after.nats, expected.after.nats)
  np.testing.assert_array_equal(resumed.before.nats, expected.before.nats)
  # Once more: nothing is left to do.
  same(finetune(*args).adapter.factors, expected.adapter.factors)


def test_a_run_of_326db6b_continues(base, split, tmp_path):
  """It was stopped after three of six steps, on another processor."""
  with tarfile.open(SAVED / "finetune.tar.xz") as archive:
    archive.extraction_filter = getattr(tarfile, "data_filter", None)
    archive.extractall(tmp_path / "old")
  args = (run_config(rank=1, targets=("depth.mlp",)), base, split, "me")
  asked = []
  found = finetune(
    *args, tmp_path / "old", should_stop=lambda: bool(asked.append(1))
  )
  assert len(asked) == 3
  expected = finetune(*args, tmp_path / "new")
  # Whose sums may be rounded otherwise.
  assert found.adapter.factors.keys() == expected.adapter.factors.keys()
  for name, pair in found.adapter.factors.items():
    for factor, other in zip(pair, expected.adapter.factors[name], strict=True):
      np.testing.assert_allclose(factor, other, rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(found.before.nats, expected.before.nats, rtol=1e-5)
  figures, others = found.adapter.figures, expected.adapter.figures
  assert figures["best_step"] == others["best_step"]
  assert figures["nats_per_note_after"] == pytest.approx(
    others["nats_per_note_after"], rel=1e-5
  )


def test_a_killed_run_continues_exactly(unbroken, base, split, tmp_path):
  class Killed(BaseException):
    pass

  asked = []

  def die():
    asked.append(1)
    if len(asked) > 5:
      raise Killed
    return False

  args = (run_config(), base, split, "me", tmp_path)
  with pytest.raises(Killed):
    finetune(*args, should_stop=die)
  # The fifth step is lost: the last state is that of the last evaluation.
  assert [p.name for p in (tmp_path / "state").iterdir()] == ["4"]
  resumed = finetune(*args)
  same(resumed.adapter.factors, unbroken[0].adapter.factors)


def test_no_more_than_an_hour_is_scored_before_and_after(
  base, split, tmp_path, monkeypatch
):
  # Of a few seconds.
  monkeypatch.setattr(adapter_task, "SCORED_WINDOWS", 3)
  found = finetune(
    run_config(steps=1, evaluations=1), base, split, "me", tmp_path
  )
  for scored in (found.before, found.after):
    assert scored.seconds.sum() == 2.0 * 3


def test_what_gains_nothing_changes_nothing(base, split, tmp_path):
  found = finetune(
    run_config(steps=2, evaluations=2, learning_rate=100.0),
    base,
    split,
    "me",
    tmp_path,
  )
  assert found.after.nats_per_note == found.before.nats_per_note
  assert not any(np.any(pair.b) for pair in found.adapter.factors.values())
  assert found.adapter.figures["best_step"] == 0


def test_early_stopping_ends_a_run(base, split, tmp_path):
  found = finetune(
    run_config(steps=8, evaluations=8, learning_rate=100.0, early_stopping=2),
    base,
    split,
    "me",
    tmp_path,
    general=split.train,
  )
  assert found.steps == 2
  assert found.general_before.notes.sum() == split.train.notes
  assert found.general_after.nats_per_note == found.general_before.nats_per_note


def test_another_run_in_the_folder_is_refused(unbroken, base, split, tmp_path):
  _, out, _ = unbroken
  with pytest.raises(ValueError, match=r"another run \(seed was 0, now 1\)"):
    finetune(run_config(seed=1), base, split, "me", out)
  with pytest.raises(ValueError, match=r'name was "me", now "her"'):
    finetune(run_config(), base, split, "her", out)
  other = dataclasses.replace(base, sha256="cd" * 32)
  with pytest.raises(ValueError, match="base was"):
    finetune(run_config(), other, split, "me", out)
  with pytest.raises(AdapterError, match="an adapter's name"):
    finetune(run_config(), base, split, "a/b", tmp_path)


def test_a_full_disk_at_the_last_save_loses_nothing(
  unbroken, base, split, tmp_path, monkeypatch
):
  replace = os.replace

  def full(source, target):
    if str(target).endswith("me.safetensors"):
      raise OSError(28, "No space left on device")
    replace(source, target)

  args = (run_config(), base, split, "me", tmp_path)
  with monkeypatch.context() as patch:
    patch.setattr("os.replace", full)
    with pytest.raises(OSError, match=r"No space left.*me\.safetensors"):
      finetune(*args)
    with pytest.raises(OSError, match=r"No space left.*me\.safetensors"):
      finetune(*args)
  assert not (tmp_path / "me.safetensors").exists()
  asked = []
  found = finetune(*args, should_stop=lambda: bool(asked.append(1)))
  assert not asked  # no step was done again
  same(found.adapter.factors, unbroken[0].adapter.factors)


def test_settings():
  assert finetune_config().minutes == 20.0
  assert finetune_config(steps=3, rank=4).lora == LoraConfig(rank=4, alpha=8.0)
  assert finetune_config(steps=3, rank=4, alpha=1.0).lora.scale == 0.25
  with pytest.raises(
    ValueError, match=r"unknown settings ranks\. Known: alpha"
  ):
    finetune_config(ranks=4)
  with pytest.raises(ValueError, match="either steps or minutes"):
    FinetuneConfig(steps=1, minutes=1.0)
  with pytest.raises(ValueError, match="steps must be a whole number from 1"):
    finetune_config(steps=0)
  with pytest.raises(ValueError, match="transpose must be two semitones"):
    finetune_config(transpose=(2, -2))
  with pytest.raises(ValueError, match="tempos must name at least one"):
    finetune_config(tempos=())


def test_partners_follow_the_base():
  alone = tiny_generator(codec=CODEC).model.config
  duet = dataclasses.replace(alone, parts=9)
  assert train_config(run_config(), alone, CODEC).partners == {"solo": 1.0}
  shares = train_config(run_config(), duet, CODEC).partners
  assert shares.keys() == {"solo", "hands", "turns"}
  assert (
    train_config(run_config(partners={"solo": 1.0}), duet, CODEC).duet is False
  )
  with pytest.raises(ValueError, match="knows no partner"):
    train_config(run_config(partners={"hands": 1.0}), alone, CODEC)


def test_dropout_and_clock_run_too(base, split, tmp_path):
  """What is scored before takes nothing of the minutes, nor does compiling."""

  def show(now):
    if now.stage == "scoring before":
      time.sleep(0.5)

  found = finetune(
    run_config(
      steps=None, minutes=0.4 / 60, dropout=0.3, targets=("depth.mlp",)
    ),
    base,
    split,
    "me",
    tmp_path,
    on_progress=show,
  )
  assert found.steps >= 1
  assert found.after.nats_per_note <= found.before.nats_per_note
  assert jax.tree.leaves(found.adapter.factors)
  assert all("depth" in name for name in found.adapter.factors)
