"""The `event` codec through training: a tiny model learns a scale."""

import numpy as np
import pytest

from magenta_midi.api import MagentaMidi
from magenta_midi.data.corpus import pack_scores
from magenta_midi.data.examples.batches import BUCKETS
from magenta_midi.data.examples.examples import NO_AUGMENTATION
from magenta_midi.generate.sampling import Sampling
from magenta_midi.midi.score import Score
from magenta_midi.tokens.event.codec import EventCodec
from magenta_midi.train.train import TrainConfig, train

DEGREES = np.array([0, 2, 4, 5, 7, 9, 11])


def scale(seconds: float) -> Score:
  """Up and up again in quarters."""
  onset = np.arange(0, seconds, 0.5)
  return Score.from_arrays(
    onset_s=onset,
    duration_s=np.full(len(onset), 0.4),
    key=60 + DEGREES[np.arange(len(onset)) % len(DEGREES)],
    velocity=np.full(len(onset), 66),
  )


@pytest.mark.slow
def test_a_tiny_model_learns_a_scale_and_plays_on(tmp_path, monkeypatch):
  # The usual shapes are for denser music: half of each would be padding.
  monkeypatch.setitem(BUCKETS, "event", ((96, 32), (128, 64)))
  corpus = pack_scores([("scale", scale(60.0))])
  config = TrainConfig(
    preset="tiny",
    steps=450,
    warmup_steps=20,
    learning_rate=2e-2,
    frames_per_batch=2500,
    target_s=2.0,
    augmentation=NO_AUGMENTATION,
    held_out_windows=8,
    sample_s=0.0,
    storage="float32",
  )
  evaluation = train(
    config, EventCodec(), [corpus], [1.0], corpus, tmp_path / "run"
  )
  assert evaluation is not None
  # Untrained a note costs its four tokens: about 4 ln 492 = 25.
  assert evaluation.nats_per_note < 3.0
  mm = MagentaMidi.load(tmp_path / "run" / "checkpoint")
  assert mm.codec == EventCodec()
  played = scale(10.0)
  greedy = Sampling(temperature=0.0)
  music, _ = mm.generate(4.0, context=played, sampling=greedy)
  # Now is a step after the last onset: the next note comes 0.49 s later, and
  # is the next of the scale. One slip is forgiven: rounding differs between
  # machines, and the scale then goes on from where it is.
  keys = music.notes["key"] - 60
  assert 7 <= len(keys) <= 9
  before = np.append(DEGREES[(len(played) - 1) % len(DEGREES)], keys[:-1])
  place = np.searchsorted(DEGREES, before)
  right = keys == DEGREES[(place + 1) % len(DEGREES)]
  assert np.count_nonzero(~right) <= 1
  apart = np.diff(music.notes["onset_s"])
  assert np.median(apart) == pytest.approx(0.5, abs=0.02)
  assert np.median(music.notes["duration_s"]) == pytest.approx(0.4, abs=0.02)
