"""Priors on keys: continuations over a chart."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magenta_midi.generate.generator import join_chunks
from magenta_midi.generate.key_prior import (
  KeyPrior,
  chart_prior,
  no_key_tables,
)
from magenta_midi.generate.priors import Priors
from magenta_midi.midi.beat_grid import BeatGrid
from magenta_midi.midi.harmony.chord_density import register_of_keys
from magenta_midi.midi.harmony.chord_symbols import parse_chord
from magenta_midi.midi.harmony.text_chart import read_chart_text
from magenta_midi.testing import tiny_generator

GRID = BeatGrid.at_tempo(120)
CHART = read_chart_text("| Dm7 | G7/B | N.C. | F#m7b5 B7alt |")
# Weights that know nothing, some weights that know much, some keys forbidden.
LOGITS = np.random.default_rng(0).normal(size=(3, 128)).astype(np.float32)
LOGITS = jnp.asarray(LOGITS * np.array([[0.1], [1.0], [4.0]], np.float32))


@pytest.fixture(scope="module")
def generator():
  return tiny_generator()


def music(generator, priors, chunks=4):
  state = generator.init_state()
  found = []
  for _ in range(chunks):
    chunk, state = generator.generate_chunk(state, seed=3, priors=priors)
    found.append(chunk)
  return join_chunks(generator.codec, found)


def tones(score, chords):
  """Share of notes that are chord tones."""
  found = [
    int(note["key"]) % 12 in chord.classes
    for note in score.notes
    if (chord := chords.chord_at(float(note["onset_s"]))).root is not None
  ]
  return np.mean(found)


def shares(logits, legal, key, kinds):
  """Share of each kind in a register's notes; nan without legal notes."""
  p = jax.nn.softmax(jnp.where(legal, logits, -1e30))
  found = []
  for register in (False, True):
    here = register_of_keys() == register
    mass = [float(p[here & (kinds == kind)].sum()) for kind in range(3)]
    found.append(np.array(mass) / max(sum(mass), 1e-12))
  return np.array(found)


@settings(deadline=None)
@given(
  st.sampled_from(CHART.bars),
  st.integers(0, 2),
  st.sampled_from([0.0, 0.5, 1.0]),
  st.integers(0, 199),
  st.integers(0, 60),
)
def test_kinds_come_as_often_as_asked_and_nothing_else_moves(
  bar, which, weight, step, lowest
):
  timeline = read_chart_text(f"| {bar.changes[0][1].name} |").timeline(GRID, 0)
  tables = KeyPrior(timeline, GRID, weight).tables(0.0, 200, 0.01)
  logits = LOGITS[which]
  legal = np.arange(128) >= lowest
  nats = np.asarray(tables.nats(jnp.int32(step), logits, jnp.asarray(legal)))
  kinds = tables.kind[step].reshape(2, 12)[
    register_of_keys().astype(int), np.arange(128) % 12
  ]
  high = register_of_keys()
  # Among notes of a kind the model's own choice stays as it is.
  for register in (False, True):
    for kind in range(3):
      moved = nats[(high == register) & (kinds == kind)]
      assert np.allclose(moved, moved[:1], atol=1e-4)
  if bar.changes[0][1].root is None or weight == 0.0:
    assert not nats.any()
    return
  # Neither register becomes more or less likely.
  here = np.asarray(jax.nn.softmax(jnp.where(legal, logits, -1e30)))
  then = np.asarray(jax.nn.softmax(jnp.where(legal, logits + nats, -1e30)))
  assert abs(here[:48].sum() - then[:48].sum()) < 0.01
  before = shares(logits, legal, nats, kinds)
  after = shares(logits + nats, legal, nats, kinds)
  asked = np.exp(tables.asked[step])
  for register in (0, 1):
    if (before[register] > 1e-3).all():
      # A geometric mean of what it held and what was asked.
      mean = before[register] ** (1 - weight) * asked[register] ** weight
      np.testing.assert_allclose(after[register], mean / mean.sum(), atol=5e-3)


def test_notes_follow_the_chart(generator):
  chords = CHART.timeline(GRID, 0.0)
  found = [
    tones(
      music(
        generator,
        Priors(key=chart_prior(CHART, GRID, 0.0, weight=weight)),
        chunks=12,
      ),
      chords,
    )
    for weight in (0.0, 0.5, 1.0)
  ]
  # The drawn weights know nothing of chords: four of twelve notes are tones.
  assert found[0] < 0.5
  assert found[0] + 0.1 < found[1] < found[2]
  assert found[2] > 0.75


def test_on_beats_the_bass_is_the_one_that_was_asked_for():
  prior = chart_prior(read_chart_text("| C/E |"), GRID, 0.0)
  tables = prior.tables(0.0, 60, 0.01)
  bass, others, rest = np.exp(tables.asked[0, 0])
  assert bass > 0.6 > others > rest
  # Between beats the left hand goes on to the fifth.
  assert np.exp(tables.asked[25, 0, 1]) > others


def test_without_weight_or_chords_it_changes_nothing(generator):
  none = music(generator, None)
  zero = chart_prior(CHART, GRID, 0.0, weight=0)
  silent = chart_prior(read_chart_text("| N.C. |"), GRID, 0.0)
  later = chart_prior(CHART, GRID, 1000.0)
  for prior in (zero, silent, later):
    assert music(generator, Priors(key=prior)).equals(none)


def test_another_chart_compiles_nothing(generator, caplog):
  music(generator, None, chunks=1)
  with jax.log_compiles(), caplog.at_level("WARNING"):
    for text in ("| C |", "| F7 Bb7 | Eb7 Ab7 |", "| N.C. | G |"):
      prior = chart_prior(read_chart_text(text), GRID, 0.0)
      music(generator, Priors(key=prior), chunks=1)
  assert not [r for r in caplog.records if "ompiling" in r.getMessage()]


def test_tables_are_those_of_their_time():
  chord_of = {"Dm7": 0, "G7/B": 1}
  prior = chart_prior(CHART, GRID, 3.0)
  early = prior.tables(3.0, 800, 0.01)
  later = prior.tables(4.0, 700, 0.01)
  for mine, other in zip(early, later, strict=True):
    np.testing.assert_array_equal(mine[100:], other)
  assert not prior.tables(0.0, 200, 0.01).weight.any()
  for name, bar in chord_of.items():
    step = 200 * bar + 50
    kinds = early.kind[step].reshape(2, 12)
    chord = parse_chord(name)
    assert set(np.flatnonzero(kinds[1] == 0)) == set(chord.classes)
    assert np.flatnonzero(kinds[0] == 0).tolist() == [chord.bass]
  # No chord.
  assert not early.weight[450:550].any()


def test_tables_have_the_shapes_of_none():
  given_tables = chart_prior(CHART, GRID, 0.0).tables(0.0, 60, 0.01)
  for mine, none in zip(given_tables, no_key_tables(60), strict=True):
    assert (mine.shape, mine.dtype) == (none.shape, none.dtype)


@pytest.mark.parametrize("weight", [-0.1, 2.1, float("nan")])
def test_impossible_weights_are_refused(weight):
  with pytest.raises(ValueError, match="the chart's weight must be a number"):
    chart_prior(CHART, GRID, 0.0, weight=weight)
