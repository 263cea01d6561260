"""The small piano, played live: MIDI messages in, blocks of sound out.

Each key's sinusoids are powers of one complex number, z^(kB + j) = z^(kB) z^j:
z^j within a block is known beforehand for every key, and what a block adds to
a sounding key is one slim matrix product. So nothing is rendered in advance,
any length costs the same, and what has faded costs nothing.
"""

import numpy as np

from magenta_midi.audio.clicks import click_wave
from magenta_midi.audio.limiter import round_off
from magenta_midi.audio.room import LiveRoom
from magenta_midi.audio.strings import (
  BRIGHTNESS_STEPS,
  FIRST_UNDAMPED_KEY,
  RESTRIKE_S,
  SILENT_DB,
  brightness,
  damper,
  gain,
  hammer_noise,
  hammer_rise,
  pan,
  release_s,
  strings,
)
from magenta_midi.midi.pedal import pedal_after
from magenta_midi.typing import Float

__all__ = ["BLOCK", "POLYPHONY", "Voice"]

BLOCK = 256  # samples: 5.8 ms at 44.1 kHz
POLYPHONY = 64
_KEYS = range(21, 109)
_CLICKS = 9  # the channel of drums (10 to users): a metronome's clicks
_QUICK_S = 0.01  # to silence something without a click
_SILENT = 10 ** (SILENT_DB / 20)
_LOOK_EVERY = 8  # blocks between two looks at what has faded
_GAIN = 0.8  # two players at once need room


class _Tone:
  """One sounding key."""

  __slots__ = (
    "amplitude",
    "channel",
    "click",
    "down",
    "fade",
    "key",
    "loud",
    "noise",
    "passed",
    "rest",
    "rise",
  )

  def __init__(self, key: int, channel: int):
    self.key = key
    self.channel = channel
    self.down = True  # its key or the pedal is
    self.passed = 0  # samples
    self.amplitude: np.ndarray = np.zeros((2, 0), np.complex64)
    self.noise: np.ndarray | None = None
    self.click: np.ndarray | None = None
    self.rise: np.ndarray | None = None
    self.fade: np.ndarray | None = None  # the damper's curve
    self.rest = 0  # where it has come to on it
    self.loud = 0.0


class Voice:
  """A piano for all 16 channels; each channel has a pedal of its own.

  Messages count from the start of the next block. Keys outside a piano's are
  silent, channel 10 clicks, and whatever else is no note, pedal or silence is
  passed over.
  """

  def __init__(self, sample_rate: int = 44_100, block: int = BLOCK):
    """Computes what every key needs, about 14 MB at 256 samples a block.

    Args:
      sample_rate: In hertz, 8000 or more.
      block: Samples a block.

    Raises:
      ValueError: A value is too low.
    """
    if sample_rate < 8000 or block < 16:
      raise ValueError(
        "a voice needs at least 8000 Hz and blocks of 16 samples, got"
        f" {sample_rate} and {block}."
      )
    self.sample_rate = sample_rate
    self.block = block
    self._tones: list[_Tone] = []
    self._held: set[tuple[int, int]] = set()
    self._pedals = [False] * 16
    self._room = LiveRoom(sample_rate, block)
    self._blocks = 0
    self._mix = np.zeros((2, block), np.float32)
    self._part = np.zeros((2, block), np.float32)
    self._waves: dict[int, np.ndarray] = {}
    self._turns: dict[int, np.ndarray] = {}
    self._struck: dict[tuple[int, int], np.ndarray] = {}
    self._rises = [
      hammer_rise(step, sample_rate) for step in range(BRIGHTNESS_STEPS + 1)
    ]
    for key in _KEYS:
      self._prepare(key)
    self._clicks = [
      click_wave(sample_rate, accent=accent) for accent in (True, False)
    ]

  @property
  def sounding(self) -> int:
    """Tones that still sound, ringing and fading ones included."""
    return len(self._tones)

  def handle(self, data: bytes) -> None:
    """Takes in one MIDI message, status first; anything else is nothing."""
    if len(data) != 3 or not 0x80 <= data[0] < 0xF0 or max(data[1:]) > 127:
      return
    kind, channel = data[0] >> 4, data[0] & 15
    if kind == 9 and data[2] > 0:
      self._strike(channel, data[1], data[2])
    elif kind in (8, 9):
      self._held.discard((channel, data[1]))
      self._settle(channel)
    elif kind == 11 and data[1] == 64:
      # No hysteresis: an instrument follows the MIDI standard.
      self._pedals[channel] = pedal_after(data[2], down=False)
      self._settle(channel)
    elif kind == 11 and data[1] == 120:  # all sound off
      self._let_go(channel)
      for tone in self._tones:
        if tone.channel == channel:
          self._damp(tone, _QUICK_S)
    elif kind == 11 and data[1] >= 121:  # controllers reset, all notes off
      self._let_go(channel)
      self._settle(channel)

  def render(self) -> Float[np.ndarray, "n 2"]:
    """Makes the next block: float32 within (-1, 1), left and right."""
    mix = self._mix
    mix[:] = 0
    look = self._blocks % _LOOK_EVERY == 0
    self._blocks += 1
    ended = False
    for tone in self._tones:
      self._add(tone, mix)
      if look and tone.click is None:
        self._forget_faded(tone)
      ended = ended or tone.loud <= 0.0
    if ended:
      self._tones = [tone for tone in self._tones if tone.loud > 0.0]
    self._room.add(mix)
    return round_off(np.ascontiguousarray(mix.T))

  def _prepare(self, key: int) -> None:
    """Prepares what does not depend on velocity, then what does, in steps."""
    for step in range(1, BRIGHTNESS_STEPS + 1):
      struck = strings(key, step, self.sample_rate)
      # The longest ringing first: what has faded is a tail to cut off.
      order = np.argsort(struck.sigma, kind="stable")
      level = np.array(pan(key))[:, None] * struck.amplitude[:, order]
      self._struck[key, step] = np.ascontiguousarray(level, np.complex64)
      hammer_noise(key, step, self.sample_rate)  # kept there for later
      if step == 1:
        rotation = 1j * struck.omega[order] - struck.sigma[order]
        wave = np.exp(rotation[:, None] * np.arange(self.block))
        # Re(a w) = Re a Re w - Im a Im w, as the rows of a real product.
        rows = np.stack([np.real(wave), -np.imag(wave)], 1)
        rows = rows.reshape(-1, self.block).astype(np.float32)
        self._waves[key] = rows
        self._turns[key] = np.exp(rotation * self.block).astype(np.complex64)

  def _strike(self, channel: int, key: int, velocity: int) -> None:
    if channel == _CLICKS:
      self._click(key, velocity)
      return
    if key not in _KEYS:
      return
    for tone in self._tones:
      # One string: the hammer of whichever player stops it first.
      if tone.key == key and tone.click is None:
        self._damp(tone, RESTRIKE_S)
    strength = velocity / 127
    step = int(brightness(strength))
    level = _GAIN * float(gain(key, strength))
    tone = _Tone(key, channel)
    tone.amplitude = level * self._struck[key, step]
    noise = hammer_noise(key, step, self.sample_rate)
    sides = np.array([pan(key)], np.float32).T
    tone.noise = np.float32(level) * sides * noise
    tone.rise = self._rises[step]
    tone.loud = level
    self._held.add((channel, key))
    self._start(tone)

  def _click(self, key: int, velocity: int) -> None:
    # General MIDI: 76 is the high wood block, 77 the low one.
    tone = _Tone(key, _CLICKS)
    tone.click = self._clicks[key % 2] * np.float32(velocity / 127)
    tone.loud = 1.0
    self._start(tone)

  def _start(self, tone: _Tone) -> None:
    if len(self._tones) >= POLYPHONY:
      # Damped tones are the least audible, then the softest ones.
      lost = min(self._tones, key=lambda old: (old.fade is None, old.loud))
      self._tones.remove(lost)
    self._tones.append(tone)

  def _let_go(self, channel: int) -> None:
    self._pedals[channel] = False
    self._held = {place for place in self._held if place[0] != channel}

  def _settle(self, channel: int) -> None:
    """Damps what neither key nor pedal holds any more."""
    if self._pedals[channel]:
      return
    for tone in self._tones:
      if (
        tone.channel == channel
        and tone.down
        and tone.click is None
        and tone.key < FIRST_UNDAMPED_KEY
        and (channel, tone.key) not in self._held
      ):
        self._damp(tone, float(release_s(tone.key)))

  def _damp(self, tone: _Tone, seconds: float) -> None:
    curve = damper(round(seconds * self.sample_rate))
    tone.down = False
    left = None if tone.fade is None else len(tone.fade) - tone.rest
    if left is not None and left <= len(curve):
      return  # already ending sooner
    if left is not None and tone.fade is not None:
      curve = curve * np.float32(tone.fade[tone.rest] if left else 0.0)
    tone.fade, tone.rest = curve, 0

  def _add(self, tone: _Tone, mix: np.ndarray) -> None:
    """Adds a tone's next block."""
    block, start = self.block, tone.passed
    if tone.click is not None:
      stretch = tone.click[start : start + block]
      mix[:, : len(stretch)] += stretch
      tone.loud = float(start + block < len(tone.click))
      tone.passed += block
      return
    part, count = self._part, tone.amplitude.shape[1]
    if count:
      rows = tone.amplitude.view(np.float32)
      np.matmul(rows, self._waves[tone.key][: 2 * count], out=part)
      tone.amplitude *= self._turns[tone.key][:count]
    else:
      part[:] = 0
    if tone.rise is not None:
      rise = tone.rise[start : start + block]
      part[:, : rise.shape[0]] *= rise
      if start + block >= len(tone.rise):
        tone.rise = None
    if tone.noise is not None:
      noise = tone.noise[:, start : start + block]
      part[:, : noise.shape[1]] += noise
      if start + block >= tone.noise.shape[1]:
        tone.noise = None
    if tone.fade is not None:
      fade = tone.fade[tone.rest : tone.rest + block]
      part[:, : len(fade)] *= fade
      part[:, len(fade) :] = 0
      tone.rest += block
      if tone.rest >= len(tone.fade):
        tone.loud = 0.0
    tone.passed += block
    mix += part

  def _forget_faded(self, tone: _Tone) -> None:
    """Leaves out the sinusoids at the end that nobody hears any more."""
    levels = np.abs(tone.amplitude).max(0, initial=0.0)
    heard = np.flatnonzero(levels > _SILENT * _GAIN * 0.02)
    count = int(heard[-1]) + 1 if len(heard) else 0
    if count < tone.amplitude.shape[1]:
      tone.amplitude = np.ascontiguousarray(tone.amplitude[:, :count])
    if tone.loud > 0.0:
      tone.loud = float(levels.sum()) if count else 0.0
      if not count and tone.noise is not None:
        tone.loud = _SILENT
