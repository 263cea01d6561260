"""tools/adapters/variants.py: what each kind begins as, learns, and reports."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner
from flax import nnx

from magenta_midi.data.recordings import read_recordings, recordings_corpus
from magenta_midi.evaluation.evaluate import evaluate
from magenta_midi.finetune.mixture import mix
from magenta_midi.finetune.trainer import AdapterTrainer
from magenta_midi.midi.score_files import write_score
from magenta_midi.model.checkpoint import load_checkpoint, save_checkpoint
from magenta_midi.model.depthformer import Frames
from magenta_midi.model.lora.lora import LoraConfig
from tests.support.finetuning import CODEC, run_config, scale, scales, tiny_base
from tools.adapters import variants as tool
from tools.adapters.kinds import course, variants

RATES = dict(lora=0.02, dora=0.02, slots=0.2, prefix=0.1, light=0.02, full=0.01)


@pytest.fixture(scope="module")
def base():
  return tiny_base()


@pytest.fixture(scope="module")
def split():
  return scales(c=60, d=62, e=64)


def begin(kind, base, split, **lora):
  return variants.begin_variant(
    kind,
    base.model,
    lora=LoraConfig(**(dict(rank=2, alpha=4.0) | lora)),
    positions=3,
    codec=CODEC,
    music=split.train,
    seed=0,
  )


def course_of(kind, base, split, **changes):
  config = run_config(learning_rate=RATES[kind], **changes)
  music = mix(split, config.tempos)
  return course.Course(config, begin(kind, base, split), CODEC, music)


def adapted(variant, learned=None):
  learned = variant.learned if learned is None else learned
  variant.model.eval()
  graph, params, rest = nnx.split(variant.model, nnx.Param, ...)
  return nnx.merge(graph, variant.adapt(params, learned, None), rest)


def frames(config, count, seed):
  rng = np.random.default_rng(seed)
  first = np.array([start for start, _ in config.columns])
  size = np.array([stop - start for start, stop in config.columns])
  ids = first + rng.integers(0, size, (2, count, len(size)))
  none = np.zeros((2, count))
  return Frames(*(jnp.asarray(x, jnp.int32) for x in (ids, none, none)))


def logits(model):
  context, inputs = (frames(model.config, n, n) for n in (12, 6))
  return np.concatenate(
    [np.ravel(level) for level in model(context, inputs, inputs.ids)]
  )


def named(params):
  return {
    ".".join(map(str, path)): np.asarray(variable.get_value())
    for path, variable in nnx.to_flat_state(params)
  }


@pytest.mark.parametrize("kind", ["dora", "prefix", "light"])
def test_what_is_untrained_is_the_base(kind, base, split):
  found = logits(adapted(begin(kind, base, split)))
  np.testing.assert_allclose(found, logits(base.model), atol=1e-5)


def test_slots_are_positions_that_the_music_does_not_have(base, split):
  """They have a part in attention from the first; masked, they have none."""
  variant = begin("slots", base, split)
  model, config = variant.model, base.model.config
  assert [x.shape for x in variant.learned.values()] == [(3, config.embed_dim)]
  context, inputs = (frames(config, n, n) for n in (12, 6))
  there, here = base.model.encode(context), model.encode(context)
  positions = there.mask.shape[1]
  np.testing.assert_array_equal(here.states[:, :positions], there.states)
  np.testing.assert_array_equal(here.mask[:, :positions], there.mask)
  (slots,) = variant.learned.values()
  for row in here.states[:, positions:]:
    np.testing.assert_array_equal(row, slots)
  assert here.mask[:, positions:].all()
  # Each begins as something else that the encoder has made of a recording.
  assert len(np.unique(np.asarray(slots), axis=0)) == 3
  x = model.embed_frames(inputs)
  causal = jnp.tril(jnp.ones((1, 6, 6), bool))

  def heard(of, memory):
    return np.asarray(of.temporal(x, memory, causal, memory.mask[:, None]))

  true = heard(base.model, there)
  masked = here._replace(mask=here.mask.at[:, positions:].set(False))
  np.testing.assert_allclose(heard(model, masked), true, atol=1e-5)
  assert np.abs(heard(model, here) - true).max() > 1e-3


def test_doras_columns_have_its_magnitudes(base, split):
  variant = begin("dora", base, split)
  key = jax.random.key(1)
  learned = {
    name: dora._replace(
      b=0.1 * jax.random.normal(key, dora.b.shape),
      magnitude=jnp.linspace(0.5, 2.0, dora.magnitude.size),
    )
    for name, dora in variant.learned.items()
  }
  before = named(nnx.state(base.model, nnx.Param))
  after = named(nnx.state(adapted(variant, learned), nnx.Param))
  assert before.keys() == after.keys()
  assert learned and learned.keys() < before.keys()
  for name, array in after.items():
    if name not in learned:
      np.testing.assert_array_equal(array, before[name])
      continue
    dora = learned[name]
    np.testing.assert_allclose(
      np.linalg.norm(array, axis=0), dora.magnitude, rtol=1e-5
    )
    # They point where W + s A B does.
    sum_of = before[name] + 2 * np.asarray(dora.a) @ np.asarray(dora.b)
    np.testing.assert_allclose(
      array / np.linalg.norm(array, axis=0),
      sum_of / np.linalg.norm(sum_of, axis=0),
      atol=1e-5,
    )


def test_lora_is_what_finetune_trains(base, split):
  course = course_of("lora", base, split, steps=4)
  config = run_config(learning_rate=RATES["lora"], steps=4)
  music = mix(split, config.tempos)
  trainer = AdapterTrainer(config, base.model, CODEC, music)
  for step in range(4):
    course.train_step()
    trainer.train_step(step / 4)
  assert course.learned.keys() == trainer.factors.keys()
  for name, pair in trainer.factors.items():
    for ours, theirs in zip(course.learned[name], pair, strict=True):
      np.testing.assert_allclose(ours, theirs, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("kind", ["dora", "slots", "prefix"])
def test_a_few_steps_learn_the_recordings(kind, base, split):
  before = logits(base.model)
  course = course_of(kind, base, split, steps=12)
  nats = [course.train_step() for _ in range(12)]
  assert np.mean(nats[-3:]) < np.mean(nats[:3]) - 0.3
  # Of whatever is trained, the base is not changed.
  np.testing.assert_array_equal(logits(base.model), before)


def test_rates_and_counts():
  found = tool.read_rates(["0.002", "full:1e-4", "full:3e-4"])
  assert found["full"] == (1e-4, 3e-4)
  assert found["lora"] == found["slots"] == (0.002,)
  assert tool.read_rates([]) == tool.RATES
  assert tool.read_counts(["1,3", "10"], "--pieces") == [1, 3, 10]
  for wrong in ("x", "0", "half:0.1", "-1"):
    with pytest.raises(tool.UserError, match="expected RATE or KIND:RATE"):
      tool.read_rates([wrong])
  for wrong in ("0", "1,,3", "a"):
    with pytest.raises(tool.UserError, match="expected whole numbers"):
      tool.read_counts([wrong], "--rank")


def test_the_best_rate_of_each_size():
  rows = [
    dict(kind=kind, setting=setting, takes=3, held=dict(after=after))
    for kind, setting, after in (
      ("lora", "rank 2", np.nan),
      ("lora", "rank 2", 9.0),
      ("lora", "rank 2", 9.5),
      ("lora", "rank 4", 8.0),
      ("full", "", np.nan),
    )
  ]
  assert tool.best_of(rows) == [rows[1], rows[3], rows[4]]


@pytest.mark.slow
def test_what_is_done_is_not_done_again(tmp_path):
  player, out, checkpoint = (tmp_path / n for n in ("player", "out", "base"))
  for part, starts in (("train", (60, 62)), ("held", (64, 65))):
    (player / part).mkdir(parents=True)
    for start in starts:
      path = player / part / f"scale {start}.mid"
      write_score(scale(40.0, start), path)
  save_checkpoint(checkpoint, tiny_base().model, codec={"name": "note"})
  args = [str(player), "--checkpoint", str(checkpoint), "--out", str(out)]
  args += ["--kind", "dora", "--rank", "2", "--pieces", "1", "--keep"]
  args += ["--learning-rate", "0.01", "--steps", "3", "--windows", "6"]
  args += ["--frames-per-batch", "300", "--json", str(tmp_path / "all.json")]

  def run(*more):
    return CliRunner().invoke(
      tool.command, [*args, *more], catch_exceptions=False
    )

  first = run()
  assert first.exit_code == 0, first.output
  done = {path: path.stat().st_mtime_ns for path in out.glob("*.json")}
  assert len(done) == 2
  assert run().stdout == first.stdout
  assert done == {path: path.stat().st_mtime_ns for path in out.glob("*.json")}
  header, _, *lines = first.stdout.splitlines()
  assert [line.count("|") for line in lines] == [header.count("|")]

  report = json.loads((tmp_path / "all.json").read_text(encoding="utf-8"))
  (row,) = report["rows"]
  assert row["takes"] == 1
  assert row["bytes_float32"] > 4 * row["parameters"]
  saved = row["bytes_float32"] - row["bytes_bfloat16"]
  assert 1.9 < saved / row["parameters"] < 2.1
  assert row["peak_bytes"] > 1e8
  assert row["held"]["ci95"][0] <= row["held"]["nats_per_note"]
  # The plain checkpoint is what was scored.
  (kept,) = out.glob("dora-r2-n1-*/")
  stored = out / f"{kept.name}.json"
  figures = json.loads(stored.read_text(encoding="utf-8"))["held"]
  held, _ = read_recordings([player / "held"])
  model, _ = load_checkpoint(kept)
  found = evaluate(model, CODEC, recordings_corpus(held), windows=6)
  np.testing.assert_allclose(found.nats, figures["nats"], rtol=1e-5, atol=1e-4)

  wrong = run("--rank", "0")
  assert wrong.exit_code == 2
  assert "expected whole numbers" in wrong.stderr
