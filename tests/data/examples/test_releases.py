"""Frames of a partner's keys that come up: a setting of the note codec."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from magenta_midi.data.corpus import pack_scores
from magenta_midi.data.examples.examples import (
  Augmentation,
  cut_examples,
  cut_sides,
)
from magenta_midi.data.examples.pools import Pools
from magenta_midi.evaluation.evaluate import Players, protocol_windows
from magenta_midi.magenta_rt.seqio_tasks import TaskSettings, task_name
from magenta_midi.midi.score import Score
from magenta_midi.tokens.codec import get_codec
from magenta_midi.tokens.note.codec import NoteCodec, NoteCodecConfig
from magenta_midi.train.run_settings import TrainConfig, settings_json

PLAIN = NoteCodec()
TOLD = NoteCodec(config=NoteCodecConfig(releases=True))
RELEASED = TOLD.config.released

# A melody (the partner) over three low notes (our own); now is 2 s.
SCORE = Score.from_arrays(
  onset_s=[0.0, 1.5, 2.1, 2.5, 2.5, 3.0, 3.9],
  duration_s=[0.5, 1.0, 0.2, 0.5, 0.1, 0.004, 5.0],
  key=[40, 72, 41, 74, 42, 74, 76],
  velocity=[60] * 7,
  part=[1, 0, 1, 0, 1, 0, 0],
  part_names=("MELODY", "left"),
)


@pytest.fixture(scope="module")
def corpus():
  return pack_scores([("piece", SCORE)])


def example(corpus, delay_ms):
  players = Players(mode="tracks", swapped=True, delay_ms=delay_ms)
  return players.split(protocol_windows(corpus, 1000), corpus)[1:2]


@pytest.mark.parametrize("delay_ms", [0, 100])
def test_a_key_that_comes_up_is_a_frame(corpus, delay_ms):
  chosen = example(corpus, delay_ms)
  context, after = cut_sides(TOLD, [corpus], chosen, 200)
  before, plain = cut_sides(PLAIN, [corpus], chosen, 200)
  # What was heard before now has its length, or is held.
  for one, other in zip(context, before, strict=True):
    np.testing.assert_array_equal(one, other)
  released = after.codes[:, 3] == RELEASED
  assert (after.part[released] == 1).all()
  # Of the note held at now, of two after it; the last sounds on.
  found = list(zip(after.step[released], after.codes[released, 1], strict=True))
  assert found == [(50, 72), (100, 74), (101, 74)]
  assert (after.codes[released, 2] == -1).all()
  # All others are as they were, but for the partner's steps.
  for name in ("step", "part"):
    kept = getattr(after, name)[~released]
    np.testing.assert_array_equal(kept, getattr(plain, name))
  np.testing.assert_array_equal(after.codes[~released, 1:], plain.codes[:, 1:])
  own = after.part == 0
  np.testing.assert_array_equal(after.codes[own], plain.codes[plain.part == 0])
  # Steps count from the partner's previous frame; a key comes up before it is
  # struck again.
  partner = after.codes[after.part == 1]
  assert partner[:, :2].tolist() == [
    [50, 72],
    [0, 74],
    [50, 74],
    [0, 74],
    [1, 74],
    [89, 76],
  ]


def test_targets_are_the_same_and_hold_no_release(corpus):
  shape: Any = dict(context_frames=64, target_frames=32)
  chosen = example(corpus, 50)
  told, _ = cut_examples(TOLD, [corpus], chosen, target_steps=200, **shape)
  plain, _ = cut_examples(PLAIN, [corpus], chosen, target_steps=200, **shape)
  first = TOLD.vocabulary.level_slice(3).start + RELEASED
  assert (told.input_ids[..., 3] == first).sum() == 3
  assert not (told.targets == first).any()

  def in_turn(batch):
    """Targets where they change."""
    used = batch.targets[0][batch.weights[0, :, 0]]
    changes = np.append(True, (used[1:] != used[:-1]).any(axis=1))
    return used[changes].tolist()

  assert in_turn(told) == in_turn(plain)


@pytest.mark.parametrize("mode", ["hands", "turns", "tracks", "solo"])
def test_sizes_count_releases(corpus, mode):
  rng = np.random.default_rng(0)
  music = Score.from_arrays(
    onset_s=np.cumsum(rng.exponential(0.15, 300)),
    duration_s=rng.uniform(0.05, 12.0, 300),
    key=rng.integers(40, 80, 300),
    velocity=rng.integers(20, 110, 300),
    part=rng.integers(0, 2, 300),
    part_names=("MELODY", "left"),
  )
  made = Pools(
    codec=TOLD,
    corpora=[pack_scores([("a", music)]), corpus],
    shares=[0.8, 0.2],
    augmentation=Augmentation(),
    target_steps=400,
    context_steps=1000,
    seed=1,
    partners={mode: 1.0},
    size=200,
  )
  crops = made.crops(0)
  more = crops.sizes - np.stack(crops.frame_counts(), axis=1)
  assert more.min() >= 0
  plain = dataclasses.replace(made, codec=PLAIN).crops(0)
  grown = crops.frame_counts()[1] - plain.frame_counts()[1]
  assert (grown.max() > 0) == (mode != "solo")


def test_the_setting_is_off_and_is_named():
  assert get_codec("note") == PLAIN
  assert PLAIN.vocabulary.level_sizes == (401, 130, 32, 64)
  assert TOLD.vocabulary.level_sizes == (401, 130, 32, 65)
  assert get_codec("note", releases=True) == TOLD
  assert "_dur63_releases_ctx10s" in task_name("x", TaskSettings(codec=TOLD))
  config = TrainConfig(steps=1)
  assert "codec_settings" not in settings_json(config, PLAIN)
  assert '"releases": true' in settings_json(config, TOLD)


def test_a_release_is_never_sampled():
  rules = TOLD.init_rules()
  codes = np.array([3, 60, 9, 0])
  legal = TOLD.legal(3, codes, rules, end_step=200)
  assert legal.shape == (65,)
  assert np.flatnonzero(~legal).tolist() == [TOLD.config.held, RELEASED]
