"""Chunked generation with the `event` codec, with keys down across chunks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from magenta_midi.generate.generator import join_chunks
from magenta_midi.midi.score import Score
from magenta_midi.model.depthformer import Frames
from magenta_midi.testing import tiny_generator
from magenta_midi.tokens.event.codec import EventCodec

CODEC = EventCodec()
CONFIG = CODEC.config


@pytest.fixture(scope="module")
def generator():
  return tiny_generator(codec=CODEC)


@pytest.fixture(scope="module")
def phrase():
  return Score.from_arrays(
    onset_s=np.arange(20) * 0.4,
    duration_s=np.append(np.full(18, 0.6), [3.0, 3.0]),
    key=60 + np.arange(20) % 12,
    velocity=np.full(20, 70),
    pedal=[(0.1, True), (3.0, False), (3.2, True)],
  )


@pytest.fixture(scope="module")
def long_play(generator, phrase):
  """Twelve chunks after a phrase, and the states between them."""
  states = [generator.init_state(phrase)]
  chunks = []
  for _ in range(12):
    chunk, state = generator.generate_chunk(states[-1], seed=2)
    chunks.append(chunk)
    states.append(state)
  return chunks, states


def test_cached_decoding_equals_the_teacher_forced_pass(generator, phrase):
  request = generator.request(
    generator.init_state(phrase), seed=5, limit=60, forced=60
  )
  decoded = generator.decode(request)
  count = int(decoded.count)
  assert count == 60
  codes, step = np.asarray(decoded.codes[:count]), np.asarray(decoded.step)
  ids = CODEC.vocabulary.to_ids(codes)
  inputs = np.zeros((1, count, 1), np.int32)
  inputs[0, 1:] = ids[:-1]
  time = np.zeros((1, count), np.int32)
  time[0, 1:] = step[: count - 1]
  logits = generator.model(
    *jax.tree.map(
      jnp.asarray,
      (
        Frames(request.context_ids, request.context_time, request.context_part),
        Frames(inputs, time, np.zeros_like(time)),
        ids[None],
      ),
    )
  )
  log_p = np.asarray(jax.nn.log_softmax(logits[0][0]))
  np.testing.assert_allclose(
    log_p[np.arange(count), codes[:, 0]],
    np.asarray(decoded.log_p)[:count, 0],
    atol=2e-5,
  )


def test_frames_are_legal_and_follow_sounding_notes(long_play):
  chunks, states = long_play
  tokens = crossing = 0
  for chunk, state in zip(chunks, states, strict=False):
    rules = CODEC.rules_at(state.history, state.now_s - state.origin_s)
    assert bool(rules.pedal_down) == chunk.pedal_down
    crossing += int(rules.sounding.sum())
    for codes, step in zip(chunk.frames.codes, chunk.frames.step, strict=True):
      legal = CODEC.legal(0, codes, rules, end_step=200)
      # `complete` may add note-offs of any key that is down.
      lifted = codes[0] - CONFIG.note_off
      late = step == 199 and 0 <= lifted < 128 and rules.sounding[lifted]
      assert legal[codes[0]] or late
      rules = CODEC.advance(rules, codes)
      assert rules.step == step < 200
      tokens += 1
  assert tokens > 20 and crossing > 5


def test_the_next_chunk_starts_from_the_state_of_the_last(long_play):
  """Keys and pedal of the history are those of the tokens."""
  chunks, states = long_play
  for chunk, before, after in zip(chunks, states, states[1:], strict=False):
    rules = CODEC.rules_at(before.history, before.now_s - before.origin_s)
    for codes in chunk.frames.codes:
      rules = CODEC.advance(rules, codes)
    found = CODEC.rules_at(after.history, after.now_s - after.origin_s)
    np.testing.assert_array_equal(found.sounding, rules.sounding)
    assert bool(found.pedal_down) == bool(rules.pedal_down)


def test_joined_chunks_equal_the_history(generator, long_play):
  chunks, states = long_play
  music = join_chunks(generator.codec, chunks)
  start_s = chunks[0].start_s
  kept = states[-1].history.notes
  new = kept[kept["onset_s"] + states[-1].origin_s >= start_s - 1e-6]
  assert len(new) == len(music) > 0
  np.testing.assert_allclose(
    music.notes["onset_s"], new["onset_s"] - start_s, atol=1e-6
  )
  np.testing.assert_allclose(
    music.notes["duration_s"], new["duration_s"], atol=1e-6
  )
  ends = music.notes["onset_s"] + music.notes["duration_s"]
  border = np.ceil(music.notes["onset_s"] / 2 + 1e-9) * 2
  assert (ends > border + 0.01).any()
  assert ends.max() <= 24.0 + 1e-6


class NeverLifts(EventCodec):
  """A codec that never allows a note-off."""

  def legal(self, level, codes, rules, *, xp=np, **limits):
    found = super().legal(level, codes, rules, xp=xp, **limits)
    code = xp.arange(CONFIG.size)
    return found & ((code < CONFIG.note_off) | (code >= CONFIG.velocity))


def test_no_note_hangs(phrase):
  generator = tiny_generator(codec=NeverLifts())
  state = generator.init_state(phrase)
  chunks = []
  for _ in range(10):
    chunk, state = generator.generate_chunk(state, seed=1)
    chunks.append(chunk)
  longest_s = join_chunks(generator.codec, chunks).notes["duration_s"].max()
  assert 8.0 < longest_s <= 12.0
  assert state.history.notes["duration_s"].max() <= 12.0


def test_the_same_seed_gives_the_same_music(generator, phrase):
  state = generator.init_state(phrase)
  a, _ = generator.generate_chunk(state, seed=4)
  b, _ = generator.generate_chunk(state, seed=4)
  c, _ = generator.generate_chunk(state, seed=5)
  np.testing.assert_array_equal(a.frames.codes, b.frames.codes)
  assert a.log_p.shape == a.frames.codes.shape
  assert a.frames.codes.tolist() != c.frames.codes.tolist()


def test_a_chunk_has_at_most_its_frames(generator):
  most = generator.chunk_frames
  request = generator.request(generator.init_state(), forced=most)
  assert int(generator.decode(request).count) == most == CODEC.chunk_frames
