"""Training examples: crops of a corpus at a uniform *now*, augmented.

`context` holds the frames before *now* (state frames first). `inputs` holds the
decoder's frames: all PAD, then both parts' events as they become known, the
model's at its onset, the other part's after the delay. `targets` holds at every
position the model's next event, or END if none follows. A note of the other
part that may still sound is HELD. Everything is vectorized over the batch;
tests compare it with the codec's `encode_context` and `encode_targets`.
"""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from magenta_midi.data.corpus import EVENT_DTYPE, Corpus
from magenta_midi.data.examples.framing import Events, Side, both_sides
from magenta_midi.data.examples.history_noise import HistoryNoise
from magenta_midi.data.examples.partners import (
  PARTNER_FIELDS,
  part_ids,
  split_piece,
)
from magenta_midi.data.examples.style_shifts import (
  DEPARTURE_FIELDS,
  leaves_out,
  moved_keys,
  moved_time,
  moved_velocity,
  pedal_lifted,
  source_until_ms,
)
from magenta_midi.limits import SHARE
from magenta_midi.settings import check_numbers
from magenta_midi.tokens.codec import Codec
from magenta_midi.tokens.note.codec import PEDAL_DOWN
from magenta_midi.tokens.vocabulary import PAD
from magenta_midi.typing import Bool, Int, Shaped

__all__ = [
  "EXAMPLE_DTYPE",
  "NO_AUGMENTATION",
  "Augmentation",
  "Batch",
  "context_frames_of",
  "cut_examples",
  "cut_sides",
  "draw_examples",
  "frame_counts",
  "gather",
  "pad_sides",
]

EXAMPLE_DTYPE = np.dtype(
  [
    ("corpus", "i4"),
    ("piece", "i4"),
    ("now_ms", "i4"),  # in augmented time
    ("tempo", "f4"),  # times are divided by it: above 1 is faster
    ("transpose", "i2"),  # semitones
    ("velocity_gain", "f4"),
    ("velocity_shift", "f4"),
    ("context_steps", "i4"),  # how far back the context reaches, 10 ms
    ("begins", "?"),  # whether the context is empty
    *PARTNER_FIELDS,
    *DEPARTURE_FIELDS,
  ]
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmentation:
  """How far examples stray from the recordings."""

  # Semitones, both ends included.
  transpose: tuple[int, int] = (-5, 6)
  # Factor on the tempo.
  tempo: tuple[float, float] = (0.9, 1.1)
  # Factor on velocities, and what is added after it.
  velocity_gain: tuple[float, float] = (0.85, 1.15)
  velocity_shift: tuple[float, float] = (-8.0, 8.0)
  # Share of examples with a context cut to 0-10 s: phrases are short.
  short_context: float = 0.15
  # Share of examples with an empty context.
  empty_context: float = 0.05
  # Share of the examples with a shift of style, which style and controls
  # describe; only in a run with style (see `style_shifts`).
  departures: float = 0.45

  def __post_init__(self) -> None:
    """Refuses ranges and shares that cannot be drawn from."""
    check_numbers(self)
    for name in ("transpose", "tempo", "velocity_gain", "velocity_shift"):
      low, high = getattr(self, name)
      if not low <= high:
        raise ValueError(
          f"augmentation's {name} must be a range, low end first, got"
          f" {low} to {high}."
        )
    if min(self.tempo[0], self.velocity_gain[0]) <= 0:
      raise ValueError(
        "augmentation's tempo and velocity_gain are factors and must be"
        f" positive, got {self.tempo[0]} and {self.velocity_gain[0]}."
      )
    for name in ("short_context", "empty_context", "departures"):
      SHARE.check(f"augmentation's {name}", getattr(self, name))


NO_AUGMENTATION = Augmentation(
  transpose=(0, 0),
  tempo=(1.0, 1.0),
  velocity_gain=(1.0, 1.0),
  velocity_shift=(0.0, 0.0),
  short_context=0.0,
  empty_context=0.0,
  departures=0.0,
)


class Batch(NamedTuple):
  """One padded batch; ids are global, times are 10 ms steps from *now*.

  Arrays of NumPy as they are cut, of JAX inside a compiled step.
  """

  context_ids: Any  # [b, s, l]
  context_time: Any  # [b, s]
  input_ids: Any  # [b, t, l]
  input_time: Any  # [b, t]
  targets: Any  # [b, t, l]
  weights: Any  # [b, t, l] True where a level is predicted
  context_part: Any  # [b, s] 0 model, else the other part by delay
  input_part: Any  # [b, t] the same
  style: Any = None  # [b, m] rows of the style table; None: masked
  # Beats and chords (`tokens.outline_rows`); None: no run of outlines.
  outline_rows: Any = None  # [b, p, 8]
  outline_time: Any = None  # [b, p]
  outline_key: Any = None  # [b, p]


def draw_examples(
  rng: np.random.Generator,
  corpora: list[Corpus],
  shares: list[float],
  count: int,
  augmentation: Augmentation,
  context_steps: int,
) -> Shaped[np.ndarray, " n"]:
  """Draws crops: corpus by share, then *now* uniform over its time."""
  examples = np.zeros(count, EXAMPLE_DTYPE)
  probability = np.asarray(shares, float) / np.sum(shares)
  which = rng.choice(len(corpora), size=count, p=probability)
  examples["corpus"] = which
  for index, corpus in enumerate(corpora):
    chosen = np.flatnonzero(which == index)
    ends = np.cumsum(corpus.lengths_ms + 1)
    at = rng.uniform(0, ends[-1], size=len(chosen))
    piece = np.searchsorted(ends, at, side="right")
    examples["piece"][chosen] = piece
    starts = ends - (corpus.lengths_ms + 1)
    examples["now_ms"][chosen] = at - starts[piece]
  a = augmentation
  examples["tempo"] = rng.uniform(*a.tempo, size=count)
  examples["now_ms"] = examples["now_ms"] / examples["tempo"]
  examples["transpose"] = rng.integers(
    a.transpose[0], a.transpose[1], size=count, endpoint=True
  )
  examples["velocity_gain"] = rng.uniform(*a.velocity_gain, size=count)
  examples["velocity_shift"] = rng.uniform(*a.velocity_shift, size=count)
  drawn = rng.uniform(size=count)
  cut = rng.integers(0, context_steps, size=count, endpoint=True)
  short = drawn < a.short_context
  examples["context_steps"] = np.where(short, cut, context_steps)
  examples["begins"] = drawn >= 1 - a.empty_context
  return examples


def gather(
  codec: Codec,
  examples: Shaped[np.ndarray, " n"],
  corpora: list[Corpus],
  before_steps: int,
  after_steps: int,
  history_noise: HistoryNoise | None = None,
) -> Events:
  """Augmented events, `-context - before_steps <= step < after_steps`."""
  step_ms = codec.config.step_ms
  count = len(examples)
  low = np.zeros(count, np.int64)
  high = np.zeros(count, np.int64)
  pedal = np.zeros((count, 2), bool)
  rows, parts = [], []
  for row, example in enumerate(examples):
    piece = corpora[example["corpus"]].piece(int(example["piece"]))
    # One step of slack; the exact bounds are applied to the steps below.
    reach = (example["context_steps"] + before_steps + 1) * step_ms
    time = piece["time_ms"]
    tempo = float(example["tempo"])
    now = float(example["now_ms"])
    low[row] = np.searchsorted(time, (now - reach) * tempo)
    until = source_until_ms(example, now + after_steps * step_ms)
    high[row] = np.searchsorted(time, until * tempo)
    # The grid rounds half up: a step begins half a step early.
    start = now - (example["context_steps"] + 0.5) * step_ms
    first = np.searchsorted(time, start * tempo - 1e-3)
    down = False
    if first < len(piece):
      down = piece["pedal_before"][first]
    elif first:
      last = piece[first - 1]
      changed = last["key"] >= PEDAL_DOWN
      down = last["key"] == PEDAL_DOWN if changed else last["pedal_before"]
    events, part, pedal[row] = split_piece(
      piece[low[row] : high[row]],
      example,
      bool(down),
      (now - reach) * tempo,
      start * tempo - 1e-3,
    )
    rows.append(events)
    parts.append(part)
  width = max((len(row) for row in rows), default=0) or 1
  padded = np.zeros((count, width), EVENT_DTYPE)
  valid = np.zeros((count, width), bool)
  players = np.zeros((count, width), np.int32)
  for index, (row, part) in enumerate(zip(rows, parts, strict=True)):
    padded[index, : len(row)] = row
    players[index, : len(row)] = part
    valid[index, : len(row)] = True
  tempo = examples["tempo"].astype(np.float64)[:, None]
  time_ms, duration, changed = moved_time(
    examples,
    padded["time_ms"] / tempo,
    padded["duration_ms"] / tempo,
    step_ms / 2,
  )
  offset = time_ms - examples["now_ms"][:, None]
  if history_noise is not None:
    offset = history_noise.moved(
      examples,
      offset,
      padded["key"],
      examples["context_steps"] * float(step_ms),
      step_ms / 2,
    )
  step = np.floor(offset / step_ms + 0.5).astype(np.int32)
  is_note = padded["key"] < PEDAL_DOWN
  valid &= ~leaves_out(
    examples, padded["key"], padded["upper"], changed, players
  )
  begins = examples["begins"][:, None]
  valid &= ~begins | (step >= 0)
  pedal &= ~begins & ~pedal_lifted(examples)[:, None]
  key = moved_keys(examples, padded["key"], changed, players)
  key = key + np.where(is_note, examples["transpose"][:, None], 0)
  # A key pushed off the keyboard comes back an octave further in.
  key = np.where(is_note & (key < 0), key + 12, key)
  key = np.where(is_note & (key > 127), key - 12, key)
  velocity = (
    padded["velocity"] * examples["velocity_gain"][:, None]
    + examples["velocity_shift"][:, None]
  )
  velocity = moved_velocity(examples, velocity, changed, players)
  velocity = np.clip(velocity, 1, 127).astype(np.int32)
  valid &= step < after_steps
  longest_ms = codec.config.max_duration_steps * step_ms
  # Notes after now too, however short.
  ends_after = np.floor((offset + duration) / step_ms + 0.5) > 0
  unfinished = is_note & (ends_after | (step >= 0))
  duration = np.minimum(duration, longest_ms)
  return Events(
    step, offset, duration, key, velocity, valid, pedal, players, unfinished
  )


def cut_sides(
  codec: Codec,
  corpora: list[Corpus],
  examples: Shaped[np.ndarray, " n"],
  target_steps: int,
  *,
  other_part: bool = True,
  history_noise: HistoryNoise | None = None,
) -> tuple[Side, Side]:
  """The frames of each example, not yet padded: the context, and after *now*.

  Args:
    codec: Gives codes.
    corpora: What `examples` index.
    examples: `EXAMPLE_DTYPE`.
    target_steps: Length of the targets, 10 ms steps.
    other_part: False leaves the other part's events out.
    history_noise: Moves the notes before *now*; None: they stay.
  """
  longest = codec.config.max_duration_steps
  events = gather(
    codec, examples, corpora, longest, target_steps, history_noise
  )
  if not other_part:
    events.valid[events.part == 1] = False
    events.pedal_at_start[:, 1] = False
  context, after = both_sides(
    codec, events, examples["context_steps"], target_steps
  )
  return context, _as_known(after, examples, codec.config.step_ms)


def _as_known(side: Side, examples: np.ndarray, step_ms: int) -> Side:
  """Frames after *now* in the order of knowledge; in ties the model's first."""
  late_ms = np.where(side.part == 1, examples["delay_ms"][side.row], 0)
  known_ms = side.step * step_ms + late_ms
  order = np.lexsort((side.place, side.part, known_ms, side.row))
  row, _, step, codes, part = (field[order] for field in side)
  return Side(row, side.place, step, codes, part)


def frame_counts(
  codec: Codec,
  corpora: list[Corpus],
  examples: Shaped[np.ndarray, " n"],
  target_steps: int,
  *,
  other_part: bool = True,
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
  """Context frames and frames after *now* of each example."""
  context, after = cut_sides(
    codec, corpora, examples, target_steps, other_part=other_part
  )
  count = len(examples)
  return (
    np.bincount(context.row, minlength=count),
    np.bincount(after.row, minlength=count),
  )


def context_frames_of(
  codec: Codec, context: Side, delay_ms: Int[np.ndarray, " b"], width: int
) -> tuple[
  Int[np.ndarray, "b s l"], Int[np.ndarray, "b s"], Int[np.ndarray, "b s"]
]:
  """Ids, times and part ids of contexts, padded; the newest frames are kept."""
  count, levels = len(delay_ms), codec.vocabulary.levels
  ids = np.full((count, width, levels), PAD, np.int32)
  time = np.zeros((count, width), np.int32)
  part = np.zeros((count, width), np.int32)
  held = np.bincount(context.row, minlength=count)
  place = context.place - np.maximum(0, held - width)[context.row]
  kept = place >= 0
  at = (context.row[kept], place[kept])
  ids[at] = codec.vocabulary.to_ids(context.codes[kept])
  time[at] = context.step[kept]
  part[at] = part_ids(context.part[kept], delay_ms[at[0]])
  return ids, time, part


def cut_examples(
  codec: Codec,
  corpora: list[Corpus],
  examples: Shaped[np.ndarray, " n"],
  *,
  context_frames: int,
  target_frames: int,
  target_steps: int,
  other_part: bool = True,
) -> tuple[Batch, Bool[np.ndarray, " n"]]:
  """Cuts a padded batch.

  Args:
    codec: Gives codes and vocabulary.
    corpora: What `examples` index.
    examples: `EXAMPLE_DTYPE`.
    context_frames: Width of the context; the newest frames are kept.
    target_frames: Positions of the decoder. An example with more frames
      after *now* than one less is capped.
    target_steps: Length of the targets, 10 ms steps.
    other_part: False leaves the other part's events out.

  Returns:
    The batch, and which examples were capped.
  """
  context, after = cut_sides(
    codec, corpora, examples, target_steps, other_part=other_part
  )
  return pad_sides(
    codec,
    context,
    after,
    examples["delay_ms"].astype(np.int32),
    context_frames=context_frames,
    target_frames=target_frames,
  )


def pad_sides(
  codec: Codec,
  context: Side,
  after: Side,
  delay_ms: Int[np.ndarray, " b"],
  *,
  context_frames: int,
  target_frames: int,
) -> tuple[Batch, Bool[np.ndarray, " b"]]:
  """Makes a padded batch of what `cut_sides` gave.

  Args:
    codec: Gives the vocabulary.
    context: The frames before each *now*.
    after: The frames after it.
    delay_ms: Delay of each example's other part, ms.
    context_frames: As for `cut_examples`.
    target_frames: The same.

  Returns:
    The batch, and which examples were capped.
  """
  count, levels = len(delay_ms), codec.vocabulary.levels
  vocabulary = codec.vocabulary

  context_ids, context_time, context_part = context_frames_of(
    codec, context, delay_ms, context_frames
  )

  input_ids = np.full((count, target_frames, levels), PAD, np.int32)
  input_time = np.zeros((count, target_frames), np.int32)
  input_part = np.zeros((count, target_frames), np.int32)
  ids = vocabulary.to_ids(after.codes)
  fits = after.place + 1 < target_frames
  at = (after.row[fits], after.place[fits] + 1)
  input_ids[at] = ids[fits]
  input_time[at] = after.step[fits]
  input_part[at] = part_ids(after.part[fits], delay_ms[at[0]])

  # The model's events of all rows end to end, each row's END after its last.
  is_models = after.part == 0
  model_frames = np.bincount(after.row[is_models], minlength=count)
  first = np.cumsum(model_frames + 1) - (model_frames + 1)
  codes = np.tile(codec.end_frame(), (int(np.sum(model_frames + 1)), 1))
  total = np.cumsum(is_models)
  codes[total[is_models] - 1 + after.row[is_models]] = after.codes[is_models]
  next_ids = vocabulary.to_ids(codes)
  # At each position: how many events of the model came up to it.
  seen = np.zeros((count, target_frames), np.int64)
  seen[at] = is_models[fits]
  seen = np.cumsum(seen, axis=1)
  frames = np.bincount(after.row, minlength=count)
  used = np.arange(target_frames) <= frames[:, None]
  which = (first[:, None] + seen)[used]
  targets = np.full((count, target_frames, levels), PAD, np.int32)
  weights = np.zeros((count, target_frames, levels), bool)
  targets[used] = next_ids[which]
  weights[used] = codes[which] >= 0
  batch = Batch(
    context_ids,
    context_time,
    input_ids,
    input_time,
    targets,
    weights,
    context_part,
    input_part,
  )
  return batch, frames >= target_frames
