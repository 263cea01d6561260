"""Held-out nats of GPT-2 by the protocol of our own `evaluate`.

Every 2 s of every piece once. Each note, velocity, duration and pedal change
has one place, and the time tokens before it are part of it: the sum over the
windows is what the piece costs, by the chain rule. Two contexts:

`window`: what our own model is given, the true 10 s before the window, begun
with the pedal and the notes that sound there.
`full`: tokens in quarters of what the network holds, each with the three before
it: more context than our own model gets.

Our own model also pays for nothing more coming in a piece's last window; the
tokens have no end, and the baseline does not pay.
"""

from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from magenta_midi.data.corpus import Corpus
from magenta_midi.data.examples.examples import cut_sides
from magenta_midi.evaluation.evaluate import (
  CHUNK_STEPS,
  Evaluation,
  protocol_windows,
)
from magenta_midi.typing import Shaped
from tools.baselines.gpt2_baseline.crops import (
  CONTEXT_STEPS,
  Rows,
  stack_frames,
)
from tools.baselines.gpt2_baseline.music_tokens import (
  BEGIN,
  NAMES,
  NOTE,
  MusicTokens,
  Tokens,
)
from tools.baselines.gpt2_baseline.network import Gpt2

__all__ = ["Context", "Scored", "score", "scored_parts"]

Context = Literal["window", "full"]
# Of a forward pass.
_BATCH_TOKENS = 4096


class Scored(NamedTuple):
  """Tokens of which some are scored, each given all before it."""

  piece: int
  ids: np.ndarray
  scored: np.ndarray  # True: counted


def score(
  model: Gpt2,
  tokens: MusicTokens,
  corpus: Corpus,
  *,
  windows: int | None = None,
  context: Context = "window",
  on_part: Callable[[int], None] = lambda done: None,
) -> Evaluation:
  """Scores a corpus.

  Args:
    model: The network.
    tokens: Its tokens.
    corpus: Held-out pieces.
    windows: Score only this many 2 s windows, those of our own `evaluate`;
      None: all.
    context: See above.
    on_part: Called with the tokens scored so far.

  Returns:
    Nats by piece and by `NAMES`; nothing for END.
  """
  chosen = _windows(corpus, windows)
  nats = np.zeros((len(corpus), len(NAMES) + 1))
  notes = np.zeros(len(corpus), np.int64)
  done = 0
  length = model.config.context
  parts = scored_parts(tokens, corpus, chosen, context, length)
  for batch, width in _batches(parts, length):
    sums = _sums(model, tokens, batch, width)
    for part, found in zip(batch, sums, strict=True):
      nats[part.piece, :-1] += found
      names = tokens.name_of[part.ids[part.scored]]
      notes[part.piece] += np.count_nonzero(names == NOTE)
      done += int(part.scored.sum())
    on_part(done)
  seconds = np.bincount(chosen["piece"], minlength=len(corpus)) * 2.0
  kept = seconds > 0
  return Evaluation(
    nats=nats[kept],
    notes=notes[kept],
    seconds=seconds[kept],
    names=NAMES[:-1],
  )


def _windows(corpus: Corpus, count: int | None) -> np.ndarray:
  examples = protocol_windows(corpus, CONTEXT_STEPS)
  if count is not None and count < len(examples):
    return examples[np.linspace(0, len(examples) - 1, count).astype(np.int64)]
  return examples


def scored_parts(
  tokens: MusicTokens,
  corpus: Corpus,
  windows: Shaped[np.ndarray, " n"],
  context: Context,
  length: int,
) -> Iterator[Scored]:
  """Every token of the windows once, with its context.

  Args:
    tokens: Turn frames into tokens.
    corpus: The pieces.
    windows: Of `protocol_windows`.
    context: As for `score`.
    length: Tokens of a part at most; of a context, the newest are kept.
  """
  last = (corpus.lengths_ms + 5) // 2000
  make = _window_parts if context == "window" else _full_parts
  for part in make(tokens, corpus, windows, last, length):
    if part.scored.any():
      yield part


def _window_parts(
  tokens: MusicTokens,
  corpus: Corpus,
  windows: np.ndarray,
  last: np.ndarray,
  length: int,
) -> Iterator[Scored]:
  if tokens.kind == "midilike":
    # The rest of a note that sounds at the start is on the grid of durations,
    # up to 10 s: its note-off must not move into the window.
    windows = windows.copy()
    windows["context_steps"] += 1
  for start in range(0, len(windows), 256):
    examples = windows[start : start + 256]
    sides = cut_sides(tokens.codec, [corpus], examples, CHUNK_STEPS)
    for row, example in enumerate(examples):
      step, codes, now = stack_frames(sides, examples, row)
      piece = int(example["piece"])
      # Notes that end after the piece's last onset end in its last window.
      is_last = int(example["now_ms"]) // 2000 == last[piece]
      stream = tokens.encode(
        step, codes, until=None if is_last else now + CHUNK_STEPS
      )
      scored = stream.step >= now
      yield from _split(tokens, piece, stream, scored, length // 2, length)


def _full_parts(
  tokens: MusicTokens,
  corpus: Corpus,
  windows: np.ndarray,
  last: np.ndarray,
  length: int,
) -> Iterator[Scored]:
  wholes = windows[np.flatnonzero(np.diff(windows["piece"], prepend=-1))].copy()
  wholes["now_ms"] = 0
  for row in range(len(wholes)):
    piece = int(wholes["piece"][row])
    steps = int(corpus.lengths_ms[piece]) // 10 + 2
    one = wholes[row : row + 1]
    sides = cut_sides(tokens.codec, [corpus], one, steps)
    step, codes, _ = stack_frames(sides, one, 0)
    stream = tokens.encode(step, codes)
    mine = windows["now_ms"][windows["piece"] == piece] // 2000
    window = np.minimum(stream.step // CHUNK_STEPS, last[piece])
    scored = np.isin(window, mine)
    yield from _split(tokens, piece, stream, scored, length // 4, length)


def _split(
  tokens: MusicTokens,
  piece: int,
  stream: Tokens,
  scored: np.ndarray,
  most: int,
  length: int,
) -> Iterator[Scored]:
  """Parts that score so many tokens each, given the newest that fit."""
  first_scored = int(np.argmax(scored)) if scored.any() else len(scored)
  for start in range(first_scored, len(scored), most):
    end = min(start + most, len(scored))
    first = max(0, end - length)
    if first:
      # From where an event begins, if one does before what is scored.
      begins = np.flatnonzero(tokens.begins(stream.ids[first:start]))
      first += int(begins[0]) if len(begins) else 0
    counted = scored[first:end].copy()
    counted[: start - first] = False
    yield Scored(piece, stream.ids[first:end], counted)


def _batches(
  parts: Iterator[Scored], length: int
) -> Iterator[tuple[list[Scored], int]]:
  """Parts of like length, and the length that holds them."""
  widths = [w for w in (128, 256, 512, 768) if w < length] + [length]
  waiting: dict[int, list[Scored]] = {width: [] for width in widths}
  for part in parts:
    width = next(w for w in widths if len(part.ids) <= w)
    waiting[width].append(part)
    if len(waiting[width]) == max(1, _BATCH_TOKENS // width):
      yield waiting[width], width
      waiting[width] = []
  for width, rest in waiting.items():
    if rest:
      yield rest, width


def _sums(
  model: Gpt2, tokens: MusicTokens, batch: list[Scored], width: int
) -> np.ndarray:
  """Nats of each part, by `NAMES`."""
  # One shape a width: a last batch is filled up with empty rows.
  shape = (max(1, _BATCH_TOKENS // width), width)
  rows = Rows(*(np.zeros(shape, np.int32) for _ in Rows._fields))
  scored = np.zeros(shape, bool)
  for index, part in enumerate(batch):
    count = len(part.ids)
    place = (index, slice(0, count))
    rows.ids[place] = np.concatenate([[BEGIN], part.ids[:-1]])
    rows.position[place] = np.arange(count)
    rows.segment[place] = 1
    rows.targets[place] = part.ids
    scored[place] = part.scored
  graph, params, rest = nnx.split(model, nnx.Param, ...)
  key = (graph, shape)
  if key not in _COMPILED:
    _COMPILED[key] = jax.jit(
      lambda params, rows: _token_nats(nnx.merge(graph, params, rest), rows)
    )
  nats = np.where(scored, np.asarray(_COMPILED[key](params, rows)), 0.0)
  sums = np.zeros((len(batch), len(NAMES)))
  for index, part in enumerate(batch):
    names = tokens.name_of[part.ids]
    np.add.at(sums[index], names, nats[index, : len(names)])
  return sums


_COMPILED: dict[Any, Any] = {}


def _token_nats(model: Gpt2, rows: Rows) -> jax.Array:
  logits = model(rows.ids, rows.position, rows.segment)
  picked = jnp.take_along_axis(logits, rows.targets[..., None], axis=-1)
  return jax.nn.logsumexp(logits, axis=-1) - picked[..., 0]
