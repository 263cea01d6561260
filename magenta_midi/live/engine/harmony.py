"""Harmony of a duet: a chord and a key that fade with time."""

from collections import deque

import numpy as np

from magenta_midi.live.player import Keyboard, PlayerEvent
from magenta_midi.live.protocol.events import SECOND, Sounded
from magenta_midi.midi.analysis.analysis import Key, key_correlations
from magenta_midi.midi.analysis.chords import Chord, find_chord

__all__ = ["Harmony"]

# How long a note matters: for the chord about as long as chords last, for the
# key as long as a phrase.
_FADES_S = np.array([[1.0], [15.0]])

# A note-on counts as much as a key held for so long: staccato counts too.
_ACCENT_S = 0.25
# The model's notes count less: it must not follow itself.
_MODEL_SHARE = 0.3

# A note-on this recent can be the bass though it does not sound any more.
_BASS_S = 1.0

# A weight below this no longer counts: 6 s after a note.
_FAINT_S = 6e-4

# Below it there is no chord to name: one note, or a cluster.
_MIN_SCORE = 0.7


class Harmony:
  """Weights of the latest pitch classes, by exact decay.

  A sounding key adds its time, a note-on a little more at once; both fade.
  Each call costs some microseconds, whatever happened between.

  Args:
    keyboard: Of the player; the caller gives it each message first.
  """

  def __init__(self, keyboard: Keyboard):
    self._keyboard = keyboard
    self._at_ns = 0
    self._weights = np.zeros((2, 12))
    self._rate = np.zeros(12)
    self._struck: deque[tuple[int, int]] = deque(maxlen=64)

  def handle(self, event: PlayerEvent) -> None:
    """The player did something."""
    self._weights = self._faded(event.time_ns)
    self._at_ns = max(self._at_ns, event.time_ns)
    for key in event.damped:
      # Damped, it counts as a short note does, or an old chord would outlast
      # the new one.
      weight = self._weights[0, key % 12]
      self._weights[0, key % 12] = min(weight, _ACCENT_S)
    if event.note is not None:
      key = event.note.key
      self._weights[:, key % 12] += _ACCENT_S
      self._struck.append((event.time_ns, key))
    # Only held keys: a note that only the pedal holds fades.
    self._rate[:] = 0.0
    for key in self._keyboard.held:
      self._rate[key % 12] += 1.0

  def sounded(self, sounded: Sounded) -> None:
    """A note of the model sounded; only note-ons count."""
    if sounded.kind != "on":
      return
    self._weights = self._faded(sounded.time_ns)
    self._at_ns = max(self._at_ns, sounded.time_ns)
    self._weights[:, sounded.key % 12] += _MODEL_SHARE * _ACCENT_S

  def weights(self, now_ns: int) -> np.ndarray:
    """Pitch classes of the chord, seconds that count now, float `[12]`."""
    return self._faded(now_ns)[0]

  def bass(self, now_ns: int) -> int | None:
    """The player's lowest key that sounds or did within a second."""
    lowest = self._keyboard.lowest
    for time_ns, key in reversed(self._struck):
      if now_ns - time_ns > _BASS_S * SECOND:
        break
      if lowest is None or key < lowest:
        lowest = key
    return lowest

  def chord(self, now_ns: int) -> Chord | None:
    """The chord now, or None: silence, a single note, or no chord."""
    weights = self._faded(now_ns)[0]
    if weights.max() < _FAINT_S:
      return None
    chord = find_chord(weights, self.bass(now_ns))
    return chord if chord.score >= _MIN_SCORE else None

  def key(self, now_ns: int) -> Key | None:
    """The key of the last phrases, or None before any."""
    weights = self._faded(now_ns)[1]
    # A key is made of at least three pitch classes.
    if np.count_nonzero(weights > _FAINT_S) < 3:
      return None
    correlations = key_correlations(weights)
    minor, tonic = divmod(int(correlations.argmax()), 12)
    return Key(tonic, bool(minor), float(correlations[minor, tonic]))

  def _faded(self, now_ns: int) -> np.ndarray:
    """Weights at a time: chord and key, `[2, 12]`."""
    elapsed_s = max(0, now_ns - self._at_ns) / SECOND
    if elapsed_s == 0.0:
      return self._weights.copy()
    kept = np.exp(-elapsed_s / _FADES_S)
    return self._weights * kept + self._rate * _FADES_S * (1.0 - kept)
