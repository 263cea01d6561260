"""Upper bounds on the frames of examples, without cutting them.

Batches are planned by these figures: hosts that share a run plan the same
batches, and each host cuts only its rows.
"""

import numpy as np

from magenta_midi.data.corpus import Corpus
from magenta_midi.data.examples.partners import MODES
from magenta_midi.data.examples.style_shifts import source_until_ms
from magenta_midi.tokens.codec import Codec
from magenta_midi.tokens.note.codec import PEDAL_DOWN, NoteCodecConfig
from magenta_midi.typing import Bool, Int, Shaped

__all__ = ["max_frames"]

_SOLO, _TRACKS, _TURNS = map(MODES.index, ("solo", "tracks", "turns"))
# Of an example's pedal: both players have it.
_BOTH = 2


def max_frames(
  codec: Codec,
  corpora: list[Corpus],
  examples: Shaped[np.ndarray, " n"],
  target_steps: int,
) -> Int[np.ndarray, "n 2"]:
  """Frames of the `note` codec before and after *now*, or a few more.

  Merged duplicates are counted, and so are notes that a shift of style removes.

  Args:
    codec: Gives the grid.
    corpora: What `examples` index.
    examples: `EXAMPLE_DTYPE`.
    target_steps: Length of the targets, 10 ms steps.
  """
  step_ms = codec.config.step_ms
  longest_ms = codec.config.max_duration_steps * step_ms
  config = codec.config
  releases = isinstance(config, NoteCodecConfig) and config.releases
  found = np.zeros((len(examples), 2), np.int64)
  for row, example in enumerate(examples):
    piece = corpora[example["corpus"]].piece(int(example["piece"]))
    now, tempo = float(example["now_ms"]), float(example["tempo"])
    # A step of slack on every side: the grid rounds.
    start = now - (int(example["context_steps"]) + 1) * step_ms
    until = source_until_ms(example, now + target_steps * step_ms)
    edges = np.array(
      [
        start - longest_ms,
        start,
        now - step_ms,
        now + step_ms,
        until,
        now - step_ms - longest_ms,
      ]
    )
    # In the type of the onsets: they are not copied then.
    edges = np.ceil(edges * tempo).astype(np.int32)
    earliest, first, before, after, last, sounding_from = np.searchsorted(
      piece["time_ms"], edges
    ).tolist()
    mode = int(example["mode"])
    # Pedals that are down at the start of the context, and in turns the one
    # that is released before the next player's turn.
    pedals = 1 if mode == _SOLO else 2
    context, target = after - first + pedals, last - before
    earlier = piece[earliest:first]
    ends = earlier["time_ms"] + earlier["duration_ms"]
    context += np.count_nonzero(
      (ends > edges[1]) & (earlier["key"] < PEDAL_DOWN)
    )
    if mode == _TURNS:
      context, target = context + 1, target + 1
    elif mode != _SOLO and example["pedal"] == _BOTH:
      is_pedal = piece["key"][first:last] >= PEDAL_DOWN
      context += np.count_nonzero(is_pedal[: after - first])
      target += np.count_nonzero(is_pedal[before - first :])
    if mode != _SOLO and releases:
      sounding = piece[sounding_from:last]
      ends = sounding["time_ms"] + sounding["duration_ms"]
      target += np.count_nonzero(
        (ends > edges[2])
        & (sounding["key"] < PEDAL_DOWN)
        & _may_be_partners(sounding, mode, bool(example["swapped"]))
      )
    found[row] = 0 if example["begins"] else context, target
  return found


def _may_be_partners(
  events: Shaped[np.ndarray, " n"], mode: int, swapped: bool
) -> Bool[np.ndarray, " n"]:
  """Mask of the notes that may be the other part's; by turns, all may be."""
  if mode == _TURNS:
    return np.ones(len(events), bool)
  return events["melody" if mode == _TRACKS else "upper"] == swapped
