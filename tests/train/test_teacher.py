"""A run that learns from what a teacher expects."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from magenta_midi.data.corpus import pack_scores
from magenta_midi.data.examples.partners import PARTS
from magenta_midi.evaluation.losses import level_logits, training_loss
from magenta_midi.midi.score import Score
from magenta_midi.model.checkpoint import (
  CheckpointError,
  load_checkpoint,
  save_checkpoint,
)
from magenta_midi.testing import tiny_generator
from magenta_midi.tokens.codec import get_codec
from magenta_midi.tokens.note.codec import NoteCodec
from magenta_midi.train.run_settings import TrainConfig
from magenta_midi.train.teacher import check_teacher
from magenta_midi.train.trainer import Trainer

CODEC = NoteCodec()


@pytest.fixture(scope="module")
def corpus():
  onset = np.arange(0, 40, 0.5)
  score = Score.from_arrays(
    onset_s=onset,
    duration_s=np.full(len(onset), 0.2),
    key=60 + np.array([0, 4, 7, 4])[np.arange(len(onset)) % 4],
    velocity=np.full(len(onset), 66),
  )
  return pack_scores([("arpeggio", score)])


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
  folder = tmp_path_factory.mktemp("teacher")
  model = tiny_generator(seed=5, encoder_layers=1).model
  # Drawn logits hardly differ: a teacher expects something.
  head = model.logits_dense.kernel
  head[...] = 12 * head[...]
  codec = {"name": "note", "settings": {}}
  save_checkpoint(folder, model, codec=codec, storage="float32")
  return folder


def trainer(corpus, **changes):
  values = dict(
    preset="tiny",
    model=dict(temporal_layers=1),
    steps=60,
    frames_per_batch=300,
    warmup_steps=2,
    sample_s=0.0,
    source="numpy",
    learning_rate=0.02,
  )
  config = TrainConfig(**(values | changes))
  return Trainer(config, CODEC, [corpus], [1.0])


def test_a_share_of_each_target_is_the_teachers(corpus):
  run = trainer(corpus)
  model = run.current_model()
  batch = jax.tree.map(jnp.asarray, run.stream.next())
  teacher = level_logits(tiny_generator(seed=5).model, batch)
  plain, nats = training_loss(model, batch)
  told = 0.0
  for level, logits in enumerate(level_logits(model, batch)):
    log_p = np.asarray(jax.nn.log_softmax(logits))
    expected = np.asarray(jax.nn.softmax(teacher[level]))
    cross = -(expected * log_p).sum(-1)
    told += float(cross[np.asarray(batch.weights[..., level])].sum())
  for share in (0.0, 0.3, 1.0):
    loss, same = training_loss(
      model, batch, teacher=teacher, teacher_share=share
    )
    wanted = (1 - share) * float(plain) + share * told
    assert float(loss) == pytest.approx(wanted, rel=1e-4)
    np.testing.assert_array_equal(same.nats, nats.nats)


def test_who_is_his_own_teacher_has_nothing_to_learn(corpus):
  run = trainer(corpus)
  batch = jax.tree.map(jnp.asarray, run.stream.next())
  graph, params, rest = nnx.split(run.current_model(), nnx.Param, ...)

  def loss(params):
    model = nnx.merge(graph, params, rest)
    own = jax.lax.stop_gradient(level_logits(model, batch))
    return training_loss(model, batch, teacher=own, teacher_share=1.0)[0]

  for leaf in jax.tree.leaves(jax.grad(loss)(params)):
    np.testing.assert_allclose(leaf, 0.0, atol=1e-3)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_run_comes_nearer_to_its_teacher(corpus, teacher, accumulate):
  run = trainer(
    corpus, teacher=str(teacher), teacher_share=1.0, accumulate=accumulate
  )
  batch = jax.tree.map(jnp.asarray, run.stream.next())
  theirs = level_logits(load_checkpoint(teacher)[0], batch)

  def distance():
    model = run.current_model()
    told, _ = training_loss(model, batch, teacher=theirs, teacher_share=1.0)
    return float(told)

  before = distance()
  for step in range(25):
    run.train_step(step / 60)
  assert distance() < 0.9 * before


def test_teachers_that_cannot_hear_are_refused(tmp_path, teacher):
  assert not check_teacher(teacher, CODEC, duet=False)
  with pytest.raises(ValueError, match="must have the run's codec, event"):
    check_teacher(teacher, get_codec("event"), duet=False)
  with pytest.raises(ValueError, match="knows no partner"):
    check_teacher(teacher, CODEC, duet=True)
  with pytest.raises(CheckpointError, match="nowhere"):
    check_teacher(tmp_path / "nowhere", CODEC, duet=False)
  with pytest.raises(
    ValueError, match="teacher_share must be a number from 0 to 1"
  ):
    TrainConfig(steps=1, teacher_share=1.5)


def test_a_teacher_is_told_of_style_it_knows(tmp_path):
  style = dict(model="descriptors", levels=6, rows=10, controls=[1])
  model = tiny_generator(parts=PARTS, style_slots=6, style_vocab_size=10).model
  codec = {"name": "note", "settings": {}}
  save_checkpoint(tmp_path, model, codec=codec, style=style)
  assert check_teacher(tmp_path, CODEC, duet=True, style=style)
  assert not check_teacher(tmp_path, CODEC, duet=True)
  other = dict(style, model="midicoca")
  assert not check_teacher(tmp_path, CODEC, duet=True, style=other)
