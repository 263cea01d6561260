"""Beats that a model is given while it plays."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.generate.onset_prior import OnsetPrior
from magenta_midi.generate.priors import Priors
from magenta_midi.midi.beat_grid import BeatGrid
from magenta_midi.midi.groove import groove_named
from magenta_midi.testing import tiny_generator
from magenta_midi.tokens.outline_rows import ROWS


@pytest.fixture(scope="module")
def generator():
  return tiny_generator(outline_rows=ROWS, rotary_time=3, rotary_key=3)


def at_tempo(bpm, beat_s=0.0):
  """A beat that weighs nothing at the sampler."""
  grid = BeatGrid.at_tempo(bpm, beat_s=beat_s, beats_per_bar=3)
  return Priors(OnsetPrior(grid, groove_named("straight", bpm), 0.0))


def test_a_model_is_given_the_beat_at_now(generator):
  state = generator.at(generator.init_state(), 20.0)
  rows, time, _ = generator.request(state, priors=at_tempo(120)).outline
  beats = rows[0, :, 0] == 1
  assert time[0][beats].tolist() == list(range(-300, 500, 50))
  # The beat at 20 s is the 40th: place 1 of a bar of 3.
  assert rows[0, list(time[0][beats]).index(0), 1] == 2 + 40 % 3
  assert not generator.request(state).outline.rows.any()


def test_a_model_without_the_input_is_given_nothing():
  generator = tiny_generator()
  state = generator.init_state()
  assert generator.request(state, priors=at_tempo(120)).outline is None


def test_another_beat_is_another_expectation_and_compiles_nothing(
  generator, caplog
):
  state = generator.init_state()
  found = [generator.generate_chunk(state)[0].log_p]
  with jax.log_compiles(), caplog.at_level("WARNING"):
    for priors in (at_tempo(60), at_tempo(60, 0.5), at_tempo(90)):
      found.append(generator.generate_chunk(state, priors=priors)[0].log_p)
  assert not [r for r in caplog.records if "ompiling" in r.getMessage()]
  assert len({row[0].tobytes() for row in found}) == 4


@given(
  st.floats(20, 300),
  st.floats(-50, 50),
  st.integers(1, 16),
  st.floats(-100, 100),
  st.floats(0, 30),
)
def test_beats_of_a_stretch_lie_in_it_and_have_their_places(
  bpm, beat_s, beats_per_bar, from_s, length_s
):
  grid = BeatGrid.at_tempo(bpm, beat_s=beat_s, beats_per_bar=beats_per_bar)
  found = grid.beats_between(from_s, from_s + length_s)
  assert abs(len(found) - length_s / grid.period_s) <= 1
  for time_s, place in found:
    assert from_s - 1e-6 <= time_s < from_s + length_s + 1e-6
    off = grid.places(np.array([time_s]))[0] - place
    assert abs((off + 0.5) % beats_per_bar - 0.5) < 1e-6
