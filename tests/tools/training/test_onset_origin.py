"""Onsets from two origins: other codes for the same steps, the same scores."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from magenta_midi.data.corpus import pack_scores
from magenta_midi.data.examples import batches
from magenta_midi.data.examples.examples import (
  Augmentation,
  cut_examples,
  draw_examples,
)
from magenta_midi.data.examples.partners import MODES, PARTS
from magenta_midi.evaluation import evaluate as evaluation
from magenta_midi.evaluation.losses import training_loss
from magenta_midi.midi.score import Score
from magenta_midi.model.config import preset
from magenta_midi.model.depthformer import Depthformer, Frames
from magenta_midi.tokens.note.codec import NoteCodec
from magenta_midi.tokens.vocabulary import RESERVED
from tools.training import onset_origin as tool

CODEC = NoteCodec()
FIRST = RESERVED
END = CODEC.config.end
# Few, and quickly compiled.
_SHAPES = ((96, 32), (128, 64))
ORIGINS = ("previous", "start", "any")


@pytest.fixture
def few_shapes(monkeypatch):
  """Two shapes of batches, to be compiled once each."""
  monkeypatch.setattr(batches, "BUCKETS", dict(note=_SHAPES))
  monkeypatch.setattr(evaluation, "BUCKETS", dict(note=_SHAPES))


def played(seed: int, seconds: float) -> Score:
  rng = np.random.default_rng(seed)
  count = int(seconds * 6)
  onset = np.sort(rng.uniform(0, seconds, count)).round(2)
  return Score.from_arrays(
    onset_s=onset,
    duration_s=rng.uniform(0.05, 2.0, count).round(3),
    key=rng.integers(30, 90, count),
    velocity=rng.integers(20, 110, count),
    pedal=[(t, i % 2 == 0) for i, t in enumerate(np.arange(0.5, seconds, 0.9))],
  )


@pytest.fixture(scope="module")
def corpus():
  return pack_scores([("a", played(0, 17.0)), ("b", played(1, 9.0))])


def batch_of(corpus, mode, *, seed=0, count=12, frames=48):
  """A batch as training cuts it, its 4 s targets not capped."""
  rng = np.random.default_rng(seed)
  examples = draw_examples(rng, [corpus], [1.0], count, Augmentation(), 1000)
  examples["mode"] = MODES.index(mode)
  if mode != "solo":
    examples["delay_ms"] = rng.integers(0, 150, count)
  batch, capped = cut_examples(
    CODEC,
    [corpus],
    examples,
    context_frames=64,
    target_frames=frames,
    target_steps=CODEC.config.horizon_steps,
  )
  assert not capped.all()
  return batch


def inputs_of(batch):
  return Frames(batch.input_ids, batch.input_time, batch.input_part)


def network(counting=None, **changes):
  """A tiny one, plain without `counting`; the same weights always."""
  config = preset(
    "tiny",
    level_sizes=CODEC.vocabulary.level_sizes,
    reserved=RESERVED,
    parts=PARTS,
    **changes,
  )
  if counting is None:
    model = Depthformer(config, rngs=nnx.Rngs(0))
  else:
    model = tool.RecountedDepthformer(
      config, rngs=nnx.Rngs(0), counting=counting
    )
  model.eval()
  return model


# Codes


@settings(deadline=None, max_examples=60)
@given(data=st.data())
@pytest.mark.parametrize("origin", ORIGINS)
def test_recounting_is_undone(origin, data):
  rows = data.draw(
    st.lists(
      st.tuples(st.integers(0, 60), st.integers(0, 3)), min_size=1, max_size=6
    )
  )
  time = np.cumsum([0] + [step for step, _ in rows])[None].astype(np.int32)
  part = np.array([[0] + [player for _, player in rows]], np.int32)
  frames = Frames(np.zeros((*time.shape, 4), np.int32), time, part)
  onset = data.draw(
    st.lists(st.integers(-FIRST, END), min_size=time.size, max_size=time.size)
  )
  ids = np.zeros((*time.shape, 4), np.int32)
  ids[..., 0] = FIRST + np.array(onset)
  shift = tool.shift_of(frames, origin)
  # As of a target: within reach of both ways of counting.
  legal = (ids[..., 0] < FIRST) | (ids[..., 0] >= FIRST + END)
  there = ids[..., 0] + np.asarray(shift)
  legal |= (there >= FIRST) & (there < FIRST + END)
  moved = tool.recounted(ids, shift, FIRST, END)
  again = tool.recounted(moved, shift, FIRST, END, back=True)
  assert np.array_equal(np.asarray(again)[legal], ids[legal])
  kept = (ids[..., 0] < FIRST) | (ids[..., 0] == FIRST + END)
  assert np.array_equal(np.asarray(moved)[kept], ids[kept])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("origin", ORIGINS)
def test_a_batch_says_the_same_steps(corpus, mode, origin):
  batch = batch_of(corpus, "hands" if mode == "tracks" else mode)
  inputs = inputs_of(batch)
  shift = tool.shift_of(inputs, origin)
  targets = np.asarray(tool.recounted(batch.targets, shift, FIRST, END))
  moved = tool.input_shift(inputs, origin)
  heard = np.asarray(tool.recounted(inputs.ids, moved, FIRST, END))
  again = tool.recounted(targets, shift, FIRST, END, back=True)
  assert np.array_equal(again, batch.targets)
  again = tool.recounted(heard, moved, FIRST, END, back=True)
  assert np.array_equal(again, inputs.ids)
  found = 0
  for row in range(len(targets)):
    own = -1
    steps = batch.input_time[row]
    for at in np.flatnonzero(batch.weights[row, :, 0]):
      if at and batch.input_part[row, at] == 0:
        own = at
      code = targets[row, at, 0] - FIRST
      following = np.flatnonzero(
        (batch.input_part[row] == 0) & (batch.input_ids[row].any(axis=-1))
      )
      following = following[following > at]
      if code == END or not len(following):
        continue
      counted_from = dict(
        previous=steps[own] if own >= 0 else 0, start=0, any=steps[at]
      )
      assert code == steps[following[0]] - counted_from[origin]
      # What comes is fed as it was foretold.
      if following[0] == at + 1:
        assert heard[row, at + 1, 0] - FIRST == code
      found += 1
    if origin == "start":
      used = batch.input_ids[row].any(axis=-1)
      assert np.array_equal(heard[row, used, 0] - FIRST, steps[used])
  assert found > 50


def test_logits_go_back_as_chances():
  model = network(tool.Counting(origin="any"))
  rng = np.random.default_rng(0)
  shift = np.array([[0, 7, -9, 399, -399]], np.int32)
  said = rng.normal(size=(1, 5, END + 1)).astype(np.float32)
  for over_all in (False, True):
    model.over_all = over_all
    back = np.asarray(
      model._as_the_codec(jnp.asarray(said), shift[..., None], END)
    )
    assert back.shape[-1] == END + 2
    for at in range(5):
      chance = np.exp(said[0, at].astype(float))
      expected = np.zeros(END + 2)
      expected[END] = chance[END]
      for code in range(END):
        to = code - shift[0, at]
        if 0 <= to < END:
          expected[to] = chance[code]
        elif to >= END or over_all:
          expected[-1] += chance[code]
      np.testing.assert_allclose(np.exp(back[0, at]), expected, rtol=1e-5)


# Scores


@pytest.mark.parametrize("origin", ["previous", "any"])
def test_alone_the_previous_frame_is_the_own_one(corpus, few_shapes, origin):
  plain = evaluation.evaluate(network(), CODEC, corpus)
  found = evaluation.evaluate(
    network(tool.Counting(origin=origin)), CODEC, corpus
  )
  if origin == "previous":
    assert np.array_equal(found.nats, plain.nats)
  np.testing.assert_allclose(found.nats, plain.nats, rtol=1e-5)
  assert np.array_equal(found.notes, plain.notes)


def test_with_what_is_wasted_a_uniform_model_costs_what_can_be_counted(
  corpus, few_shapes
):
  model = network(tool.Counting(origin="start"))
  model.logits_dense.kernel[...] = 0 * model.logits_dense.kernel[...]
  found = evaluation.evaluate(model, CODEC, corpus)
  wasted = tool.wasted_nats(model, CODEC, corpus, None)
  notes, events = int(found.notes.sum()), 0
  for index in range(len(corpus)):
    events += len(corpus.piece(index))
  sizes = CODEC.vocabulary.level_sizes
  windows = found.seconds.sum() / 2
  # Of 401 codes 201 mean that nothing more comes within 2 s.
  expected = events * np.log(sizes[0] * sizes[1])
  expected += notes * np.log(sizes[2] * sizes[3])
  expected += windows * np.log(sizes[0] / 201)
  assert wasted > 0.1 * notes
  assert found.nats.sum() + wasted == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("origin", ["start", "any"])
def test_a_partner_ends_a_forecast_however_steps_are_counted(
  corpus, few_shapes, origin
):
  """A uniform model costs what counting the steps that remain says."""
  model = network(tool.Counting(origin=origin))
  model.logits_dense.kernel[...] = 0 * model.logits_dense.kernel[...]
  players = evaluation.Players(mode="hands", delay_ms=50)
  found = evaluation.evaluate(model, CODEC, corpus, players=players)
  windows = evaluation.protocol_windows(corpus, 1000)
  examples = players.split(windows, corpus)
  sizes = CODEC.vocabulary.level_sizes
  expected = 0.0
  for part, _, batch in evaluation.window_batches(CODEC, corpus, examples):
    for row in range(len(part)):
      time, player = batch.input_time[row], batch.input_part[row] > 0
      own = begins = 0
      used = np.flatnonzero(batch.weights[row, :, 0])
      for at in used:
        own = own if player[at] else time[at]
        begins = max(begins, time[at] + 6 if player[at] else 0)
        counted_from = 0 if origin == "start" else time[at]
        steps = np.arange(counted_from, counted_from + END)
        steps = steps[steps >= max(own, begins)]
        before = np.log(1 + len(steps))
        if at < used[-1] and not player[at + 1]:
          expected += before + np.log(sizes[1])
          if batch.weights[row, at, -1]:
            expected += np.log(sizes[2] * sizes[3])
          continue
        ends = 200 if at == used[-1] else min(time[at + 1] + 6, 200)
        ends = max(ends, begins)
        expected += before - np.log(1 + np.count_nonzero(steps >= ends))
  assert found.nats.sum() == pytest.approx(expected, rel=1e-5)


# Training


@pytest.mark.parametrize(
  "counting",
  [
    dict(origin="any", masked=False),
    dict(origin="start", inputs=False),
  ],
)
def test_every_parameter_learns(corpus, counting):
  counting = tool.Counting(**counting)
  model = network(counting)
  model.over_all = not counting.masked
  batch = batch_of(corpus, "hands", count=4, frames=32)
  graph, params, rest = nnx.split(model, nnx.Param, ...)

  @jax.jit
  @jax.value_and_grad
  def loss(params, batch):
    return training_loss(nnx.merge(graph, params, rest), batch)[0]

  nats, grads = loss(params, batch)
  assert 0 < nats / batch.weights[..., 0].sum() < 50
  assert all(jnp.isfinite(grad).all() for grad in jax.tree.leaves(grads))
  assert jnp.abs(grads["logits_dense"]["kernel"][...]).sum() > 0


def written(folder: Path) -> Path:
  folder.mkdir()
  for index in range(30):
    played(index, 12.0).to_file(folder / f"{index}.mid")
  return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["duet, any"])
def test_a_choice_is_trained_and_scored(
  monkeypatch, tmp_path, few_shapes, name
):
  compiled = []
  warm_up = tool.RecountedTrainer.warm_up

  def counted(trainer, shapes):
    warm_up(trainer, shapes)
    compiled.append((trainer, trainer._update._cache_size()))
    assert trainer.step == 0

  monkeypatch.setattr(tool.RecountedTrainer, "warm_up", counted)
  data = [f"{written(tmp_path / 'music')}:1"]
  found = tool.run(
    name, dict(data=data, minutes=0.05, seed=0, warmup_steps=5, preset="tiny")
  )
  assert found["steps"] > 0
  assert 0 < found["solo"]["nats_per_note"] < 40
  assert ("wasted" in found) == (name == "start")
  assert ("duet" in found) == (name == "duet, any")
  # All that was trained had been compiled before.
  ((trainer, shapes),) = compiled
  assert trainer._update._cache_size() == shapes == 2
  assert "| " + name in tool.table({name: [found]})


def test_what_is_done_is_shown_and_not_done_again(tmp_path):
  levels = dict(onset=1.0, key=2.0, velocity=3.0, duration=4.0)
  solo = dict(nats_per_note=10.5, levels=levels, pedal=0.25, end=0.25)
  given = dict(data=["music:1"], minutes=2.0, seed=0)
  given |= dict(warmup_steps=50, preset="small")
  for name, more in (("previous", {}), ("start", dict(wasted=0.5))):
    done = dict(settings=given, steps=9, solo=solo, **more)
    (tmp_path / f"{name}-0.json").write_text(json.dumps(done))
  command = ["--data", "music:1", "--out", str(tmp_path)]
  command += ["--choice", "previous", "--choice", "start"]
  shown = CliRunner().invoke(tool.main, [*command, "--minutes", "2"])
  assert shown.exit_code == 0
  rows = shown.output.splitlines()
  assert rows[2].startswith("| previous | solo | 10.500 | 1.000 | 2.000 |")
  assert rows[2].endswith("| 10.500 | 9 |")
  assert rows[3].endswith("| 11.000 | 9 |")
  other = CliRunner().invoke(tool.main, [*command, "--minutes", "3"])
  assert other.exit_code == 2
  assert "holds figures of other settings" in other.output
