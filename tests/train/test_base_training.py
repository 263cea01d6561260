"""Training: it learns, resumes exactly, and writes what it says."""

import dataclasses
import json

import numpy as np
import pytest

from magenta_midi.data.corpus import pack_scores
from magenta_midi.data.examples.batches import BUCKETS, BatchStream, bucket_of
from magenta_midi.data.examples.examples import NO_AUGMENTATION, Augmentation
from magenta_midi.model.checkpoint import (
  CheckpointError,
  flat_parameters,
  load_checkpoint,
)
from magenta_midi.tokens.event.codec import EventCodec
from magenta_midi.tokens.note.codec import NoteCodec
from magenta_midi.train.run_store import (
  RunStore,
  restore_state,
  save_state,
)
from magenta_midi.train.train import (
  TrainConfig,
  Trainer,
  learning_rate,
  model_config,
  train,
)
from tests.support.finetuning import scale
from tests.support.resuming import compiled_when_resumed

CODEC = NoteCodec()


@pytest.fixture(scope="module")
def corpus():
  return pack_scores([("scale", scale()), ("lower", scale(40.0, 48))])


def config(**changes):
  values = dict(
    preset="tiny",
    steps=6,
    frames_per_batch=400,
    warmup_steps=2,
    held_out_windows=8,
    learning_rate=3e-3,
    storage="float32",
    sample_s=0.0,
  )
  return TrainConfig(**(values | changes))


@pytest.mark.parametrize(
  ("dropout_rate", "partners"),
  [
    (0.0, dict(solo=1.0)),
    (0.1, dict(solo=0.2, hands=0.4, turns=0.4)),
  ],
)
def test_a_killed_run_continues_exactly(
  tmp_path, corpus, dropout_rate, partners
):
  settings = config(model=dict(dropout_rate=dropout_rate), partners=partners)
  unbroken = tmp_path / "unbroken"
  train(settings, CODEC, [corpus], [1.0], corpus, unbroken)
  broken = Trainer(settings, CODEC, [corpus], [1.0])
  for _ in range(3):
    broken.train_step(broken.step / 6)
  with RunStore(tmp_path / "state") as store:
    save_state(store, broken)
    # What comes after the save is lost, as when the process is killed.
    broken.train_step(0.5)
  resumed = Trainer(settings, CODEC, [corpus], [1.0])
  with RunStore(tmp_path / "state") as store:
    restore_state(store, resumed)
  assert resumed.step == 3
  while resumed.step < 6:
    resumed.train_step(resumed.step / 6)
  whole, _ = load_checkpoint(unbroken / "checkpoint")
  expected = flat_parameters(whole)
  for name, array in flat_parameters(resumed.current_model()).items():
    np.testing.assert_array_equal(array, expected[name], err_msg=name)


def test_a_resumed_run_compiles_nothing_again(tmp_path, corpus):
  trainer = Trainer(config(), CODEC, [corpus], [1.0])
  assert compiled_when_resumed(trainer, tmp_path / "state") == 0


def test_a_run_with_partners_tells_them_apart():
  duet = config(partners=dict(solo=0.5, hands=0.5))
  assert model_config(duet, CODEC).parts == 9
  alone = config(partners=dict(solo=1.0, hands=0.0))
  assert model_config(alone, CODEC).parts == 2
  with pytest.raises(ValueError, match=r"needs parts of at least 9.*got 2"):
    model_config(config(partners=dict(turns=1.0), model=dict(parts=2)), CODEC)
  with pytest.raises(ValueError, match="'event' knows no partner"):
    model_config(duet, EventCodec())
  with pytest.raises(ValueError, match="unknown partners duo"):
    config(partners=dict(duo=1.0))


def test_a_finished_run_is_left_as_it_is(tmp_path, corpus):
  out = tmp_path / "run"
  train(config(steps=2), CODEC, [corpus], [1.0], corpus, out)
  before = (out / "checkpoint" / "weights.safetensors").read_bytes()
  assert {p.name for p in out.iterdir()} == {
    "run.json",
    "state",
    "log.jsonl",
    "loss.png",
    "tensorboard",
    "checkpoint",
  }
  train(config(steps=2), CODEC, [corpus], [1.0], corpus, out)
  assert (out / "checkpoint" / "weights.safetensors").read_bytes() == before
  notes = json.loads((out / "checkpoint" / "config.json").read_text())["notes"]
  assert notes["step"] == 2
  assert notes["held_out"]["pieces"] == 2
  row = json.loads((out / "log.jsonl").read_text().splitlines()[-1])
  assert {"query_rms", "head_rms", "attention_logit"} < row["sizes"].keys()
  with pytest.raises(ValueError, match="holds a run with other settings"):
    train(config(steps=3), CODEC, [corpus], [1.0], corpus, out)


def test_a_state_of_another_model_is_refused(tmp_path, corpus):
  wider = config(model=dict(mlp_dim=128))
  with RunStore(tmp_path / "state") as store:
    save_state(store, Trainer(config(), CODEC, [corpus], [1.0]))
    store.wait()
    with pytest.raises(CheckpointError, match=r"\[32, 64\], expected \[32"):
      restore_state(store, Trainer(wider, CODEC, [corpus], [1.0]))


@pytest.mark.slow
def test_it_learns_a_scale(tmp_path, corpus):
  evaluation = train(
    config(
      steps=150,
      warmup_steps=20,
      learning_rate=1e-2,
      augmentation=NO_AUGMENTATION,
    ),
    CODEC,
    [corpus],
    [1.0],
    corpus,
    tmp_path / "run",
  )
  assert evaluation is not None
  # Untrained it costs about ln(401) + ln(130) + ln(32) + ln(64) = 18.5.
  assert evaluation.nats_per_note < 6.0


def test_batches_resume_to_the_example(corpus):
  def stream():
    return BatchStream(
      codec=CODEC,
      corpora=[corpus],
      shares=[1.0],
      augmentation=Augmentation(),
      frames_per_batch=2000,
      target_steps=400,
      context_steps=1000,
      seed=3,
    )

  whole = stream()
  for _ in range(7):
    whole.next()
  resumed = stream()
  resumed.restore(whole.state())
  for _ in range(40):
    for a, b in zip(whole.next(), resumed.next(), strict=True):
      np.testing.assert_array_equal(a, b)


def test_the_bucket_holds_the_example_and_its_end():
  context = np.array([0, 64, 65, 300, 10])
  own = np.array([15, 15, 2, 2, 191])
  bucket = bucket_of(context, own, BUCKETS["note"])
  for c, o, index in zip(context[:3], own[:3], bucket, strict=False):
    assert BUCKETS["note"][index][0] >= c
    assert BUCKETS["note"][index][1] > o
  assert bucket[3] == len(BUCKETS["note"]) - 1  # capped


def test_the_schedule_warms_up_and_decays():
  settings = config(steps=1000, warmup_steps=100, learning_rate=1.0)
  rates = [learning_rate(settings, s, s / 1000) for s in range(1000)]
  assert np.argmax(rates) in range(95, 105)
  assert (np.diff(rates[110:]) < 0).all()
  assert 0.02 <= rates[-1] < 0.021


def test_settings_that_cannot_run_are_refused(corpus):
  with pytest.raises(ValueError, match="either steps or minutes"):
    TrainConfig()
  with pytest.raises(ValueError, match="steps must be a whole number from 1"):
    TrainConfig(steps=0)
  with pytest.raises(ValueError, match=r"target_s must be at most 4\.0 s"):
    Trainer(config(target_s=6.0), CODEC, [corpus], [1.0])
  assert dataclasses.asdict(config())["preset"] == "tiny"
