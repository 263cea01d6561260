"""Commands and jobs of the engine."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

from magenta_midi.live.protocol.events import PlannedNote, PlannedPedal

__all__ = ["Command", "End", "Job", "Panic", "Release", "Replan"]


class Replan(NamedTuple):
  """From a time on, play these events instead of what was planned.

  Attributes:
    from_ns: What begins before it stands.
    events: In order of time.
    reacts_to: Times of the player's events that this is the first answer to.
    why: `react`, `deeper`, `refresh`, `reply` or `rest`.
  """

  from_ns: int
  events: tuple[PlannedNote | PlannedPedal, ...]
  reacts_to: tuple[int, ...] = ()
  why: str = "deeper"


class Release(NamedTuple):
  """No new onsets; what sounds ends within the time."""

  within_ns: int
  # Keys to lift; None: all.
  keys: tuple[int, ...] | None = None


class End(NamedTuple):
  """The last chord rings, the pedal comes up within 4 s."""


class Panic(NamedTuple):
  """Silence, now."""


Command = Replan | Release | End | Panic


@dataclasses.dataclass(frozen=True)
class Job:
  """A few milliseconds of work.

  Attributes:
    name: What it costs is looked up by: `react`, `deeper`, `encode` or `open`.
    units: Events planned at most, or frames encoded.
    run: Does it, given the time at its start.
  """

  name: str
  units: int
  run: Callable[[int], list[Command]]
