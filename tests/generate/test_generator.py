"""Chunked generation: exact, repeatable, of any length."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from magenta_midi.generate.generator import TRIM_AT_S, join_chunks
from magenta_midi.generate.repetition import find_repeated_runs
from magenta_midi.generate.sampling import Sampling
from magenta_midi.midi.score import Score
from magenta_midi.model.depthformer import Frames
from magenta_midi.testing import tiny_generator


@pytest.fixture(scope="module")
def generator():
  # A style table with different rows, so that guidance has an effect.
  generator = tiny_generator(style_vocab_size=7)
  table = generator.model.style_embedder.embedding
  table[...] = 20 * table[...]
  return generator


@pytest.fixture(scope="module")
def phrase():
  return Score.from_arrays(
    onset_s=np.arange(20) * 0.4,
    duration_s=np.full(20, 0.6),
    key=60 + np.arange(20) % 12,
    velocity=np.full(20, 70),
    pedal=[(0.1, True), (3.0, False), (3.2, True)],
  )


def play(generator, state, count, **settings):
  chunks = []
  for _ in range(count):
    chunk, state = generator.generate_chunk(state, **settings)
    chunks.append(chunk)
  return chunks, state


def test_cached_decoding_equals_the_teacher_forced_pass(generator, phrase):
  state = generator.init_state(phrase)
  codec = generator.codec
  request = generator.request(state, seed=5, limit=40, forced=40)
  decoded = generator.decode(request)
  count = int(decoded.count)
  assert count == 40
  codes, step = np.asarray(decoded.codes[:count]), np.asarray(decoded.step)
  ids = codec.vocabulary.to_ids(codes)
  inputs = np.zeros((1, count, 4), np.int32)
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
  for level in range(4):
    log_p = np.asarray(jax.nn.log_softmax(logits[level][0]))
    used = codes[:, level] >= 0
    rows = np.flatnonzero(used)
    np.testing.assert_allclose(
      log_p[rows, codes[rows, level]],
      np.asarray(decoded.log_p)[rows, level],
      atol=2e-5,
    )


def test_the_same_seed_gives_the_same_music(generator, phrase):
  state = generator.init_state(phrase)
  first, _ = play(generator, state, 3, seed=4)
  again, _ = play(generator, state, 3, seed=4)
  other, _ = play(generator, state, 3, seed=5)
  for a, b in zip(first, again, strict=True):
    np.testing.assert_array_equal(a.frames.codes, b.frames.codes)
  assert any(
    a.frames.codes.shape != c.frames.codes.shape
    or (a.frames.codes != c.frames.codes).any()
    for a, c in zip(first, other, strict=True)
  )


def test_states_are_never_modified(generator, phrase):
  state = generator.init_state(phrase)
  before = state.history.notes.tobytes(), state.now_s, state.chunk_index
  play(generator, state, 2, seed=1)
  assert before == (state.history.notes.tobytes(), state.now_s, 0)


def test_frames_are_legal_and_inside_the_chunk(generator, phrase):
  codec = generator.codec
  chunks, _ = play(generator, generator.init_state(phrase), 6, seed=2)
  for chunk in chunks:
    rules = codec.init_rules(chunk.pedal_down)
    for codes, step in zip(chunk.frames.codes, chunk.frames.step, strict=True):
      for level in range(4):
        used = bool(codec.applies(level, codes))
        assert used == (codes[level] >= 0)
        if used:
          legal = codec.legal(level, codes, rules, end_step=200)
          assert legal[codes[level]]
      rules = codec.advance(rules, codes)
      assert rules.step == step
    assert (chunk.frames.step < 200).all()
    assert (np.diff(chunk.frames.step) >= 0).all()


def test_a_long_stream_has_a_bounded_history(generator):
  state = generator.init_state()
  sizes = []
  for _ in range(40):
    chunk, state = generator.generate_chunk(state, seed=3)
    sizes.append(len(state.history))
    assert state.now_s - state.origin_s <= TRIM_AT_S + chunk.seconds
  assert state.now_s == 80.0
  assert state.origin_s > 0


def test_trimming_the_history_changes_nothing(generator):
  """A trimmed history gives the same context as the whole one."""
  rng = np.random.default_rng(0)
  count = 900
  long = Score.from_arrays(
    onset_s=np.sort(rng.uniform(0, 89, count)).round(2),
    duration_s=rng.uniform(0.05, 9.0, count),
    key=rng.integers(30, 90, count),
    velocity=rng.integers(20, 110, count),
    pedal=[(t, i % 2 == 0) for i, t in enumerate(np.arange(0.5, 89, 0.7))],
  )
  state = generator.init_state(long)
  assert state.origin_s > 0
  kept = generator.codec.encode_context(
    state.history, state.now_s - state.origin_s
  )
  whole = generator.codec.encode_context(long, state.now_s)
  np.testing.assert_array_equal(kept.codes, whole.codes)
  np.testing.assert_array_equal(kept.step, whole.step)


def test_a_note_may_cross_the_border_of_its_chunk(generator):
  chunks, _ = play(generator, generator.init_state(), 8, seed=0)
  music = join_chunks(generator.codec, chunks)
  ends = music.notes["onset_s"] + music.notes["duration_s"]
  border = np.ceil(music.notes["onset_s"] / 2 + 1e-9) * 2
  assert (ends > border).any()
  assert len(music) <= sum(chunk.notes for chunk in chunks)
  starts = [chunk.start_s for chunk in chunks]
  np.testing.assert_allclose(np.diff(starts), 2.0)


def test_no_guidance_is_the_plain_decoder_and_weights_matter(generator, phrase):
  state = generator.init_state(phrase)
  style = np.array([3, 5], np.int32)

  # Random weights make most chunks empty, so events are forced.
  def forced(**settings):
    request = generator.request(state, limit=20, forced=20, **settings)
    guided = settings.get("guidance", 0.0) != 0.0
    return np.asarray(generator.decode(request, guided=guided).codes)

  plain = forced(style=style)
  masked, _ = generator.generate_chunk(state, seed=7, guidance=2.0)
  unguided, _ = generator.generate_chunk(state, seed=7)
  # Without a style both rows are equal, so guidance has no effect.
  np.testing.assert_array_equal(masked.frames.codes, unguided.frames.codes)
  assert (forced(style=style, guidance=4.0) != plain).any()


def test_only_allowed_keys_are_played(generator, phrase):
  state = generator.init_state(phrase)
  keys = (np.arange(128) >= 48) & (np.arange(128) <= 60)

  # Few events at a time: beyond the horizon nothing is legal.
  def struck(**settings):
    key = np.zeros(0, np.int32)
    for seed in range(8):
      request = generator.request(
        state, seed=seed, limit=5, forced=5, **settings
      )
      key = np.append(key, np.asarray(generator.decode(request).codes)[:5, 1])
    return key[key < 128]

  within = struck(keys=keys)
  assert len(within) > 20
  assert within.min() >= 48 and within.max() <= 60
  np.testing.assert_array_equal(struck(), struck(keys=np.ones(128, bool)))
  assert struck().max() > 60
  with pytest.raises(ValueError, match="at least one key, got none"):
    generator.request(state, keys=np.zeros(128, bool))


def test_greedy_ignores_the_seed(generator, phrase):
  state = generator.init_state(phrase)
  greedy = Sampling(temperature=0.0)
  a, _ = generator.generate_chunk(state, seed=1, sampling=greedy)
  b, _ = generator.generate_chunk(state, seed=2, sampling=greedy)
  np.testing.assert_array_equal(a.frames.codes, b.frames.codes)


@pytest.mark.parametrize(
  "settings",
  [
    dict(temperature=0.0),
    dict(top_k=1),
    dict(min_p=1.0),
    dict(temperature=(0.0, 1.0, 1.0, 1.0)),
  ],
  ids=str,
)
def test_settings_whose_likeliest_start_is_silence_are_opened(
  generator, monkeypatch, settings
):
  """Once, with the first chunk alone."""
  import magenta_midi.generate.generator as streaming

  asked = []
  request = generator.request

  def noted(state, **given):
    asked.append((len(state.history), given["redraw"], given["sampling"]))
    return request(state, **given)

  # A likeliest start that is silence, and drawn ones that are not.
  monkeypatch.setattr(streaming, "_starts", lambda _: len(asked) > 1)
  monkeypatch.setattr(generator, "request", noted)
  sampling = Sampling(**settings)
  chunk, _ = generator.generate_chunk(
    generator.init_state(), seed=1, sampling=sampling
  )
  assert chunk.redraws == 1
  assert asked == [(0, 0, sampling), (0, 1, streaming.OPENING)]


def test_music_without_pauses_is_never_drawn_with_other_settings(
  generator, phrase, monkeypatch
):
  import magenta_midi.generate.generator as streaming

  monkeypatch.setattr(streaming, "pauses_too_long", lambda *_, **__: False)
  asked = []
  request = generator.request
  monkeypatch.setattr(
    generator,
    "request",
    lambda state, **given: (
      asked.append(given["sampling"]) or request(state, **given)
    ),
  )
  greedy = Sampling(temperature=0.0)
  generator.generate_chunk(generator.init_state(phrase), sampling=greedy)
  assert set(map(id, asked)) == {id(greedy)}


@pytest.mark.parametrize(
  "wrong",
  [
    dict(seed=-1),
    dict(seed=2**32),
    dict(seed=2**63),
    dict(seed=10**100),
    dict(guidance=-0.5),
    dict(guidance=8.5),
    dict(guidance=1e300),
    dict(guidance=float("nan")),
    dict(guidance=float("inf")),
  ],
  ids=str,
)
def test_numbers_out_of_range_are_refused(generator, phrase, wrong):
  state = generator.init_state(phrase)
  (name,) = wrong
  with pytest.raises(ValueError, match=f"^{name} must be a .*, got .*"):
    generator.generate_chunk(state, **wrong)
  with pytest.raises(ValueError, match=f"^{name} must be a .*, got .*"):
    generator.request(state, **wrong)


def test_every_seed_in_range_gives_its_own_music(generator, phrase):
  state = generator.init_state(phrase)
  found = set()
  for seed in (0, 1, 2**31 - 1, 2**31, 2**32 - 1):
    request = generator.request(state, seed=seed, limit=20, forced=20)
    found.add(np.asarray(generator.decode(request).codes).tobytes())
  assert len(found) == 5


def test_the_pedal_of_a_context_ends_where_the_model_begins(generator, phrase):
  later = [(9.0, False), (20.0, True), (95.0, False)]
  going_on = Score.from_rows(
    phrase.notes,
    pedal=[*phrase.pedals.tolist(), *((t, down, 0) for t, down in later)],
  )
  state, same = generator.init_state(going_on), generator.init_state(phrase)
  assert state.now_s == same.now_s
  assert state.history.pedals["time_s"].max() < state.now_s
  a, after_a = generator.generate_chunk(state, seed=3)
  b, after_b = generator.generate_chunk(same, seed=3)
  np.testing.assert_array_equal(a.frames.codes, b.frames.codes)
  assert after_a.history.equals(after_b.history)


def test_a_chunk_has_at_most_its_frames(generator):
  most = generator.chunk_frames
  request = generator.request(generator.init_state(), forced=most, limit=most)
  assert int(generator.decode(request).count) == most


def test_find_repeated_runs():
  earlier = np.array([[1, 60], [2, 61], [3, 62], [4, 63]])
  new = np.array([[9, 50], [2, 61], [3, 62], [4, 63], [9, 51]])
  found = find_repeated_runs(earlier, new, 3)
  assert found.tolist() == [False, True, False]
  assert not find_repeated_runs(earlier, new, 4).any()
  assert not find_repeated_runs(earlier[:2], new, 3).any()


def test_an_exact_repetition_is_drawn_again(generator, phrase, monkeypatch):
  """Greedy decoding always repeats, so all redraws are used."""
  import magenta_midi.generate.generator as streaming

  monkeypatch.setattr(streaming, "repeats_exactly", lambda *_: True)
  monkeypatch.setattr(streaming, "pauses_too_long", lambda *_, **__: False)
  chunk, _ = generator.generate_chunk(generator.init_state(phrase), seed=1)
  assert chunk.redraws == streaming.REDRAWS


def test_a_pause_is_drawn_again(generator, phrase):
  import magenta_midi.generate.generator as streaming

  state = generator.init_state(phrase)
  redrawn = 0
  for seed in range(8):
    chunk, _ = generator.generate_chunk(state, seed=seed)
    pauses = streaming.pauses_too_long(
      state.history, chunk.score, state.now_s, chunk.seconds
    )
    assert not pauses or chunk.redraws >= streaming.PAUSES
    redrawn += chunk.redraws > 0
  # Models with random weights pause often.
  assert redrawn


def test_a_silent_beginning_is_drawn_again(generator):
  import magenta_midi.generate.generator as streaming

  for seed in range(8):
    chunk, _ = generator.generate_chunk(generator.init_state(), seed=seed)
    onset_s = chunk.score.notes["onset_s"]
    at_once = len(onset_s) and onset_s[0] <= streaming.START_S
    assert at_once or chunk.redraws == 2 * streaming.STARTS


def test_padding_of_the_context_changes_nothing(generator, phrase):
  state = generator.init_state(phrase)
  request = generator.request(state, forced=30, limit=30)
  assert request.context_ids.shape[1] == generator.context_sizes[0]
  size = generator.context_sizes[1]

  def widened(x):
    extra = [(0, 0), (0, size - x.shape[1]), *[(0, 0)] * (x.ndim - 2)]
    return np.pad(x, extra)

  wide = request._replace(
    context_ids=widened(request.context_ids),
    context_time=widened(request.context_time),
    context_part=widened(request.context_part),
  )
  narrow, wide = generator.decode(request), generator.decode(wide)
  assert int(narrow.count) == int(wide.count) == 30
  np.testing.assert_array_equal(narrow.codes[:30], wide.codes[:30])


def test_nothing_compiles_after_the_warm_up(phrase):
  generator = tiny_generator()
  generator.warm_up()
  count = 200
  dense = Score.from_arrays(
    onset_s=np.arange(count) * 0.05,
    duration_s=np.full(count, 0.05),
    key=40 + np.arange(count) % 40,
    velocity=np.full(count, 70),
  )
  sizes = {
    generator.request(generator.init_state(score)).context_ids.shape[1]
    for score in (phrase, dense)
  }
  assert sizes == set(generator.context_sizes)
  compiled = []
  jax.monitoring.register_event_duration_secs_listener(
    lambda name, *_, **__: (
      compiled.append(name)
      if name.endswith("backend_compile_duration")
      else None
    )
  )
  try:
    for context in (None, phrase, dense):
      state = generator.init_state(context)
      generator.generate_chunk(
        state, seed=3, sampling=Sampling(temperature=0.7, top_k=5)
      )
  finally:
    jax.monitoring.clear_event_listeners()
  assert compiled == []
