"""Examples whose style differs from their context's.

Music mostly continues in the same style, so a model with 10 s of context learns
little from a control for loudness. In a share of the examples the music after
*now*, or before it, is therefore changed: louder, an octave higher, slower, one
hand only, in the parallel mode, or without pedal. Style and controls describe
the music after *now*. Without them no example is changed.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from magenta_midi.data.corpus import Corpus
from magenta_midi.data.examples.partners import MODES
from magenta_midi.midi.analysis.analysis import key_correlations
from magenta_midi.tokens.note.codec import PEDAL_DOWN
from magenta_midi.typing import Bool, Float, Int, Shaped

__all__ = [
  "DEPARTURE_FIELDS",
  "KINDS",
  "MODE",
  "SHIFT_ATTRIBUTES",
  "draw_departures",
  "leaves_out",
  "moved_keys",
  "moved_time",
  "moved_velocity",
  "pedal_lifted",
  "source_until_ms",
]

KINDS = ("none", "loudness", "register", "pace", "hands", "mode", "pedal")
NONE, LOUDNESS, REGISTER, PACE, HANDS, MODE, PEDAL = range(len(KINDS))
# Probability of each kind of shift. Mode has the highest: it needs a clear key
# and is learned last.
_WEIGHTS = (0.0, 0.12, 0.08, 0.15, 0.12, 0.44, 0.09)
# Attributes of style whose words describe a shift.
SHIFT_ATTRIBUTES: tuple[tuple[str, ...], ...] = (
  (),
  ("loudness",),
  ("register",),
  ("speed", "density"),
  ("density", "register"),
  ("mode",),
  (),
)

# Fields of an example about its shift of style.
DEPARTURE_FIELDS = [
  ("departure", "i1"),  # of `KINDS`
  ("change_ms", "i4"),  # from when on, in augmented time
  # Loudness: what is added to velocities. Register: octaves. Pace: factor on
  # times. Hands: 0 upper, 1 lower, alone after; 2, 3 alone before. Mode: the
  # tonic, from minor 12 more. Pedal: none after (0) or before (1).
  ("amount", "f4"),
]

# Most that velocities move, and time is stretched or shrunk.
_MAX_VELOCITY, _MAX_STRETCH = 38.0, 1.7
# The key is that of so much music on both sides, and must be so clear.
_KEY_REACH_MS, _CLEAR = 8000, 0.7


def draw_departures(
  rng: np.random.Generator,
  corpora: Sequence[Corpus],
  examples: Shaped[np.ndarray, " n"],
  share: float,
) -> None:
  """Draws the examples with a shift, and its kind, in place.

  Args:
    rng: Of all draws.
    corpora: What the examples index.
    examples: `EXAMPLE_DTYPE`, with their parts drawn.
    share: Share of examples with a shift, 0..1.
  """
  count = len(examples)
  weights = np.array(_WEIGHTS)
  kind = rng.choice(len(KINDS), size=count, p=weights / weights.sum())
  kind[rng.uniform(size=count) >= share] = NONE
  # If two parts play at once, the hands are already divided between them.
  alone = np.isin(examples["mode"], _ALL_MODEL)
  kind[(kind == HANDS) & ~alone] = NONE
  # Small changes teach little: the outer three quarters.
  far = rng.uniform(0.25, 1.0, count) * rng.choice((-1, 1), count)
  which = rng.integers(0, 4, count)
  amount = np.select(
    [kind == LOUDNESS, kind == REGISTER, kind == PACE],
    [far * _MAX_VELOCITY, np.sign(far), _MAX_STRETCH**far],
    which,
  )
  amount[kind == PEDAL] = which[kind == PEDAL] % 2
  for row in np.flatnonzero(kind == MODE).tolist():
    key = _key(corpora[examples["corpus"][row]], examples[row])
    kind[row], amount[row] = (NONE, 0) if key is None else (MODE, key)
  amount[kind == NONE] = 0
  examples["departure"] = kind
  examples["amount"] = amount
  examples["change_ms"] = examples["now_ms"]


# Modes in which all events after *now* are changed.
_ALL_MODEL = (MODES.index("solo"), MODES.index("turns"))


def _key(corpus: Corpus, example: Any) -> int | None:
  """The tonic, 12 more for minor; None where it is not clear."""
  piece = corpus.piece(int(example["piece"]))
  now_ms = float(example["now_ms"]) * float(example["tempo"])
  low, high = np.searchsorted(
    piece["time_ms"], (now_ms - _KEY_REACH_MS, now_ms + _KEY_REACH_MS)
  )
  events = piece[low:high]
  notes = events[events["key"] < PEDAL_DOWN]
  weights = np.bincount(
    notes["key"] % 12, np.minimum(notes["duration_ms"], 2000), 12
  )
  fits = key_correlations(weights)
  best = int(fits.argmax())
  if fits.flat[best] < _CLEAR:
    return None
  minor, tonic = divmod(best, 12)
  return tonic + 12 * minor


def _of(examples: np.ndarray, kind: int) -> np.ndarray:
  return (examples["departure"] == kind)[:, None]


def _amount(examples: np.ndarray) -> np.ndarray:
  return examples["amount"].astype(np.float64)[:, None]


def source_until_ms(example: Any, until_ms: float) -> float:
  """Up to where music is needed that ends at `until_ms` when it has departed.

  Args:
    example: One row of `EXAMPLE_DTYPE`.
    until_ms: In augmented time.
  """
  change_ms = float(example["change_ms"])
  if example["departure"] != PACE or until_ms <= change_ms:
    return until_ms
  return change_ms + (until_ms - change_ms) / float(example["amount"])


def moved_time(
  examples: Shaped[np.ndarray, " n"],
  time_ms: Float[np.ndarray, "n e"],
  duration_ms: Float[np.ndarray, "n e"],
  half_step_ms: float,
) -> tuple[
  Float[np.ndarray, "n e"], Float[np.ndarray, "n e"], Bool[np.ndarray, "n e"]
]:
  """Onsets and durations at the pace that was drawn, and what is after *now*.

  Args:
    examples: `EXAMPLE_DTYPE`.
    time_ms: Onsets, in augmented time.
    duration_ms: Durations.
    half_step_ms: Half a step of the codec's grid: so much before *now* counts
      as after it.
  """
  change_ms = examples["change_ms"].astype(np.float64)[:, None]
  after = time_ms >= change_ms - half_step_ms
  pace = np.where(_of(examples, PACE) & after, _amount(examples), 1.0)
  moved_ms = np.where(after, change_ms + (time_ms - change_ms) * pace, time_ms)
  moved = np.where(pace == 1.0, time_ms, moved_ms)
  return moved, duration_ms * pace, after


def _may_change(
  examples: np.ndarray, after: np.ndarray, part: np.ndarray
) -> np.ndarray:
  """Mask of the events that may change: not a part that plays at once."""
  all_model = np.isin(examples["mode"], _ALL_MODEL)[:, None]
  return after & (all_model | (part == 0))


def moved_keys(
  examples: Shaped[np.ndarray, " n"],
  key: Int[np.ndarray, "n e"],
  after: Bool[np.ndarray, "n e"],
  part: Int[np.ndarray, "n e"],
) -> Int[np.ndarray, "n e"]:
  """Keys an octave off, or in the parallel mode; not yet transposed.

  Major's third and sixth are lowered, minor's raised. Sevenths stay: natural
  minor has the notes of another major key, and sounds like it. Keys that would
  leave the keyboard keep their octave.
  """
  is_note = key < PEDAL_DOWN
  octaves = np.where(_of(examples, REGISTER), _amount(examples), 0)
  far = key + 12 * octaves.astype(key.dtype)
  fits = is_note & (far >= 21) & (far <= 108)
  key = np.where(_may_change(examples, after, part) & fits, far, key)
  tonic = examples["amount"].astype(np.int64)[:, None]
  minor = tonic >= 12
  degree = (key - tonic) % 12
  lowered = ~minor & np.isin(degree, (4, 9))
  raised = minor & np.isin(degree, (3, 8))
  step = np.where(lowered, -1, np.where(raised, 1, 0))
  changes = _of(examples, MODE) & after & is_note
  return np.where(changes, key + step, key).astype(key.dtype)


def moved_velocity(
  examples: Shaped[np.ndarray, " n"],
  velocity: Float[np.ndarray, "n e"],
  after: Bool[np.ndarray, "n e"],
  part: Int[np.ndarray, "n e"],
) -> Float[np.ndarray, "n e"]:
  """Velocities with what was drawn added, not yet within 1..127."""
  louder = np.where(_of(examples, LOUDNESS), _amount(examples), 0.0)
  return velocity + np.where(_may_change(examples, after, part), louder, 0.0)


def pedal_lifted(
  examples: Shaped[np.ndarray, " n"],
) -> Bool[np.ndarray, " n"]:
  """Mask of examples with no pedal before *now*, so that it is not down."""
  return (examples["departure"] == PEDAL) & (examples["amount"] == 1)


def leaves_out(
  examples: Shaped[np.ndarray, " n"],
  key: Int[np.ndarray, "n e"],
  upper: Bool[np.ndarray, "n e"],
  after: Bool[np.ndarray, "n e"],
  part: Int[np.ndarray, "n e"],
) -> Bool[np.ndarray, "n e"]:
  """Notes of the hand that rests, and pedals that are not used."""
  is_note = key < PEDAL_DOWN
  amount = examples["amount"].astype(np.int64)[:, None]
  here = np.where(amount < 2, after, ~after)
  resting = is_note & here & (upper == (amount % 2 == 1))
  before = amount == 1
  unused = ~is_note & np.where(
    before, ~after, _may_change(examples, after, part)
  )
  return (_of(examples, HANDS) & resting) | (_of(examples, PEDAL) & unused)
