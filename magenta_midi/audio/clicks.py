"""Sound of a metronome's clicks."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from magenta_midi.midi.clicks import Click
from magenta_midi.typing import Float

__all__ = ["click_wave", "with_clicks"]

_LENGTH_S, _FALL_S = 0.04, 0.006
# Of the accent, and of the others.
_HERTZ = (1600.0, 1100.0)


def click_wave(sample_rate: int, *, accent: bool) -> Float[np.ndarray, " n"]:
  """A click of full velocity, float32; mono."""
  t = np.arange(int(_LENGTH_S * sample_rate)) / sample_rate
  shape = np.exp(-t / _FALL_S) * (1 - t / _LENGTH_S)
  wave = 0.5 * shape * np.sin(2 * np.pi * _HERTZ[not accent] * t)
  return wave.astype(np.float32)


def with_clicks(
  blocks: Iterable[tuple[int, np.ndarray]],
  clicks: Sequence[Click],
  sample_rate: int,
) -> Iterator[tuple[int, np.ndarray]]:
  """A mix in blocks with clicks in it.

  Args:
    blocks: First sample and float32 `[2, n]` of each, in order; what is
      between them is silence.
    clicks: In order of time.
    sample_rate: In hertz.
  """
  waiting = [
    (
      round(click.time_s * sample_rate),
      click_wave(sample_rate, accent=click.accent)
      * np.float32(click.velocity / 127),
    )
    for click in clicks
  ]
  for start, block in blocks:
    # Those in the silence before it, and what of them reaches into it.
    while waiting and waiting[0][0] < start:
      at, wave = waiting.pop(0)
      before = start - at
      yield at, np.stack([wave[:before]] * 2)
      if before < len(wave):
        waiting.insert(0, (start, wave[before:]))
    end = start + block.shape[1]
    rest = []
    while waiting and waiting[0][0] < end:
      at, wave = waiting.pop(0)
      inside = wave[: end - at]
      block[:, at - start : at - start + len(inside)] += inside
      if len(inside) < len(wave):
        rest.append((end, wave[len(inside) :]))
    waiting[:0] = rest
    yield start, block
  for at, wave in waiting:
    yield at, np.stack([wave] * 2)
