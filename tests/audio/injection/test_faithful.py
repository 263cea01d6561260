"""A faithful engine beside a plain account of the original's algorithm."""

import numpy as np
import pytest

from magenta_midi.audio.injection.engine import InjectionEngine
from magenta_midi.audio.injection.loops import LoopedRecording, beep
from magenta_midi.audio.injection.settings import (
  InjectionControls,
  InjectionSettings,
)
from magenta_midi.testing.audio import EchoGenerator, IdentityCodec

RATE, HOP, FRAMES, CONTEXT = 1000, 4, 10, 40
PREFIX, EDGE = 5, 2
CHUNK = FRAMES * HOP
MIX = CHUNK + PREFIX * HOP
AFTER = {"model_feedback": 0.75, "model_volume": 0.6, "input_gap_ms": 30}


class NoiseGenerator(EchoGenerator):
  """Noise that does not depend on the context."""

  def __init__(self, seed, levels):
    super().__init__(FRAMES)
    self._rng, self._levels = np.random.default_rng(seed), levels

  def generate(self, context, negative, controls):
    super().generate(context, negative, controls)
    noise = self._rng.integers(-9000, 9000, (FRAMES, self._levels))
    return (2**18 + noise).astype(np.int32)


class Account:
  """The steps of the original, with everything kept and nothing clever."""

  def __init__(self, codec, generator, *, live, latency, bpm, beats, intro):
    self.codec, self.generator, self.live = codec, generator, live
    self.loop = int(beats * 60 / bpm * RATE)
    self.beats, self.intro = beats, intro
    self.offset = CHUNK - HOP
    if live:
      self.offset += self.loop - latency
    self.inputs, self.outputs = np.zeros((2, 10 * RATE, 2))
    self.orig = np.zeros((CONTEXT, codec.facts.levels), int)
    self.context, self.step = None, -1
    self.feedback = self.volume = self.gap = 0
    self.clicks = live
    self.tail = np.zeros((HOP, 2))

  def reset(self):
    self.context, self.tail = None, np.zeros((HOP, 2))

  def call(self, x):
    self.inputs = np.concatenate([self.inputs, x])
    heard = self.inputs[-(self.offset + MIX) : -self.offset].copy()
    self.outputs[-MIX:] = self.outputs[-MIX:] * self.feedback
    gap = int(RATE * self.gap / 1000)
    for n in range(gap):
      fall = min(100, gap)
      gain = 1 - n / max(1, fall - 1) if n < fall else 0
      heard[MIX - gap + n] *= gain
    mix = heard + self.outputs[-MIX:]
    codes = self.codec.encode(mix)[EDGE:]
    first = self.context is None
    if first:
      self.context = np.full((CONTEXT, self.codec.facts.levels), -1)
    else:
      self.context[-len(codes) :] = codes
      self.orig = self.context  # the same array: that is the fault
    new = self.generator.generate(self.context, self.orig, None)
    frame = self.context[-1:] * 0 if first else self.context[-1:]
    wave = self.codec.decode(np.concatenate([frame, new])).astype(float)
    self.context = np.concatenate([self.context[FRAMES:], new])
    self.outputs = np.concatenate([self.outputs, wave[HOP:]])
    rise = np.sin(np.linspace(0, np.pi / 2, HOP))[:, None] ** 2
    wave[:HOP] = wave[:HOP] * rise + self.tail
    self.tail = wave[-HOP:] * rise[::-1]
    out = wave[:-HOP] * self.volume
    for n in range(CHUNK):
      at = (self.step * CHUNK + n) % self.loop
      beat, within = divmod(at, self.loop // self.beats)
      if self.clicks and beat < self.beats and within < 40:
        out[n] += beep(RATE, first=beat == 0)[within]
    if not self.live:
      out += x * 1.0
    if self.step + 1 == int(self.intro * self.loop / CHUNK):
      self.feedback, self.volume = AFTER["model_feedback"], 0.6
      self.gap = AFTER["input_gap_ms"]
      self.clicks = self.clicks and not self.live
    self.step += 1
    return out


def generator(kind, levels, seed=5):
  return (
    EchoGenerator(FRAMES) if kind == "echo" else NoiseGenerator(seed, levels)
  )


@pytest.mark.parametrize("kind", ["echo", "noise"])
@pytest.mark.parametrize(
  ("live", "bpm", "beats", "intro"),
  [
    (False, 400, 1, 1),
    (False, 390, 3, 1),
    (True, 133, 1, 2),
    (True, 397, 3, 1),
  ],
)
def test_a_faithful_engine_plays_what_the_original_does(
  kind, live, bpm, beats, intro
):
  codec, latency = IdentityCodec(hop=HOP, sample_rate=RATE), 0
  if live:
    latency = 2 * CHUNK + 33
  after = AFTER | ({"metronome": False} if live else {})
  settings = InjectionSettings(
    source="live" if live else "recorded",
    faithful=True,
    bpm=bpm,
    beats_per_loop=beats,
    intro_loops=intro,
    after_intro=after,
    latency_samples=latency,
    chunk_frames=FRAMES,
    context_frames=CONTEXT,
    prefix_frames=PREFIX,
    edge_frames=EDGE,
    levels=codec.facts.levels,
  )
  played = generator(kind, codec.facts.levels)
  told = generator(kind, codec.facts.levels)
  engine = InjectionEngine(codec, played, settings)
  account = Account(
    codec,
    told,
    live=live,
    latency=latency,
    bpm=bpm,
    beats=beats,
    intro=intro,
  )
  rng = np.random.default_rng(3)
  sound = rng.uniform(-0.5, 0.5, (230, 2)).astype(np.float32)
  looped = LoopedRecording(sound, CHUNK)

  def chunk(number):
    if live and number < 0:
      return np.zeros((CHUNK, 2), np.float32)
    x = looped.chunk(number)
    return np.tile(x[:, :1], 2) if live else x

  engine.warm_up(chunk(-1))
  account.call(chunk(-1))
  account.reset()
  loud = 0
  for number in range(45):
    if number == 30:  # its button in the middle of playing
      engine.reset()
      account.reset()
    x = chunk(number)
    out = engine.step(x[:, 0] if live else x)
    expected = account.call(x)
    np.testing.assert_allclose(out, expected, atol=2e-4, err_msg=f"{number}")
    loud += np.abs(expected - (0 if live else x)).max() > 0.05
  # The model or the metronome is heard, and after the intro with feedback.
  assert loud > 20
  assert engine.controls.model_feedback == account.feedback == 0.75
  assert engine.controls.input_gap_ms == account.gap
  for ours, theirs in zip(played.contexts, told.contexts, strict=True):
    assert ours.shape == (CONTEXT, codec.facts.levels)
    np.testing.assert_allclose(ours, theirs, atol=8)  # of 65536
  for ours, theirs in zip(played.negatives, told.negatives, strict=True):
    np.testing.assert_allclose(ours, theirs, atol=8)
  # Nothing but style is guided, but in the first chunks.
  np.testing.assert_array_equal(played.negatives[0], 0)
  np.testing.assert_array_equal(played.negatives[9], played.contexts[9])


def test_a_faithful_engine_has_no_input_gain():
  codec = IdentityCodec()
  with pytest.raises(ValueError, match="input_gain must be 1 if faithful"):
    InjectionEngine(
      codec,
      EchoGenerator(50),
      InjectionSettings(faithful=True, levels=codec.facts.levels),
      InjectionControls(input_gain=0.5),
    )
