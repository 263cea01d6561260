"""The grid of all MIDI codecs: time in steps, velocity in bins."""

import dataclasses

import numpy as np

from magenta_midi.settings import check_numbers
from magenta_midi.typing import Float, Int

__all__ = ["MAX_DURATION_S", "MAX_GRID_S", "GridConfig", "check_now"]

# The longest duration that a context or a target holds, in every codec.
MAX_DURATION_S = 10.0

# The longest chunk, horizon and time shift: each step is a code.
MAX_GRID_S = 60.0

# A time halfway between two steps rounds up, even if float error made it
# slightly smaller.
_TIE_STEPS = 1e-8
# The promised precision of a round trip; settings that cannot keep it are
# refused.
_VELOCITY_ERROR = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class GridConfig:
  """Settings that codecs share.

  Raises:
    ValueError: A setting breaks the promised round trip (onset 5 ms, velocity
      2) or the settings do not fit each other.
  """

  # Step of the onset grid, counted from the origin. At most 10, divides 1000.
  step_ms: int = 10
  # Length of a chunk; a whole number of steps.
  chunk_s: float = 2.0
  # The longest time that a decoder runs from its origin; sets the number of
  # onset codes.
  horizon_s: float = 4.0
  # Equal bins over 0..127; a divisor of 128.
  velocity_bins: int = 32

  def __post_init__(self):
    check_numbers(self)
    if not 1 <= self.step_ms <= 10 or 1000 % self.step_ms:
      raise ValueError(
        f"step_ms must be in 1..10 and divide 1000, got {self.step_ms}."
      )
    for name in ("chunk_s", "horizon_s"):
      if getattr(self, name) > MAX_GRID_S:
        raise ValueError(
          f"{name} must be at most {MAX_GRID_S:g} s, got {getattr(self, name)}."
        )
      steps = getattr(self, name) * self.steps_per_s
      if not steps >= 1 or abs(steps - round(steps)) > 1e-6:
        raise ValueError(
          f"{name} must be a whole number of {self.step_ms} ms steps, got "
          f"{getattr(self, name)}."
        )
    if self.horizon_steps < self.chunk_steps:
      raise ValueError(
        f"horizon_s must be at least chunk_s ({self.chunk_s}), got "
        f"{self.horizon_s}."
      )
    if not 1 <= self.velocity_bins <= 128 or 128 % self.velocity_bins:
      raise ValueError(
        f"velocity_bins must divide 128, got {self.velocity_bins}."
      )
    if 128 // self.velocity_bins // 2 > _VELOCITY_ERROR:
      raise ValueError(
        f"velocity_bins must be 32 or more to keep velocities within "
        f"{_VELOCITY_ERROR}, got {self.velocity_bins}."
      )

  @property
  def steps_per_s(self) -> int:
    """Steps of the onset grid in a second."""
    return 1000 // self.step_ms

  @property
  def chunk_steps(self) -> int:
    """Steps in a chunk."""
    return round(self.chunk_s * self.steps_per_s)

  @property
  def horizon_steps(self) -> int:
    """Number of onset codes that are steps (0 up to this, exclusive)."""
    return round(self.horizon_s * self.steps_per_s)

  @property
  def max_duration_steps(self) -> int:
    """Steps of the longest duration in a context or target: 10 s."""
    return round(MAX_DURATION_S * self.steps_per_s)

  # Time.

  def time_to_step(
    self, time_s: Float[np.ndarray, "*n"]
  ) -> Int[np.ndarray, "*n"]:
    """The nearest step of each time (halves round up), int32.

    Raises:
      ValueError: A time is beyond what 32 bits hold (248 days at 10 ms).
    """
    step = np.floor(time_s * self.steps_per_s + (0.5 + _TIE_STEPS))
    if step.size and not np.max(np.abs(step)) < 2**31 - 2**20:
      raise ValueError(
        f"event times must lie within 245 days of the origin, got "
        f"{float(np.max(np.abs(time_s))):.3g} s. Crop the score."
      )
    return np.asarray(step.astype(np.int32))

  def step_to_time_s(
    self, step: Int[np.ndarray, "*n"]
  ) -> Float[np.ndarray, "*n"]:
    """Seconds from the origin; `time_to_step` is the exact inverse."""
    return np.asarray(step / float(self.steps_per_s))

  def seconds_to_steps(self, seconds: float, *, name: str) -> int:
    """Converts a length of time to steps.

    Raises:
      ValueError: It is negative or not finite; the message uses `name`.
    """
    if not 0 <= seconds < float("inf"):
      raise ValueError(f"{name} must be 0 s or more, got {seconds}.")
    return int(np.floor(seconds * self.steps_per_s + 0.5))

  def target_steps(self, seconds: float) -> int:
    """The length of a target as steps.

    Raises:
      ValueError: It is negative or beyond the horizon.
    """
    length = self.seconds_to_steps(seconds, name="seconds")
    if length > self.horizon_steps:
      raise ValueError(
        f"seconds must be at most the codec's horizon of {self.horizon_s} "
        f"s, got {seconds}."
      )
    return length

  # Velocity.

  def velocity_to_code(
    self, velocity: Int[np.ndarray, "*n"]
  ) -> Int[np.ndarray, "*n"]:
    """The bin of each velocity, clipped to 0..127."""
    width = 128 // self.velocity_bins
    return np.asarray(np.clip(velocity, 0, 127) // width).astype(np.int32)

  def code_to_velocity(
    self, code: Int[np.ndarray, "*n"]
  ) -> Int[np.ndarray, "*n"]:
    """The middle of each bin; never 0, which MIDI reads as a note-off."""
    width = 128 // self.velocity_bins
    return np.asarray(np.maximum(code * width + width // 2, 1)).astype(np.int32)


def check_now(now_s: float) -> float:
  """Returns `now_s`, the origin of a stream, if it is a finite time.

  Raises:
    ValueError: It is infinite or not a number.
  """
  if not np.isfinite(now_s):
    raise ValueError(f"now_s must be a time in seconds, got {now_s}.")
  return now_s
