"""Music that departs from its context: only where, and as, it was drawn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magenta_midi.data.corpus import pack_scores
from magenta_midi.data.examples.conditioning import StyleRows
from magenta_midi.data.examples.examples import (
  NO_AUGMENTATION,
  Augmentation,
  cut_sides,
  draw_examples,
)
from magenta_midi.data.examples.partners import MODES, draw_partners
from magenta_midi.data.examples.pools import Pools
from magenta_midi.data.examples.style_shifts import KINDS, draw_departures
from magenta_midi.data.examples.style_windows import style_windows
from magenta_midi.midi.analysis.description import describe
from magenta_midi.midi.score import Score
from magenta_midi.style.descriptors import DescriptorStyle
from magenta_midi.tokens.events import DURATION, KEY, VELOCITY
from magenta_midi.tokens.note.codec import PEDAL_DOWN, NoteCodec

CODEC = NoteCodec()
TARGET_STEPS = 400
MAJOR = np.array([0, 2, 4, 5, 7, 9, 11])
# The triad most of all, so that the key is clear.
DEGREES = (0, 0, 0, 0, 0, 2, 2, 2, 4, 4, 4, 1, 3, 5, 6)


def piece(seed: int, tonic: int = 0) -> Score:
  """Two hands in a major key, steady and pedalled, on the 10 ms grid."""
  rng = np.random.default_rng(seed)
  onset = np.arange(0.0, 40.0, 0.2)
  scale = MAJOR[rng.choice(DEGREES, (2, len(onset)))]
  return Score.from_arrays(
    onset_s=np.repeat(onset, 2),
    duration_s=np.full(2 * len(onset), 0.15),
    key=(np.array([[48], [72]]) + tonic + scale).T.ravel(),
    velocity=rng.integers(50, 75, 2 * len(onset)),
    pedal=[(t + 0.05, i % 2 == 0) for i, t in enumerate(np.arange(0, 40, 1.0))],
  )


CORPUS = pack_scores([(f"{i}", piece(i, i)) for i in range(4)])


def examples(kind: str, amount: float, count: int = 6, mode: str = "solo"):
  rng = np.random.default_rng(0)
  rows = draw_examples(rng, [CORPUS], [1.0], count, NO_AUGMENTATION, 1000)
  rows["now_ms"] = rng.integers(12_000, 25_000, count)
  rows["mode"] = MODES.index(mode)
  rows["departure"] = KINDS.index(kind)
  rows["amount"] = amount
  rows["change_ms"] = rows["now_ms"]
  return rows


def plain(rows):
  rows = rows.copy()
  rows["departure"], rows["amount"] = 0, 0
  return rows


def sides(rows):
  context, after = cut_sides(CODEC, [CORPUS], rows, TARGET_STEPS)
  return context, after


def keys_velocities(side):
  notes = side.codes[:, KEY] < 128
  return side.codes[notes, KEY], side.codes[notes, VELOCITY], side.step[notes]


@pytest.mark.parametrize(
  ("kind", "amount"),
  [
    ("loudness", 30),
    ("register", 1),
    ("pace", 1.5),
    ("pace", 0.6),
    ("hands", 0),
    ("hands", 1),
    ("pedal", 0),
  ],
)
def test_what_came_before_stays(kind, amount):
  rows = examples(kind, amount)
  (context, after), (before, _) = sides(rows), sides(plain(rows))
  np.testing.assert_array_equal(context.codes, before.codes)
  np.testing.assert_array_equal(context.step, before.step)
  assert len(after.row)


def test_each_kind_changes_what_it_says():
  def both(kind, amount):
    rows = examples(kind, amount)
    return keys_velocities(sides(rows)[1]), keys_velocities(
      sides(plain(rows))[1]
    )

  (key, velocity, step), (key_0, velocity_0, step_0) = both("loudness", 30)
  assert key.tolist() == key_0.tolist() and step.tolist() == step_0.tolist()
  assert (velocity > velocity_0).all()
  (key, velocity, _), (key_0, velocity_0, _) = both("register", -1)
  assert key.tolist() == (key_0 - 12).tolist()
  assert velocity.tolist() == velocity_0.tolist()
  for stretch in (0.6, 1.5):
    (key, _, _), (key_0, _, _) = both("pace", stretch)
    assert len(key) == pytest.approx(len(key_0) / stretch, rel=0.15)
  (key, _, _), _ = both("hands", 0)
  assert key.min() >= 60
  (key, _, _), _ = both("hands", 1)
  assert key.max() < 72
  rows = examples("pedal", 0)
  assert (sides(rows)[1].codes[:, KEY] < 128).sum() == np.count_nonzero(
    sides(plain(rows))[1].codes[:, KEY] < 128
  )
  own = sides(rows)[1].codes[:, KEY]
  assert not np.isin(own, (PEDAL_DOWN, PEDAL_DOWN + 1)).any()


@pytest.mark.parametrize(("kind", "amount"), [("hands", 2), ("pedal", 1)])
def test_or_what_came_before_changes_and_the_rest_stays(kind, amount):
  rows = examples(kind, amount)
  (context, after), (before, later) = sides(rows), sides(plain(rows))
  assert len(context.row) < len(before.row)
  notes = after.codes[:, KEY] < 128
  expected = later.codes[:, KEY] < 128
  np.testing.assert_array_equal(after.codes[notes], later.codes[expected])
  if kind == "pedal":
    assert (context.codes[:, KEY] < 128).all()


def test_a_parallel_mode_is_heard_as_one():
  rng = np.random.default_rng(0)
  rows = plain(examples("mode", 0, 40))
  draw_partners(rng, [CORPUS], rows, {"solo": 1.0})
  for _ in range(30):
    draw_departures(rng, [CORPUS], rows, 1.0)
    if (rows["departure"] == KINDS.index("mode")).sum() > 8:
      break
  chosen = rows[rows["departure"] == KINDS.index("mode")]
  assert len(chosen)
  # The pieces are in C, C sharp, D and D sharp major.
  np.testing.assert_array_equal(chosen["amount"], chosen["piece"])
  for departed, usual in zip(
    style_windows(CODEC, [CORPUS], chosen).scores(),
    style_windows(CODEC, [CORPUS], plain(chosen)).scores(),
    strict=True,
  ):
    assert describe(usual).analysis.mode > 0.05
    assert describe(departed).analysis.mode < -0.05


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(MODES))
def test_the_style_is_that_of_the_departed_targets(seed, mode):
  rng = np.random.default_rng(seed)
  rows = plain(examples("none", 0, 4))
  draw_partners(rng, [CORPUS], rows, {mode: 1.0})
  draw_departures(rng, [CORPUS], rows, 1.0)
  _, after = sides(rows)
  windows = style_windows(CODEC, [CORPUS], rows)
  frames = windows.frames(512)
  ids = CODEC.vocabulary.to_ids(after.codes)
  own = (after.part == 0) | (mode == "turns")
  for row in range(len(rows)):
    here = own & (after.row == row) & (after.codes[:, KEY] < 128)
    told = frames.ids[row]
    is_note = (told[:, 0] > 0) & (frames.time[row] < TARGET_STEPS - 1000)
    is_note &= np.isin(
      told[:, KEY], CODEC.vocabulary.to_ids(after.codes[here])[:, KEY]
    )
    # Onset codes count from the last own frame; the rest is the same.
    columns = [KEY, VELOCITY, DURATION]
    wanted = sorted(map(tuple, ids[here][:, columns].tolist()))
    found = sorted(map(tuple, told[is_note][:, columns].tolist()))
    if mode == "turns":
      wanted = [x[:2] for x in wanted]  # a partner's durations are unknown
      found = [x[:2] for x in found]
    assert found == wanted


def test_nothing_departs_untold():
  style = StyleRows(DescriptorStyle())
  pools = Pools(
    codec=CODEC,
    corpora=[CORPUS],
    shares=[1.0],
    augmentation=Augmentation(),
    target_steps=TARGET_STEPS,
    context_steps=1000,
    seed=3,
    style=style,
    size=256,
  )
  rows = pools.examples(0)
  departs = rows["departure"] > 0
  share = Augmentation().departures
  assert 0.5 * share < departs.mean() < 1.3 * share
  drawn = style.drawn([CORPUS], rows)
  enough = style_windows(CODEC, [CORPUS], rows).notes() > 0
  assert drawn[departs & enough].any(axis=1).all()
  # Others are told nothing now and then.
  levels = style.model.levels
  assert (drawn[~departs][:, :levels] == 0).all(axis=1).any()
  without = Pools(**{**vars(pools), "style": None}).examples(0)
  assert not without["departure"].any()
