"""Two parts made of one piece: who plays each event, and when it is known.

A piece is split by track (its melody against the rest), by hand (a split that
follows the music) or by turn (phrases of 2-10 s), or not at all. The other
part's events become known after a delay, which the model reads from their part
id.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from magenta_midi.data.corpus import Corpus
from magenta_midi.limits import AMOUNT
from magenta_midi.tokens.note.codec import PEDAL_DOWN, PEDAL_UP
from magenta_midi.typing import Bool, Int, Shaped

__all__ = [
  "DELAY_STEP_MS",
  "MAX_DELAY_MS",
  "MODES",
  "PARTNER_FIELDS",
  "PARTS",
  "SOLO",
  "check_shares",
  "draw_partners",
  "part_ids",
  "split_piece",
  "turn_starts",
]

MODES = ("solo", "tracks", "hands", "turns")
_SOLO, _TRACKS, _HANDS, _TURNS = range(len(MODES))
# Everybody is one player: the default.
SOLO = {"solo": 1.0}

# Highest delay of the other part's events, and width of its bins, ms.
MAX_DELAY_MS = 150
DELAY_STEP_MS = 20
# Rows of the part table: the model, then the other part by delay.
PARTS = 2 + MAX_DELAY_MS // DELAY_STEP_MS

# Shortest and longest turn, and how far its start may move to a gap, ms.
TURN_MS = (2000, 10_000)
_TO_GAP_MS = 1000

# Fields of an example about its two parts.
PARTNER_FIELDS = [
  ("mode", "i1"),  # of `MODES`
  ("swapped", "?"),  # which side is the model's
  ("pedal", "i1"),  # tracks and hands: 0 model's, 1 other part's, 2 both's
  ("delay_ms", "i2"),
  ("turns", "u4"),  # seed of the turns
]


def check_shares(shares: Mapping[str, float]) -> None:
  """Refuses shares of modes that cannot be drawn.

  Raises:
    ValueError: A mode is unknown, a share negative, or all are 0.
  """
  if unknown := sorted(set(shares) - set(MODES)):
    raise ValueError(
      f"unknown partners {', '.join(unknown)}. Known: {', '.join(MODES)}."
    )
  for mode, share in shares.items():
    AMOUNT.check(f"partners: the share of {mode}", share)
  if sum(shares.values()) <= 0:
    raise ValueError(
      "of the shares of partners one must be above 0, got"
      f" {', '.join(f'{name}:{share:g}' for name, share in shares.items())}."
    )


def draw_partners(
  rng: np.random.Generator,
  corpora: list[Corpus],
  examples: Shaped[np.ndarray, " n"],
  shares: Mapping[str, float],
) -> None:
  """Draws the two players of each example, in place.

  A piece without a melody track is split by hand instead.
  """
  count = len(examples)
  share = np.array([shares.get(mode, 0.0) for mode in MODES])
  mode = rng.choice(len(MODES), size=count, p=share / share.sum())
  has_melody = np.zeros(count, bool)
  for index, corpus in enumerate(corpora):
    chosen = examples["corpus"] == index
    has_melody[chosen] = corpus.has_melody[examples["piece"][chosen]]
  mode = np.where((mode == _TRACKS) & ~has_melody, _HANDS, mode)
  examples["mode"] = mode
  two = mode != _SOLO
  for field, drawn in (
    ("swapped", rng.uniform(size=count) < 0.5),
    ("pedal", rng.integers(0, 3, size=count)),
    ("delay_ms", rng.integers(0, MAX_DELAY_MS, count, endpoint=True)),
    ("turns", rng.integers(0, 2**32, size=count)),
  ):
    examples[field] = np.where(two, drawn, 0)


def part_ids(
  part: Int[np.ndarray, " n"], delay_ms: Int[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
  """Part ids of frames: 0 the model, else the other part by delay."""
  return np.where(part == 0, 0, 1 + delay_ms // DELAY_STEP_MS).astype(np.int32)


def turn_starts(
  onset_ms: Int[np.ndarray, " n"], seed: int, first_ms: float
) -> Int[np.ndarray, " turns"]:
  """Times of the changes of turn: the widest gap near each drawn length.

  Args:
    onset_ms: Of the notes, ascending.
    seed: Of the lengths.
    first_ms: Where the first turn begins; it is cut short at random.

  Returns:
    Onsets of the first notes of all turns but the first, ms.
  """
  if not len(onset_ms):
    return np.zeros(0, np.int64)
  rng = np.random.default_rng(seed)
  longest = TURN_MS[1]
  most = 2 + int((onset_ms[-1] - first_ms) // TURN_MS[0])
  lengths = rng.uniform(*TURN_MS, size=max(1, most))
  lengths[0] = rng.uniform(0, longest)
  around = first_ms + np.cumsum(lengths)
  around = around[around < onset_ms[-1]]
  low = np.searchsorted(onset_ms, around - _TO_GAP_MS)
  high = np.searchsorted(onset_ms, around + _TO_GAP_MS)
  gap = np.diff(onset_ms, prepend=onset_ms[0])
  # If there is no note nearby, the next note begins the turn.
  starts = [
    a + int(np.argmax(gap[a:b])) if b > a else a
    for a, b in zip(low.tolist(), high.tolist(), strict=True)
  ]
  return np.unique(onset_ms[starts]).astype(np.int64)


def split_piece(
  events: Shaped[np.ndarray, " n"],
  example: Any,
  pedal_down: bool,
  first_ms: float,
  context_ms: float,
) -> tuple[
  Shaped[np.ndarray, " m"], Int[np.ndarray, " m"], Bool[np.ndarray, " 2"]
]:
  """Splits a stretch of a piece between the model and the other part.

  Args:
    events: `EVENT_DTYPE`, sorted by time.
    example: One row of `EXAMPLE_DTYPE`.
    pedal_down: Whether the piece's pedal is down at `context_ms`.
    first_ms: Where the stretch begins, in the piece's time.
    context_ms: Where the context begins, in the piece's time.

  Returns:
    The events, with pedal events added or removed; 0 (model) or 1 (other
    part) for each; and whose pedal is down at `context_ms`.
  """
  mode = int(example["mode"])
  if mode == _SOLO:
    return (
      events,
      np.zeros(len(events), np.int32),
      np.array([pedal_down, False]),
    )
  if mode == _TURNS:
    events, part = _by_turn(events, example, first_ms)
    before = slice(0, int(np.searchsorted(events["time_ms"], context_ms)))
    key, owner = events["key"][before], part[before]
    down = np.zeros(2, bool)
    for player in (0, 1):
      of_pedal = key[(key >= PEDAL_DOWN) & (owner == player)]
      down[player] = len(of_pedal) > 0 and of_pedal[-1] == PEDAL_DOWN
    return events, part, down
  first = events["melody" if mode == _TRACKS else "upper"]
  part = (first == example["swapped"]).astype(np.int32)
  is_pedal = events["key"] >= PEDAL_DOWN
  owner = int(example["pedal"])
  if owner == 2:
    copies = np.where(is_pedal, 2, 1)
    events, part = np.repeat(events, copies), np.repeat(part, copies)
    # A change is first the model's, then the other part's.
    at = np.cumsum(copies)[is_pedal]
    part[at - 2], part[at - 1] = 0, 1
  else:
    part[is_pedal] = owner
  return events, part, np.array([owner != 1, owner != 0]) & pedal_down


def _by_turn(
  events: np.ndarray, example: Any, first_ms: float
) -> tuple[np.ndarray, np.ndarray]:
  """Turns; a turn has the pedal, which is released just before the next."""
  is_pedal = events["key"] >= PEDAL_DOWN
  onset_ms = events["time_ms"][~is_pedal]
  starts = turn_starts(onset_ms, int(example["turns"]), first_ms)
  turn = np.searchsorted(starts, events["time_ms"], side="right")
  at = np.flatnonzero(is_pedal)
  # A pedal that goes up first in a turn was another's.
  opens = np.append(True, turn[at[1:]] != turn[at[:-1]])[: len(at)]
  idle = at[opens & (events["key"][at] == PEDAL_UP)]
  at = np.setdiff1d(at, idle, assume_unique=True)
  closes = np.append(turn[at[1:]] != turn[at[:-1]], True)[: len(at)]
  held = turn[at[closes & (events["key"][at] == PEDAL_DOWN)]]
  held = held[held < len(starts)]
  lifts = np.zeros(len(held), events.dtype)
  lifts["time_ms"], lifts["key"] = starts[held] - 1, PEDAL_UP
  keep = np.ones(len(events), bool)
  keep[idle] = False
  events, turn = events[keep], turn[keep]
  place = np.searchsorted(events["time_ms"], lifts["time_ms"], side="right")
  events = np.insert(events, place, lifts)
  turn = np.insert(turn, place, held)
  return events, ((turn + example["swapped"]) % 2).astype(np.int32)
