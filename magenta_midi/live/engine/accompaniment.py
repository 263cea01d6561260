"""Accompaniment policy: how the model makes room while both play.

The rules are fixed, nothing is learned. A decision follows from what the
player did before; asking again changes nothing.
"""

import dataclasses
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from magenta_midi.limits import AMOUNT, KEY, TIME_S
from magenta_midi.live.player import (
  MAX_RING_NS,
  Keyboard,
  PlayerEvent,
  RecordedNote,
)
from magenta_midi.live.protocol.events import SECOND
from magenta_midi.settings import check_bounds, check_numbers

__all__ = ["YieldPolicy", "YieldSettings", "Yielding"]

# The density is that of the last so many seconds.
_WINDOW_NS = 2 * SECOND
# Struck so lately, or sounding, a key may be the player's bass.
_BASS_NS = 4 * SECOND
# The player's octave is that of the last so many notes.
_RECENT_NOTES = 16
_OCTAVE = 12
# It moves when another octave holds so many times the notes of the present.
_MOVES_AT = 1.1
# A shorter note of the player is a passing one, which clashes with nothing.
_SETTLED_NS = 150_000_000
# Under the pedal a note has faded after so long.
_FADED_NS = 2 * SECOND


@dataclasses.dataclass(frozen=True, kw_only=True)
class YieldSettings:
  """When to make how much room."""

  # Player's notes a second: the model thins out, or rests, from the first
  # number on, and until it is below the second.
  thin_at: tuple[float, float] = (9.0, 6.0)
  rest_at: tuple[float, float] = (18.0, 13.0)
  # So many keys, held or ringing, leave little room: likewise.
  full_at: tuple[int, int] = (10, 7)
  # No note-on of the player for so long: the model may lead.
  lead_after_s: float = 1.5
  # The player has been silent for so long: the model stops too.
  stops_after_s: float = 8.0
  # Whether the model leaves out the octave in which the player plays.
  keeps_apart: bool = True
  # The lowest note of the player is a bass only below this key; a melody
  # without one may be accompanied from below.
  bass_below: int = 60

  def __post_init__(self) -> None:
    """Refuses what is no number, or never happens."""
    check_numbers(self)
    check_bounds(self, AMOUNT, "thin_at", "rest_at", "full_at")
    check_bounds(self, TIME_S, "lead_after_s", "stops_after_s")
    check_bounds(self, KEY, "bass_below")


class Yielding(NamedTuple):
  """Permissions of the model while both play.

  Attributes:
    level: `rest`, `thin`, `support` or `lead`.
    keys_allowed: By key, bool `[128]`; not to be written to.
    hazard: Factor on its rate of events; 0 at rest.
    velocity_offset: Added to its velocities.
  """

  level: str
  keys_allowed: np.ndarray
  hazard: float
  velocity_offset: int


_LEVELS = {
  "rest": (0.0, 0),
  "thin": (0.5, -10),
  "support": (1.0, -5),
  "lead": (1.2, 0),
}


class YieldPolicy:
  """Makes room for the player.

  Args:
    keyboard: Of the player; the caller gives it each message first.
    settings: When to make how much room.
  """

  def __init__(self, keyboard: Keyboard, settings: YieldSettings | None = None):
    self.settings = settings or YieldSettings()
    self._keyboard = keyboard
    self._onsets: deque[int] = deque()
    self._struck: deque[tuple[int, int]] = deque(maxlen=64)
    self._octave: int | None = None
    self._dense = {"thin": False, "rest": False}
    self._full = False

  def handle(self, event: PlayerEvent) -> None:
    """The player did something."""
    fills, leaves = self.settings.full_at
    count = len(self._keyboard.keys)
    self._full = count >= (leaves if self._full else fills)
    if event.note is None:
      return
    time_ns, key = event.time_ns, event.note.key
    # Between onsets the density only falls: no crossing can be missed.
    self._settle(time_ns)
    self._onsets.append(time_ns)
    self._settle(time_ns)
    self._struck.append((time_ns, key))
    self._move_octave()

  def decide(self, now_ns: int, *, solo: bool = False) -> Yielding:
    """Permissions of the model at a time, not before the last event.

    Args:
      now_ns: The time.
      solo: Play on when the player has stopped, or has not begun.
    """
    level = self._level(now_ns, solo)
    hazard, offset = _LEVELS[level]
    return Yielding(level, self._keys_allowed(now_ns), hazard, offset)

  def density(self, now_ns: int) -> float:
    """The player's notes a second, lately."""
    self._forget(now_ns)
    return len(self._onsets) * SECOND / _WINDOW_NS

  def clash(self, model_keys: Iterable[int], now_ns: int) -> list[int]:
    """Keys of the model that sound and should end.

    Those a semitone, in any octave, from a note that the player holds or
    lets ring. A tone that the player sounds too belongs to the chord and
    stays.

    Args:
      model_keys: That sound now.
      now_ns: The time.

    Returns:
      Some of them, ascending.
    """
    # By pitch class: what stands, and whatever sounds at all.
    stands, sounds = [False] * _OCTAVE, [False] * _OCTAVE
    keyboard = self._keyboard
    for key, note in keyboard.held.items():
      sounds[key % _OCTAVE] = True
      stands[key % _OCTAVE] |= now_ns - note.onset_ns >= _SETTLED_NS
    for key, note in keyboard.ringing.items():
      sounds[key % _OCTAVE] = True
      stands[key % _OCTAVE] |= self._rings(note, now_ns)
    return sorted(
      key
      for key in set(model_keys)
      if not sounds[key % _OCTAVE]
      and (stands[(key + 1) % _OCTAVE] or stands[(key - 1) % _OCTAVE])
    )

  def _rings(self, note: RecordedNote, now_ns: int) -> bool:
    return _SETTLED_NS <= now_ns - note.onset_ns <= _FADED_NS

  def _level(self, now_ns: int, solo: bool) -> str:
    settings = self.settings
    if not self._struck:
      return "lead" if solo else "rest"
    since_onset_ns = now_ns - self._struck[-1][0]
    # A key or foot that is stuck is no playing.
    stopped_ns = self._struck[-1][0] + MAX_RING_NS
    if self._keyboard.silent_since_ns is not None:
      stopped_ns = self._keyboard.silent_since_ns
    if now_ns - stopped_ns >= settings.stops_after_s * SECOND:
      return "lead" if solo else "rest"
    self._settle(now_ns)
    if self._dense["rest"]:
      return "rest"
    if self._dense["thin"] or self._full:
      return "thin"
    if since_onset_ns >= settings.lead_after_s * SECOND:
      return "lead"
    return "support"

  def _settle(self, now_ns: int) -> None:
    density = self.density(now_ns)
    settings = self.settings
    for level, (enter, leave) in (
      ("thin", settings.thin_at),
      ("rest", settings.rest_at),
    ):
      if density >= enter:
        self._dense[level] = True
      elif density < leave:
        self._dense[level] = False

  def _forget(self, now_ns: int) -> None:
    onsets = self._onsets
    while onsets and now_ns - onsets[0] > _WINDOW_NS:
      onsets.popleft()

  def _move_octave(self) -> None:
    """Finds the octave that holds most of the last notes."""
    counts = np.zeros(128 + _OCTAVE, np.int64)
    for _, key in list(self._struck)[-_RECENT_NOTES:]:
      counts[key] += 1
    total = np.concatenate([[0], np.cumsum(counts)])
    # By lowest key of the octave.
    inside = total[_OCTAVE : _OCTAVE + 128] - total[:128]
    best = int(inside.max())
    if self._octave is not None:
      present = int(inside[self._octave])
      if present and best < _MOVES_AT * present:
        return
    # Of equally good ones the middle: room on either side of the notes.
    good = np.flatnonzero(inside == best)
    run = good[: 1 + int(np.argmax(np.diff(good, append=1000) > 1))]
    self._octave = int(run[len(run) // 2])

  def _keys_allowed(self, now_ns: int) -> np.ndarray:
    allowed = np.ones(128, bool)
    if self._octave is not None and self.settings.keeps_apart:
      allowed[self._octave : self._octave + _OCTAVE] = False
    bass = self._keyboard.lowest
    for time_ns, key in reversed(self._struck):
      if now_ns - time_ns > _BASS_NS:
        break
      bass = key if bass is None else min(bass, key)
    if bass is not None and bass < self.settings.bass_below:
      allowed[:bass] = False
    return allowed
