"""The engine as a whole: what an echo must sound like, and properties."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magenta_midi.audio.injection.engine import InjectionEngine, inject_sound
from magenta_midi.audio.injection.loops import beep
from magenta_midi.audio.injection.settings import (
  InjectionControls,
  InjectionSettings,
)
from magenta_midi.testing.audio import EchoGenerator, IdentityCodec

RATE, HOP, FRAMES = 1000, 4, 10
CHUNK, LEVELS = FRAMES * HOP, 2 * HOP
# Injected frames: 10 + 5 - 2.
INJECTED = 13
ZERO = IdentityCodec().silence


class Drone(EchoGenerator):
  """A constant sound of 0.25; the controls it was given."""

  def __init__(self):
    super().__init__(FRAMES)
    self.controls = []

  def generate(self, context, negative, controls):
    super().generate(context, negative, controls)
    self.controls.append(controls)
    return np.full((FRAMES, LEVELS), ZERO + 2**14, np.int32)


class Noise(EchoGenerator):
  """Noise of a seed."""

  def __init__(self, seed):
    super().__init__(FRAMES)
    self._rng = np.random.default_rng(seed)

  def generate(self, context, negative, controls):
    super().generate(context, negative, controls)
    return self._rng.integers(ZERO - 9999, ZERO + 9999, (FRAMES, LEVELS))


class Silent:
  """Silence, and keeps nothing."""

  def generate(self, context, negative, controls):
    return np.full((FRAMES, LEVELS), ZERO, np.int32)


def make(generator, controls=None, **changes):
  """An engine of a small codec without an intro, and what is heard: all."""
  made = {
    "intro_loops": 0,
    "after_intro": {},
    "bpm": 400,
    "beats_per_loop": 2,
    "chunk_frames": FRAMES,
    "context_frames": 30,
    "prefix_frames": 5,
    "edge_frames": 2,
    "levels": LEVELS,
  } | changes
  controls = {"model_volume": 1.0, "input_volume": 0.0} | (controls or {})
  return InjectionEngine(
    IdentityCodec(hop=HOP, sample_rate=RATE),
    generator,
    InjectionSettings(**made),
    InjectionControls(**controls),
  )


def sound(samples, seed=0, most=0.5):
  """Noise of whole 65536ths, which the identity codec keeps."""
  rng = np.random.default_rng(seed)
  whole = rng.integers(-int(most * 2**16), int(most * 2**16), (samples, 2))
  return (whole / 2**16).astype(np.float32)


def test_an_echo_is_the_input_one_chunk_later_and_nothing_else():
  played = sound(6 * CHUNK)
  heard = inject_sound(make(EchoGenerator(FRAMES)), played)
  # Nothing is injected before the first chunk has been; then the chunk that
  # ends a frame into the newest one is said again.
  assert not heard[: CHUNK + HOP].any()
  np.testing.assert_allclose(
    heard[CHUNK + HOP :], played[HOP:-CHUNK], atol=1e-6
  )


def test_the_originals_crossfade_lets_the_input_through_at_once():
  played = sound(6 * CHUNK)
  engine = make(
    EchoGenerator(FRAMES),
    faithful=True,
    intro_loops=5,
    bpm=20,
    beats_per_loop=16,
  )
  heard = inject_sound(engine, played)
  start = 3 * CHUNK
  rise = np.sin(np.linspace(0, np.pi / 2, HOP))[:, None] ** 2
  expected = rise * played[start : start + HOP]
  expected += rise[::-1] * played[start - CHUNK : start - CHUNK + HOP]
  np.testing.assert_allclose(heard[start : start + HOP], expected, atol=1e-6)
  np.testing.assert_allclose(
    heard[start + HOP : start + CHUNK],
    played[start - CHUNK + HOP : start],
    atol=1e-6,
  )


@pytest.mark.parametrize("latency", [0, 7, 33])
@pytest.mark.parametrize("beat", [1, 2, 3])
def test_live_input_comes_back_on_its_beat(latency, beat):
  # 2 beats of 200 bpm are 600 samples. Without a round trip the click that is
  # played on a beat is heard again by the model a loop later.
  engine = make(
    EchoGenerator(FRAMES), source="live", bpm=200, latency_samples=latency
  )
  assert engine.grid.loop_samples == 600
  on_beat = engine.grid.sample(beat)
  played = np.zeros(50 * CHUNK, np.float32)
  played[on_beat + latency] = 0.5
  heard = inject_sound(engine, played)
  # A loop later, and a chunk, for it is an echo of what was.
  at = engine.grid.sample(beat + 2) + CHUNK
  assert np.flatnonzero(np.abs(heard[:, 0]) > 1e-6).tolist() == [at]
  np.testing.assert_allclose(heard[at], [0.5, 0.5], atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 7), st.integers(0, 99))
def test_in_silence_with_full_feedback_the_context_is_the_models_own(n, seed):
  generator = Noise(seed)
  engine = make(generator, {"model_feedback": 1.0})
  inject_sound(engine, np.zeros((n * CHUNK, 2), np.float32))
  for context, own in zip(generator.contexts, generator.negatives, strict=True):
    # Before there was anything, frames are absent; the mix holds silence.
    np.testing.assert_array_equal(
      np.where(context < 0, ZERO, context), np.where(own < 0, ZERO, own)
    )
  if n > 2:
    assert np.ptp(generator.contexts[-1]) > 1000


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 6), st.integers(0, 99))
def test_without_feedback_the_model_does_not_hear_itself(n, seed):
  played = sound(n * CHUNK, seed)
  contexts, own = [], []
  for other in (seed, seed + 1):
    generator = Noise(other)
    inject_sound(make(generator), played)
    contexts.append(generator.contexts[-1])
    own.append(generator.negatives[-1])
  assert (own[0] != own[1]).any()
  # Each chunk's injection covers all that was generated.
  np.testing.assert_array_equal(contexts[0], contexts[1])
  # It ends a frame into the newest chunk, and is the input there.
  end = (n - 1) * CHUNK + HOP
  codes = IdentityCodec(hop=HOP).encode(played[end - CHUNK : end])
  np.testing.assert_array_equal(contexts[0][-FRAMES:], codes)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 60), st.floats(0.25, 1))
def test_the_input_gap_is_silent_and_the_model_fills_it(gap, feedback):
  played = np.full((5 * CHUNK, 2), 0.125, np.float32)
  controls = {"input_gap_ms": gap, "model_feedback": feedback}
  generator = Drone()
  inject_sound(make(generator, controls), played)
  codec = IdentityCodec(hop=HOP, sample_rate=RATE)
  mix = codec.decode(generator.contexts[-1][-INJECTED:])[:, 0]
  assert abs(mix[-1] - 0.25 * feedback - (0.125 if gap < 2 else 0)) < 2e-5
  before = mix[: max(0, len(mix) - gap)]
  np.testing.assert_allclose(before, 0.125 + 0.25 * feedback, atol=2e-5)


@settings(max_examples=25, deadline=None)
@given(st.floats(60, 400), st.integers(1, 4), st.integers(1, 2))
def test_the_intro_ends_on_the_beat_to_the_sample(bpm, beats, loops):
  changes = {"model_volume": 0.5, "metronome": False}
  engine = make(
    Drone(),
    {"model_volume": 0.0, "metronome": True},
    bpm=bpm,
    beats_per_loop=beats,
    intro_loops=loops,
    after_intro=changes,
  )
  end = engine.grid.sample(loops * beats)
  assert engine.intro_samples == end
  heard = inject_sound(engine, np.zeros(end + 3 * CHUNK, np.float32))[:, 0]
  # Until then clicks on the beats and nothing else.
  clicks = np.zeros(end, np.float32)
  for beat in range(loops * beats):
    start = engine.grid.sample(beat)
    wave = beep(RATE, first=beat % beats == 0)
    clicks[start : start + len(wave)] += wave
  np.testing.assert_allclose(heard[:end], clicks, atol=1e-6)
  # From there on the model, within 10 samples, and no click.
  fade = np.minimum(np.arange(1, 11) / 10, 1) * 0.125
  np.testing.assert_allclose(heard[end : end + 10], fade, atol=1e-6)
  np.testing.assert_allclose(heard[end + 10 :], 0.125, atol=1e-6)


def test_the_context_changes_with_the_chunk_in_which_the_intro_ends():
  generator = Drone()
  # A loop is 300 samples: the intro ends in chunk 7, after 280.
  engine = make(
    generator,
    {"model_feedback": 0.0},
    intro_loops=1,
    after_intro={"model_feedback": 1.0, "guidance": 4.0},
  )
  inject_sound(engine, np.zeros((10 * CHUNK, 2), np.float32))
  newest = [context[-1, 0] for context in generator.contexts]
  assert newest[1:] == [ZERO] * 6 + [ZERO + 2**14] * 3
  assert [made.guidance for made in generator.controls] == [1.5] * 7 + [4.0] * 3


def test_what_is_heard_by_hand():
  engine = make(Drone(), {"model_volume": 0.5, "input_volume": 0.25})
  played = np.full((CHUNK, 2), 0.5, np.float32)
  first = engine.step(played)
  # Fades in; the first frame was not generated: silence.
  np.testing.assert_allclose(first[:HOP], 0.125, atol=1e-6)
  np.testing.assert_allclose(first[HOP:], 0.25 * 0.5 + 0.125, atol=1e-6)
  # A volume moves within 10 samples from the next chunk on.
  engine.set_controls(InjectionControls(model_volume=0.5, input_volume=0.0))
  second = engine.step(played)
  np.testing.assert_allclose(second[0], 0.125 + 0.125 * 0.9, atol=1e-6)
  np.testing.assert_allclose(second[10:], 0.125, atol=1e-6)


def test_a_loud_sum_stays_within_full_scale_except_if_faithful():
  loud = np.full((CHUNK, 2), 0.95, np.float32)
  controls = {"model_volume": 1.0, "input_volume": 1.0}
  out = [
    make(Drone(), controls, **more).step(loud)[-1, 0]
    for more in ({}, {"faithful": True, "intro_loops": 5})
  ]
  assert 0.9 < out[0] < 0.98
  assert out[1] == pytest.approx(1.2, abs=1e-6)


@pytest.mark.parametrize("choice", ["own", "before", "mixed"])
def test_what_guidance_leads_away_from(choice):
  generator = Noise(3)
  engine = make(generator, negative_context=choice)
  inject_sound(engine, sound(6 * CHUNK, 4))
  context, negative = generator.contexts[-1], generator.negatives[-1]
  before = generator.contexts[-2]
  np.testing.assert_array_equal(generator.negatives[0], -1)
  if choice == "mixed":
    np.testing.assert_array_equal(negative, context)
    return
  # The newest chunk is what the model played, not what was injected.
  own = np.random.default_rng(3).integers(
    ZERO - 9999, ZERO + 9999, (5, FRAMES, LEVELS)
  )
  np.testing.assert_array_equal(negative[-FRAMES:], own[-1])
  assert (negative[-FRAMES:] != context[-FRAMES:]).any()
  if choice == "own":
    np.testing.assert_array_equal(negative, own[-3:].reshape(30, LEVELS))
  else:
    np.testing.assert_array_equal(negative[:-FRAMES], before[FRAMES:])


def test_a_whole_sound_is_its_chunks():
  played = sound(5 * CHUNK - 13)
  whole = inject_sound(make(Noise(1), {"input_volume": 0.5}), played)
  engine = make(Noise(1), {"input_volume": 0.5})
  filled = np.concatenate([played, np.zeros((13, 2), np.float32)])
  out = np.zeros((CHUNK, 2), np.float32)
  for chunk in range(5):
    part = filled[chunk * CHUNK : (chunk + 1) * CHUNK]
    assert engine.step(part, out) is out
    expected = whole[chunk * CHUNK : (chunk + 1) * CHUNK]
    np.testing.assert_array_equal(out[: len(expected)], expected)
  assert len(whole) == len(played)
  assert engine.chunk == 5


def test_mono_is_both_channels():
  played = sound(4 * CHUNK)[:, :1]
  outs = [
    inject_sound(make(EchoGenerator(FRAMES)), given)
    for given in (played, played[:, 0], np.tile(played, 2))
  ]
  np.testing.assert_array_equal(outs[0], outs[2])
  np.testing.assert_array_equal(outs[1], outs[2])
  assert outs[0].any()


def test_the_input_may_be_written_over():
  played = sound(4 * CHUNK)
  expected = inject_sound(make(Noise(1), {"input_volume": 0.5}), played)
  engine = make(Noise(1), {"input_volume": 0.5})
  place = played.copy()
  for start in range(0, len(place), CHUNK):
    part = place[start : start + CHUNK]
    engine.step(part, part)
  np.testing.assert_array_equal(place, expected)


def test_reset_and_warm_up_leave_no_trace():
  played = sound(30 * CHUNK)

  def play(engine, generator):
    del generator.contexts[:], generator.negatives[:]
    heard = inject_sound(engine, played)
    return heard, np.array(generator.contexts), np.array(generator.negatives)

  generator = EchoGenerator(FRAMES)
  # Live: what came long ago is still to be injected.
  engine = make(generator, {"model_feedback": 0.5}, source="live")
  expected = play(engine, generator)
  assert expected[0].any() and (expected[2][0] == -1).all()
  warm_generator = EchoGenerator(FRAMES)
  warm = make(warm_generator, {"model_feedback": 0.5}, source="live")
  warm.warm_up(played[:CHUNK])
  for again in (warm, engine):
    if again is engine:
      again.set_controls(InjectionControls(model_volume=0.1))
      again.step(played[:CHUNK])
      again.reset()
    told = warm_generator if again is warm else generator
    for found, wanted in zip(play(again, told), expected, strict=True):
      np.testing.assert_array_equal(found, wanted)
  with pytest.raises(ValueError, match="before the first chunk, got it before"):
    engine.warm_up(played[:CHUNK])


def test_after_a_reset_the_volume_holds_at_once():
  engine = make(Drone())
  engine.set_controls(InjectionControls(model_volume=0.0, input_volume=0.0))
  engine.step(np.zeros(CHUNK, np.float32))
  engine.reset()
  out = engine.step(np.zeros(CHUNK, np.float32))
  np.testing.assert_allclose(out[HOP:], 0.25, atol=1e-6)


def test_the_metronome_goes_on_where_a_chunk_is_cut_by_the_end_of_the_intro():
  # A loop is 300 samples: the intro ends within chunk 7.
  engine = make(Silent(), {"metronome": True}, intro_loops=1)
  heard = inject_sound(engine, np.zeros(12 * CHUNK, np.float32))[:, 0]
  expected = np.zeros(12 * CHUNK, np.float32)
  for beat in range(4):
    start = engine.grid.sample(beat)
    wave = beep(RATE, first=beat % 2 == 0)[: len(expected) - start]
    expected[start : start + len(wave)] = wave
  np.testing.assert_allclose(heard, expected, atol=1e-6)


def test_a_faithful_engine_begins_with_a_frame_of_code_0():
  engine = make(Silent(), faithful=True, intro_loops=5)
  rise = np.sin(np.linspace(0, np.pi / 2, HOP)) ** 2
  out = engine.step(np.zeros(CHUNK, np.float32))
  # Code 0 of the identity codec is -4.
  np.testing.assert_allclose(out[:HOP, 0], -4 * rise, atol=1e-6)
  assert not out[HOP:].any()


@pytest.mark.parametrize(("loops", "ended"), [(1, True), (2, False)])
def test_a_faithful_intro_shorter_than_a_chunk_ends_with_the_warm_up(
  loops, ended
):
  # A loop of 150 samples, a chunk of 200: 0 or 1 chunks of intro.
  class Still:
    def generate(self, context, negative, controls):
      return np.full((50, LEVELS), ZERO, np.int32)

  engine = make(
    Still(),
    faithful=True,
    beats_per_loop=1,
    intro_loops=loops,
    chunk_frames=50,
    context_frames=60,
    after_intro={"top_k": 7},
  )
  silence = np.zeros(200, np.float32)
  engine.warm_up(silence)
  assert (engine.controls.top_k == 7) == ended
  assert engine.intro_samples == (0 if ended else 200)
  engine.step(silence)
  assert engine.controls.top_k == 7


@pytest.mark.parametrize(
  ("wrong", "message"),
  [
    (np.zeros((CHUNK - 1, 2), np.float32), "a chunk of input must be of shape"),
    (np.zeros((CHUNK, 3), np.float32), "a chunk of input must be of shape"),
    (np.full((CHUNK, 2), np.nan, np.float32), "must be finite"),
    (np.full(CHUNK, 1e9, np.float32), "must be finite"),
    (np.zeros((CHUNK, 2), np.int16), "takes floating-point samples"),
  ],
)
def test_bad_input_is_refused_and_the_engine_goes_on(wrong, message):
  played = sound(4 * CHUNK)
  expected = inject_sound(make(EchoGenerator(FRAMES)), played)
  engine = make(EchoGenerator(FRAMES))
  first = engine.step(played[:CHUNK])
  with pytest.raises(ValueError, match=message) as error:
    engine.step(wrong)
  assert "\n" not in str(error.value)
  rest = inject_sound(engine, played[CHUNK:])
  np.testing.assert_array_equal(np.concatenate([first, rest]), expected)


def test_a_bad_place_for_the_output_is_refused():
  engine, played = make(EchoGenerator(FRAMES)), sound(CHUNK)
  for out in (np.zeros((CHUNK, 1), np.float32), np.zeros((CHUNK, 2))):
    with pytest.raises(ValueError, match="out must be float32 of shape"):
      engine.step(played, out)


def test_no_sound_is_refused():
  with pytest.raises(ValueError, match="must have samples, got none"):
    inject_sound(make(Drone()), np.zeros((0, 2), np.float32))


@pytest.mark.parametrize(
  ("codes", "message"),
  [
    (np.full((9, LEVELS), ZERO), "must return 10 frames, got 9"),
    (np.full((FRAMES, 3), ZERO), "takes codes of shape"),
    (np.full((FRAMES, LEVELS), -1), "codes of identity codec must be in"),
  ],
)
def test_a_generator_that_returns_no_codes_is_named(codes, message):
  class Bad:
    def generate(self, context, negative, controls):
      return codes

  with pytest.raises(ValueError, match=message):
    make(Bad()).step(sound(CHUNK))


def test_a_generator_cannot_write_into_the_context():
  class Writer:
    def generate(self, context, negative, controls):
      context[0] = 0

  with pytest.raises(ValueError, match="read-only"):
    make(Writer()).step(sound(CHUNK))


def test_levels_that_the_codec_has_not_are_refused():
  with pytest.raises(ValueError, match="levels must be at most 8, those of id"):
    make(Drone(), levels=9)


def test_first_levels_alone_are_played():
  # 2 of the 8 levels: the first sample of each frame.
  class Low:
    def generate(self, context, negative, controls):
      return np.full((FRAMES, 2), ZERO + 2**14, np.int32)

  engine = make(Low(), levels=2)
  engine.step(sound(CHUNK))
  out = engine.step(sound(CHUNK))
  np.testing.assert_allclose(out[HOP::HOP], 0.25, atol=1e-6)
  assert not out[HOP + 1 :: HOP].any()


def test_memory_does_not_grow_with_the_chunks():
  engine, played = make(Silent(), source="live", bpm=100), sound(CHUNK)
  out = np.zeros((CHUNK, 2), np.float32)
  for _ in range(5):
    engine.step(played, out)
  tracemalloc.start()
  try:
    engine.step(played, out)
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(60):
      engine.step(played, out)
    grown = tracemalloc.get_traced_memory()[0] - before
  finally:
    tracemalloc.stop()
  # 60 chunks are 19,200 bytes, each way.
  assert grown < 6000
