"""Optimizers and schedules by name, and the terms beside cross entropy."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from magenta_midi.data.corpus import pack_scores
from magenta_midi.data.examples.batches import BatchStream
from magenta_midi.data.examples.examples import Augmentation, Batch
from magenta_midi.evaluation import losses
from magenta_midi.evaluation.losses import training_loss
from magenta_midi.midi.score import Score
from magenta_midi.model.config import preset
from magenta_midi.model.depthformer import Depthformer
from magenta_midi.tokens.note.codec import NoteCodec
from magenta_midi.tokens.vocabulary import RESERVED
from magenta_midi.train.optimizers import (
  learning_rate,
  make_optimizer,
  orthogonal,
)
from magenta_midi.train.run_settings import (
  LEARNING_RATES,
  TrainConfig,
  as_begun,
  level_weights,
  settings_json,
)
from magenta_midi.train.sharding import path_name
from magenta_midi.train.trainer import Trainer

CODEC = NoteCodec()
SHAPE = preset(
  "tiny",
  level_sizes=tuple(CODEC.vocabulary.level_sizes),
  reserved=RESERVED,
  temporal_layers=1,
)


@pytest.fixture(scope="module")
def corpus():
  onset = np.arange(0, 40, 0.5)
  keys = 60 + np.array([0, 4, 7, 4])[np.arange(len(onset)) % 4]
  score = Score.from_arrays(
    onset_s=onset,
    duration_s=np.full(len(onset), 0.2),
    key=keys,
    velocity=np.full(len(onset), 66),
  )
  return pack_scores([("arpeggio", score)])


def config(**changes):
  values = dict(
    preset="tiny",
    model=dict(temporal_layers=1),
    steps=100,
    frames_per_batch=300,
    warmup_steps=2,
    sample_s=0.0,
    source="numpy",
  )
  return TrainConfig(**(values | changes))


def gradients():
  """Parameters with the names of a model's, and gradients for them."""
  shapes = dict(
    token_embedder=dict(embedding=(16, 8)),
    query=dict(kernel=(8, 12)),
    logits_dense=dict(kernel=(8, 16)),
    norm=dict(scale=(8,)),
  )
  is_shape = lambda x: isinstance(x, tuple)
  random = np.random.default_rng(0)
  draw = lambda shape: jnp.asarray(random.normal(size=shape), jnp.float32)
  return tuple(jax.tree.map(draw, shapes, is_leaf=is_shape) for _ in range(2))


def first_update(**changes):
  params, grads = gradients()
  optimizer = make_optimizer(config(weight_decay=0.0, **changes))
  return jax.jit(optimizer.update)(grads, optimizer.init(params), params)[0]


def rms(x):
  return float(np.sqrt(np.mean(np.square(x))))


@pytest.mark.parametrize("name", LEARNING_RATES)
def test_every_optimizer_goes_downhill(name):
  updates = jax.tree.leaves(first_update(optimizer=name))
  for update, grad in zip(
    updates, jax.tree.leaves(gradients()[1]), strict=True
  ):
    # The parameters move against it.
    assert float(jnp.vdot(update, grad)) > 0


def test_adam_relative_moves_arrays_by_their_size():
  updates, params = first_update(optimizer="adam_relative"), gradients()[0]
  # Adam's first step is a sign, times the array's size.
  for name in ("query", "logits_dense"):
    moved, kernel = updates[name]["kernel"], params[name]["kernel"]
    assert rms(moved) == pytest.approx(rms(kernel), rel=1e-3)


def test_adafactor_is_that_of_the_original():
  rows, columns = 128, 256
  params = dict(big=jnp.full((rows, columns), 0.5), small=jnp.zeros((4, 4)))
  grads = jax.tree.map(
    lambda p: jax.random.normal(jax.random.key(2), p.shape), params
  )
  optimizer = make_optimizer(config(optimizer="adafactor", weight_decay=0.5))
  state = optimizer.init(params)
  sizes = {leaf.size for leaf in jax.tree.leaves(state)}
  # Factored from 128 on, else whole; no momentum.
  assert {rows, columns, 16} <= sizes and rows * columns not in sizes
  updates, _ = jax.jit(optimizer.update)(grads, state, params)
  # Clipped to a root mean square of 1, times the array's, 1e-3 at least.
  assert rms(updates["big"]) == pytest.approx(0.5, rel=0.01)
  assert rms(updates["small"]) == pytest.approx(1e-3, rel=0.01)


def test_muon_orthogonalises_what_lies_between_embeddings_and_head():
  updates, grads = first_update(optimizer="muon"), gradients()[1]
  spread = lambda x: np.linalg.cond(np.asarray(x))
  assert (
    spread(updates["query"]["kernel"]) < 2 < spread(grads["query"]["kernel"])
  )
  # Adam's first step: all entries move alike.
  for part, kind in (("logits_dense", "kernel"), ("norm", "scale")):
    moved = np.abs(np.asarray(updates[part][kind]))
    assert moved.min() == pytest.approx(moved.max(), rel=1e-2)


def attention_params(seed, query_size=1.0):
  """Kernels of one attention with 3 heads of 4, of an MLP, and what is none."""
  shapes = {
    "attention": {
      **{name: dict(kernel=(8, 12)) for name in ("query", "key", "value")},
      "out": dict(kernel=(12, 8)),
    },
    "mlp": dict(wi_0=dict(kernel=(8, 12)), wo=dict(kernel=(12, 8))),
    "token_embedder": dict(embedding=(16, 8)),
    "logits_dense": dict(kernel=(8, 16)),
    "encoder_norm": dict(scale=(8,)),
  }
  random = np.random.default_rng(seed)
  draw = lambda shape: jnp.asarray(random.normal(size=shape), jnp.float32)
  drawn = jax.tree.map(draw, shapes, is_leaf=lambda x: isinstance(x, tuple))
  query = drawn["attention"]["query"]
  query["kernel"] = query["kernel"] * query_size
  return drawn


def by_name(tree):
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {path_name(path): np.asarray(x) for path, x in leaves}


@pytest.mark.parametrize("name", ["adam_drawn", "muon_drawn"])
def test_steps_are_relative_to_the_sizes_as_drawn(name):
  params, grads = attention_params(0, query_size=0.125), attention_params(1)
  optimizer = make_optimizer(
    config(optimizer=name, weight_decay=0.0, rest_rate=2.0), 4
  )
  state = optimizer.init(params)
  update = jax.jit(optimizer.update)
  # However large the arrays have become.
  grown = jax.tree.map(lambda x: 10 * x, params)
  found = [update(grads, state, at)[0] for at in (params, grown)]
  jax.tree.map(np.testing.assert_array_equal, *found)
  drawn = by_name(params)
  for array, moved in by_name(found[0]).items():
    hidden = "kernel" in array and "logits" not in array
    rest = 1.0 if hidden or name == "adam_drawn" else 2.0
    assert rms(moved) == pytest.approx(rest * rms(drawn[array]), rel=0.15)


def test_sizes_as_drawn_are_in_the_state():
  params, grads = attention_params(0), attention_params(1)
  optimizer = make_optimizer(config(optimizer="muon_drawn"), 4)
  state = optimizer.init(params)
  sizes = [x for name, x in by_name(state).items() if ".sizes." in name]
  assert len(sizes) == len(jax.tree.leaves(params))
  later = jax.jit(optimizer.update)(grads, state, params)[1]
  kept = [x for name, x in by_name(later).items() if ".sizes." in name]
  np.testing.assert_array_equal(sizes, kept)


def test_arrays_that_are_drawn_as_zeros_move_too():
  params = jax.tree.map(jnp.zeros_like, attention_params(0))
  optimizer = make_optimizer(config(optimizer="adam_drawn"), 4)
  updates, _ = optimizer.update(
    attention_params(1), optimizer.init(params), params
  )
  for moved in jax.tree.leaves(updates):
    assert rms(moved) == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 4, 12), (5, 1, 6)])
def test_orthogonal_matrices_have_one_singular_value(shape):
  x = jnp.asarray(np.random.default_rng(2).normal(size=shape), jnp.float32)
  found = np.asarray(jax.jit(orthogonal)(1e-4 * x))
  values = np.linalg.svd(found, compute_uv=False) / shape[2] ** 0.5
  u, before, v = np.linalg.svd(np.asarray(x), full_matrices=False)
  large = before / np.linalg.norm(before, axis=-1, keepdims=True) > 0.0062
  assert (values[large] > 0.93).all() and (values < 1.07).all()
  # The same directions: the nearest orthogonal matrix.
  assert np.abs(found / shape[2] ** 0.5 - u @ v).max() < 0.15
  assert not np.asarray(orthogonal(jnp.zeros(shape))).any()


def test_no_singular_value_comes_out_large():
  # One matrix for each, beside a large one that gives the norm.
  small = np.geomspace(1e-5, 1.0, 200)
  x = np.stack([np.diag([1.0, value]) for value in small])
  found = np.asarray(orthogonal(jnp.asarray(x, jnp.float32)))[:, 1, 1] / 2**0.5
  share = small / np.sqrt(1 + small**2)
  assert (found < 1.07).all() and (found > 0).all()
  assert (found[share > 0.0062] > 0.93).all()
  below = found[share < 0.005]
  assert (np.diff(below) > 0).all()


def test_heads_are_orthogonalized_one_by_one():
  params, grads = attention_params(0), attention_params(1)

  def moved(grads):
    settings = config(optimizer="muon_drawn", clip=1e9, weight_decay=0.0)
    optimizer = make_optimizer(settings, 4)
    return jax.jit(optimizer.update)(grads, optimizer.init(params), params)[0]

  before = by_name(moved(grads))
  # Another gradient for the second head.
  attention = grads["attention"]
  for name in ("query", "key", "value"):
    kernel = attention[name]["kernel"]
    attention[name]["kernel"] = kernel.at[:, 4:8].multiply(-3.0)
  kernel = attention["out"]["kernel"]
  attention["out"]["kernel"] = kernel.at[4:8].multiply(-3.0)
  after = by_name(moved(grads))
  for name, array in before.items():
    changed = np.abs(after[name] - array) > 1e-3
    if "attention" not in name:
      assert not changed.any()
      continue
    sides = changed.T if name != "attention.out.kernel" else changed
    assert not sides[:4].any() and not sides[8:].any()
    np.testing.assert_allclose(
      (after[name] + array)[changed], 0, atol=2e-3 * rms(array)
    )
    assert sides[4:8].mean() > 0.9


def test_schedules():
  def rates(name, steps=1000, **changes):
    settings = config(
      schedule=name,
      steps=steps,
      warmup_steps=100,
      learning_rate=1.0,
      **changes,
    )
    return np.array(
      [learning_rate(settings, s, s / steps) for s in range(steps)]
    )

  for name in ("cosine", "constant", "linear"):
    warm = rates(name)[:100]
    assert (np.diff(warm) > 0).all() and warm[0] < 0.011
  assert (rates("constant")[99:] == 1.0).all()
  assert rates("linear")[500] == pytest.approx(0.51)
  held = rates("linear", hold=0.5)
  assert (held[99:501] == 1.0).all() and (np.diff(held[501:]) < 0).all()
  assert held[750] == pytest.approx(0.51)


def t5x_rate(step, *, base, warmup):
  """`constant * linear_warmup * rsqrt_decay` of T5X, at its step.

  Source: https://github.com/google-research/t5x/blob/main/t5x/utils.py,
  create_learning_rate_scheduler; its trainer calls it with the number of steps
  done, 0 at the first.
  """
  rate = base
  rate *= min(1.0, step / warmup)
  return rate / np.sqrt(max(step, warmup))


def test_rsqrt_is_the_schedule_of_t5x_step_by_step():
  # Magenta RealTime's: 0.5 / root of the step, at most that of step 1,000.
  settings = config(
    optimizer="adafactor", schedule="rsqrt", warmup_steps=1000, steps=10_000
  )
  for step in (0, 1, 500, 999, 1000, 1001, 4000, 9999):
    ours = learning_rate(settings, step, step / 10_000)
    theirs = t5x_rate(step, base=0.5, warmup=1000)
    assert ours == pytest.approx(theirs, rel=1e-12), step
  # The top lasts up to step 1,000; step 4,000 has half of it.
  assert learning_rate(settings, 1000, 0.1) == LEARNING_RATES["adafactor"]
  assert learning_rate(settings, 1001, 0.1) < LEARNING_RATES["adafactor"]
  assert learning_rate(settings, 4000, 0.4) == pytest.approx(
    LEARNING_RATES["adafactor"] / 2
  )


def test_without_a_warm_up_rsqrt_begins_at_its_peak():
  settings = config(schedule="rsqrt", warmup_steps=0, learning_rate=1.0)
  rates = [learning_rate(settings, step, 0.0) for step in (0, 1, 4)]
  assert rates == pytest.approx([1.0, 1.0, 0.5])


def test_rates_are_the_optimizers_own_unless_given():
  assert config(optimizer="adam_relative").learning_rate == 0.015
  assert config(optimizer="adamw").learning_rate == 1e-3
  assert config(optimizer="adamw", learning_rate=0.1).learning_rate == 0.1


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    (dict(optimizer="sgd"), "optimizer must be one of muon_drawn.*'sgd'"),
    (dict(hold=1.0), "hold must be a number of at least 0 and below 1"),
    (dict(rest_rate=-1.0), "rest_rate must be a number from 0"),
    (dict(schedule="step"), "schedule must be one of cosine.*'step'"),
    (dict(dtype="float16"), "dtype must be one of float32.*'float16'"),
    (
      dict(ema_decay=1.0),
      r"ema_decay must be a number of at least 0 and below 1, got 1",
    ),
    (dict(accumulate=0), "accumulate must be a whole number from 1 .*, got 0"),
    (dict(mesh=dict(rows=2)), "axis must be one of data, fsdp.*'rows'"),
    (
      dict(mesh=dict(data=0)),
      "mesh..data.. must be a whole number from 1 .*, got 0",
    ),
    (dict(clock="sun"), "clock must be one of wall, processor, got 'sun'"),
    (
      dict(level_weights=dict(key=0.0)),
      "level_weights..key.. must be a number above 0",
    ),
    (
      dict(learning_rate=-1.0),
      "learning_rate must be a number above 0 .*, got -1",
    ),
    (dict(early_stopping=1, keep_best=False), "needs keep_best"),
  ],
)
def test_settings_that_cannot_be_are_refused(changes, message):
  # Past the type hints, which only tests check.
  settings = config()
  for name, value in changes.items():
    object.__setattr__(settings, name, value)
  with pytest.raises(ValueError, match=message):
    settings.__post_init__()


def test_a_run_of_an_earlier_version_goes_on_with_its_defaults(tmp_path):
  begun = config(optimizer="adam_relative", learning_rate=0.015)
  stored = json.loads(settings_json(begun, CODEC))
  del stored["rest_rate"]
  (tmp_path / "state" / "20").mkdir(parents=True)
  (tmp_path / "run.json").write_text(json.dumps(stored))
  assert as_begun(config(), tmp_path).optimizer == "adam_relative"
  assert as_begun(config(), tmp_path).learning_rate == 0.015
  # What is asked for stays, to be refused.
  other = config(optimizer="adamw", learning_rate=0.1)
  assert as_begun(other, tmp_path) == other
  # A run of this version has its settings.
  (tmp_path / "run.json").write_text(settings_json(begun, CODEC))
  assert as_begun(config(), tmp_path) == config()


class Fixed:
  """A source of the same few batches."""

  cut = capped = 0

  def __init__(self, batches):
    self.batches = batches
    self.at = 0

  def next(self):
    batch = self.batches[self.at % len(self.batches)]
    self.at += 1
    return batch

  def state(self):
    return {}

  def restore(self, state):
    pass


def flat(trainer):
  leaves = jax.tree.leaves(trainer.params)
  return np.concatenate([np.asarray(x).ravel() for x in leaves])


@pytest.mark.slow
def test_what_saves_memory_changes_nothing_else(corpus):
  whole = Trainer(config(optimizer="adamw"), CODEC, [corpus], [1.0])
  batch = whole.stream.next()
  whole.stream = Fixed([batch])
  expected = np.asarray(whole.train_step(0.0))

  # Parts of unlike weight: what counts is every frame, not every batch.
  parts = [
    Batch(*(None if x is None else x[rows] for x in batch))
    for rows in (slice(0, 1), slice(1, None))
  ]
  settings = config(optimizer="adamw", accumulate=2, remat=True)
  parted = Trainer(settings, CODEC, [corpus], [1.0])
  parted.stream = Fixed(parts)
  found = np.asarray(parted.train_step(0.0))
  np.testing.assert_allclose(found, expected, rtol=1e-5)
  np.testing.assert_allclose(flat(parted), flat(whole), atol=2e-5)
  assert parted.notes == whole.notes > 0


@pytest.mark.slow
def test_the_average_of_the_weights_is_what_is_written(corpus):
  averaged = Trainer(config(ema_decay=0.5), CODEC, [corpus], [1.0])
  averaged.stream = Fixed([averaged.stream.next()])
  first = flat(averaged)
  expected = first.copy()
  for step in range(3):
    averaged.train_step(0.0)
    decay = min(0.5, (1 + step) / (10 + step))
    expected = decay * expected + (1 - decay) * flat(averaged)
  model = averaged.current_model()
  leaves = jax.tree.leaves(nnx.state(model, nnx.Param))
  found = np.concatenate([np.asarray(x).ravel() for x in leaves])
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
  assert np.abs(found - flat(averaged)).max() > 1e-4


def test_level_weights_are_of_the_codecs_levels():
  def weights(**named: float) -> tuple[float, ...]:
    return level_weights(TrainConfig(steps=1, level_weights=named), CODEC)

  assert weights() == ()
  assert weights(velocity=0.5, onset=2.0) == (2.0, 1.0, 0.5, 1.0)
  with pytest.raises(ValueError, match=r"pitch is no level .*'note': onset"):
    weights(pitch=1.0)


def test_the_terms_beside_cross_entropy(corpus, monkeypatch):
  model = nnx.eval_shape(lambda: Depthformer(SHAPE, rngs=nnx.Rngs(0)))
  batch = BatchStream(
    codec=CODEC,
    corpora=[corpus],
    shares=[1.0],
    augmentation=Augmentation(),
    frames_per_batch=300,
    target_steps=400,
    context_steps=1000,
    seed=0,
  ).next()
  batch = jax.tree.map(jnp.asarray, batch)
  shape = batch.targets.shape[:2]
  drawn = [
    jax.random.normal(jax.random.key(level), (*shape, stop - start))
    for level, (start, stop) in enumerate(SHAPE.columns)
  ]
  monkeypatch.setattr(losses, "level_logits", lambda *_: drawn)
  plain, nats = training_loss(model, batch)
  assert float(plain) == float(jnp.sum(nats.nats))
  # By hand, at every level where it predicts.
  z = smooth = 0.0
  for level, logits in enumerate(drawn):
    log_p = np.asarray(jax.nn.log_softmax(logits))
    log_z = np.asarray(jax.nn.logsumexp(logits, axis=-1))
    used = np.asarray(batch.weights[..., level])
    z += 0.5 * np.square(log_z)[used].sum()
    smooth += 0.1 * -log_p.mean(-1)[used].sum()
  for settings, expected in (
    (dict(z_loss=0.5), float(plain) + z),
    (dict(label_smoothing=0.1), 0.9 * float(plain) + smooth),
    (
      dict(level_weights=(2.0, 1.0, 0.5, 1.0)),
      float(jnp.dot(nats.nats, jnp.array([2.0, 1.0, 0.5, 1.0]))),
    ),
  ):
    loss, same = training_loss(model, batch, **settings)
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    np.testing.assert_array_equal(same.nats, nats.nats)
