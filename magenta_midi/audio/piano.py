"""A small piano: decaying partials, hammer noise, dampers and pedal.

No samples and no state: every (key, brightness) is synthesized once per call
as a sum of damped sinusoids and then mixed in wherever it is struck. A damped
sinusoid is a power of one complex number, z^(kB + j) = z^(kB) z^j, so a whole
tone is one small matrix product; that is what makes it fast.
"""

import numpy as np

from magenta_midi.audio.limiter import limit
from magenta_midi.audio.room import add_room
from magenta_midi.audio.strings import (
  BRIGHTNESS_STEPS,
  FIRST_UNDAMPED_KEY,
  RESTRIKE_S,
  SILENT_DB,
  Strings,
  brightness,
  damper,
  gain,
  hammer_noise,
  hammer_rise,
  pan,
  release_s,
  strings,
)
from magenta_midi.midi.score import Score
from magenta_midi.typing import Float

SAMPLE_RATE = 44_100
TAIL_S = 2.0  # what rings after the last event, faded out
MAX_S = 4 * 3600.0  # a longer score is a broken file, and would fill memory


_BLOCK = 256  # samples a block in the matrix product
_ONE_CORE_PRODUCT = 200_000  # multiplications
_TAIL_FADE_S = 1.0


def synthesize(
  score: Score, sample_rate: int = SAMPLE_RATE
) -> Float[np.ndarray, "n 2"]:
  """Plays a score on the built-in piano; the same score sounds the same.

  Args:
    score: Its parts sound on one piano each; keys outside 21..108 sound too.
    sample_rate: In hertz, 8000 or more.

  Returns:
    float32 within (-1, 1), left and right, `score.end_s + TAIL_S` long.

  Raises:
    ValueError: The sample rate is too low, or the score longer than MAX_S.
  """
  if sample_rate < 8000:
    raise ValueError(
      f"sample_rate must be at least 8000 Hz, got {sample_rate}. Try 44100."
    )
  if score.end_s > MAX_S:
    raise ValueError(
      f"the score must be at most {MAX_S:.0f} s long to be played, got "
      f"{score.end_s:.0f} s. Crop it first."
    )
  total = int(np.ceil((score.end_s + TAIL_S) * sample_rate))
  mix = np.zeros((2, total), np.float32)
  if len(score):
    _mix_notes(mix, score, sample_rate)
    add_room(mix, sample_rate)
    _fade_tail(mix, sample_rate)
  return limit(np.ascontiguousarray(mix.T))


def _mix_notes(mix: np.ndarray, score: Score, sample_rate: int) -> None:
  """Adds every note to `mix` [2, samples]."""
  notes = score.notes
  stop_s, restruck = sounding_until(score)
  start = np.rint(notes["onset_s"] * sample_rate).astype(np.int64)
  length = np.rint((stop_s - notes["onset_s"]) * sample_rate).astype(np.int64)
  length = np.clip(length, 1, mix.shape[1] - start)
  settle_s = np.where(restruck, RESTRIKE_S, release_s(notes["key"]))
  release = np.rint(settle_s * sample_rate).astype(np.int64)
  strength = np.clip(notes["velocity"], 1, 127) / 127
  loud = gain(notes["key"], strength)
  bright = brightness(strength)

  # One tone at a time, so that memory holds one tone however many there are.
  tone_of_note = notes["key"].astype(np.int64) * (BRIGHTNESS_STEPS + 1) + bright
  order = np.argsort(tone_of_note, kind="stable")
  groups = np.split(order, np.flatnonzero(np.diff(tone_of_note[order])) + 1)
  for group in groups:
    key, step = int(notes["key"][group[0]]), int(bright[group[0]])
    longest = int((length[group] + release[group]).max())
    tone = _tone(key, step, longest, sample_rate)
    for note in group:
      span = (int(start[note]), int(length[note]), int(release[note]))
      _mix_note(mix, tone, *span, level=float(loud[note]))


def _mix_note(
  mix: np.ndarray,
  tone: np.ndarray,
  start: int,
  held: int,
  release: int,
  level: float,
) -> None:
  """Adds one note: the tone as struck, then damped over `release` samples."""
  room = min(tone.shape[1], mix.shape[1] - start)
  free = min(held, room)
  mix[:, start : start + free] += level * tone[:, :free]
  damped = min(held + release, room) - free
  if damped > 0:
    end = free + damped
    mix[:, start + free : start + end] += (
      level * damper(release)[:damped] * tone[:, free:end]
    )


def sounding_until(
  score: Score,
) -> tuple[Float[np.ndarray, " n"], np.ndarray]:
  """Finds when the damper (or the next blow) meets each note's string.

  Returns:
    For each note the time in seconds, infinite where nothing stops it, and
    whether it is the next blow on the same key that does.
  """
  notes = score.notes
  off_s = notes["onset_s"] + notes["duration_s"]
  stop_s = off_s.astype(np.float64)
  next_blow_s = np.full(len(notes), np.inf)
  for part in np.unique(notes["part"]):
    mine = np.flatnonzero(notes["part"] == part)
    pedals = score.pedals[score.pedals["part"] == part]
    # Padded with "up" before the first change and for ever after the last.
    times = np.concatenate([[-np.inf], pedals["time_s"], [np.inf]])
    down = np.concatenate([[False], pedals["down"], [False]])
    at = np.searchsorted(times, off_s[mine], side="right") - 1
    stop_s[mine] = np.where(down[at], times[at + 1], off_s[mine])

    by_key = mine[np.lexsort((notes["onset_s"][mine], notes["key"][mine]))]
    same_key = np.diff(notes["key"][by_key]) == 0
    next_blow_s[by_key[:-1][same_key]] = notes["onset_s"][by_key[1:]][same_key]
  stop_s[notes["key"] >= FIRST_UNDAMPED_KEY] = np.inf
  restruck = np.isfinite(next_blow_s) & (next_blow_s <= stop_s)
  stop_s = np.minimum(stop_s, next_blow_s)
  # An infinity cannot become a sample number; past the end is the same.
  return np.minimum(stop_s, score.end_s + TAIL_S), restruck


def _fade_tail(mix: np.ndarray, sample_rate: int) -> None:
  """Fades out what still rings at the very end (an unreleased pedal)."""
  fade = min(mix.shape[1], int(_TAIL_FADE_S * sample_rate))
  mix[:, mix.shape[1] - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)


def _tone(key: int, step: int, samples: int, sample_rate: int) -> np.ndarray:
  """One struck string of unit loudness, panned, as float32 [2, samples].

  Args:
    key: MIDI key.
    step: Brightness, 1 (softest) to BRIGHTNESS_STEPS.
    samples: At most this long; shorter where it has decayed by then.
    sample_rate: In hertz.
  """
  struck = strings(key, step, sample_rate)
  ends = -SILENT_DB / 20 * np.log(10) / struck.sigma.min()
  samples = max(1, min(samples, int(ends)))
  tone = _damped_sum(struck, samples)
  rise = hammer_rise(step, sample_rate)[:samples]
  tone[:, : len(rise)] *= rise
  noise = hammer_noise(key, step, sample_rate)[:, :samples]
  tone[:, : noise.shape[1]] += noise
  return tone * np.array([pan(key)], np.float32).T


def _damped_sum(struck: Strings, samples: int) -> np.ndarray:
  """Sums damped sinusoids, as float32 [2, samples]."""
  rotation = 1j * struck.omega - struck.sigma
  # A BLAS hands products larger than this to all cores, and waking those takes
  # longer than such a slim product: measured 36 times slower on two cores.
  rows = max(1, _ONE_CORE_PRODUCT // (2 * len(struck.omega) * _BLOCK))
  blocks = -(-samples // _BLOCK)
  stacks = -(-blocks // rows)
  power = np.arange(stacks * rows)[:, None] * _BLOCK
  coarse = np.exp(rotation * power)
  fine = np.exp(rotation[:, None] * np.arange(_BLOCK))
  # sum Re(a c f) = sum Re(a c) Re(f) - Im(a c) Im(f): a real product.
  right = np.concatenate([np.real(fine), -np.imag(fine)]).astype(np.float32)
  out = np.empty((2, samples), np.float32)
  for channel, level in enumerate(struck.amplitude):
    amplitude = coarse * level
    left = np.concatenate([np.real(amplitude), np.imag(amplitude)], 1)
    product = left.astype(np.float32).reshape(stacks, rows, -1) @ right
    out[channel] = product.reshape(-1)[:samples]
  return out
