"""The guard goes back when training collapses, also across a resumed run."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magenta_midi.data.corpus import pack_scores
from magenta_midi.model.checkpoint import flat_parameters, load_checkpoint
from magenta_midi.tokens.note.codec import NoteCodec
from magenta_midi.train import guard as guards
from magenta_midi.train import trainer as trainers
from magenta_midi.train.guard import FACTOR, Guard, WentBack
from magenta_midi.train.run_settings import TrainConfig
from magenta_midi.train.train import train
from tests.support.finetuning import scale

CODEC = NoteCodec()
EVERY = 20


class Arrays:
  """A trainer whose only array is the step of its weights."""

  def __init__(self, at: int = 0):
    self.rate_factor = 1.0
    self.weights = at

  def copied(self):
    return self.weights

  def go_back(self, copy):
    self.weights = copy


@pytest.fixture
def short(monkeypatch):
  """Windows of 20 steps, and a copy after as many."""
  monkeypatch.setattr(guards, "WINDOW", EVERY)
  monkeypatch.setattr(guards, "COPY_EVERY_STEPS", EVERY)


def watch(losses, guard, arrays, first=0):
  """Shows a guard the losses, 20 at a time; what it did."""
  done = []
  for start in range(first, len(losses), EVERY):
    step = start + EVERY
    arrays.weights = step
    guard.add(step, losses[start:step])
    if (back := guard.check(step, arrays)) is not None:
      done.append(back)
  return done


def begun(threshold=0.5, first_step=0, facts=None, at=0):
  guard, arrays = Guard(threshold, first_step, facts or {}), Arrays(at)
  arrays.rate_factor = guard.rate_factor
  guard.copy(at, arrays)
  return guard, arrays


def test_it_goes_back_when_the_loss_rises(short):
  guard, arrays = begun()
  losses = [10.0] * 20 + [9.0] * 40 + [9.4] * 20 + [9.55] * 20 + [9.0] * 20
  (done,) = watch(losses, guard, arrays)
  # Not to step 80, where the rise had begun.
  assert done.nats == pytest.approx(9.55)
  assert done._replace(nats=0.0) == WentBack(100, 60, 0.0, 9.0, FACTOR)
  assert arrays.rate_factor == guard.rate_factor == FACTOR
  assert "step 100: training collapsed to 9.55 nats" in done.line()
  assert "step 60, at 0.7 of the learning rate" in done.line()


def test_it_goes_back_to_the_copy(short):
  guard, arrays = begun()
  watch([9.0] * 20, guard, arrays)
  arrays.weights = -1
  guard.add(40, [12.0] * 20)
  assert guard.check(40, arrays) is not None
  assert arrays.weights == 20
  # It judges anew, against what was lowest before.
  guard.add(60, [12.0] * 20)
  assert guard.check(60, arrays) is not None
  assert arrays.rate_factor == pytest.approx(FACTOR**2)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_numbers_that_are_none_go_back_at_once(short, loss):
  guard, arrays = begun(first_step=10**6)
  (done,) = watch([9.0] * 20 + [9.0, loss, *[9.0] * 18], guard, arrays)
  assert (done.step, done.to_step) == (40, 20)
  assert "before" not in done.line() and "lowest" not in done.line()


def test_the_warm_up_is_not_judged(short):
  losses = [9.0] * 20 + [12.0] * 60
  assert watch(losses, *begun())
  assert not watch(losses, *begun(first_step=20))


def test_a_state_in_a_rise_is_not_worth_keeping(short):
  guard, arrays = begun()
  assert guard.well
  watch([9.0] * 40, guard, arrays)
  assert guard.well
  guard.add(60, [9.3] * 20)
  assert not guard.well and guard.check(60, arrays) is None
  assert guard.copied_step == 40


@settings(max_examples=50, deadline=None)
@given(
  st.lists(st.sampled_from([8.0, 9.0, 9.05, 9.3, 12.0, math.inf]), max_size=12),
  st.integers(0, 11),
)
def test_a_resumed_guard_decides_alike(levels, cut):
  losses = [level for level in levels for _ in range(EVERY)]
  at = EVERY * min(cut, len(levels))
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(guards, "WINDOW", EVERY)
    patch.setattr(guards, "COPY_EVERY_STEPS", EVERY)
    whole, arrays = begun()
    first = watch(losses[:at], whole, arrays)
    if not whole.well:
      # Nothing is saved here.
      return
    # Both copy what is saved.
    whole.copy(at, arrays)
    facts = json.loads(json.dumps(whole.facts()))
    resumed = begun(facts=facts, at=at)
    expected = watch(losses, whole, arrays, at)
    assert watch(losses, *resumed, at) == expected
    count = len(first) + len(expected)
    assert resumed[0].rate_factor == pytest.approx(FACTOR**count)


class Killed(Exception):
  """In place of a killed process."""


def test_a_collapsed_run_goes_back_and_resumes_to_the_bit(
  tmp_path, monkeypatch, short
):
  corpus = pack_scores([("scale", scale()), ("lower", scale(40.0, 48))])

  def rate(config, step, fraction):
    # An absurd one after 50 steps.
    return 2e-3 if step < 50 else 10.0

  monkeypatch.setattr(trainers, "learning_rate", rate)
  config = TrainConfig(
    preset="tiny",
    model=dict(temporal_layers=1),
    steps=130,
    frames_per_batch=300,
    warmup_steps=0,
    save_every_steps=EVERY,
    evaluate_every_steps=1000,
    held_out_windows=4,
    storage="float32",
    sample_s=0.0,
    source="numpy",
  )

  def run(out, stop=lambda: False):
    done = []
    train(
      *(config, CODEC, [corpus], [1.0], None, out),
      on_going_back=done.append,
      should_stop=stop,
    )
    return done

  done = run(tmp_path / "whole")
  assert done and all(back.to_step == 40 for back in done)
  rows = [
    json.loads(line)
    for line in (tmp_path / "whole/log.jsonl").read_text().splitlines()
  ]
  logged = [row for row in rows if "went_back" in row]
  assert [row["step"] for row in logged] == [back.step for back in done]
  assert logged[0]["went_back"]["rate_factor"] == FACTOR
  # A lower rate in the lines that follow.
  trained = [row for row in rows if "learning_rate" in row]
  rates = {row["step"]: row["learning_rate"] for row in trained}
  assert rates[done[0].step + EVERY] == pytest.approx(10 * FACTOR)

  asked = iter(range(10**6))

  def killed():
    # Just before it goes back for the second time.
    if next(asked) == done[1].step - 3:
      raise Killed
    return False

  with pytest.raises(Killed):
    run(tmp_path / "broken", killed)
  run(tmp_path / "broken")
  found, expected = (
    flat_parameters(load_checkpoint(tmp_path / name / "checkpoint")[0])
    for name in ("broken", "whole")
  )
  for name, array in expected.items():
    np.testing.assert_array_equal(found[name], array, err_msg=name)
