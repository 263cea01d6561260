"""A small quiet room around a dry instrument."""

from functools import lru_cache

import numpy as np

_DECAY_S = 0.9  # to -60 dB
_PREDELAY_S = 0.012
_WET = 0.11  # of the dry level, about -19 dB
_DULL_HZ = 2200.0  # walls swallow the highs


def add_room(mix: np.ndarray, sample_rate: int) -> None:
  """Adds the room's answer to a whole `mix`, float32 [2, samples], in place."""
  Room(sample_rate).add(mix)


class Room:
  """A room for sound that comes in blocks of any length, one after the other.

  Convolution in pieces (overlap-add), so that memory stays small however long
  the sound is. Blocks of a multiple of `hop` samples give the very same sound
  as one block; others differ by rounding.

  Attributes:
    hop: Samples of a full piece.
  """

  def __init__(self, sample_rate: int):
    """Begins in silence."""
    answer = _impulse(sample_rate)
    self._size = 1 << (2 * answer.shape[1] - 1).bit_length()
    self.hop = self._size - answer.shape[1] + 1
    self._spectrum = np.fft.rfft(answer, self._size).astype(np.complex64)
    self._ringing = answer.shape[1] - 1
    # What earlier pieces still sound, from the next sample on.
    self._owed = np.zeros((2, self._size), np.float32)
    self._left = 0  # samples until nothing is owed

  @property
  def silent(self) -> bool:
    """Whether nothing of what came before sounds any more."""
    return self._left == 0

  def add(self, block: np.ndarray) -> None:
    """Adds the answer to the next block, float32 [2, samples], in place."""
    for start in range(0, block.shape[1], self.hop):
      piece = block[:, start : start + self.hop]
      struck = bool(piece.any())
      if struck or self._left:
        self._add(piece, struck)

  def _add(self, piece: np.ndarray, struck: bool) -> None:
    samples, owed = piece.shape[1], self._owed
    if struck:
      # Each wall hears a little of the other side.
      heard = 0.8 * piece + 0.2 * piece[::-1]
      spectrum = np.fft.rfft(heard, self._size) * self._spectrum
      wet = np.fft.irfft(spectrum, self._size).astype(np.float32)
      owed += wet
      self._left = max(self._left, samples + self._ringing)
    piece += owed[:, :samples]
    self._left = max(0, self._left - samples)
    # Beyond `_left` there is only the noise of rounding.
    owed[:, : self._left] = owed[:, samples : samples + self._left]
    owed[:, self._left :] = 0


class LiveRoom:
  """The same room for sound that comes block by block, without delay.

  The answer is cut into pieces of a block each; every block is turned into a
  spectrum once and meets each piece when its turn has come.
  """

  def __init__(self, sample_rate: int, block: int):
    """Prepares for blocks of `block` samples."""
    answer = _impulse(sample_rate)
    pieces = -(-answer.shape[1] // block)
    padded = np.zeros((2, pieces * block), np.float32)
    padded[:, : answer.shape[1]] = answer
    # The latest block meets the first piece: [pieces, 2, bins], latest last.
    cut = padded.reshape(2, pieces, block).transpose(1, 0, 2)[::-1]
    self._pieces = np.fft.rfft(cut, 2 * block).astype(np.complex64)
    # Every spectrum is written twice, so that the last `pieces` of them
    # always lie side by side.
    self._heard = np.zeros((2 * pieces, *self._pieces.shape[1:]), np.complex64)
    self._product = np.empty_like(self._pieces)
    self._last = np.zeros((2, block), np.float32)
    self._at = 0

  def add(self, block: np.ndarray) -> None:
    """Adds the answer to one block, float32 [2, samples], in place."""
    count, samples = len(self._pieces), block.shape[1]
    heard = 0.8 * block + 0.2 * block[::-1]
    pair = np.concatenate([self._last, heard], 1)
    self._heard[self._at] = self._heard[self._at + count] = np.fft.rfft(pair)
    self._last = heard
    self._at = (self._at + 1) % count
    latest = self._heard[self._at : self._at + count]
    np.multiply(latest, self._pieces, out=self._product)
    wet = np.fft.irfft(self._product.sum(0), 2 * samples)
    block += wet[:, samples:]


@lru_cache(maxsize=4)
def _impulse(sample_rate: int) -> np.ndarray:
  """Decaying dull noise, one of its own for each side [2, samples]."""
  samples = int(_DECAY_S * sample_rate)
  noise = np.random.default_rng(1).standard_normal((2, samples))
  hertz = np.fft.rfftfreq(samples, 1 / sample_rate)
  # Below 100 Hz a room only booms.
  color = np.exp(-hertz / _DULL_HZ) * hertz**2 / (hertz**2 + 100.0**2)
  noise = np.fft.irfft(np.fft.rfft(noise) * color, samples)
  t = np.arange(samples) / sample_rate
  noise *= 10 ** (-3 * t / _DECAY_S) * (1 - t / _DECAY_S)
  noise[:, : int(_PREDELAY_S * sample_rate)] = 0
  noise /= np.sqrt(np.sum(noise**2, axis=1, keepdims=True))
  return (_WET * noise).astype(np.float32)
