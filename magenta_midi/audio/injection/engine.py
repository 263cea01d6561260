"""Engine: chunks of input in, chunks of what is heard out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np

from magenta_midi.audio.codec.codec import (
  AudioCodec,
  checked_codes,
  checked_samples,
)
from magenta_midi.audio.injection.crossfade import Crossfade
from magenta_midi.audio.injection.history import History
from magenta_midi.audio.injection.loops import BeatGrid, Metronome
from magenta_midi.audio.injection.mixing import (
  ContextMixer,
  MixLayout,
  MovingGain,
)
from magenta_midi.audio.injection.settings import (
  InjectionControls,
  InjectionSettings,
)
from magenta_midi.audio.limiter import round_off
from magenta_midi.typing import Float, Int

__all__ = ["Generator", "InjectionEngine", "inject_sound"]


@runtime_checkable
class Generator(Protocol):
  """Goes on with what it hears: a model, or what stands for one."""

  def generate(
    self,
    context: Int[np.ndarray, "f l"],
    negative: Int[np.ndarray, "f l"],
    controls: InjectionControls,
  ) -> Int[np.ndarray, "m l"]:
    """Generates a chunk.

    Args:
      context: Codes, oldest frame first, input mixed in; -1 where there was
        nothing yet. Read only, and only until the call returns.
      negative: The context that guidance leads away from, its style masked.
      controls: `temperature`, `top_k` and `guidance`.

    Returns:
      Codes of the next frames, as many as the engine's chunks have.
    """
    ...


class InjectionEngine:
  """Plays a generator whose context holds the player's input.

  Each call of `step` takes a chunk of input, mixes it with the model's own
  output, encodes the mix over the newest frames of the context, generates the
  next chunk and decodes it, joined to the one before by a crossfade. All
  buffers are made at the start.

  Source: Magenta RealTime, notebook Magenta_RT_Audio_Injection.
  """

  def __init__(
    self,
    codec: AudioCodec,
    generator: Generator,
    settings: InjectionSettings | None = None,
    controls: InjectionControls | None = None,
  ):
    """Makes an engine at the start of the intro.

    Args:
      codec: Of what goes in and comes out.
      generator: Of the same codec's codes.
      settings: What stays.
      controls: At the start; None: the original's for the source.

    Raises:
      ValueError: The settings do not fit the codec or the controls.
    """
    settings = settings or InjectionSettings()
    facts = codec.facts
    if settings.levels > facts.levels:
      raise ValueError(
        f"levels must be at most {facts.levels}, those of {facts.name}, got"
        f" {settings.levels}."
      )
    self._codec, self._generator, self._settings = codec, generator, settings
    self._facts = facts
    rate, channels = facts.sample_rate, facts.channels
    self.grid = BeatGrid.of(settings, rate)
    self.layout = MixLayout.of(settings, facts, self.grid)
    self._intro_samples = settings.intro_loops * self.grid.loop_samples

    self._inputs = History(self.layout.mix + self.layout.input_ago, channels)
    self._outputs = History(self.layout.mix, channels)
    self._mixer = ContextMixer(
      self.layout, rate, channels, faithful=settings.faithful
    )
    self._crossfade = Crossfade(facts.hop, channels, settings.crossfade)
    self._metronome = Metronome(self.grid, rate)
    self._model_gain, self._input_gain = MovingGain(rate), MovingGain(rate)
    self._wave = np.zeros((self.layout.chunk + facts.hop, channels), np.float32)
    self._dry = np.zeros((self.layout.chunk, channels), np.float32)

    shape = settings.context_frames, settings.levels
    self._context = np.full(shape, -1, np.int32)
    self._own = np.full(shape, -1, np.int32)
    # The original's first negative context is code 0 throughout.
    self._negative = np.full(shape, 0 if settings.faithful else -1, np.int32)
    self._frames = np.zeros(
      (settings.chunk_frames + 1, settings.levels), np.int32
    )
    self._has_context = False
    self._chunk = 0

    self._first_controls = controls or InjectionControls.for_source(
      settings.source
    )
    self.set_controls(self._first_controls)

  @property
  def controls(self) -> InjectionControls:
    """As they hold from the next chunk on."""
    return self._controls

  @property
  def chunk(self) -> int:
    """Number of the next chunk, from 0."""
    return self._chunk

  @property
  def intro_samples(self) -> int:
    """The sample of the output with which the intro ends.

    A faithful engine ends it at the last end of a chunk that is not later.
    """
    if self._settings.faithful:
      return self._intro_samples // self.layout.chunk * self.layout.chunk
    return self._intro_samples

  def set_controls(self, controls: InjectionControls) -> None:
    """Changes the controls from the next chunk on.

    Raises:
      ValueError: A faithful engine has no such control.
    """
    if self._settings.faithful and controls.input_gain != 1:
      raise ValueError(
        f"input_gain must be 1 if faithful, got {controls.input_gain:g}."
      )
    self._controls = controls

  def warm_up(self, samples: np.ndarray) -> None:
    """Runs everything once, before the first chunk, so that it is compiled.

    It leaves no trace, except in a faithful engine: there its sound stays in
    both histories, as in the original, and an intro shorter than a chunk ends
    here or never.

    Args:
      samples: A chunk as for `step`: silence if live, else the one before the
        first of a looped recording.

    Raises:
      ValueError: A chunk has been played, or as `step`.
    """
    if self._chunk or self._has_context:
      raise ValueError(
        f"warm_up must come before the first chunk, got it before chunk"
        f" {self._chunk}."
      )
    self._chunk = -1
    try:
      self.step(samples)
    finally:
      self._chunk = 0
      self.reset()

  def reset(self) -> None:
    """Begins anew: no context, no intro played.

    A faithful engine forgets the context and the crossfade only, as the
    original does: histories, controls and the place in the loop go on.
    """
    self._context[:] = self._own[:] = -1
    self._has_context = False
    self._crossfade.reset()
    if self._settings.faithful:
      return
    self._negative[:] = -1
    self._inputs.clear()
    self._outputs.clear()
    self._model_gain.reset()
    self._input_gain.reset()
    self._chunk = 0
    self._controls = self._first_controls

  def step(
    self, samples: np.ndarray, out: np.ndarray | None = None
  ) -> Float[np.ndarray, "n c"]:
    """Plays the next chunk.

    Args:
      samples: The chunk of input that has just come: floating point [n, c] of
        `layout.chunk` samples, full scale 1; [n] or [n, 1] is mono. Recorded:
        what is heard beside the chunk that is returned. Live: what was played
        to the output `latency_samples` ago.
      out: float32 [n, c] to write to; None: a new array.

    Returns:
      What is to be heard. It is one frame of the codec behind what the
      generator has generated. Within full scale, except in a faithful engine.

    Raises:
      ValueError: The input is of another shape, or not finite (the engine goes
        on as if it had not come); or the generator returns what are no codes.
    """
    chunk = self._checked_chunk(samples)
    settings, size = self._settings, self.layout.chunk
    if out is None:
      out = np.empty((size, self._facts.channels), np.float32)
    elif out.shape != chunk.shape or out.dtype != np.float32:
      raise ValueError(
        f"out must be float32 of shape {list(chunk.shape)}, got {out.dtype} of"
        f" {list(out.shape)}."
      )
    elif np.may_share_memory(out, chunk):
      chunk = chunk.copy()
    begin = self._chunk * size
    before, turn = self._controls, 0
    ends = not settings.faithful and self._intro_samples // size == self._chunk
    if ends:
      # What the context holds changes with the whole chunk, what is heard at
      # the sample.
      turn = self._intro_samples - begin
      self._controls = settings.ended_intro(before)
    after = self._controls

    self._inputs.push(chunk)
    self._inject(self._mixer.mix(self._inputs, self._outputs, after))
    self._generate(after)
    self._outputs.push(self._wave[self.layout.hop :])
    self._crossfade.join(self._wave, out)
    if settings.faithful:
      self._play_faithfully(out, chunk, begin, after)
      if self._chunk + 1 == self._intro_samples // size:
        self._controls = settings.ended_intro(after)
    else:
      self._play(out[:turn], chunk[:turn], begin, before)
      self._play(out[turn:], chunk[turn:], begin + turn, after)
      round_off(out)
    self._chunk += 1
    return out

  def _checked_chunk(self, samples: np.ndarray) -> Float[np.ndarray, "n c"]:
    """A chunk with the codec's channels."""
    size, channels = self.layout.chunk, self._facts.channels
    samples = np.asarray(samples)
    shape = samples.shape
    if shape not in ((size,), (size, 1), (size, channels)):
      raise ValueError(
        f"a chunk of input must be of shape [{size}], [{size}, 1] or"
        f" [{size}, {channels}], got {list(shape)}."
      )
    if len(shape) == 1:
      samples = samples[:, None]
    wide = np.broadcast_to(samples, (size, channels))
    return checked_samples(self._facts, wide)

  def _inject(self, mix: Float[np.ndarray, "n c"]) -> None:
    """Encodes a mix over the newest frames; chooses the negative context.

    There is nothing to inject into before the first chunk, as in the original.
    """
    settings = self._settings
    if not self._has_context:
      return
    if settings.guided_from == "own":
      self._negative[:] = self._own
    elif settings.guided_from == "before":
      self._negative[:] = self._context
    codes = self._codec.encode(mix)[settings.edge_frames :, : settings.levels]
    self._context[-settings.injected_frames :] = codes
    if settings.guided_from == "mixed":
      self._negative[:] = self._context

  def _generate(self, controls: InjectionControls) -> None:
    """Generates a chunk, and decodes it behind the frame before it."""
    settings, hop = self._settings, self.layout.hop
    context, negative = self._context.view(), self._negative.view()
    context.flags.writeable = negative.flags.writeable = False
    codes = checked_codes(
      self._facts,
      self._generator.generate(context, negative, controls),
      levels=settings.levels,
    )
    if len(codes) != settings.chunk_frames:
      raise ValueError(
        f"the generator must return {settings.chunk_frames} frames, got"
        f" {len(codes)}."
      )
    self._frames[1:] = codes
    if self._has_context:
      # The original takes the mixed frame, so that the input is heard in the
      # crossfade without its delay.
      source = self._context if settings.faithful else self._own
      self._frames[0] = source[-1]
      self._wave[:] = self._codec.decode(self._frames)
    elif settings.faithful:
      self._frames[0] = 0
      self._wave[:] = self._codec.decode(self._frames)
    else:
      self._wave[:hop] = 0
      self._wave[hop:] = self._codec.decode(codes)
    for frames in (self._context, self._own):
      frames[: -len(codes)] = frames[len(codes) :]
      frames[-len(codes) :] = codes
    self._has_context = True

  def _play(
    self,
    out: Float[np.ndarray, "n c"],
    chunk: Float[np.ndarray, "n c"],
    position: int,
    controls: InjectionControls,
  ) -> None:
    """Volumes, clicks and the input; may be called for parts of a chunk."""
    if not len(out):
      return
    self._model_gain.apply(out, controls.model_volume)
    if controls.metronome:
      self._metronome.add(out, position)
    dry = self._dry[: len(chunk)]
    dry[:] = chunk
    self._input_gain.apply(dry, controls.input_volume)
    out += dry

  def _play_faithfully(
    self,
    out: Float[np.ndarray, "n c"],
    chunk: Float[np.ndarray, "n c"],
    position: int,
    controls: InjectionControls,
  ) -> None:
    """As the original: volumes jump; live input is never heard."""
    out *= np.float32(controls.model_volume)
    if controls.metronome:
      self._metronome.add(out, position)
    if self._settings.source == "recorded":
      np.multiply(chunk, np.float32(controls.input_volume), out=self._dry)
      out += self._dry


def inject_sound(
  engine: InjectionEngine, samples: np.ndarray
) -> Float[np.ndarray, "n c"]:
  """Plays a whole sound through an engine, offline.

  Args:
    engine: Goes on from where it is.
    samples: Floating point [n] or [n, c]; its last chunk is filled with
      silence.

  Returns:
    As many samples as went in.

  Raises:
    ValueError: As `InjectionEngine.step`, or there are no samples.
  """
  if not len(samples):
    raise ValueError("a sound must have samples, got none.")
  played = [engine.step(chunk) for chunk in _chunks(engine, samples)]
  return np.concatenate(played)[: len(samples)]


def _chunks(
  engine: InjectionEngine, samples: np.ndarray
) -> Iterator[np.ndarray]:
  """The chunks of a sound, the last one filled with silence."""
  size = engine.layout.chunk
  for start in range(0, len(samples), size):
    chunk = samples[start : start + size]
    if len(chunk) < size:
      filled = np.zeros((size, *chunk.shape[1:]), chunk.dtype)
      filled[: len(chunk)] = chunk
      chunk = filled
    yield chunk
