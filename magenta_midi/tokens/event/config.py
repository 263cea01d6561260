"""Settings of the event codec, and the meaning of its codes."""

import dataclasses

from magenta_midi.tokens.grid import MAX_GRID_S, GridConfig

__all__ = ["KEYS", "EventCodecConfig"]

KEYS = 128


@dataclasses.dataclass(frozen=True, kw_only=True)
class EventCodecConfig(GridConfig):
  """Settings of the `event` codec.

  Codes lie in the order of the properties below: time shifts, note-ons,
  note-offs, velocities, pedal down, pedal up, BOS, EOS.

  Raises:
    ValueError: The settings do not fit each other.
  """

  # The longest time of one time shift; a whole number of steps.
  longest_shift_s: float = 2.0

  def __post_init__(self):
    super().__post_init__()
    if self.longest_shift_s > MAX_GRID_S:
      raise ValueError(
        f"longest_shift_s must be at most {MAX_GRID_S:g} s, got"
        f" {self.longest_shift_s}."
      )
    steps = self.longest_shift_s * self.steps_per_s
    if not steps >= 1 or abs(steps - round(steps)) > 1e-6:
      raise ValueError(
        f"longest_shift_s must be a whole number of {self.step_ms} ms steps, "
        f"got {self.longest_shift_s}."
      )

  @property
  def shift_steps(self) -> int:
    """Steps of the longest time shift; code s - 1 waits s steps."""
    return round(self.longest_shift_s * self.steps_per_s)

  @property
  def note_on(self) -> int:
    """Code of the note-on of key 0."""
    return self.shift_steps

  @property
  def note_off(self) -> int:
    """Code of the note-off of key 0."""
    return self.note_on + KEYS

  @property
  def velocity(self) -> int:
    """Code of the lowest velocity bin."""
    return self.note_off + KEYS

  @property
  def pedal_down(self) -> int:
    """Code of the pedal going down."""
    return self.velocity + self.velocity_bins

  @property
  def pedal_up(self) -> int:
    """Code of the pedal going up."""
    return self.pedal_down + 1

  @property
  def begin(self) -> int:
    """BOS: the start of a file; never sampled."""
    return self.pedal_up + 1

  @property
  def end(self) -> int:
    """EOS: the model plays no more tokens in this chunk."""
    return self.begin + 1

  @property
  def size(self) -> int:
    """Number of codes."""
    return self.end + 1
