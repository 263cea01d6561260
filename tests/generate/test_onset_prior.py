"""Priors on onsets: continuations that keep a beat."""

import numpy as np
import pytest

from magenta_midi.cli.terminal import options
from magenta_midi.generate.generator import join_chunks
from magenta_midi.generate.onset_prior import OnsetPrior, prior_after
from magenta_midi.generate.priors import Priors
from magenta_midi.midi.beat_grid import BeatGrid
from magenta_midi.midi.groove import AUTO, GROOVES, Groove, groove_named
from magenta_midi.midi.meter import Meter
from magenta_midi.midi.score import Score
from magenta_midi.testing import tiny_generator


@pytest.fixture(scope="module")
def generator():
  return tiny_generator()


def music(generator, prior, chunks=4):
  state = generator.init_state()
  found = []
  for _ in range(chunks):
    chunk, state = generator.generate_chunk(state, seed=3, priors=Priors(prior))
    found.append(chunk)
  return join_chunks(generator.codec, found)


def at_sixteenths(score, grid):
  """How strongly onsets stand on sixteenths, 0..1."""
  place = grid.places(score.notes["onset_s"].astype(float))
  return abs(np.exp(2j * np.pi * 4 * place).mean())


def pop(bpm, beats=24, start_s=0.4, triplets=False):
  """An accompaniment in time."""
  rows = []
  between = (1 / 3, 2 / 3) if triplets else (0.5,)
  for beat in range(beats):
    at = start_s + beat * 60 / bpm
    keys = [60, 64, 67] + [40] * (beat % 4 == 0)
    rows += [(at, key) for key in keys]
    rows += [(at + part * 60 / bpm, 72) for part in between]
  onset_s, key = zip(*sorted(rows), strict=True)
  count = len(rows)
  return Score.from_arrays(
    onset_s=onset_s,
    duration_s=np.full(count, 0.1),
    key=key,
    velocity=np.full(count, 70),
  )


@pytest.mark.parametrize(
  ("bpm", "beat_s"), [(80, 0.0), (120, 0.13), (150, 0.4)]
)
def test_onsets_stand_where_the_prior_wants_them(generator, bpm, beat_s):
  grid = BeatGrid.at_tempo(bpm, beat_s=beat_s)
  groove = groove_named("straight", bpm)
  found = {
    tightness: at_sixteenths(
      music(generator, OnsetPrior(grid, groove, tightness), chunks=40), grid
    )
    for tightness in (0.0, 1.0, 2.0)
  }
  # The drawn weights know nothing of time: all of it is the prior's.
  assert found[0.0] < 0.35
  assert found[1.0] > 0.6
  assert found[2.0] > found[1.0]


def test_without_weight_a_prior_changes_nothing(generator):
  grid = BeatGrid.at_tempo(100)
  none = music(generator, None)
  zero = music(generator, OnsetPrior(grid, groove_named("swing", 100), 0.0))
  rubato = music(generator, OnsetPrior(grid, groove_named("rubato", 100)))
  assert none.equals(zero)
  assert none.equals(rubato)


def test_a_beat_asks_for_no_larger_chords(generator):
  grid = BeatGrid.at_tempo(120)
  groove = groove_named("straight", 120)
  sizes = {}
  for tightness in (0.0, 2.0):
    prior = OnsetPrior(grid, groove, tightness)
    score = music(generator, prior, chunks=60)
    sizes[tightness] = len(score) / len(np.unique(score.notes["onset_s"]))
  # Once each note on a beat made another one there likelier.
  assert sizes[2.0] == pytest.approx(sizes[0.0], rel=0.15)


def test_another_beat_or_groove_compiles_nothing(generator, caplog):
  import jax

  music(generator, None, chunks=1)
  with jax.log_compiles(), caplog.at_level("WARNING"):
    for name in GROOVES:
      prior = OnsetPrior(BeatGrid.at_tempo(90), groove_named(name, 90))
      music(generator, prior, chunks=1)
  assert not [r for r in caplog.records if "ompiling" in r.getMessage()]


@pytest.mark.parametrize("bpm", [66, 92, 120, 144])
def test_the_pulse_of_a_context_goes_on(bpm):
  context = pop(bpm)
  prior = prior_after(context)
  # In fast music each second beat may be taken for the beat.
  ratio = prior.grid.bpm / bpm
  assert ratio == pytest.approx(0.5 if bpm > 130 else 1, rel=0.01)
  # Four bars later it still lies on the beat.
  later = 0.4 + (24 + np.arange(16)) * 60 / bpm
  place = prior.grid.places(later) * (2 if bpm > 130 else 1)
  assert np.abs((place + 0.5) % 1 - 0.5).max() < 0.06
  assert prior.groove.name == "straight"


def test_triplets_go_on_as_triplets():
  assert prior_after(pop(70, triplets=True)).groove.name == "triplet"


def test_free_playing_stays_free_unless_a_tempo_is_asked_for():
  rng = np.random.default_rng(1)
  onset_s = np.cumsum(rng.exponential(0.35, 60))
  free = Score.from_arrays(
    onset_s=onset_s,
    duration_s=np.full(60, 0.2),
    key=rng.integers(40, 80, 60),
    velocity=np.full(60, 64),
  )
  assert prior_after(free) is None
  assert prior_after(Score.empty()) is None
  asked = prior_after(free, bpm=132)
  assert asked.grid.bpm == pytest.approx(132)
  assert prior_after(Score.empty(), bpm=50).grid.beat_s == 0.0


def test_an_asked_tempo_begins_on_the_beat_of_the_context():
  prior = prior_after(pop(100), bpm=110)
  last_s = 0.4 + 23 * 0.6
  assert prior.grid.bpm == pytest.approx(110)
  place = prior.grid.places(np.array([last_s]))[0]
  assert abs((place + 0.5) % 1 - 0.5) < 0.06


def test_the_command_line_offers_all_grooves():
  assert (AUTO, *GROOVES) == options.GROOVES


def test_grooves_have_the_same_density_and_their_own_places():
  half = np.arange(48) / 48
  for name in GROOVES:
    groove = groove_named(name, 120)
    assert groove.density.mean() == pytest.approx(1)
    if name != "rubato":
      assert groove.density.argmax() == 0
  after = half > 0.4

  def off_beat(groove: Groove) -> float:
    return float(half[after][groove.density[after][:-6].argmax()])

  assert off_beat(groove_named("straight", 120)) == pytest.approx(0.5, abs=0.02)
  slow, fast = (off_beat(groove_named("swing", bpm)) for bpm in (80, 300))
  assert slow == pytest.approx(2 / 3, abs=0.03)
  assert 0.5 < fast < 0.58


@pytest.mark.parametrize(("start_beat", "place"), [(1, 0), (3, 2), (2.5, 1.5)])
def test_the_music_begins_on_the_beat_that_is_asked_for(start_beat, place):
  context = pop(100)
  end_s = float(context.notes["onset_s"].max())
  prior = prior_after(
    context, bpm=90, meter=Meter.parse("3/4"), start_beat=start_beat
  )
  assert prior.grid.beats_per_bar == 3
  at = prior.grid.places(np.array([end_s, end_s + 2 * 60 / 90]))
  assert at == pytest.approx([place, (place + 2) % 3], abs=1e-6)
  silent = prior_after(Score.empty(), bpm=90, start_beat=start_beat)
  assert silent.grid.places(np.zeros(1)) == pytest.approx([place])


def test_a_meter_of_three_parts_has_triplets():
  prior = prior_after(Score.empty(), bpm=60, meter=Meter.parse("6/8"))
  assert (prior.groove.name, prior.grid.beats_per_bar) == ("triplet", 2)


def test_the_weight_of_a_groove_is_a_factor_on_the_tightness():
  prior = prior_after(pop(100), groove="swing:0.5", tightness=1.5)
  assert (prior.groove.name, prior.tightness) == ("swing", 0.75)


@pytest.mark.parametrize("start_beat", [0, 0.9, 5, float("nan")])
def test_beats_that_no_bar_has_are_refused(start_beat):
  with pytest.raises(ValueError, match="the start beat must be a number of at"):
    prior_after(Score.empty(), bpm=90, start_beat=start_beat)
  with pytest.raises(ValueError, match="counts beats of a tempo"):
    prior_after(Score.empty(), start_beat=1)


@pytest.mark.parametrize("bpm", [0, 19.9, 1000, float("nan"), float("inf")])
def test_impossible_tempos_are_refused(bpm):
  with pytest.raises(ValueError, match="tempo must be a number from 20 to 400"):
    prior_after(Score.empty(), bpm=bpm)


def test_unknown_grooves_and_weights_are_refused():
  with pytest.raises(ValueError, match="unknown groove 'polka'"):
    prior_after(pop(100), groove="polka")
  with pytest.raises(
    ValueError, match="tightness must be a number from 0 to 2"
  ):
    prior_after(pop(100), tightness=2.5)
  with pytest.raises(ValueError, match=r"1\.\.16 beats"):
    BeatGrid.at_tempo(100, beats_per_bar=0)
