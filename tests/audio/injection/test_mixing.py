"""What is encoded, against samples by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.audio.codec.codec import CodecFacts
from magenta_midi.audio.injection.history import History
from magenta_midi.audio.injection.loops import BeatGrid
from magenta_midi.audio.injection.mixing import (
  ContextMixer,
  MixLayout,
  MovingGain,
  gap_gains,
)
from magenta_midi.audio.injection.settings import (
  InjectionControls,
  InjectionSettings,
)


def facts(rate, hop):
  return CodecFacts(
    name="codec",
    sample_rate=rate,
    channels=1,
    hop=hop,
    levels=16,
    codebook_size=4,
    encode_latency_samples=0,
    decode_latency_samples=0,
  )


def layout(rate=48000, hop=1920, **settings):
  made = InjectionSettings(**settings)
  return MixLayout.of(made, facts(rate, hop), BeatGrid.of(made, rate))


def test_the_lengths_of_recorded_input_are_the_originals():
  assert layout() == MixLayout(
    hop=1920, chunk=96000, mix=126720, input_ago=94080
  )


def test_live_input_is_a_loop_later():
  # 94080 + 8 beats of 24000 - 196000.
  found = layout(source="live", faithful=True, latency_samples=196_000)
  assert found.input_ago == 90_080
  # A fast device: the same loop, a longer wait.
  assert layout(source="live", latency_samples=480).input_ago == 285_600
  # By hand: half a second.
  assert layout(source="live", delay_s=0.5).input_ago == 94080 + 24000
  assert layout(source="recorded", delay_s=0.5).input_ago == 94080 + 24000


def test_a_loop_that_is_over_before_the_input_comes_is_refused():
  # 196000 - 94080 = 101920 samples = 2.123 s; 4 beats at 120 are 2 s.
  live = {"source": "live", "latency_samples": 196_000}
  with pytest.raises(ValueError, match=r"at least 2.123 s, got 2.000 s") as e:
    layout(beats_per_loop=4, **live)
  assert "\n" not in str(e.value)
  # The shortest that works; there the original reads an empty window.
  assert layout(delay_s=101_920 / 48000, **live).input_ago == 0


@pytest.mark.parametrize("latency", [0, 192_000, 206_400])
def test_a_faithful_engine_refuses_the_round_trips_of_the_original(latency):
  with pytest.raises(
    ValueError, match="latency_samples must be between 192000"
  ):
    layout(source="live", faithful=True, latency_samples=latency)
  layout(source="live", latency_samples=latency)


def test_the_gap_falls_in_100_samples_and_then_is_silent():
  gains = gap_gains(300, 150)
  assert (gains[:150] == 1).all() and (gains[250:] == 0).all()
  np.testing.assert_allclose(gains[150:250], 1 - np.arange(100) / 99, atol=1e-6)
  assert gap_gains(5, 3).tolist() == [1, 1, 1, 0.5, 0]
  assert gap_gains(5, 1).tolist() == [1, 1, 1, 1, 1]
  assert gap_gains(5, 0).tolist() == [1, 1, 1, 1, 1]
  # More than there is: the original fails.
  assert gap_gains(3, 9).tolist() == [0.25, 0.125, 0]
  assert gap_gains(3, 103).tolist() == [0, 0, 0]


@given(st.integers(1, 500), st.integers(0, 600))
def test_the_gap_never_rises_and_leaves_the_rest(samples, gap):
  gains = gap_gains(samples, gap)
  assert (np.diff(gains) <= 0).all()
  assert (gains[: max(0, samples - gap)] == 1).all()
  assert (gap < 2) == bool(gains[-1])


def mixer(*, faithful):
  """Frames of 2, chunks of 2 frames, 1 frame before: mixes of 6 samples.

  Recorded input at 1 kHz: the mix ends 2 samples before the newest.
  """
  made = layout(
    1000, 2, chunk_frames=2, prefix_frames=1, edge_frames=1, context_frames=9
  )
  assert (made.mix, made.input_ago) == (6, 2)
  return ContextMixer(made, 1000, 1, faithful=faithful)


def histories():
  inputs, outputs = History(8, 1), History(6, 1)
  inputs.push(np.arange(1, 9, dtype=np.float32)[:, None])
  outputs.push(np.full((6, 1), 10, np.float32))
  return inputs, outputs


@pytest.mark.parametrize("faithful", [False, True])
def test_a_mix_by_hand(faithful):
  inputs, outputs = histories()
  controls = InjectionControls(model_feedback=0.5)
  mix = mixer(faithful=faithful).mix(inputs, outputs, controls)
  # Input 1..6, for 7 and 8 are not yet; the output 10 at half.
  assert mix[:, 0].tolist() == [6, 7, 8, 9, 10, 11]


def test_the_gap_and_the_gain_are_of_the_input_alone():
  inputs, outputs = histories()
  # 3 ms are 3 samples: gains 1, .5, 0.
  controls = InjectionControls(
    model_feedback=0.25, input_gap_ms=3, input_gain=2
  )
  made = mixer(faithful=False)
  for _ in range(2):
    mix = made.mix(inputs, outputs, controls)
    assert mix[:, 0].tolist() == [4.5, 6.5, 8.5, 10.5, 7.5, 2.5]
  mix = made.mix(inputs, outputs, InjectionControls())
  assert mix[:, 0].tolist() == [1, 2, 3, 4, 5, 6]


def test_the_original_lowers_what_is_mixed_twice_and_this_does_not():
  controls = InjectionControls(model_feedback=0.5)
  silent = History(8, 1)
  for faithful, prefix in ((True, 2.5), (False, 5)):
    outputs = histories()[1]
    made = mixer(faithful=faithful)
    made.mix(silent, outputs, controls)
    outputs.push(np.full((4, 1), 10, np.float32))
    mix = made.mix(silent, outputs, controls)
    assert mix[:, 0].tolist() == [prefix, prefix, 5, 5, 5, 5]
    # So what is kept of the output is not what was played.
    kept = np.zeros((6, 1), np.float32)
    outputs.read(kept)
    assert (kept[:, 0].tolist() == [10] * 6) == (not faithful)


def test_a_volume_moves_in_10_ms():
  gain = MovingGain(400)  # 4 samples
  ones = np.ones((6, 1), np.float32)
  gain.apply(ones, 0.5)
  assert ones[:, 0].tolist() == [0.5] * 6
  ones = np.ones((6, 1), np.float32)
  gain.apply(ones, 1.0)
  assert ones[:, 0].tolist() == [0.625, 0.75, 0.875, 1, 1, 1]
  # Turned round on the way: from .5 back to 1.
  ones = np.ones((4, 1), np.float32)
  gain.apply(ones[:2], 0.0)
  gain.apply(ones[2:], 1.0)
  assert ones[:, 0].tolist() == [0.75, 0.5, 0.625, 0.75]
  gain.reset()
  ones = np.ones((1, 1), np.float32)
  gain.apply(ones, 0.25)
  assert ones[0, 0] == 0.25


@given(
  st.lists(st.integers(0, 30), max_size=8),
  st.lists(st.floats(0, 1, width=16), min_size=1, max_size=4),
)
def test_a_volume_in_pieces_is_that_of_one_long_call(pieces, targets):
  whole, parts = MovingGain(1000), MovingGain(1000)
  for target in targets:
    long = np.ones((sum(pieces), 2), np.float32)
    whole.apply(long, target)
    joined = [np.ones((piece, 2), np.float32) for piece in pieces]
    for part in joined:
      parts.apply(part, target)
    if pieces:
      np.testing.assert_array_equal(np.concatenate(joined), long)
