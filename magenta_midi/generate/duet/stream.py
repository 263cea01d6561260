"""Two players in one stream: append, plan, commit, roll back.

A stream begins at its origin, *now*: the encoder holds what lies before, the
decoder starts empty and reads both players' frames in the order in which they
became known. After every frame of either player the model predicts its next
event. So a note of the player is answered by appending one frame and drawing
again.

Any order of these calls gives the logits of one pass over the frames that are
left: `tests/generate/duet/test_stream.py`.
"""

from typing import Any, NamedTuple

import numpy as np

from magenta_midi.generate.duet.context import pad_frames
from magenta_midi.generate.duet.functions import (
  GROUPS,
  DuetFunctions,
  Planned,
  PlanRequest,
  StreamState,
)
from magenta_midi.generate.priors import Priors, PriorTables
from magenta_midi.generate.sampling import LevelSampling
from magenta_midi.tokens.frames import MODEL, Frames, empty_frames, join_frames
from magenta_midi.typing import Bool, Int

__all__ = ["DuetStream", "Plan", "PlanSettings"]

ONSET = 0
FOREVER = 2**30


class PlanSettings(NamedTuple):
  """How events of the model are drawn.

  Attributes:
    sampling: Temperatures and limits of each level.
    keys: Keys that may be struck, bool `[128]`.
    pedals: Whether the pedal may go down.
    pace: Factor on the rate of events.
    guidance: Weight of the style; needs functions with guidance.
    seed: Of the session.
    priors: What is wanted of the music, in seconds of the session.
  """

  sampling: LevelSampling
  keys: Bool[np.ndarray, "128"]
  pedals: bool = True
  pace: float = 1.0
  guidance: float = 0.0
  seed: int = 0
  priors: Priors = Priors()


class Plan(NamedTuple):
  """Events of the model that are drawn but not yet part of the stream.

  Attributes:
    frames: In order; `step` counts from the stream's origin.
    ended: By the model nothing follows within its horizon.
  """

  frames: Frames
  ended: bool


class _Place(NamedTuple):
  """Facts about one length of the stream."""

  rules: Any
  struck: int  # events of the model at `rules.step`
  player_step: int  # of the player's last frame


class DuetStream:
  """One origin's stream.

  Args:
    functions: Compiled for its model.
    state: The last item of `functions.encode`.
    origin_step: *Now*, in 10 ms steps of the session.
    rules: The codec's rules at the origin.
  """

  def __init__(
    self,
    functions: DuetFunctions,
    state: StreamState,
    origin_step: int,
    rules: Any,
  ):
    self.functions = functions
    self.codec = functions.codec
    self.origin_step = origin_step
    self._state = state
    self._places = [_Place(rules, 0, 0)]
    self._frames = empty_frames(self.codec.levels)
    self._planned = self._frames
    # Places after each planned event, and whether END follows.
    self._planned_places: list[_Place] = []
    self._ended = False
    self._priors: tuple[Priors, PriorTables] | None = None

  @property
  def length(self) -> int:
    """Frames in the stream, the start included."""
    return len(self._places)

  @property
  def room(self) -> int:
    """How many more frames fit."""
    return self.functions.slots - self.length

  @property
  def frames(self) -> Frames:
    """The frames after the start, in the order they became known."""
    return self._frames

  @property
  def rules(self) -> Any:
    """The codec's rules after the model's last frame."""
    return self._places[-1].rules

  @property
  def planned(self) -> Plan:
    """The plan: events that are not yet committed."""
    return Plan(self._planned, self._ended)

  def append(
    self,
    codes: Int[np.ndarray, "n l"],
    step: Int[np.ndarray, " n"],
    part: Int[np.ndarray, " n"],
  ) -> Frames:
    """Appends frames of either player; what was planned is dropped.

    The onset level is computed here: steps from the previous frame of the
    same player, from the origin for the first.

    Args:
      codes: Level-local; the onset level is not read.
      step: From the origin, 0 or more, ascending for each player.
      part: MODEL, or how the player is marked.

    Returns:
      The frames as appended.

    Raises:
      ValueError: They do not fit.
    """
    count = len(step)
    if count > self.room:
      raise ValueError(
        f"at most {self.room} more frames fit the stream, got {count}. "
        "Re-base it."
      )
    codes = np.array(codes, np.int32)
    config = self.codec.config
    place = self._places[-1]
    places = []
    for row in range(count):
      at = int(step[row])
      by_model = int(part[row]) == MODEL
      last = int(place.rules.step) if by_model else place.player_step
      onset = min(max(at - last, 0), config.horizon_steps - 1)
      codes[row, ONSET] = onset
      if by_model:
        rules = self.codec.advance(place.rules, codes[row])
        struck = place.struck + 1 if onset == 0 else 1
        place = _Place(rules, struck, place.player_step)
      else:
        place = place._replace(player_step=max(at, last))
      places.append(place)
    frames = Frames(codes, np.asarray(step, np.int32), np.asarray(part))
    frames = frames._replace(part=frames.part.astype(np.int32))
    self._feed(frames)
    self._places += places
    self._frames = join_frames(self._frames, frames)
    self.drop_plan()
    return frames

  def _feed(self, frames: Frames) -> None:
    ids = self.codec.vocabulary.to_ids(frames.codes)
    at, length = 0, self.length
    count = len(frames.step)
    while at < count:
      group = next((g for g in GROUPS if g >= count - at), GROUPS[-1])
      real = min(group, count - at)
      chosen = Frames(*(field[at : at + real] for field in frames))
      padded = pad_frames(ids[at : at + real], chosen, group)
      self._state = self.functions.append(self._state, padded, length + at)
      at += real

  def plan(
    self,
    settings: PlanSettings,
    *,
    events: int,
    earliest_step: int,
    latest_step: int = FOREVER,
    max_gap: int = FOREVER,
    note_first: bool = False,
    end_step: int | None = None,
    may_end: bool = True,
  ) -> Plan:
    """Draws events of the model after those already planned.

    Args:
      settings: How.
      events: Most new events.
      earliest_step: Nothing starts before it: what is past or committed.
      latest_step: The first new event starts before it, if anything may.
      max_gap: Each starts at most so many steps after the one before, if
        anything may.
      note_first: Whether the first new event must be a note.
      end_step: Events from here on are left for later; None: the horizon.
      may_end: Whether END may be drawn: nothing more follows.

    Returns:
      All that is planned now.
    """
    horizon = self.codec.config.horizon_steps
    place = (
      self._planned_places[-1] if self._planned_places else (self._places[-1])
    )
    length = self.length + len(self._planned_places)
    events = min(
      events,
      self.functions.max_events,
      self.functions.slots - length,
    )
    # At least END must be left to draw.
    earliest_step = min(earliest_step, horizon - 1)
    if events <= 0 or self._ended:
      return self.planned
    request = PlanRequest(
      length=np.int32(length),
      rules=place.rules,
      struck=np.int32(place.struck),
      origin_step=np.int32(self.origin_step),
      earliest_step=np.int32(earliest_step),
      latest_step=np.int32(latest_step),
      max_gap=np.int32(max_gap),
      note_first=np.bool_(note_first),
      end_step=np.int32(horizon if end_step is None else end_step),
      may_end=np.bool_(may_end),
      limit=np.int32(events),
      keys=settings.keys,
      pedals=np.bool_(settings.pedals),
      pace=np.float32(settings.pace),
      seed=np.uint32(settings.seed),
      sampling=settings.sampling,
      guidance=np.float32(settings.guidance),
      priors=self._tables(settings.priors),
    )
    planned, self._state = self.functions.plan(self._state, request)
    self._take(planned, place)
    return self.planned

  def _tables(self, priors: Priors) -> PriorTables:
    """Tables from the origin on; made anew only for other priors."""
    if self._priors is None or self._priors[0] is not priors:
      config = self.codec.config
      step_s = 1 / config.steps_per_s
      # The last onset and the longest step after it lie before twice that.
      tables = priors.tables(
        self.origin_step * step_s, 2 * config.horizon_steps, step_s
      )
      self._priors = (priors, tables)
    return self._priors[1]

  def _take(self, planned: Planned, place: _Place) -> None:
    count = int(planned.count)
    codes = np.asarray(planned.codes)[:count]
    frames = Frames(
      codes, np.asarray(planned.step)[:count], np.full(count, MODEL, np.int32)
    )
    for row in codes:
      struck = place.struck + 1 if row[ONSET] == 0 else 1
      place = place._replace(
        rules=self.codec.advance(place.rules, row), struck=struck
      )
      self._planned_places.append(place)
    self._planned = join_frames(self._planned, frames)
    self._ended = bool(planned.ended)

  def commit(self, count: int) -> Frames:
    """Makes the first planned events part of the stream; the rest stays.

    Raises:
      ValueError: So many are not planned.
    """
    if not 0 <= count <= len(self._planned_places):
      raise ValueError(
        f"count must be in 0..{len(self._planned_places)} (planned events), "
        f"got {count}."
      )
    chosen = Frames(*(field[:count] for field in self._planned))
    self._places += self._planned_places[:count]
    self._frames = join_frames(self._frames, chosen)
    self._planned = Frames(*(field[count:] for field in self._planned))
    self._planned_places = self._planned_places[count:]
    return chosen

  def roll_back(self, length: int) -> None:
    """Forgets everything after so many frames, and what was planned.

    Raises:
      ValueError: The stream was never so short or is not so long.
    """
    if not 1 <= length <= self.length:
      raise ValueError(f"length must be in 1..{self.length}, got {length}.")
    self._places = self._places[:length]
    self._frames = Frames(*(field[: length - 1] for field in self._frames))
    self.drop_plan()

  def drop_plan(self) -> None:
    """Forgets what was planned and not committed."""
    self._planned = empty_frames(self.codec.levels)
    self._planned_places = []
    self._ended = False

  def next_log_p(self, codes: Int[np.ndarray, " l"]) -> np.ndarray:
    """Log probability of each code of a frame, were it the model's next one."""
    return self.functions.next_log_p(
      self._state, self.length, np.asarray(codes, np.int32)
    )
