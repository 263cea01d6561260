"""Two interleaved Poisson players: whoever else plays, nobody hurries.

What is known at each position of the training examples is when the last frame
became known and how long our next event then took. A player of constant rate
is fitted to that, and plays as the live engine does: each event of the
partner's discards our plan and draws another.
"""

import numpy as np
import pytest

from magenta_midi.data.corpus import pack_scores
from magenta_midi.data.examples.examples import EXAMPLE_DTYPE, cut_examples
from magenta_midi.data.examples.partners import MODES
from magenta_midi.midi.score import Score
from magenta_midi.tokens.note.codec import NoteCodec

CODEC = NoteCodec()
OWN_RATE = 6.0
SECONDS = 2400
WINDOW = 400


def poisson(rng, rate):
  return np.sort(rng.uniform(0, SECONDS, rng.poisson(rate * SECONDS)))


def duet(rng, partner_rate):
  """Our notes on the track named melody, theirs on another."""
  # Each needs a first note for the track to be there.
  own = poisson(rng, OWN_RATE)
  partner = np.append(0.0, poisson(rng, partner_rate))
  part = np.repeat([0, 1], [len(own), len(partner)])
  return Score.from_arrays(
    onset_s=np.append(own, partner),
    duration_s=np.full(len(part), 0.05),
    # Notes of one key and step would be one.
    key=np.where(part == 0, 70, 20) + rng.integers(0, 50, len(part)),
    velocity=np.full(len(part), 64),
    part=part,
    part_names=("Melody", "others"),
  )


def waits(rng, partner_rate):
  """How long each forecast waits for its event, s; whether it comes."""
  corpus = pack_scores([("duet", duet(rng, partner_rate))])
  now_ms = np.arange(4000, SECONDS * 1000 - 8000, 4000)
  examples = np.zeros(len(now_ms), EXAMPLE_DTYPE)
  examples["now_ms"] = now_ms
  examples["tempo"] = examples["velocity_gain"] = 1.0
  examples["mode"] = MODES.index("tracks")
  examples["delay_ms"] = rng.integers(0, 151, len(now_ms))
  batch, capped = cut_examples(
    CODEC,
    [corpus],
    examples,
    context_frames=16,
    target_frames=320,
    target_steps=WINDOW,
  )
  assert not capped.any()
  partner = batch.input_part > 0
  late = np.where(partner, examples["delay_ms"][:, None] / 10, 0)
  known = np.maximum.accumulate(batch.input_time + late, axis=1)
  ours = np.maximum.accumulate(np.where(partner, 0, batch.input_time), axis=1)
  first = CODEC.vocabulary.level_slice(0).start
  code = batch.targets[..., 0] - first
  comes = code < CODEC.config.end
  wait = np.where(comes, ours + code, WINDOW) - known
  used = batch.weights[..., 0]
  next_is_ours = np.append(~partner[:, 1:], partner[:, :1], axis=1)
  return 0.01 * wait[used], comes[used], next_is_ours[used]


def played_rate(rng, rate, partner_rate):
  """Own events a second, drawn again at each event of the partner's."""
  theirs = np.append(poisson(rng, partner_rate), SECONDS)
  own, time = 0, 0.0
  for at in theirs:
    while True:
      planned = time + rng.exponential(1 / rate)
      if planned >= at:
        break
      own, time = own + 1, planned
    time = at
  return own / SECONDS


@pytest.mark.parametrize("partner_rate", [0.0, 2.0, 10.0, 40.0])
def test_the_own_rate_is_the_true_one(partner_rate):
  rng = np.random.default_rng(1)
  wait, comes, next_is_ours = waits(rng, partner_rate)
  learned = np.count_nonzero(comes) / wait.sum()
  assert learned == pytest.approx(OWN_RATE, rel=0.03)
  played = played_rate(rng, learned, partner_rate)
  assert played == pytest.approx(OWN_RATE, rel=0.03)
  # Training only where our own frame comes next teaches to come first.
  chosen = next_is_ours & comes
  hurried = np.count_nonzero(chosen) / wait[chosen].sum()
  if partner_rate >= 10:
    assert hurried > 1.5 * OWN_RATE
