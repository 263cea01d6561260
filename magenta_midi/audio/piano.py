"""A small piano: decaying partials, hammer noise, dampers and pedal.

No samples and no state: every (key, brightness) is synthesised once per call
as a sum of damped sinusoids and then mixed in wherever it is struck. A damped
sinusoid is a power of one complex number, z^(kB + j) = z^(kB) z^j, so a whole
tone is one small matrix product; that is what makes it fast.
"""

from functools import lru_cache

import numpy as np

from magenta_midi.audio.limiter import limit
from magenta_midi.audio.room import add_room
from magenta_midi.midi.score import Score
from magenta_midi.typing import Float, Int

SAMPLE_RATE = 44_100
TAIL_S = 2.0  # what rings after the last event, faded out
MAX_S = 4 * 3600.0  # a longer score is a broken file, and would fill memory

FIRST_UNDAMPED_KEY = 90  # F#6: real pianos have no dampers from about here
BRIGHTNESS_STEPS = 8
RESTRIKE_S = 0.03  # the hammer stops a string that still sounds
SILENT_DB = -66.0  # a tone ends where it has decayed this far

_BLOCK = 256  # samples a block in the matrix product
_ONE_CORE_PRODUCT = 200_000  # multiplications
_TOP_HZ = 14_000.0
_NOISE_S = 0.06
_TAIL_FADE_S = 1.0


def synthesise(
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
  release_s = np.where(restruck, RESTRIKE_S, _release_s(notes["key"]))
  release = np.rint(release_s * sample_rate).astype(np.int64)
  strength = np.clip(notes["velocity"], 1, 127) / 127
  # Long strings and the large end of the soundboard speak louder.
  gain = 0.4 * strength**1.6 * 2.0 ** ((60 - notes["key"]) / 48)
  bright = np.ceil(strength * BRIGHTNESS_STEPS).astype(np.int64)

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
      _mix_note(mix, tone, *span, gain=float(gain[note]))


def _mix_note(
  mix: np.ndarray,
  tone: np.ndarray,
  start: int,
  held: int,
  release: int,
  gain: float,
) -> None:
  """Adds one note: the tone as struck, then damped over `release` samples."""
  room = min(tone.shape[1], mix.shape[1] - start)
  free = min(held, room)
  mix[:, start : start + free] += gain * tone[:, :free]
  damped = min(held + release, room) - free
  if damped > 0:
    end = free + damped
    mix[:, start + free : start + end] += (
      gain * _damper(release)[:damped] * tone[:, free:end]
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


def _release_s(key: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
  """How long the damper takes: heavy bass strings are the slowest."""
  return np.interp(key, [21, 89], [0.15, 0.10])


@lru_cache(maxsize=256)
def _damper(samples: int) -> np.ndarray:
  """The level while the damper settles, from 1 to 0."""
  t = np.linspace(0, 1, samples, endpoint=False, dtype=np.float32)
  return np.exp(-4 * t) * (1 - t)


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
  f0 = 440.0 * 2 ** ((key - 69) / 12)
  rate = float(sample_rate)
  force = step / BRIGHTNESS_STEPS
  freq, level, sigma = _partials(key, f0, force, min(_TOP_HZ, 0.45 * rate))

  # Two strings a partial, half a cent off each other: the pair gives the quick
  # first and slow second decay of a piano, and a slow beat.
  cents = 2 ** (0.25 / 1200)
  turns = np.tile(0.618034 * np.arange(len(freq)), 2)  # both struck together
  freq = np.concatenate([freq / cents, freq * cents])
  level = np.concatenate([0.68 * level, 0.32 * level])
  sigma = np.concatenate([1.7 * sigma, 0.7 * sigma])

  ends_s = -SILENT_DB / 20 * np.log(10) / sigma.min()
  samples = max(1, min(samples, int(ends_s * rate)))
  tone = _damped_sum(
    2 * np.pi * freq / rate, sigma / rate, level, turns, samples
  )

  # Hammers are soft: the softer the blow, the longer they touch the string.
  rise = int((0.0045 - 0.003 * force) * rate)
  rise = min(max(rise, 1), samples)
  tone[:, :rise] *= 0.5 - 0.5 * np.cos(
    np.pi * np.arange(rise, dtype=np.float32) / rise
  )
  noise = _hammer_noise(key, force, sample_rate)[:, :samples]
  tone[:, : noise.shape[1]] += noise

  # Bass to the left as the player hears it; equal power.
  angle = np.pi / 4 + (min(max(key, 21), 108) - 64.5) / 43.5 * 0.35
  pan = np.array([[np.cos(angle)], [np.sin(angle)]], np.float32)
  return tone * (np.float32(np.sqrt(2)) * pan)


def _partials(
  key: int, f0: float, force: float, top_hz: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Frequencies (Hz), levels (unit energy) and decay rates (1/s)."""
  number = np.arange(1, 41, dtype=np.float64)
  # Stiff strings: sharper upwards, most of all short ones. Scaled so that the
  # first partial is the key's frequency exactly.
  stiffness = 1.5e-4 * 2 ** (abs(key - 45) / 12 * 0.9)
  freq = f0 * number * np.sqrt((1 + stiffness * number**2) / (1 + stiffness))
  keep = freq < top_hz
  keep[0] = True
  number, freq = number[keep], freq[keep]

  # Struck at an eighth of the string, where every eighth partial has a node.
  place = 0.15 + np.abs(np.sin(np.pi * number / 8.3))
  corner_hz = 900.0 + 6500.0 * force**1.4 + f0
  level = place * number**-1.0 * np.exp(-freq / corner_hz)
  # The soundboard hardly carries the lowest fundamentals.
  level = level / (1 + (48.0 / freq) ** 2)
  level = level / np.sqrt(np.sum(level**2))

  t60_s = 13.0 * 2 ** (-(key - 21) / 23)
  sigma = np.log(1000) / t60_s * (1 + 0.16 * (number - 1) + (freq / 6500) ** 2)
  return freq, level, sigma


def _damped_sum(
  omega: np.ndarray,
  sigma: np.ndarray,
  level: np.ndarray,
  turns: np.ndarray,
  samples: int,
) -> np.ndarray:
  """Sums damped sinusoids, as float32 [2, samples].

  Args:
    omega: Radians a sample.
    sigma: Decay a sample, in nepers.
    level: At the start.
    turns: Phase at the start, in whole turns; the right channel's differ a
      little, which makes the tone wide.
    samples: How many.
  """
  # A BLAS hands products larger than this to all cores, and waking those takes
  # longer than such a slim product: measured 36 times slower on two cores.
  rows = max(1, _ONE_CORE_PRODUCT // (2 * len(omega) * _BLOCK))
  blocks = -(-samples // _BLOCK)
  stacks = -(-blocks // rows)
  power = np.arange(stacks * rows)[:, None] * _BLOCK
  coarse = np.exp((1j * omega - sigma) * power)
  fine = np.exp((1j * omega - sigma)[:, None] * np.arange(_BLOCK))
  # sum Re(a c f) = sum Re(a c) Re(f) - Im(a c) Im(f): a real product.
  right = np.concatenate([np.real(fine), -np.imag(fine)]).astype(np.float32)
  out = np.empty((2, samples), np.float32)
  for channel, spread in enumerate((0.0, 0.25)):
    phase = np.exp(2j * np.pi * (turns + spread * np.sin(5 * turns)))
    amplitude = coarse * (level * phase)
    left = np.concatenate([np.real(amplitude), np.imag(amplitude)], 1)
    product = left.astype(np.float32).reshape(stacks, rows, -1) @ right
    out[channel] = product.reshape(-1)[:samples]
  return out


@lru_cache(maxsize=1024)
def _hammer_noise(key: int, force: float, sample_rate: int) -> np.ndarray:
  """The thump of felt and key bed: dull noise, gone in 60 ms [2, samples]."""
  samples = int(_NOISE_S * sample_rate)
  noise = np.random.default_rng(key).standard_normal((2, samples))
  spectrum = np.fft.rfft(noise)
  hertz = np.fft.rfftfreq(samples, 1 / sample_rate)
  centre = 220.0 + 5.0 * key + 500.0 * force
  spectrum *= (hertz / centre) ** 2 * np.exp(-2 * hertz / centre)
  noise = np.fft.irfft(spectrum, samples)
  noise /= np.sqrt(np.mean(noise**2))
  t = np.arange(samples) / sample_rate
  shape = np.minimum(1, t / 0.002) * np.exp(-t / 0.009) * (1 - t / _NOISE_S)
  return (0.16 * force**0.5 * shape * noise).astype(np.float32)
