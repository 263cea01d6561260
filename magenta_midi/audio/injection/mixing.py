"""Mixing: what the model is to hear, and what the player hears."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from magenta_midi.audio.codec.codec import CodecFacts
from magenta_midi.audio.injection.history import History
from magenta_midi.audio.injection.loops import BeatGrid
from magenta_midi.audio.injection.settings import (
  InjectionControls,
  InjectionSettings,
)
from magenta_midi.typing import Float

__all__ = ["ContextMixer", "MixLayout", "MovingGain", "gap_gains"]

# Of the fade before the input gap, as in the original.
_GAP_RAMP = 100
# In which a volume reaches a new value, seconds.
_VOLUME_S = 0.01
# Round trips that the original lets pass, beyond two chunks, seconds.
_FAITHFUL_ROUND_TRIP_S = 0.3


@dataclass(frozen=True, kw_only=True)
class MixLayout:
  """Lengths of an engine in samples.

  Output is generated one frame ahead of what is heard, for the crossfade. So
  the mix ends a frame beyond what has been heard when a chunk is asked for;
  recorded input reaches a frame into the chunk that has just come.

  Attributes:
    hop: Of a frame.
    chunk: Of a chunk.
    mix: Of what is encoded: a chunk and the frames before it.
    input_ago: From the end of the mix to the newest sample of input.
  """

  hop: int
  chunk: int
  mix: int
  input_ago: int

  @classmethod
  def of(
    cls, settings: InjectionSettings, facts: CodecFacts, grid: BeatGrid
  ) -> MixLayout:
    """The lengths for a codec.

    Raises:
      ValueError: Live input would be injected before it can be there, or a
        faithful engine gets a round trip that the original refuses.
    """
    chunk = settings.chunk_frames * facts.hop
    delay = grid.loop_samples if settings.source == "live" else 0
    if settings.delay_s is not None:
      delay = round(settings.delay_s * facts.sample_rate)
    ago = chunk - facts.hop + delay - settings.latency_samples
    if ago < 0:
      least = (delay - ago) / facts.sample_rate
      raise ValueError(
        f"input with a round trip of {settings.latency_samples} samples must be"
        f" delayed by at least {least:.3f} s, got"
        f" {delay / facts.sample_rate:.3f} s. Take more beats_per_loop, a"
        " slower bpm, or a longer delay_s."
      )
    if settings.faithful and settings.source == "live":
      beyond = settings.latency_samples - 2 * chunk
      most = _FAITHFUL_ROUND_TRIP_S * facts.sample_rate
      if not 0 < beyond < most:
        raise ValueError(
          f"latency_samples must be between {2 * chunk} and"
          f" {2 * chunk + most:.0f} if faithful, got"
          f" {settings.latency_samples}."
        )
    return cls(
      hop=facts.hop,
      chunk=chunk,
      mix=chunk + settings.prefix_frames * facts.hop,
      input_ago=ago,
    )


def gap_gains(samples: int, gap: int) -> Float[np.ndarray, " n"]:
  """Gains of input whose last samples are silent, float32.

  The fall to silence takes the first 100 samples of the gap, from 1 to 0 with
  both ends; the whole gap, if it is shorter.

  Args:
    samples: Of the input.
    gap: How many fade out or are silent; may begin before the input.
  """
  gains = np.ones(max(samples, gap), np.float32)
  fall = min(_GAP_RAMP, gap)
  begin = len(gains) - gap
  gains[begin : begin + fall] = np.linspace(1, 0, fall)
  gains[begin + fall :] = 0
  return gains[len(gains) - samples :]


class ContextMixer:
  """Mixes input with the model's own output, as the model is to hear them."""

  def __init__(
    self,
    layout: MixLayout,
    sample_rate: int,
    channels: int,
    *,
    faithful: bool = False,
  ):
    """Makes one with its buffers.

    Args:
      layout: Lengths.
      sample_rate: In hertz.
      channels: Of the sound.
      faithful: Whether feedback lowers the history of the output itself, so
        that what is mixed twice is lowered twice.
    """
    self._layout = layout
    self._sample_rate = sample_rate
    self._faithful = faithful
    self._mix = np.zeros((layout.mix, channels), np.float32)
    self._output = np.zeros_like(self._mix)
    self._gap_ms: float | int = 0
    self._gap = gap_gains(layout.mix, 0)[:, None]

  def mix(
    self, inputs: History, outputs: History, controls: InjectionControls
  ) -> Float[np.ndarray, "n c"]:
    """The samples to encode.

    Not limited: two full-scale sounds may add up to 2.

    Args:
      inputs: With the newest chunk.
      outputs: Of the model, not crossfaded; ends where the mix ends.
      controls: Gains and the input gap.

    Returns:
      A buffer that the next call overwrites.
    """
    if controls.input_gap_ms != self._gap_ms:
      gap = int(self._sample_rate * controls.input_gap_ms / 1000)
      self._gap[:, 0] = gap_gains(self._layout.mix, gap)
      self._gap_ms = controls.input_gap_ms
    inputs.read(self._mix, ago=self._layout.input_ago)
    self._mix *= self._gap
    self._mix *= np.float32(controls.input_gain)
    if self._faithful:
      outputs.scale(self._layout.mix, controls.model_feedback)
      outputs.read(self._output)
    else:
      outputs.read(self._output)
      self._output *= np.float32(controls.model_feedback)
    self._mix += self._output
    return self._mix


class MovingGain:
  """A volume that moves to a new value within 10 ms, without a click."""

  def __init__(self, sample_rate: int):
    """Makes one; the first value holds at once."""
    length = max(1, round(_VOLUME_S * sample_rate))
    # How far each sample after a change of the target has come.
    self._parts = (np.arange(1, length + 1) / length).astype(np.float32)[
      :, None
    ]
    self.reset()

  def apply(self, samples: Float[np.ndarray, "n c"], target: float) -> None:
    """Multiplies the next samples, in place.

    Args:
      samples: Any number.
      target: The gain moves there from the first of them on, in a line.
    """
    if self._target is None:
      self._target = target
    if target != self._target:
      self._from = self._now
      self._target, self._since = target, 0
    parts = self._parts[self._since : self._since + len(samples)]
    if len(parts):
      gains = self._from + parts * np.float32(self._target - self._from)
      samples[: len(parts)] *= gains
      self._now = float(gains[-1, 0])
      self._since += len(parts)
    if self._since == len(self._parts):
      self._now = self._target
    samples[len(parts) :] *= np.float32(self._target)

  def reset(self) -> None:
    """Forgets: the next value holds at once."""
    self._target: float | None = None
    self._from = self._now = 0.0
    # Samples since the last change of the target.
    self._since = len(self._parts)
