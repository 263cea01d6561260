"""Grammar of `event` tokens: legal is exactly what the encoder writes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.tokens.event.codec import EventCodec, EventRules
from magenta_midi.tokens.frames import Frames

CODEC = EventCodec()
CONFIG = CODEC.config
NO_CODES = np.full(1, -1, np.int32)


def legal_after(rules, *, end_step, earliest_step=0):
  found = CODEC.legal(
    0, NO_CODES, rules, earliest_step=earliest_step, end_step=end_step
  )
  assert found.shape == (CONFIG.size,) and found.any()
  return found


@given(
  st.data(),
  st.one_of(st.floats(0, 13), st.integers(0, 1300).map(lambda s: s / 100)),
  st.integers(1, 400),
)
def test_all_music_is_legal(draw_score, data, now_s, length):
  score = draw_score(data, max_parts=2)
  targets = CODEC.encode_targets(score, now_s, seconds=length / 100)
  rules = CODEC.rules_at(score, now_s)
  for codes, step in zip(targets.codes, targets.step, strict=True):
    assert legal_after(rules, end_step=length)[codes[0]]
    rules = CODEC.advance(rules, codes)
    assert rules.step == step
  assert legal_after(rules, end_step=length)[CONFIG.end]
  after = CODEC.rules_at(score, now_s + length / 100)
  assert bool(rules.pedal_down) == bool(after.pedal_down)
  np.testing.assert_array_equal(
    rules.sounding & ~after.sounding, np.zeros(128, bool)
  )


def draw_stream(draw, end_step, earliest=0, most=60):
  """Random legal tokens until EOS."""
  rules = CODEC.init_rules()
  codes, steps = [], []
  dense = draw(st.booleans())
  for _ in range(draw(st.integers(0, most))):
    choices = np.flatnonzero(
      legal_after(rules, end_step=end_step, earliest_step=earliest)
    )
    if dense:
      choices = np.concatenate([choices[:3], choices[-9:]])
    code = draw(st.sampled_from(choices.tolist()))
    if code == CONFIG.end:
      break
    codes.append([code])
    rules = CODEC.advance(rules, np.array([code], np.int32))
    steps.append(int(rules.step))
  frames = Frames(
    np.array(codes, np.int32).reshape(-1, 1),
    np.array(steps, np.int32),
    np.zeros(len(steps), np.int32),
  )
  return frames, rules


@given(st.data(), st.integers(1, 400))
def test_legal_streams_are_what_the_encoder_writes(data, end_step):
  frames, rules = draw_stream(data.draw, end_step)
  # After a time shift or a velocity the stream cannot end.
  done = len(frames.step)
  while done and (
    frames.codes[done - 1, 0] < CONFIG.note_on
    or CONFIG.velocity <= frames.codes[done - 1, 0] < CONFIG.pedal_down
  ):
    done -= 1
  frames = Frames(*(field[:done] for field in frames))
  score = CODEC.decode_frames(frames, until_step=end_step + 50)
  assert score.repairs.overlaps_trimmed == score.repairs.duplicates == 0
  again = CODEC.encode_targets(score, 0.0, seconds=end_step / 100)
  np.testing.assert_array_equal(again.codes, frames.codes)
  np.testing.assert_array_equal(again.step, frames.step)
  assert rules.step < max(1, end_step)


@given(st.data(), st.integers(0, 380), st.integers(1, 400))
def test_no_event_is_before_the_commit_point(data, earliest, end_step):
  frames, _ = draw_stream(data.draw, end_step, earliest)
  waits = frames.codes[:, 0] < CONFIG.note_on
  assert (frames.step[~waits] >= earliest).all()
  assert (frames.step < end_step).all()
  # Only full time shifts lead to it.
  assert (frames.codes[:, 0][waits & (frames.step < earliest)] == 199).all()


def rules_after(*codes, sounding=(), pedal_down=False):
  keys = np.isin(np.arange(128), sounding)
  rules = CODEC.init_rules(pedal_down, keys)
  for code in codes:
    rules = CODEC.advance(rules, np.array([code], np.int32))
  return rules


def kinds(rules, **limits):
  """Legal tokens by kind, as numbers within each."""
  found = np.flatnonzero(legal_after(rules, **{"end_step": 400} | limits))
  edges = [0, 200, 328, 456, 488, 490, 491, 492]
  names = ["wait", "on", "off", "velocity", "pedal", "begin", "end"]
  return {
    name: (found[(found >= low) & (found < high)] - low).tolist()
    for name, low, high in zip(names, edges[:-1], edges[1:], strict=True)
  }


ON, OFF, VELOCITY = CONFIG.note_on, CONFIG.note_off, CONFIG.velocity


def test_at_the_origin():
  found = kinds(rules_after(sounding=(60, 64)))
  assert found["off"] == [60, 64] and found["on"] == []
  assert found["velocity"] == list(range(32))
  assert found["pedal"] == [0] and found["end"] == [0]
  assert found["wait"] == list(range(200)) and found["begin"] == []
  assert kinds(rules_after(pedal_down=True))["pedal"] == [1]


def test_after_a_velocity_comes_a_note_on():
  found = kinds(rules_after(VELOCITY + 7, sounding=(60,)))
  assert found["on"] == [key for key in range(128) if key != 60]
  assert not any(found[name] for name in found if name != "on")


def test_after_a_time_shift_comes_an_event():
  found = kinds(rules_after(VELOCITY + 7, ON + 60, 9))
  assert found["wait"] == found["end"] == []
  assert found["off"] == [60] and found["pedal"] == [0]
  assert found["on"] == [key for key in range(128) if key != 60]
  assert 7 not in found["velocity"] and len(found["velocity"]) == 31
  # After a full time shift another may follow.
  assert kinds(rules_after(199))["wait"] == list(range(199))


def test_keys_ascend_and_offs_come_first():
  after = rules_after(VELOCITY + 7, ON + 60, sounding=(40, 70))
  found = kinds(after)
  assert found["off"] == [] and found["pedal"] == []
  assert found["on"] == [key for key in range(61, 128) if key != 70]
  after = rules_after(OFF + 50, sounding=(40, 50, 70))
  assert kinds(after)["off"] == [70]
  assert kinds(rules_after(CONFIG.pedal_down, sounding=(40,)))["off"] == []
  assert kinds(rules_after(CONFIG.pedal_down))["pedal"] == [1]


def test_the_end_and_the_commit_point_bound():
  assert kinds(rules_after(), end_step=3)["wait"] == [0, 1]
  found = kinds(rules_after(sounding=(60,)), earliest_step=50)
  assert found["wait"] == list(range(49, 200)) and found["off"] == []
  assert found["end"] == [0]
  # No event fits: only EOS is legal.
  found = kinds(rules_after(199), earliest_step=300, end_step=250)
  assert found["end"] == [0] and sum(map(len, found.values())) == 1


def test_the_end_changes_nothing():
  rules = rules_after(VELOCITY + 3, ON + 60, 4)
  for code in (CONFIG.end, CONFIG.begin):
    after = CODEC.advance(rules, np.array([code], np.int32))
    for a, b in zip(after, rules, strict=True):
      np.testing.assert_array_equal(a, b)


@functools.partial(jax.jit, static_argnames=("codec",))
def step_inside_jit(codec, codes, rules, earliest, end):
  legal = codec.legal(
    0, codes, rules, earliest_step=earliest, end_step=end, xp=jnp
  )
  return legal, codec.advance(rules, codes, xp=jnp)


def random_rules(rng, shape=()):
  return EventRules(
    rng.integers(0, 400, shape).astype(np.int32),
    rng.integers(-1, 490, shape).astype(np.int32),
    rng.integers(0, 258, shape).astype(np.int32),
    rng.integers(-1, 32, shape).astype(np.int32),
    np.asarray(rng.random(shape) < 0.5),
    rng.random((*shape, 128)) < 0.3,
  )


def test_jit_and_numpy_agree():
  rng = np.random.default_rng(0)
  for _ in range(60):
    codes = rng.integers(0, CONFIG.size, 1).astype(np.int32)
    rules = random_rules(rng)
    earliest, end = rng.integers(0, 300), rng.integers(200, 401)
    legal, after = step_inside_jit(CODEC, codes, rules, earliest, end)
    expected = CODEC.legal(
      0, codes, rules, earliest_step=earliest, end_step=end
    )
    np.testing.assert_array_equal(legal, expected)
    for a, b in zip(after, CODEC.advance(rules, codes), strict=True):
      np.testing.assert_array_equal(a, b)


def test_the_state_keeps_its_types_and_takes_batches():
  rng = np.random.default_rng(1)
  rules = random_rules(rng, (3,))
  codes = rng.integers(0, CONFIG.size, (3, 1)).astype(np.int32)
  end = np.array([100, 200, 300])
  after = CODEC.advance(rules, codes)
  legal = CODEC.legal(0, codes, rules, end_step=end)
  for field, value in zip(rules, after, strict=True):
    assert field.shape == value.shape and field.dtype == value.dtype
  for row in range(3):
    one = EventRules(*(field[row] for field in rules))
    np.testing.assert_array_equal(
      legal[row], CODEC.legal(0, codes[row], one, end_step=end[row])
    )
    for a, b in zip(CODEC.advance(one, codes[row]), after, strict=True):
      np.testing.assert_array_equal(a, b[row])


@given(st.data(), st.sets(st.integers(0, 127), min_size=1))
def test_forbidden_keys_are_never_legal(data, wanted):
  keys = np.isin(np.arange(128), list(wanted))
  rules = CODEC.init_rules()
  for _ in range(40):
    free = CODEC.legal(0, NO_CODES, rules, end_step=400)
    found = CODEC.legal(0, NO_CODES, rules, end_step=400, keys=keys)
    assert found.any() and not (found & ~free).any()
    on = slice(CONFIG.note_on, CONFIG.note_off)
    assert not (found[on] & ~keys).any()
    # Note-offs are legal for all keys that are down.
    off = slice(CONFIG.note_off, CONFIG.velocity)
    np.testing.assert_array_equal(found[off], free[off])
    every = CODEC.legal(
      0, NO_CODES, rules, end_step=400, keys=np.ones(128, bool)
    )
    np.testing.assert_array_equal(every, free)
    code = data.draw(st.sampled_from(np.flatnonzero(found).tolist()))
    if code == CONFIG.end:
      break
    rules = CODEC.advance(rules, np.array([code], np.int32))
