"""Stacks at their own pace, rehearsal, and going on from an adapter."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from magenta_midi.data.examples.examples import EXAMPLE_DTYPE, cut_examples
from magenta_midi.data.pieces import pack_scores
from magenta_midi.evaluation.evaluate import evaluate
from magenta_midi.evaluation.losses import level_logits
from magenta_midi.finetune import adapter_task, self_samples
from magenta_midi.finetune.config import FinetuneConfig
from magenta_midi.finetune.finetune import finetune
from magenta_midi.finetune.forgetting import Divergence, divergence
from magenta_midi.finetune.layer_schedule import GROUPS, group_of
from magenta_midi.finetune.mixture import ITSELF, mix
from magenta_midi.finetune.self_samples import (
  draw_self_samples,
  number_pieces,
  read_self_samples,
)
from magenta_midi.finetune.trainer import AdapterTrainer
from magenta_midi.model.lora.adapter_file import AdapterError, read_adapter
from magenta_midi.testing import tiny_generator
from tests.support.finetuning import CODEC, run_config, same, scale


@pytest.fixture(autouse=True)
def short_pieces(monkeypatch):
  """Two chunks each: a drawn model plays as well as it ever will."""
  monkeypatch.setattr(self_samples, "PIECE_S", 4.0)


def moved(before, after):
  """Groups of which any factor has changed, and those of which none has."""
  groups = {group_of(name): False for name in before}
  for name, pair in before.items():
    groups[group_of(name)] |= any(
      np.any(np.asarray(one) != np.asarray(other))
      for one, other in zip(pair, after[name], strict=True)
    )
  return groups


def test_stacks_learn_at_their_rate_from_their_time_on(base, split):
  config = run_config(
    steps=4, unfreeze={"encoder": 0.5}, stack_rates={"depth": 0.0}
  )
  trainer = AdapterTrainer(config, base.model, CODEC, mix(split, (1.0,)))
  update, shapes = trainer._update, set()

  def noted(*args):
    shapes.add(args[2].targets.shape)
    return update(*args)

  trainer._update = noted
  compiled = update._cache_size()
  for step in range(4):
    before = jax.tree.map(np.asarray, trainer.factors)
    trainer.train_step(step / 4)
    assert moved(before, trainer.factors) == {
      "encoder": step >= 2,
      "temporal": True,
      "depth": False,
      "embeddings": True,
      "head": True,
    }
  # Thawing compiles nothing.
  assert update._cache_size() - compiled <= len(shapes)


def test_stacks_that_stay_have_no_part_in_how_far_others_go(base, split):
  """Their gradients are clipped away from nobody."""

  def first_step(**changes):
    config = run_config(**changes)
    trainer = AdapterTrainer(config, base.model, CODEC, mix(split, (1.0,)))
    trainer.train_step(0.0)
    return trainer.factors

  others = set(GROUPS) - {"depth"}
  whole = first_step(stack_rates=dict.fromkeys(others, 0.0))
  alone = first_step(
    targets=tuple(
      f"depth.{name}" for name in ("query", "key", "value", "out", "mlp")
    )
  )
  for name, pair in alone.items():
    np.testing.assert_allclose(whole[name].b, pair.b, rtol=2e-4, atol=1e-7)


@pytest.fixture
def told_nats(monkeypatch):
  """Gives evaluations the figures of a list; 10 after its end."""

  def tell(nats):
    told = iter([10.0, 10.0, *nats])

    def scored(model, codec, corpus, **how):
      found = evaluate(model, codec, corpus, **(how | dict(windows=1)))
      # One note, so that equal figures are equal to the bit.
      nats = np.zeros_like(found.nats)
      nats[:, 0] = next(told, 10.0)
      return dataclasses.replace(
        found, nats=nats, notes=np.ones_like(found.notes)
      )

    monkeypatch.setattr(adapter_task, "evaluate", scored)

  return tell


def test_no_run_ends_before_all_of_it_learns(base, split, tmp_path, told_nats):
  told_nats([11.0, 11.1, 11.2, 11.3, 11.4, 11.5, 11.6, 11.7])
  found = finetune(
    run_config(
      steps=8, evaluations=8, early_stopping=2, unfreeze={"encoder": 0.5}
    ),
    base,
    split,
    "me",
    tmp_path,
  )
  # From the fifth step on, two evaluations without a gain.
  assert found.steps == 6


@pytest.mark.parametrize(
  ("nats", "steps", "best_step"),
  [
    # Worse than the base for long, but falling.
    ([11.0, 12.0, 11.5, 11.8, 11.2, 9.9, 10.5, 10.6], 8, 6),
    ([9.9, 10.1, 10.2, 10.2], 4, 1),
  ],
)
def test_a_run_goes_on_as_long_as_it_falls(
  base, split, tmp_path, told_nats, nats, steps, best_step
):
  told_nats(nats)
  found = finetune(
    run_config(steps=8, evaluations=8, early_stopping=3),
    base,
    split,
    "me",
    tmp_path,
  )
  assert found.steps == steps
  assert found.adapter.figures["best_step"] == best_step


def test_what_cannot_be_trained_is_refused_before_anything_is_written(
  base, split, tmp_path
):
  out = tmp_path / "run"

  def refuse(match, rehearsal=None, **changes):
    with pytest.raises(ValueError, match=match):
      finetune(
        run_config(**changes), base, split, "me", out, rehearsal=rehearsal
      )
    assert not out.exists()

  refuse("unknown target 'foo'", targets=("foo",))
  refuse("rank must be at most", rank=10_000)
  refuse(
    "nothing learns at first", unfreeze={"depth": 0.5}, targets=("depth.mlp",)
  )
  refuse("rehearsal_share must be a number above 0", rehearsal_share=1.0)
  refuse("continuations_s must be a number from 0", continuations_s=-1.0)
  refuse("8 s of it are the least, got 0 s", rehearsal=ITSELF)
  refuse("unknown part cello", stack_rates={"cello": 1.0})


def test_what_is_judged_is_never_learned():
  for seconds in np.arange(8.0, 80.0, 1.7).tolist():
    found = number_pieces(seconds, judge=True, rehearse=True)
    assert not set(found.judged) & set(found.learned)
    assert len(found.judged) <= len(found.learned)
    alone = number_pieces(seconds, judge=True, rehearse=False)
    assert alone.judged == found.judged and not alone.learned
  assert number_pieces(480.0, judge=False, rehearse=False) == (
    range(0),
    range(30, 30),
  )


def test_continuations_are_sampled_once(base, tmp_path):
  asked = []

  def sample(folder, numbers, stop_after=99):
    asked.clear()

    def stop():
      asked.append(1)
      return len(asked) > stop_after

    return draw_self_samples(
      base.model, CODEC, folder, numbers, seed=3, should_stop=stop
    )

  whole, broken = tmp_path / "whole", tmp_path / "broken"
  assert sample(whole, range(3))
  assert len(asked) == 3
  assert not sample(broken, range(3), stop_after=1)
  assert [p.name for p in broken.iterdir()] == ["000.mid"]
  (broken / "000.mid").write_bytes(b"MThd")
  assert sample(broken, [2, 0, 1])
  for file in whole.iterdir():
    assert (broken / file.name).read_bytes() == file.read_bytes()
  assert sample(whole, range(3)) and not asked
  corpus = read_self_samples(whole, range(3))
  assert corpus.names and corpus.notes > 0
  assert len({corpus.piece(i).tobytes() for i in range(len(corpus))}) == len(
    corpus
  )


def test_divergence_of_a_model_from_itself_and_from_another(base):
  corpus = pack_scores([("a", scale(9.0, 50)), ("b", scale(5.0, 70))])
  none = divergence(base.model, base.model, CODEC, corpus)
  np.testing.assert_allclose(none.nats, 0.0, atol=1e-4)
  other = tiny_generator(codec=CODEC, seed=1).model
  found = divergence(base.model, other, CODEC, corpus)
  assert found.notes.tolist() == [36, 20]
  assert np.all(found.nats > 0)
  assert found.nats_per_note == pytest.approx(found.nats.sum() / 56)
  low, high = found.interval()
  assert low <= found.nats_per_note <= high


def test_divergence_is_that_of_all_codes_at_each_event(base):
  corpus = pack_scores([("a", scale(2.0, 50))])
  examples = np.zeros(1, EXAMPLE_DTYPE)
  examples["tempo"] = examples["velocity_gain"] = 1.0
  examples["context_steps"] = 1000
  batch, _ = cut_examples(
    CODEC,
    [corpus],
    examples,
    context_frames=64,
    target_frames=24,
    target_steps=200,
  )
  other = tiny_generator(codec=CODEC, seed=1).model
  batch = jax.tree.map(jnp.asarray, batch)
  expected = 0.0
  pairs = zip(
    level_logits(base.model, batch), level_logits(other, batch), strict=True
  )
  for level, logits in enumerate(pairs):
    p, q = (np.asarray(jax.nn.softmax(x), np.float64) for x in logits)
    used = np.asarray(batch.weights[..., level])
    expected += np.sum((p * np.log(p / q)).sum(-1)[used])
  found = divergence(base.model, other, CODEC, corpus)
  assert found.nats.sum() == pytest.approx(expected, rel=1e-4)


def test_figures_of_a_divergence():
  found = Divergence(
    np.array([1.0, 2.0]), np.array([10.0, 20.0]), np.array([10, 5])
  )
  assert found.nats_per_note == pytest.approx(0.2)
  assert found.share == pytest.approx(0.1)
  assert found.figures()["notes"] == 15


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory, base, split):
  """A run that rehearses what the base plays by itself."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(self_samples, "PIECE_S", 4.0)
    out, seen = tmp_path_factory.mktemp("rehearsed"), []
    found = finetune(
      run_config(continuations_s=16.0),
      base,
      split,
      "me",
      out,
      rehearsal=ITSELF,
      on_progress=seen.append,
    )
  return found, out, seen


def test_the_base_is_rehearsed(rehearsed):
  found, out, seen = rehearsed
  assert [p.name for p in sorted((out / "continuations").iterdir())] == [
    f"00{number}.mid" for number in range(4)
  ]
  assert seen[0].stage == "sampling"
  figures = read_adapter(out / "me.safetensors").figures
  assert figures["rehearsal"]["music"] == "itself"
  assert figures["rehearsal"]["share"] == 0.3
  assert (
    figures["rehearsal"]["notes"]
    == read_self_samples(out / "continuations", range(1, 4)).notes
  )
  assert found.drift.nats_per_note > 0
  assert figures["kl_on_own_music"] == found.drift.figures()
  assert json.loads((out / "run.json").read_text())["rehearsal"] == "itself"


@pytest.mark.parametrize("stop_at", [2, 6])
def test_a_rehearsed_run_continues_exactly(
  rehearsed, base, split, tmp_path, stop_at
):
  """Stopped while it samples, or while it trains."""
  asked = []

  def stop():
    asked.append(1)
    return len(asked) > stop_at

  args = (run_config(continuations_s=16.0), base, split, "me", tmp_path)
  assert finetune(*args, rehearsal=ITSELF, should_stop=stop) is None
  found = finetune(*args, rehearsal=ITSELF)
  same(found.adapter.factors, rehearsed[0].adapter.factors)
  assert found.drift.nats.tolist() == rehearsed[0].drift.nats.tolist()
  with pytest.raises(ValueError, match=r'rehearsal was "itself", now null'):
    finetune(*args)


def test_going_on_begins_with_the_adapters_own_figures(
  rehearsed, base, split, tmp_path
):
  before, _, _ = rehearsed
  start = dataclasses.replace(before.adapter, name="old")
  found = finetune(
    run_config(), base, split, "new", tmp_path, start=start, general=split.train
  )
  np.testing.assert_array_equal(found.before.nats, before.after.nats)
  assert found.after.nats_per_note <= found.before.nats_per_note
  assert found.adapter.figures["continued_from"] == dict(
    name="old", date=start.date
  )
  assert found.drift is None  # other music says it
  # Of what it starts from, not of the base.
  assert found.general_before.nats_per_note < before.before.nats_per_note
  assert any(
    np.any(pair.b != start.factors[name].b)
    for name, pair in found.adapter.factors.items()
  )


def test_what_gains_nothing_leaves_the_adapter_as_it_was(
  rehearsed, base, split, tmp_path
):
  start = rehearsed[0].adapter
  found = finetune(
    run_config(learning_rate=100.0, steps=2, evaluations=2),
    base,
    split,
    "me",
    tmp_path,
    start=start,
  )
  same(found.adapter.factors, start.factors)
  assert found.adapter.figures["best_step"] == 0


def test_an_adapter_of_other_factors_is_not_gone_on_from(
  rehearsed, base, split, tmp_path
):
  start = rehearsed[0].adapter

  def refuse(kind, match, which=base, **changes):
    with pytest.raises(kind, match=match):
      finetune(
        run_config(**changes), which, split, "me", tmp_path / "x", start=start
      )
    assert not (tmp_path / "x").exists()

  refuse(ValueError, "adapter me has rank 2, this run 3. Leave rank", rank=3)
  refuse(ValueError, "has targets query,key,value,out,mlp", targets=("mlp",))
  refuse(ValueError, "has alpha 4, this run 1", alpha=1.0)
  other = dataclasses.replace(base, sha256="cd" * 32)
  refuse(AdapterError, "adapter me was trained on tiny", which=other)


def test_settings_of_earlier_runs_are_at_their_defaults(
  rehearsed, base, split, tmp_path
):
  """A run begun before there was rehearsal is continued."""
  args = (run_config(continuations_s=480.0), base, split, "me", tmp_path)
  never = dict(general=split.train, should_stop=lambda: True)
  assert finetune(*args, **never) is None
  run = json.loads((tmp_path / "run.json").read_text())
  known = {field.name for field in dataclasses.fields(FinetuneConfig)}
  for name in ("stack_rates", "unfreeze", "rehearsal_share", "rehearsal"):
    assert name in known | {"rehearsal"}
    del run[name]
  del run["start"], run["continuations_s"]
  (tmp_path / "run.json").write_text(json.dumps(run))
  assert finetune(*args, **never) is None
