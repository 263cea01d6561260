"""What batches say of style: shares, both paths of a style model, resuming."""

import json

import numpy as np
import pytest

from magenta_midi.data.corpus import pack_scores
from magenta_midi.data.examples.conditioning import (
  CHUNK,
  StyleRows,
  load_style,
  stored_style,
)
from magenta_midi.data.examples.examples import NO_AUGMENTATION, draw_examples
from magenta_midi.evaluation.evaluate import evaluate
from magenta_midi.midi.score import Score
from magenta_midi.model.checkpoint import (
  CheckpointError,
  StoredCheckpoint,
  flat_parameters,
  load_checkpoint,
  read_config,
)
from magenta_midi.style.controls import CONTROL_BUCKETS, CONTROL_ROWS
from magenta_midi.style.descriptors import DescriptorStyle
from magenta_midi.tokens.note.codec import NoteCodec
from magenta_midi.train.run_store import (
  RunStore,
  restore_state,
  save_state,
)
from magenta_midi.train.train import TrainConfig, Trainer, style_rows, train

CODEC = NoteCodec()
LEVELS = DescriptorStyle().levels
CONTROLS = slice(LEVELS, LEVELS + 4)


def piece(seconds=60.0, seed=0, velocity=(30, 90)):
  random = np.random.default_rng(seed)
  onset = np.cumsum(random.choice([0.15, 0.3, 0.45], int(seconds / 0.3)))
  return Score.from_arrays(
    onset_s=onset,
    duration_s=np.full(len(onset), 0.2),
    key=random.integers(48, 80, len(onset)),
    velocity=random.integers(*velocity, len(onset)),
    pedal=[(t, i % 2 == 0) for i, t in enumerate(np.arange(1, seconds, 1.7))],
  )


@pytest.fixture(scope="module")
def corpus():
  return pack_scores([(f"waltz {i}", piece(seed=i)) for i in range(3)])


def examples_of(corpus, count, seed=0):
  rng = np.random.default_rng(seed)
  return draw_examples(rng, [corpus], [1.0], count, NO_AUGMENTATION, 1000)


class BatchedStyle(DescriptorStyle):
  """As learned models are: batches of frames and texts, shapes few."""

  name = "batched"

  def __init__(self):
    super().__init__()
    self.shapes = set()

  def embed_batch_frames(self, frames):
    self.shapes.add(frames.ids.shape)
    assert frames.ids.any(axis=(1, 2)).all()
    return self._unit_rows(frames.time.sum(axis=1))

  def embed_texts(self, texts):
    self.shapes.add(len(texts))
    return self._unit_rows(np.array([sum(map(ord, text)) for text in texts]))

  def _unit_rows(self, numbers):
    values = np.stack([np.cos(numbers + i) for i in range(12)], axis=1)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return (values @ self._lift.T).astype(np.float32)

  def tokenize_batch(self, embeddings):
    return np.stack([self.tokenize(row) for row in embeddings])


def test_the_shares_of_what_is_masked(corpus):
  # Windows with music enough: none near the end of its piece.
  examples = examples_of(corpus, 1500)
  examples = examples[examples["now_ms"] < 40_000]
  rows = StyleRows(BatchedStyle(), seed=1).drawn([corpus], examples)
  assert rows.dtype == np.int32
  count = len(examples)
  assert count > 750
  # Nearly a third is told nothing at all.
  told = (rows > 0).any(axis=1)
  assert 0.25 < 1 - told.mean() < 0.36
  rows = rows[told]
  masked = (rows[:, :LEVELS] == 0).all(axis=1)
  assert 0.05 < masked.mean() < 0.14
  # A style is there whole or not at all.
  assert (rows[~masked, :LEVELS] > 0).all()
  dropped = rows[:, CONTROLS] == 0
  assert (np.abs(dropped.mean(axis=0) - 0.5) < 0.07).all()
  # Independent of each other and of the style.
  together = np.concatenate([masked[:, None], dropped], axis=1).astype(float)
  correlation = np.corrcoef(together.T) - np.eye(5)
  assert np.abs(correlation).max() < 0.15


def test_half_are_of_captions(corpus):
  class Texts(BatchedStyle):
    texts = 0
    windows = 0

    def embed_texts(self, texts):
      self.texts += len(set(texts))
      assert all(texts)
      return super().embed_texts(texts)

    def embed_batch_frames(self, frames):
      self.windows += len(np.unique(frames.time, axis=0))
      return super().embed_batch_frames(frames)

  model = Texts()
  examples = examples_of(corpus, 300)
  StyleRows(model).drawn([corpus], examples)
  assert 0.22 < model.texts / 300 < 0.40
  assert 0.22 < model.windows / 300 < 0.40


def test_draws_follow_from_the_example_and_the_seed(corpus):
  examples = examples_of(corpus, 60)
  rows = StyleRows(BatchedStyle(), seed=1).drawn([corpus], examples)
  again = StyleRows(BatchedStyle(), seed=1)
  halves = [again.drawn([corpus], half) for half in np.split(examples, 2)]
  np.testing.assert_array_equal(rows, np.concatenate(halves))
  other = StyleRows(BatchedStyle(), seed=2).drawn([corpus], examples)
  assert (rows != other).any(axis=1).mean() > 0.5


def test_a_learned_model_sees_few_shapes(corpus):
  model = BatchedStyle()
  rows = StyleRows(model)
  for count in (3, 17, 40):
    rows.drawn([corpus], examples_of(corpus, count))
    rows.given([corpus], examples_of(corpus, count))
  batches = {
    shape if isinstance(shape, int) else shape[0] for shape in model.shapes
  }
  assert batches == {CHUNK}
  assert {shape[1] for shape in model.shapes if not isinstance(shape, int)} <= {
    96,
    192,
  }


def test_a_model_without_batches_is_asked_one_by_one(corpus):
  model = DescriptorStyle()
  examples = examples_of(corpus, 20)
  examples = examples[examples["now_ms"] < 40_000]
  given = StyleRows(model).given([corpus], examples)
  from magenta_midi.data.examples.style_windows import style_scores

  for row, score in zip(given, style_scores([corpus], examples), strict=True):
    np.testing.assert_array_equal(
      row[:LEVELS], model.tokenize(model.embed(score))
    )
  drawn = StyleRows(model).drawn([corpus], examples_of(corpus, 200))
  assert (drawn[:, :LEVELS] > 0).all(axis=1).mean() > 0.5


def test_a_window_with_too_little_music_has_no_style(corpus):
  examples = examples_of(corpus, 1)
  examples["now_ms"] = corpus.lengths_ms[examples["piece"]] + 100
  rows = StyleRows(BatchedStyle())
  assert not rows.given([corpus], examples).any()
  assert not rows.drawn([corpus], examples).any()


def config(**changes):
  values = dict(
    sample_s=0.0,
    preset="tiny",
    steps=6,
    frames_per_batch=400,
    warmup_steps=2,
    held_out_windows=3,
    learning_rate=3e-3,
    storage="float32",
    style="descriptors",
  )
  return TrainConfig(**(values | changes))


def test_a_killed_run_with_style_continues_exactly(tmp_path, corpus):
  partners = dict(solo=0.5, hands=0.3, turns=0.2)
  settings = config(partners=partners)
  unbroken = tmp_path / "unbroken"
  train(settings, CODEC, [corpus], [1.0], corpus, unbroken)
  broken = Trainer(settings, CODEC, [corpus], [1.0])
  for _ in range(3):
    broken.train_step(broken.step / 6)
  with RunStore(tmp_path / "state") as store:
    save_state(store, broken)
  broken.train_step(0.5)
  resumed = Trainer(settings, CODEC, [corpus], [1.0])
  with RunStore(tmp_path / "state") as store:
    restore_state(store, resumed)
  while resumed.step < 6:
    resumed.train_step(resumed.step / 6)
  whole, _ = load_checkpoint(unbroken / "checkpoint")
  expected = flat_parameters(whole)
  for name, array in flat_parameters(resumed.current_model()).items():
    np.testing.assert_array_equal(array, expected[name], err_msg=name)


def test_a_run_goes_on_only_with_the_style_model_it_began_with(
  tmp_path, corpus, monkeypatch
):
  with RunStore(tmp_path / "state") as store:
    save_state(store, Trainer(config(), CODEC, [corpus], [1.0]))
    store.wait()
    restore_state(store, Trainer(config(), CODEC, [corpus], [1.0]))
    entry = StyleRows(DescriptorStyle()).entry | {"rows": 7}
    monkeypatch.setattr(StyleRows, "entry", entry)
    with pytest.raises(CheckpointError, match="other weights now"):
      restore_state(store, Trainer(config(), CODEC, [corpus], [1.0]))


def test_style_changes_no_other_draw(corpus):
  # But for departures, which it tells of.
  settings = dict(augmentation=NO_AUGMENTATION)
  told = Trainer(config(**settings), CODEC, [corpus], [1.0]).stream
  settings["style"] = None
  alone = Trainer(config(**settings), CODEC, [corpus], [1.0]).stream
  for _ in range(5):
    a, b = told.next(), alone.next()
    assert b.style is None
    assert a.style.shape == (len(a.targets), LEVELS + 4)
    for x, y in zip(a._replace(style=None), b, strict=True):
      np.testing.assert_array_equal(x, y)


def test_the_checkpoint_says_what_its_slots_mean(tmp_path, corpus):
  train(config(steps=2), CODEC, [corpus], [1.0], corpus, tmp_path)
  stored = read_config(tmp_path / "checkpoint")
  assert stored["style"] == dict(
    model="descriptors", levels=6, rows=1537, controls=CONTROL_BUCKETS
  )
  assert stored["model"]["style_slots"] == 10
  assert stored["model"]["style_vocab_size"] == 1537 + CONTROL_ROWS
  figures = stored["notes"]["held_out_prompted"]
  assert figures["notes"] == stored["notes"]["held_out"]["notes"]
  assert (
    figures["nats_per_note"] != stored["notes"]["held_out"]["nats_per_note"]
  )
  rows = stored_style(stored)
  assert rows.slots == 10
  with pytest.raises(ValueError, match="hears no style"):
    stored_style({})
  stored["style"]["controls"] = json.loads(
    json.dumps(CONTROL_BUCKETS).replace("20", "21")
  )
  with pytest.raises(ValueError, match="other weights or controls"):
    stored_style(stored)


def test_no_style_as_before(tmp_path, corpus):
  train(config(steps=1, style=None), CODEC, [corpus], [1.0], None, tmp_path)
  stored = read_config(tmp_path / "checkpoint")
  assert "style" not in stored
  assert style_rows(config(style=None)) is None
  with pytest.raises(ValueError, match=r"must be one of .* got 'jazz'"):
    load_style("jazz")


def test_a_warm_start_keeps_what_it_is_without_style(tmp_path, corpus):
  train(config(style=None), CODEC, [corpus], [1.0], None, tmp_path / "without")
  old = StoredCheckpoint(tmp_path / "without" / "checkpoint")
  model, _ = load_checkpoint(old.folder)
  trainer = Trainer(config(), CODEC, [corpus], [1.0])
  taken = trainer.start_from(old)
  assert taken.fresh == ("style rows", "style_projection.kernel")
  table = flat_parameters(trainer.current_model())["style_embedder.embedding"]
  np.testing.assert_array_equal(
    table[0], old.read("style_embedder.embedding")[0]
  )
  assert table[1:].std() == pytest.approx(0.5, rel=0.2)
  before = evaluate(model, CODEC, corpus, windows=8).nats_per_note
  after = evaluate(trainer.current_model(), CODEC, corpus, windows=8)
  # Four more masked slots beside six.
  assert after.nats_per_note == pytest.approx(before, rel=2e-3)
  # With the same style all of it is taken.
  train(config(), CODEC, [corpus], [1.0], None, tmp_path / "with")
  told = StoredCheckpoint(tmp_path / "with" / "checkpoint")
  again = Trainer(config(seed=5), CODEC, [corpus], [1.0])
  assert again.start_from(told).fresh == ()


def test_a_style_model_without_weights_is_refused(monkeypatch, tmp_path):
  monkeypatch.setenv("MAGENTA_HOME", str(tmp_path))
  with pytest.raises((ValueError, OSError), match="mrt models init"):
    load_style("musiccoca")
