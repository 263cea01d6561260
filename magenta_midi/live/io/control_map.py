"""Map of MIDI controllers: knobs, pedals and keys to changes and actions."""

import json
from pathlib import Path
from typing import NamedTuple

from magenta_midi.bounded_files import read_json
from magenta_midi.live.protocol.controls import (
  ACTIONS,
  CHOICES,
  MAX_PROMPTS,
  RANGES,
  TOGGLES,
  Action,
  Change,
)
from magenta_midi.live.protocol.events import Message
from magenta_midi.midi.atomic import write_atomically
from magenta_midi.plain_text import line
from magenta_midi.user_folders import config_home

__all__ = [
  "TARGETS",
  "Binding",
  "ControlMap",
  "chosen_adapter",
  "config_folder",
  "value_of",
]

# Targets of controllers.
TARGETS = (
  *CHOICES,
  *RANGES,
  *TOGGLES,
  *(f"prompt_{number}" for number in range(1, MAX_PROMPTS + 1)),
  "adapter",
  "next_adapter",
  *(action.value for action in ACTIONS),
)

_SUSTAIN = 64  # music, never a control
_CHANNEL_MODE = 120  # from here on: all notes off and its like
_PRESSED = 64  # of 0 to 127
_PROGRAM_CHANGE = 12
_FULL_WEIGHT = 2.0  # of a prompt, fader at the top: 1 is in the middle


class Binding(NamedTuple):
  """Binding of a controller to a target.

  Attributes:
    channel: 1 to 16.
    controller: 0 to 119, but not 64.
    target: One of TARGETS.
  """

  channel: int
  controller: int
  target: str


def config_folder() -> Path:
  """Folder of settings on this system."""
  return config_home() / "magenta_midi"


def value_of(target: str, position: int) -> Change | Action | None:
  """Change or action of a target for a controller's position.

  Args:
    target: One of TARGETS.
    position: 0 to 127.

  Returns:
    The change; for an action, and for the next adapter, None unless the
    controller is pressed (64 or more): whether that is news is for the caller
    to know.
  """
  share = position / 127
  if target in RANGES:
    bounds, _, high = RANGES[target]
    low, whole = bounds.low, bounds.whole
    if target == "density":  # a factor: the middle of the way is 1
      return Change(target, _exactly(low * (high / low) ** share, 1.0, 0.015))
    value = low + share * (high - low)
    if whole:
      return Change(target, round(value))
    return Change(target, round(value, 3))
  if target in TOGGLES:
    return Change(target, position >= _PRESSED)
  if target in CHOICES:
    choices = CHOICES[target]
    return Change(target, choices[position * len(choices) // 128])
  if target.startswith("prompt_"):
    weight = round(_FULL_WEIGHT * share, 3)
    number = int(target.removeprefix("prompt_"))
    return Change("prompt_weight", (number, _exactly(weight, 1.0, 0.01)))
  if target == "adapter":
    return Change("adapter_share", position / 128)
  if target == "next_adapter":
    return Change("adapter_step", 1) if position >= _PRESSED else None
  return Action(target) if position >= _PRESSED else None


def _exactly(value: float, rest: float, near: float) -> float:
  """Snaps to a value between two of a controller's 128 positions."""
  return rest if abs(value - rest) <= near else round(value, 3)


def chosen_adapter(message: Message) -> Change | None:
  """The adapter of a program change, program 1 the first; None: no such."""
  data = message.data
  if len(data) != 2 or data[0] >> 4 != _PROGRAM_CHANGE:
    return None
  return Change("adapter", data[1] + 1)


class ControlMap:
  """Bindings of MIDI controllers, which can be learned.

  Attributes:
    learning: The target that the next controller is bound to, or None.
  """

  def __init__(self, bindings: tuple[Binding, ...] = ()):
    """Starts with bindings; of two for one controller the later counts."""
    self.learning: str | None = None
    self._targets: dict[tuple[int, int], str] = {}
    self._pressed: set[tuple[int, int]] = set()
    for channel, controller, target in bindings:
      self._bind(channel, controller, target)

  @classmethod
  def load(cls, path: Path | None = None) -> "ControlMap":
    """Reads a map; there need not be one yet.

    Args:
      path: By default `controls.json` in the settings folder.

    Raises:
      ValueError: The file is not such a map.
      OSError: It is there but cannot be read.
    """
    path = path or config_folder() / "controls.json"
    if not path.exists():
      return cls()
    try:
      rows = read_json(path)["bindings"]
      bindings = [
        Binding(row["channel"], row["controller"], row["target"])
        for row in rows
      ]
      return cls(tuple(bindings))
    except (KeyError, TypeError, ValueError) as error:
      reason = line(error, longest=600)
      raise ValueError(
        f"{path}: is no map of MIDI controllers ({reason}). Mend or remove it."
      ) from None

  def save(self, path: Path | None = None) -> Path:
    """Writes the map, whole or not at all; returns where.

    Raises:
      OSError: It cannot be written there.
    """
    path = path or config_folder() / "controls.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [binding._asdict() for binding in self.bindings]
    write_atomically(
      path, (json.dumps({"bindings": rows}, indent=2) + "\n").encode()
    )
    return path

  @property
  def bindings(self) -> tuple[Binding, ...]:
    """All bindings, by channel and controller."""
    return tuple(
      Binding(channel, controller, target)
      for (channel, controller), target in sorted(self._targets.items())
    )

  def learn(self, target: str | None) -> None:
    """Binds the next controller moved to a target; None: learns nothing.

    Raises:
      ValueError: There is no such target.
    """
    if target is not None:
      _check_target(target)
    self.learning = target

  def forget(self, target: str) -> None:
    """Takes away every controller of a target."""
    self._targets = {
      place: bound for place, bound in self._targets.items() if bound != target
    }

  def handle(self, message: Message) -> list[Change | Action]:
    """Takes in one message; anything but a bound controller is nothing.

    While learning, the controller is bound and moves nothing yet. The sustain
    pedal and channel mode messages are never bound.
    """
    data = message.data
    if len(data) != 3 or data[0] >> 4 != 11 or max(data[1:]) > 127:
      return []
    place = ((data[0] & 15) + 1, data[1])
    if data[1] == _SUSTAIN or data[1] >= _CHANNEL_MODE:
      return []
    was_pressed = place in self._pressed
    if data[2] >= _PRESSED:
      self._pressed.add(place)
    else:
      self._pressed.discard(place)
    if self.learning is not None:
      self.forget(self.learning)
      self._bind(*place, self.learning)
      self.learning = None
      return []
    target = self._targets.get(place)
    event = value_of(target, data[2]) if target else None
    # An action happens as the pedal goes down, not while it stays there.
    once = isinstance(event, Action) or target == "next_adapter"
    if event is None or (once and was_pressed):
      return []
    return [event]

  def _bind(self, channel: int, controller: int, target: str) -> None:
    _check_target(target)
    if channel not in range(1, 17):
      raise ValueError(f"channel must be 1 to 16, got {channel!r}.")
    if controller not in range(_CHANNEL_MODE) or controller == _SUSTAIN:
      raise ValueError(
        f"controller must be 0 to {_CHANNEL_MODE - 1} and not the sustain "
        f"pedal's {_SUSTAIN}, got {controller!r}."
      )
    self._targets[channel, controller] = target


def _check_target(target: str) -> None:
  if target not in TARGETS:
    raise ValueError(
      f"a controller can move {', '.join(TARGETS)}; got {target!r}."
    )
