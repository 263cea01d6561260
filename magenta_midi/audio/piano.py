"""A small piano: decaying partials, hammer noise, dampers and pedal.

No samples and no state: in every block of some minutes each (key, brightness)
is synthesized once as a sum of damped sinusoids and then mixed in wherever it
is struck. A damped sinusoid is a power of one complex number,
z^(kB + j) = z^(kB) z^j, so a whole tone is one small matrix product; that is
what makes it fast. Blocks bound the memory; silence costs nothing.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from magenta_midi.audio.limiter import limit
from magenta_midi.audio.room import Room
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
MAX_S = 48 * 3600.0  # a longer score is a broken file
MAX_WHOLE_S = 4 * 3600.0  # in memory: 1.3 GB an hour

# Tones are synthesized anew in each block: in shorter ones that takes longer
# than mixing them.
BLOCK_S = 240.0
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
    ValueError: The sample rate is too low, or the score longer than
      MAX_WHOLE_S.
  """
  if score.end_s > MAX_WHOLE_S:
    raise ValueError(
      f"the score must be at most {MAX_WHOLE_S:.0f} s long to be played in"
      f" memory, got {score.end_s:.0f} s. Crop it first."
    )
  mix = np.zeros((sample_count(score, sample_rate), 2), np.float32)
  for start, block in sounding_blocks(score, sample_rate):
    mix[start : start + block.shape[1]] = block.T
  return limit(mix)


def sample_count(score: Score, sample_rate: int = SAMPLE_RATE) -> int:
  """Samples of a score and its tail.

  Raises:
    ValueError: The score is longer than MAX_S.
  """
  if score.end_s > MAX_S:
    raise ValueError(
      f"the score must be at most {MAX_S:.0f} s long to be played, got "
      f"{score.end_s:.0f} s. Crop it first."
    )
  return int(np.ceil((score.end_s + TAIL_S) * sample_rate))


def sounding_blocks(
  score: Score,
  sample_rate: int = SAMPLE_RATE,
  *,
  block_s: float | int = BLOCK_S,
) -> Iterator[tuple[int, np.ndarray]]:
  """Plays a score block by block, before the limiter.

  Args:
    score: Of any length; only the blocks that sound take time.
    sample_rate: In hertz, 8000 or more.
    block_s: Length of a block, about; memory is 0.4 MB a second of it.

  Yields:
    The first sample of a block, and the block as float32 [2, samples], which
    is valid until the next one. What is between blocks is silence.

  Raises:
    ValueError: The sample rate is too low, or the score too long.
  """
  if sample_rate < 8000:
    raise ValueError(
      f"sample_rate must be at least 8000 Hz, got {sample_rate}. Try 44100."
    )
  total = sample_count(score, sample_rate)
  if not len(score):
    return
  room = Room(sample_rate)
  # Whole pieces of the room: the blocks leave no trace in the sound.
  size = max(1, round(block_s * sample_rate / room.hop)) * room.hop
  blows = _blows(score, sample_rate, total)
  fade = min(total, int(_TAIL_FADE_S * sample_rate))
  faded = np.linspace(1, 0, fade, dtype=np.float32)
  buffer = np.empty((2, min(size, total)), np.float32)
  for start in range(0, total, size):
    end = min(start + size, total)
    heard = np.flatnonzero((blows.start < end) & (blows.end > start))
    if not len(heard) and room.silent:
      continue
    mix = buffer[:, : end - start]
    mix[:] = 0
    _mix_blows(mix, blows.chosen(heard), start, sample_rate)
    room.add(mix)
    # What still rings at the very end (an unreleased pedal) is faded out.
    late = max(total - fade, start)
    if late < end:
      mix[:, late - start :] *= faded[late - total + fade :][: end - late]
    yield start, mix


def sounding_samples(score: Score, sample_rate: int = SAMPLE_RATE) -> int:
  """How many samples of a score are not silence, the room's answer included.

  Raises:
    ValueError: The score is too long.
  """
  total = sample_count(score, sample_rate)
  if not len(score):
    return 0
  blows = _blows(score, sample_rate, total)
  # The room answers for less than 1 s, in whole pieces.
  order = np.argsort(blows.start, kind="stable")
  end = np.maximum.accumulate(blows.end[order] + 4 * sample_rate)
  begin = np.maximum(blows.start[order], np.append(0, end[:-1]))
  return int(min(total, np.maximum(end - begin, 0).sum()))


class _Blows(NamedTuple):
  """Every note as samples: [notes] each, `tone` and `loud` too."""

  start: np.ndarray
  held: np.ndarray  # until the damper falls
  release: np.ndarray  # until it has settled
  end: np.ndarray  # where nothing is left of it
  key: np.ndarray
  step: np.ndarray  # of brightness
  loud: np.ndarray

  def chosen(self, which: np.ndarray) -> "_Blows":
    return _Blows(*(column[which] for column in self))


def _blows(score: Score, sample_rate: int, total: int) -> _Blows:
  notes = score.notes
  stop_s, restruck = sounding_until(score)
  start = np.rint(notes["onset_s"] * sample_rate).astype(np.int64)
  held = np.rint((stop_s - notes["onset_s"]) * sample_rate).astype(np.int64)
  held = np.clip(held, 1, total - start)
  settle_s = np.where(restruck, RESTRIKE_S, release_s(notes["key"]))
  release = np.rint(settle_s * sample_rate).astype(np.int64)
  strength = np.clip(notes["velocity"], 1, 127) / 127
  key, step = notes["key"].astype(np.int64), brightness(strength)
  ring = np.zeros((128, BRIGHTNESS_STEPS + 1), np.int64)
  for tone in np.unique(np.stack([key, step], 1), axis=0):
    ring[*tone] = _ringing(strings(int(tone[0]), int(tone[1]), sample_rate))
  end = np.minimum(start + np.minimum(held + release, ring[key, step]), total)
  loud = gain(notes["key"], strength)
  return _Blows(start, held, release, end, key, step, loud)


def _mix_blows(
  mix: np.ndarray, blows: _Blows, offset: int, sample_rate: int
) -> None:
  """Adds to `mix` [2, samples], which begins at `offset`."""
  # One tone at a time, so that memory holds one tone however many there are.
  tone_of_blow = blows.key * (BRIGHTNESS_STEPS + 1) + blows.step
  order = np.argsort(tone_of_blow, kind="stable")
  groups = np.split(order, np.flatnonzero(np.diff(tone_of_blow[order])) + 1)
  start, end = blows.start - offset, blows.end - offset
  end = np.minimum(end, mix.shape[1])
  for group in groups:
    if not len(group):
      continue
    longest = int((end[group] - start[group]).max())
    key, step = int(blows.key[group[0]]), int(blows.step[group[0]])
    tone = _tone(key, step, longest, sample_rate)
    for one in group:
      _mix_blow(
        mix,
        tone,
        start=int(start[one]),
        damped=int(start[one] + blows.held[one]),
        end=int(end[one]),
        release=int(blows.release[one]),
        level=float(blows.loud[one]),
      )


def _mix_blow(
  mix: np.ndarray,
  tone: np.ndarray,
  *,
  start: int,
  damped: int,
  end: int,
  release: int,
  level: float,
) -> None:
  """Adds one note: the tone as struck, from `damped` on dying away.

  The places are samples of the mix; a note that began before it starts below
  0.
  """
  begin, free = max(start, 0), min(damped, end)
  if begin < free:
    mix[:, begin:free] += level * tone[:, begin - start : free - start]
  begin = max(damped, 0)
  if begin < end:
    fall = level * damper(release)[begin - damped : end - damped]
    mix[:, begin:end] += fall * tone[:, begin - start : end - start]


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


def _ringing(struck: Strings) -> int:
  """Samples until a tone has decayed."""
  return max(1, int(-SILENT_DB / 20 * np.log(10) / struck.sigma.min()))


def _tone(key: int, step: int, samples: int, sample_rate: int) -> np.ndarray:
  """One struck string of unit loudness, panned, as float32 [2, samples].

  Args:
    key: MIDI key.
    step: Brightness, 1 (softest) to BRIGHTNESS_STEPS.
    samples: At most this long; shorter where it has decayed by then.
    sample_rate: In hertz.
  """
  struck = strings(key, step, sample_rate)
  samples = max(1, min(samples, _ringing(struck)))
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
