"""What a run continues from: whole or not at all, wherever it is killed."""

import dataclasses
import json
import os
import signal
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from magenta_midi.data.corpus import pack_scores
from magenta_midi.evaluation.evaluate import Evaluation
from magenta_midi.midi.score import Score
from magenta_midi.midi.score_files import read_score
from magenta_midi.model.checkpoint import CheckpointError, read_config
from magenta_midi.tokens.note.codec import NoteCodec
from magenta_midi.train import train as training
from magenta_midi.train.run_settings import settings_json
from magenta_midi.train.run_store import Marks, RunStore, restored_marks
from magenta_midi.train.train import TrainConfig, check_settings, train
from magenta_midi.train.watch import RunLog

CODEC = NoteCodec()


# What Orbax leaves pending of a read that failed ends after its event loop.
pytestmark = pytest.mark.filterwarnings(
  "ignore::pytest.PytestUnraisableExceptionWarning"
)


def arrays(value, size=3):
  return {"params.a": jnp.full((size, 2), value), "count": jnp.int32(value)}


def test_the_best_and_the_newest_are_kept(tmp_path):
  with RunStore(tmp_path / "state") as store:
    for step, held_out in ((1, 5.0), (2, 3.0), (3, None), (4, 4.0), (5, None)):
      facts = dict(data=dict(seen=np.arange(step), pool=np.int64(7)))
      store.save(step, arrays(float(step)), facts, held_out=held_out)
    store.wait()
    assert (store.newest, store.best) == (5, 2)
  # As another process finds them, beside what a third left unfinished.
  unfinished = tmp_path / "state" / "6.orbax-checkpoint-tmp"
  (unfinished / "arrays").mkdir(parents=True)
  # Who only reads takes nothing away: the run may be going on.
  with RunStore(tmp_path / "state", read_only=True) as store:
    assert store.restore(arrays(0.0))[0] == 5
  assert (unfinished / "arrays").is_dir()
  with RunStore(tmp_path / "state") as store:
    step, found, facts = store.restore(arrays(0.0))
    assert step == 5 and facts["data"]["pool"] == 7
    np.testing.assert_array_equal(facts["data"]["seen"], np.arange(5))
    for name, array in arrays(5.0).items():
      np.testing.assert_array_equal(found[name], array)
    assert store.restore(arrays(0.0), store.best)[0] == 2
    # What was unfinished is gone by the time of the next.
    store.save(7, arrays(7.0), {})
    store.wait()
    assert sorted(p.name for p in (tmp_path / "state").iterdir()) == ["2", "7"]


def test_marks_of_another_version_are_refused(tmp_path):
  with RunStore(tmp_path / "state") as store:
    stored = Marks(minutes=2.0, best=9.5, facts=dict(notes=np.arange(3)))
    store.save(1, arrays(1.0), dict(marks=dataclasses.asdict(stored)))
    store.wait()
    _, _, facts = store.restore(arrays(0.0))
  found = restored_marks(facts, store.folder)
  np.testing.assert_array_equal(found.facts.pop("notes"), np.arange(3))
  assert found == dataclasses.replace(stored, facts={})
  for others in (dict(minutes=2.0), dict(facts["marks"], lately=9.4)):
    with pytest.raises(CheckpointError, match=r"another version.*new folder"):
      restored_marks(dict(marks=others), store.folder)


def test_marks_of_326db6b_are_read(tmp_path):
  trained = dict(
    minutes=2.0, warm_start=dict(taken=3), best=9.5, since_best=2, ended=False
  )
  assert restored_marks(dict(marks=trained), tmp_path) == Marks(
    minutes=2.0, best=9.5, stalls=2, facts=dict(warm_start=dict(taken=3))
  )
  adapted = dict(
    minutes=1.0,
    best=9.5,
    best_step=4,
    last=9.7,
    rises=1,
    evaluated=5,
    evaluations=12,
    ended=True,
  )
  before = dict(names=["a"])
  assert restored_marks(dict(marks=adapted, before=before), tmp_path) == Marks(
    minutes=1.0,
    best=9.5,
    best_step=4,
    last=9.7,
    stalls=1,
    evaluated=5,
    evaluations=12,
    ended=True,
    facts=dict(before=before),
  )
  # The GPT-2 baseline had no marks.
  facts = dict(step=3, minutes=0.5, held_out={}, token_losses={})
  assert restored_marks(facts, tmp_path) == Marks(minutes=0.5)


def test_states_that_cannot_be_read_are_told_of(tmp_path):
  with RunStore(tmp_path / "state") as store:
    with pytest.raises(CheckpointError, match="no state there"):
      store.restore(arrays(0.0))
    store.save(1, arrays(1.0), {})
    store.wait()
    with pytest.raises(
      CheckpointError, match=r"params\.a is \[3, 2\], expected \[4, 2\]"
    ):
      store.restore(arrays(0.0, size=4))
    for path in (tmp_path / "state" / "1" / "arrays").rglob("*"):
      if path.is_file() and path.parent.name == "d":
        path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="damaged, cannot be read"):
      store.restore(arrays(0.0))


FULL = """
import resource, signal, sys
from pathlib import Path
import numpy as np, jax.numpy as jnp
from magenta_midi.train.run_store import RunStore

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder = Path(sys.argv[1])
try:
  with RunStore(folder) as store:
    store.save(1, {"a": jnp.ones(3)}, {})
    store.wait()
    # Files may not grow past this: what a full disk does, without root.
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    noise = np.random.default_rng(0).normal(size=10**6)
    store.save(2, {"a": jnp.asarray(noise)}, {})
except OSError as error:
  print(error.filename, "|", error.strerror)
with RunStore(folder) as store:
  print(store.newest, store.restore({"a": jnp.ones(3)})[1]["a"].tolist())
"""


def in_another(program, *args, **environment):
  return subprocess.run(
    [sys.executable, "-c", program, *map(str, args)],
    env=os.environ | dict(JAX_PLATFORMS="cpu") | environment,
    capture_output=True,
    text=True,
    check=False,
  )


@pytest.mark.slow
def test_a_full_disk_leaves_the_state_before(tmp_path):
  done = in_another(FULL, tmp_path / "state")
  assert done.returncode == 0, done.stderr[-2000:]
  message, state = done.stdout.splitlines()
  assert message.startswith(f"{tmp_path / 'state'} | a state cannot be written")
  assert "the same command continues" in message
  assert state == "1 [1.0, 1.0, 1.0]"


# Kills itself in front of a step, with a save under way or not.
RUN = """
import os, signal, sys
from pathlib import Path
import numpy as np
from magenta_midi.midi.score import Score
from magenta_midi.tokens.note.codec import NoteCodec
from magenta_midi.data.corpus import pack_scores
from magenta_midi.train.train import TrainConfig, train

out, kill_after = Path(sys.argv[1]), int(sys.argv[2])
onset = np.arange(0, 60, 0.5)
corpus = pack_scores([("piece", Score.from_arrays(
  onset_s=onset, duration_s=np.full(len(onset), 0.2),
  key=60 + np.arange(len(onset)) % 12,
  velocity=np.full(len(onset), 66)))])
calls = 0

def stop():
  global calls
  calls += 1
  if calls == kill_after:
    os.kill(os.getpid(), signal.SIGKILL)
  return False

train(
  TrainConfig(
    preset="tiny", model=dict(temporal_layers=1, dropout_rate=0.1), steps=12,
    optimizer="adamw", ema_decay=0.9, frames_per_batch=300, warmup_steps=2,
    save_every_steps=2, storage="float32"),
  NoteCodec(), [corpus], [1.0], None, out, should_stop=stop)
"""


@pytest.mark.slow
def test_a_run_killed_at_a_random_step_equals_the_unbroken_one(tmp_path):
  environment = dict(
    # Compiled once for all.
    JAX_COMPILATION_CACHE_DIR=str(tmp_path / "cache"),
    JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",
  )
  whole, broken = tmp_path / "whole", tmp_path / "broken"
  done = in_another(RUN, whole, 0, **environment)
  assert done.returncode == 0, done.stderr[-2000:]
  at = int(np.random.default_rng().integers(4, 12))
  killed = in_another(RUN, broken, at, **environment)
  assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
  assert read_config(broken / "checkpoint")["notes"]["step"] < 12
  done = in_another(RUN, broken, 0, **environment)
  assert done.returncode == 0, done.stderr[-2000:]
  first, second = (
    (out / "checkpoint" / "weights.safetensors").read_bytes()
    for out in (whole, broken)
  )
  assert first == second, f"killed before step {at}"


def test_a_continued_log_tells_nothing_twice(tmp_path):
  def told(since, steps):
    with RunLog(tmp_path, since, ("a", "b")) as log:
      for step in steps:
        log.training(step, step / 2, np.array([1.0, 2.0]), 0.1, 30.0)
    path = tmp_path / "log.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [row["step"] for row in rows]

  assert told(0, (20, 40, 60)) == [20, 40, 60]
  with open(tmp_path / "log.jsonl", "a") as file:
    file.write('{"step": 8')  # cut off by the kill
  # It went on from the state of step 40.
  assert told(40, (60, 80)) == [20, 40, 60, 80]
  assert len(list((tmp_path / "tensorboard").iterdir())) >= 1


def config(**changes):
  values = dict(
    preset="tiny",
    model=dict(temporal_layers=1),
    steps=20,
    frames_per_batch=300,
    evaluate_every_steps=1,
    sample_s=2.0,
    storage="float32",
  )
  return TrainConfig(**(values | changes))


@pytest.fixture(scope="module")
def corpus():
  onset = np.arange(0, 60, 0.5)
  score = Score.from_arrays(
    onset_s=onset,
    duration_s=np.full(len(onset), 0.2),
    key=60 + np.arange(len(onset)) % 12,
    velocity=np.full(len(onset), 66),
  )
  return pack_scores([("piece", score)])


@pytest.mark.slow
def test_a_run_that_gains_no_more_ends_with_its_best(
  tmp_path, corpus, monkeypatch
):
  figures = {1: 5.0, 2: 3.0, 3: 4.0, 4: 3.5}
  seen = []

  def scripted(model, codec, held_out, **how):
    step = len(seen) + 1
    seen.append(step)
    # The last is of the best state, loaded again.
    nats = figures.get(step, 3.0)
    return Evaluation(np.full((1, 6), nats / 6), np.ones(1, int), np.ones(1))

  monkeypatch.setattr(training, "evaluate", scripted)
  out = tmp_path / "run"
  evaluation = train(
    config(early_stopping=2), CODEC, [corpus], [1.0], corpus, out
  )
  assert evaluation.nats_per_note == 3.0 and len(seen) == 5
  notes = read_config(out / "checkpoint")["notes"]
  assert notes["step"] == 2 and notes["finished"]
  assert sorted(p.name for p in (out / "state").iterdir()) == ["2", "4"]
  # Where one can watch it.
  samples = sorted(p.name for p in (out / "samples").iterdir())
  assert samples == [
    f"step_{step:07d}.{kind}"
    for step in (1, 2, 3, 4)
    for kind in ("mid", "png")
  ]
  # Ten seconds of the piece, then what the model plays, if anything.
  sample = read_score(out / "samples" / samples[0]).notes["onset_s"]
  np.testing.assert_allclose(sample[:20], np.arange(0, 10, 0.5), atol=5e-3)
  assert (sample[20:] >= 10).all()
  assert (out / "loss.png").is_file()
  (events,) = (out / "tensorboard").iterdir()
  content = events.read_bytes()
  for tag in (b"held_out/nats_per_note", b"sample"):
    assert tag in content
  # It has ended: nothing is done again.
  before = (out / "checkpoint" / "weights.safetensors").read_bytes()
  again = train(config(early_stopping=2), CODEC, [corpus], [1.0], corpus, out)
  assert again is None and len(seen) == 5
  assert (out / "checkpoint" / "weights.safetensors").read_bytes() == before


def test_a_folder_that_cannot_be_continued_is_left_alone(tmp_path):
  older = tmp_path / "older"
  older.mkdir()
  (older / "run.json").write_text("{}")
  (older / "state.safetensors").write_bytes(b"x")
  with pytest.raises(ValueError, match=r"earlier version.*--init-from .*older"):
    check_settings(config(), CODEC, older)

  out = tmp_path / "run"
  (out / "state" / "15").mkdir(parents=True)
  with pytest.raises(ValueError, match=r"state without its settings"):
    check_settings(config(), CODEC, out)
  (out / "run.json").write_text(settings_json(config(), CODEC))
  check_settings(config(), CODEC, out)
  # Where it runs may change, what it computes may not.
  check_settings(config(mesh=dict(data=2), save_every_steps=3), CODEC, out)
  with pytest.raises(ValueError, match=r"ema_decay was 0\.0, now 0\.5"):
    check_settings(config(ema_decay=0.5), CODEC, out)
  with pytest.raises(ValueError, match=r"at step 15, beyond the 10 steps"):
    check_settings(config(steps=10), CODEC, out)
  # Unfinished states do not count.
  (out / "state" / "15").rename(out / "state" / "15.orbax-checkpoint-tmp")
  check_settings(config(steps=10), CODEC, out)
