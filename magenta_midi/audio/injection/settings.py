"""Settings of audio injection: what is fixed at the start, and the controls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from magenta_midi.limits import (
  AUDIO_FRAMES,
  AUDIO_FRAMES_FROM_0,
  AUDIO_GUIDANCE,
  AUDIO_LEVELS,
  AUDIO_TEMPERATURE,
  AUDIO_TOP_K,
  COUNT_FROM_0,
  DELAY_S,
  INPUT_GAIN,
  INPUT_GAP_MS,
  INTRO_LOOPS,
  LOOP_BEATS,
  SHARE,
  TEMPO,
)
from magenta_midi.settings import check_bounds, check_choices

__all__ = [
  "FadeKind",
  "InjectionControls",
  "InjectionSettings",
  "NegativeContext",
  "Source",
]

Source = Literal["recorded", "live"]
FadeKind = Literal["equal-gain", "equal-power"]
NegativeContext = Literal["own", "before", "mixed"]


@dataclass(frozen=True, kw_only=True)
class InjectionControls:
  """What may change from chunk to chunk.

  The defaults are the original's for recorded input; `for_source` has those of
  live input too. All of the original's sliders keep their ranges.
  """

  # How much of the input is mixed into the context. The original has no such
  # control: 1.
  input_gain: float | int = 1.0
  # How much of the model's own output is mixed into the context.
  model_feedback: float | int = 0.0
  # The last milliseconds of the input that the model does not hear, so that it
  # plays on rather than repeats.
  input_gap_ms: float | int = 0
  # Of the model's sound, and of the input's, in what is heard.
  model_volume: float | int = 0.0
  input_volume: float | int = 1.0
  # Whether clicks are heard.
  metronome: bool = False
  # For the generator. Guidance leads away from the negative context without
  # style; see `InjectionSettings.negative_context`.
  temperature: float | int = 1.2
  top_k: int = 30
  guidance: float | int = 1.5

  def __post_init__(self) -> None:
    """Refuses what lies outside of the sliders."""
    check_bounds(self, INPUT_GAIN, "input_gain")
    check_bounds(self, SHARE, "model_feedback", "model_volume", "input_volume")
    check_bounds(self, INPUT_GAP_MS, "input_gap_ms")
    check_bounds(self, AUDIO_TEMPERATURE, "temperature")
    check_bounds(self, AUDIO_TOP_K, "top_k")
    check_bounds(self, AUDIO_GUIDANCE, "guidance")
    if not isinstance(self.metronome, bool):
      raise ValueError(
        f"metronome must be True or False, got {self.metronome!r}."
      )

  @classmethod
  def for_source(cls, source: Source) -> InjectionControls:
    """The original's controls at the start."""
    if source == "recorded":
      return cls()
    return cls(input_volume=0.0, metronome=True, guidance=0.8)


# Control values that the original sets at the end of the intro.
_AFTER_INTRO: dict[Source, dict[str, Any]] = {
  "recorded": {"model_feedback": 0.95, "model_volume": 0.6},
  "live": {
    "model_feedback": 0.95,
    "model_volume": 0.95,
    "metronome": False,
    "input_gap_ms": 400,
  },
}


@dataclass(frozen=True, kw_only=True)
class InjectionSettings:
  """What is fixed while an engine lives; defaults are the original's."""

  # Recorded input is injected where it is heard; live input a loop later.
  source: Source = "recorded"
  # The original's behaviour, its faults included (docs/decisions.md).
  faithful: bool = False

  # Tempo of the loops and of the metronome, beats a minute.
  bpm: float | int = 120
  # Live input is injected this many beats after it was played.
  beats_per_loop: int = 8
  # Loops before the model is heard.
  intro_loops: int = 4
  # Controls that change when the intro has ended; None: the original's.
  after_intro: Mapping[str, Any] | None = None

  # From a sample of output until what is played to it comes in as input, as
  # measured. Only live input has one.
  latency_samples: int = 0
  # How much later than it was heard the input is injected, seconds; None: live
  # a loop, recorded 0.
  delay_s: float | int | None = None

  # Frames of the codec: those that are generated at once, and those of the
  # generator's context.
  chunk_frames: int = 50
  context_frames: int = 250
  # Frames before the chunk that are encoded with it, and how many first ones
  # are dropped again because the codec has no past there.
  prefix_frames: int = 16
  edge_frames: int = 8
  # First levels of the codec that the generator reads and writes.
  levels: int = 16

  # The crossfade between chunks.
  crossfade: FadeKind = "equal-gain"
  # What guidance leads away from: the context of the model's own frames alone;
  # the context as it was before this chunk's injection; the mixed context, so
  # that style alone is guided. None: `own`, or `mixed` if faithful.
  negative_context: NegativeContext | None = None

  def __post_init__(self) -> None:
    """Refuses what is out of range or does not go together."""
    check_choices(self)
    check_bounds(self, TEMPO, "bpm")
    check_bounds(self, LOOP_BEATS, "beats_per_loop")
    check_bounds(self, INTRO_LOOPS, "intro_loops")
    check_bounds(self, COUNT_FROM_0, "latency_samples")
    check_bounds(self, DELAY_S, "delay_s")
    check_bounds(self, AUDIO_FRAMES, "chunk_frames", "context_frames")
    check_bounds(self, AUDIO_FRAMES_FROM_0, "prefix_frames", "edge_frames")
    check_bounds(self, AUDIO_LEVELS, "levels")
    if self.edge_frames > self.prefix_frames:
      raise ValueError(
        f"edge_frames must be at most prefix_frames ({self.prefix_frames}), got"
        f" {self.edge_frames}."
      )
    if self.injected_frames > self.context_frames:
      raise ValueError(
        f"context_frames must be at least the {self.injected_frames} frames"
        f" that are injected, got {self.context_frames}."
      )
    if self.source == "recorded" and self.latency_samples:
      raise ValueError(
        "latency_samples must be 0 for recorded input, got"
        f" {self.latency_samples}."
      )
    # Unknown controls and bad values are refused here, not after the intro.
    changes = dict(self.after_intro or {})
    known = InjectionControls.__dataclass_fields__
    if unknown := sorted(str(name) for name in changes.keys() - known.keys()):
      raise ValueError(
        f"after_intro must name controls ({', '.join(known)}), got"
        f" {unknown[0]!r}."
      )
    changed = replace(InjectionControls(), **changes)
    if self.faithful:
      self._check_faithful(changed)

  def _check_faithful(self, changed: InjectionControls) -> None:
    """Refuses what the original cannot do."""
    wrong = {
      "intro_loops": self.intro_loops == 0,
      "delay_s": self.delay_s is not None,
      "crossfade": self.crossfade != "equal-gain",
      "negative_context": self.negative_context not in (None, "mixed"),
      "input_gain": changed.input_gain != 1,
    }
    if names := [name for name, is_wrong in wrong.items() if is_wrong]:
      raise ValueError(
        f"{names[0]} must be as the original has it if faithful. Leave it out,"
        " or take faithful=False."
      )

  @property
  def injected_frames(self) -> int:
    """Newest frames of the context that the mix replaces."""
    return self.chunk_frames + self.prefix_frames - self.edge_frames

  @property
  def guided_from(self) -> NegativeContext:
    """`negative_context`, chosen."""
    return self.negative_context or ("mixed" if self.faithful else "own")

  def ended_intro(self, controls: InjectionControls) -> InjectionControls:
    """Controls as they are once the intro has ended."""
    changes = self.after_intro
    if changes is None:
      changes = _AFTER_INTRO[self.source]
    return replace(controls, **changes)
