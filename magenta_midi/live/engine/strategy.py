"""Interface of the two ways to play: `Simultaneous` and `CallResponse`.

The engine reports the player's events and the time to every strategy, so that
each can take over at any moment. Only the strategy of the present mode is asked
for work.
"""

from typing import Protocol

from magenta_midi.live.engine.planner import Intent
from magenta_midi.live.player import PlayerEvent
from magenta_midi.live.protocol.commands import Job
from magenta_midi.live.protocol.controls import Controls

__all__ = ["PlayStrategy"]


class PlayStrategy(Protocol):
  """When the model plays, and with what intent."""

  def set_controls(self, controls: Controls) -> None:
    """Takes new controls."""
    ...

  def on_player_event(self, event: PlayerEvent) -> None:
    """The player did something, in any mode."""
    ...

  def on_time(self, now_ns: int) -> None:
    """Time has passed, in any mode; called before each `next_job`."""
    ...

  def next_wake_ns(self) -> int | None:
    """When `on_time` must be called at the latest, if nothing else happens.

    A time that has passed means at once; None: there is no such time.
    """
    ...

  def next_job(self, now_ns: int) -> Job | None:
    """The most urgent work; called in the strategy's own mode only."""
    ...

  def on_plan_needed(self, now_ns: int) -> Intent:
    """How the model plays from now on; asked whenever events are drawn."""
    ...

  def hand_over(self, now_ns: int) -> None:
    """The player ends the present turn."""
    ...

  def end(self, now_ns: int) -> None:
    """The model was stopped: by another mode, by mute, or by the player."""
    ...
