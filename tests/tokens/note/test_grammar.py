import functools

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.tokens.frames import Frames
from magenta_midi.tokens.note.codec import (
  PEDAL_DOWN,
  PEDAL_UP,
  NoteCodec,
  Rules,
)

CODEC = NoteCodec()
END = CODEC.config.end
SIZES = CODEC.vocabulary.level_sizes


def check_legal(codes, rules, end_step):
  """Every level of a frame is legal after `rules`."""
  for level in range(4):
    used = bool(CODEC.applies(level, codes))
    assert used == (codes[level] >= 0)
    legal = CODEC.legal(level, codes, rules, end_step=end_step)
    assert legal.shape == (SIZES[level],) and legal.any()
    assert not used or legal[codes[level]]


@given(
  st.data(),
  st.one_of(st.floats(0, 13), st.integers(0, 1300).map(lambda s: s / 100)),
  st.integers(1, 400),
)
def test_all_music_is_legal(draw_score, data, now_s, length):
  score = draw_score(data, max_parts=2)
  targets = CODEC.encode_targets(score, now_s, seconds=length / 100)
  rules = CODEC.init_rules(CODEC.pedal_down_at(score, now_s))
  for codes, step in zip(targets.codes, targets.step, strict=True):
    check_legal(codes, rules, length)
    rules = CODEC.advance(rules, codes)
    assert rules.step == step
  check_legal(CODEC.end_frame(), rules, length)
  assert bool(rules.pedal_down) == CODEC.pedal_down_at(
    score, now_s + length / 100
  )


def draw_stream(draw, pedal_down, end_step, most=40):
  """Random legal frames until END."""
  rules = CODEC.init_rules(pedal_down)
  rows, steps = [], []
  # Small steps and few keys, for dense streams.
  dense = draw(st.booleans())
  for _ in range(draw(st.integers(0, most))):
    codes = np.full(4, -1, np.int32)
    for level in range(4):
      if not CODEC.applies(level, codes):
        continue
      legal = CODEC.legal(level, codes, rules, end_step=end_step)
      choices = np.flatnonzero(legal)
      if dense and level < 2:
        choices = np.concatenate([choices[:3], choices[-3:]])
      codes[level] = draw(st.sampled_from(choices.tolist()))
    if codes[0] == END:
      break
    rules = CODEC.advance(rules, codes)
    rows.append(codes)
    steps.append(int(rules.step))
  return Frames(
    np.array(rows, np.int32).reshape(-1, 4),
    np.array(steps, np.int32),
    np.zeros(len(steps), np.int32),
  )


@given(st.data(), st.booleans(), st.integers(1, 400))
def test_legal_streams_are_music(data, pedal_down, end_step):
  frames = draw_stream(data.draw, pedal_down, end_step)
  score = CODEC.decode_frames(frames, pedal_down=pedal_down)
  assert score.repairs.overlaps_trimmed == score.repairs.duplicates == 0
  if pedal_down:  # added at the origin: remove it
    again = CODEC.encode_targets(score, 0.0, seconds=end_step / 100)
    assert again.codes[0].tolist() == [0, PEDAL_DOWN, -1, -1]
    again = Frames(*(field[1:] for field in again))
  else:
    again = CODEC.encode_targets(score, 0.0, seconds=end_step / 100)
  np.testing.assert_array_equal(again.step, frames.step)
  np.testing.assert_array_equal(again.codes[:, :3], frames.codes[:, :3])
  # One exception: a note that overlaps the next one of its key is trimmed, and
  # comes back with that duration.
  table_s = CODEC.config.duration_table_s
  for i, (codes, step) in enumerate(
    zip(frames.codes, frames.step, strict=True)
  ):
    same = np.flatnonzero(frames.codes[i + 1 :, 1] == codes[1])
    if codes[1] < 128 and len(same):
      wait_s = (frames.step[i + 1 + same[0]] - step) / 100
      if table_s[codes[3]] > wait_s:
        expected = CODEC.config.duration_to_code(np.array([wait_s]))[0]
        assert again.codes[i, 3] == expected
        continue
    assert again.codes[i, 3] == codes[3]


def rules_at(step, last_key, pedal_down=False):
  return Rules(np.int32(step), np.int32(last_key), np.bool_(pedal_down))


def keys_after(last_key, onset, pedal_down=False):
  codes = np.array([onset, -1, -1, -1], np.int32)
  rules = rules_at(5, last_key, pedal_down)
  legal = CODEC.legal(1, codes, rules, end_step=400)
  return np.flatnonzero(legal).tolist()


def test_legal_keys():
  every = list(range(128))
  assert keys_after(-1, 0) == [*every, PEDAL_DOWN]
  assert keys_after(-1, 0, pedal_down=True) == [*every, PEDAL_UP]
  assert keys_after(60, 1) == [*every, PEDAL_DOWN]
  assert keys_after(60, 0) == every[61:]
  assert keys_after(126, 0) == [127]
  assert keys_after(PEDAL_DOWN, 0, pedal_down=True) == [*every, PEDAL_UP]
  assert keys_after(PEDAL_UP, 0) == [*every, PEDAL_DOWN]


def onsets(rules, earliest, end):
  legal = CODEC.legal(
    0, np.full(4, -1), rules, earliest_step=earliest, end_step=end
  )
  return np.flatnonzero(legal).tolist()


def test_legal_onsets():
  assert onsets(rules_at(0, -1), 0, 3) == [0, 1, 2, END]
  assert onsets(rules_at(10, 60), 0, 12) == [0, 1, END]
  # Committed or past steps and the next chunk are not legal.
  assert onsets(rules_at(10, 60), 15, 17) == [5, 6, END]
  assert onsets(rules_at(10, 60), 20, 15) == [END]
  # After the highest key the step is complete; after a pedal change it is not.
  assert onsets(rules_at(10, 127), 0, 12) == [1, END]
  assert onsets(rules_at(10, PEDAL_DOWN), 0, 12) == [0, 1, END]
  # The horizon is the longest step.
  assert onsets(rules_at(0, -1), 0, 10_000) == [*range(400), END]


def test_held_is_never_legal():
  codes = np.array([0, 60, 3, -1], np.int32)
  legal = CODEC.legal(3, codes, rules_at(0, -1), end_step=400)
  assert legal[:63].all() and not legal[63]


def test_end_changes_nothing():
  rules = CODEC.advance(rules_at(7, 60, True), CODEC.end_frame())
  assert (rules.step, rules.last_key, rules.pedal_down) == (7, 60, True)


@functools.partial(jax.jit, static_argnames=("codec", "level"))
def step_inside_jit(codec, level, codes, rules, earliest, end):
  used = codec.applies(level, codes, xp=jnp)
  legal = codec.legal(
    level, codes, rules, earliest_step=earliest, end_step=end, xp=jnp
  )
  return used, legal, codec.advance(rules, codes, xp=jnp)


def test_jit_and_numpy_agree():
  rng = np.random.default_rng(0)
  for _ in range(60):
    codes = np.array([rng.integers(0, n) for n in SIZES], np.int32)
    if rng.random() < 0.5:
      codes[0] = rng.choice([0, END])
    rules = rules_at(
      rng.integers(0, 400), rng.integers(-1, 130), rng.random() < 0.5
    )
    earliest, end = rng.integers(0, 300), rng.integers(200, 401)
    for level in range(4):
      used, legal, after = step_inside_jit(
        CODEC, level, codes, rules, earliest, end
      )
      assert bool(used) == bool(CODEC.applies(level, codes))
      expected = CODEC.legal(
        level, codes, rules, earliest_step=earliest, end_step=end
      )
      np.testing.assert_array_equal(legal, expected)
      for a, b in zip(after, CODEC.advance(rules, codes), strict=True):
        assert a == b


def test_the_state_keeps_its_types():
  # The carry of a compiled loop must not change shape or type.
  for shape in ((), (3,)):
    rules = CODEC.init_rules(np.zeros(shape, bool), xp=jnp)
    codes = jnp.zeros((*shape, 4), jnp.int32)
    after = jax.jit(lambda r, c: CODEC.advance(r, c, xp=jnp))(rules, codes)
    for field, value in zip(rules, after, strict=True):
      assert field.shape == value.shape == shape
      assert field.dtype == value.dtype


def test_rules_take_batches():
  codes = np.array([[0, 60, 1, 1], [END, -1, -1, -1], [3, 129, -1, -1]])
  rules = Rules(
    np.array([5, 6, 7], np.int32),
    np.array([59, 127, 128], np.int32),
    np.array([False, True, True]),
  )
  end = np.array([100, 200, 300])
  for level in range(4):
    batched = CODEC.legal(level, codes, rules, end_step=end)
    for row in range(3):
      one = CODEC.legal(
        level,
        codes[row],
        Rules(*(field[row] for field in rules)),
        end_step=end[row],
      )
      np.testing.assert_array_equal(batched[row], one)


def keys_allowed(*wanted):
  return np.isin(np.arange(128), wanted)


@given(
  st.integers(-1, 129),
  st.integers(0, 3),
  st.sets(st.integers(0, 127), min_size=1),
)
def test_forbidden_keys_are_never_legal(last_key, onset, wanted):
  keys = keys_allowed(*wanted)
  rules = rules_at(5, last_key)
  found = CODEC.legal(
    0, np.full(4, -1, np.int32), rules, end_step=400, keys=keys
  )
  if not found[onset]:
    # Only if no allowed key is left in this step.
    assert onset == 0 and max(wanted) <= last_key < 128
    return
  codes = np.array([onset, -1, -1, -1], np.int32)
  legal = CODEC.legal(1, codes, rules, end_step=400, keys=keys)
  assert set(np.flatnonzero(legal[:128])) <= wanted
  assert legal[:128].any()
  free = CODEC.legal(1, codes, rules, end_step=400)
  np.testing.assert_array_equal(legal[:128], free[:128] & keys)
  np.testing.assert_array_equal(legal[128:], free[128:])


@given(st.integers(-1, 129), st.integers(0, 3), st.integers(0, 1))
def test_allowing_all_keys_changes_nothing(last_key, onset, level):
  rules, keys = rules_at(5, last_key), np.ones(128, bool)
  codes = np.array([onset, -1, -1, -1], np.int32)
  np.testing.assert_array_equal(
    CODEC.legal(level, codes, rules, end_step=400, keys=keys),
    CODEC.legal(level, codes, rules, end_step=400),
  )
