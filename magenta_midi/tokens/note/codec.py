"""The `note` codec: one event in each frame.

An event is a note, pedal down, pedal up or END. The levels of a frame are
onset, key, velocity and duration. Order inside a step: pedal changes in order
of time, then keys ascending. A note is in the chunk of its onset, with its
whole duration.

The onset level is the number of steps since the previous frame *of the same
part*. The first frame counts from the start of the chunk (a whole file), from
the start of the window (a context), or from now (targets).
"""

import dataclasses
import functools
from typing import Any, ClassVar

import numpy as np

from magenta_midi.midi.score import Score
from magenta_midi.tokens import ordering
from magenta_midi.tokens.events import (
  DURATION,
  KEY,
  LEVELS,
  ONSET,
  VELOCITY,
  Notes,
  all_events,
  events_around,
  ordered_frames,
  pedals_down,
)
from magenta_midi.tokens.frames import (
  MODEL,
  PLAYER,
  Encoded,
  Frames,
  empty_frames,
  join_frames,
)
from magenta_midi.tokens.grid import check_now
from magenta_midi.tokens.note import grammar
from magenta_midi.tokens.note.config import (
  KEYS,
  PEDAL_DOWN,
  PEDAL_UP,
  NoteCodecConfig,
)
from magenta_midi.tokens.note.grammar import Rules
from magenta_midi.tokens.vocabulary import UNUSED, Vocabulary
from magenta_midi.typing import Int

__all__ = [
  "KEYS",
  "PEDAL_DOWN",
  "PEDAL_UP",
  "NoteCodec",
  "NoteCodecConfig",
  "Rules",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoteCodec:
  """Music as notes and pedal changes; hashable (static in `jit`)."""

  name: ClassVar[str] = "note"
  # Maximum number of frames in a context and in a chunk. In the training
  # corpora 10 s contain 213 notes and pedal changes at the 95th percentile, and
  # 2 s contain at most 153.
  context_frames: ClassVar[int] = 256
  chunk_frames: ClassVar[int] = 192

  config: NoteCodecConfig = dataclasses.field(default_factory=NoteCodecConfig)

  @property
  def levels(self) -> int:
    """Number of levels, 4: onset, key, velocity, duration."""
    return LEVELS

  @property
  def vocabulary(self) -> Vocabulary:
    """Onset (END last), key (pedals last), velocity, duration."""
    return _vocabulary(self.config)

  def encode(self, score: Score) -> Encoded:
    """Encodes a whole score, chunk by chunk on the absolute grid.

    A note belongs to the chunk of its *quantized* step: 1.9951 s is step 200,
    the first of chunk 1. Of exact duplicates the longest note stays; of equally
    long ones, the loudest.

    Args:
      score: Any score; its origin is time 0.

    Raises:
      ValueError: An event lies before 0 s or beyond 245 days.
    """
    config = self.config
    frames, merged, saturated = ordered_frames(
      *all_events(score, config), config
    )
    step = frames.step
    if len(step) and step[0] < 0:
      raise ValueError(
        f"a whole score must start at 0 s or later, got an event at "
        f"{step[0] / config.steps_per_s} s. Shift it first."
      )
    chunk = step // np.int32(config.chunk_steps)
    end = int(config.time_to_step(np.array([score.end_s], np.float64))[0])
    chunks = -(-end // config.chunk_steps)
    if len(chunk):
      chunks = max(chunks, int(chunk[-1]) + 1)
    frames.codes[:, ONSET] = ordering.steps_to_onsets(
      step, frames.part, chunk * np.int32(config.chunk_steps)
    )
    return Encoded(
      frames=frames,
      chunk_offsets=np.searchsorted(chunk, np.arange(chunks + 1)),
      part_names=score.part_names,
      merged=merged,
      saturated=saturated,
    )

  def decode(self, encoded: Encoded) -> Score:
    """Decodes a score from codes, parts and chunk offsets only.

    A note ends before the next onset of its key and part. This removes at most
    10 ms of its true duration.

    Raises:
      ValueError: A duration is HELD, or a code is out of range.
    """
    codes, _, part = encoded.frames
    start = np.repeat(
      np.arange(encoded.chunks) * self.config.chunk_steps,
      np.diff(encoded.chunk_offsets),
    )
    keep = codes[:, ONSET] != self.config.end
    codes, part, start = codes[keep], part[keep], start[keep]
    step = ordering.onsets_to_steps(codes[:, ONSET], part, start)
    return self.decode_frames(
      Frames(codes, step.astype(np.int32), part),
      part_names=encoded.part_names,
    )

  def decode_frames(
    self,
    frames: Frames,
    *,
    origin_s: float = 0.0,
    pedal_down: bool = False,
    until_step: int | None = None,
    part_names: tuple[str, ...] | None = None,
  ) -> Score:
    """Decodes frames by their `step` (the onset level is not read).

    END frames and pedal changes that change nothing are left out. Notes of one
    key, step and part are merged; overlapping notes are trimmed. Pedal changes
    of one step get times 1 ns apart.

    Args:
      frames: Frames of a file, a context or a generated stream.
      origin_s: Time of step 0, in seconds.
      pedal_down: Whether the pedal of part 0 is down before the first frame; if
        so, the score gets a pedal-down at `origin_s`.
      until_step: Not used: every note has its duration.
      part_names: The name of each part; None: the default of `Score`.

    Raises:
      ValueError: A duration is HELD, a code out of range, or an event lies
        before 0 s.
    """
    del until_step
    config = self.config
    keep = frames.codes[:, ONSET] != config.end
    codes, step, part = (field[keep] for field in frames)
    self._check(codes, step, part, origin_s, part_names)
    time_s = origin_s + config.step_to_time_s(step)
    is_note = codes[:, KEY] < KEYS
    notes = ordering.decoded_notes(
      step[is_note],
      codes[is_note, KEY],
      part[is_note],
      onset_s=time_s[is_note],
      velocity=config.code_to_velocity(codes[is_note, VELOCITY]),
      duration_s=config.code_to_duration_s(codes[is_note, DURATION]),
    )
    pedals = ordering.pedal_rows(
      time_s[~is_note],
      codes[~is_note, KEY] == PEDAL_DOWN,
      part[~is_note],
      down_from_s=origin_s if pedal_down else None,
    )
    return Score.from_rows(
      notes,
      pedal=ordering.decoded_pedals(pedals),
      part_names=part_names,
    )

  def encode_context(
    self,
    score: Score,
    now_s: float,
    *,
    context_s: float = 10.0,
    max_frames: int = 256,
    model_part: int = 0,
  ) -> Frames:
    """Encodes the model's context at `now`: the last seconds of music.

    Steps are quantized relative to now: the step of an event is its time from
    now, rounded to 10 ms (this is the file's grid if now is on it). With w =
    minus the steps of `context_s`, the frames are:

    1. State frames, all at step w. First a pedal down for each part whose pedal
       is down before w. Then, keys ascending, the notes with an onset step
       before w whose end rounds to a step after w, with the duration that
       remains after w. Notes are cut to the longest duration of the codec (10
       s).
    2. Every event with a step in [w, 0), ordered as in a file. Notes keep their
       whole duration, even if it ends after now.

    Events at step 0 or later have no influence. The onset level is the number
    of steps since the previous frame of the same part (since w for the first),
    at most the horizon. If there are more than `max_frames`, only the last ones
    are returned, unchanged.

    Args:
      score: Contains the model's part; all other parts become PLAYER. Merge
        these parts first if they share keys.
      now_s: The origin, in seconds; `step` is relative to it and negative.
      context_s: Length of the window, in seconds.
      max_frames: Maximum number of frames.
      model_part: Index of the part that becomes MODEL.

    Raises:
      ValueError: `context_s` or `max_frames` is negative, or a time is not
        finite.
    """
    config = self.config
    start = -config.seconds_to_steps(context_s, name="context_s")
    if max_frames < 0:
      raise ValueError(f"max_frames must be 0 or more, got {max_frames}.")
    notes, pedals = events_around(
      score,
      check_now(now_s),
      config,
      first_note=start - config.max_duration_steps,
      first_pedal=start,
      stop=0,
      model_part=model_part,
    )
    held = pedals_down(score, now_s, config, before=start)
    earlier = int(np.searchsorted(notes.step, start))
    state = self._state(
      notes.take(slice(earlier)),
      sorted({MODEL if part == model_part else PLAYER for part in held}),
      start,
    )
    events, _, _ = ordered_frames(
      notes.take(slice(earlier, None)), pedals, config
    )
    frames = join_frames(state, events)
    onset = ordering.steps_to_onsets(
      frames.step, frames.part, np.full_like(frames.step, start)
    )
    frames.codes[:, ONSET] = np.minimum(onset, config.horizon_steps - 1)
    drop = max(0, len(frames.step) - max_frames)
    return Frames(*(field[drop:] for field in frames))

  def encode_targets(
    self, score: Score, now_s: float, *, seconds: float, model_part: int = 0
  ) -> Frames:
    """Encodes the model's events with steps in [0, steps of `seconds`).

    The onset level is the number of steps since the previous of these frames
    (since now for the first). `step` is relative to now. There is no END.

    Args:
      score: As for `encode_context`.
      now_s: The origin, in seconds.
      seconds: Length of the target, at most the codec's horizon.
      model_part: Index of the part to predict.

    Raises:
      ValueError: `seconds` is negative or beyond the horizon.
    """
    config = self.config
    length = config.target_steps(seconds)
    notes, pedals = events_around(
      score,
      check_now(now_s),
      config,
      first_note=0,
      first_pedal=0,
      stop=length,
      model_part=model_part,
    )
    frames, _, _ = ordered_frames(
      notes.take(notes.part == MODEL), pedals.take(pedals.part == MODEL), config
    )
    frames.codes[:, ONSET] = ordering.steps_to_onsets(
      frames.step, frames.part, np.zeros_like(frames.step)
    )
    return frames

  def pedal_down_at(
    self, score: Score, now_s: float, *, model_part: int = 0
  ) -> bool:
    """Whether the model's pedal is down just before `now`."""
    held = pedals_down(score, check_now(now_s), self.config, before=0)
    return model_part in held

  def end_frame(self) -> Int[np.ndarray, " l"]:
    """The codes of an END frame, int32 `[l]`."""
    return np.array([self.config.end, UNUSED, UNUSED, UNUSED], np.int32)

  # Generation, chunk by chunk.

  def complete(
    self, history: Score, frames: Frames, now_s: float, end_step: int
  ) -> Frames:
    """Returns the frames unchanged: every note has its duration."""
    del history, now_s, end_step
    return frames

  def append(
    self,
    history: Score,
    frames: Frames,
    now_s: float,
    *,
    end_step: int,
    pedal_down: bool = False,
  ) -> Score:
    """The history (one part), followed by a chunk that starts at `now_s`.

    Args:
      history: Music before the chunk.
      frames: The frames of a chunk.
      now_s: Start of the chunk, in seconds of the history.
      end_step: Not used: every note has its duration.
      pedal_down: Whether the pedal is down at the start of the chunk.
    """
    del end_step
    new = self.decode_frames(frames, pedal_down=pedal_down)
    return ordering.append_score(history, new, now_s, stated=pedal_down)

  # Legal frames: see `grammar`.

  def rules_at(
    self, score: Score, now_s: float, *, model_part: int = 0
  ) -> Rules:
    """The rules at `now`, before the model's first frame."""
    return self.init_rules(
      self.pedal_down_at(score, now_s, model_part=model_part)
    )

  def init_rules(self, pedal_down: Any = False, *, xp=np) -> Rules:
    """The rules at the origin, before the model's first frame."""
    return grammar.init_rules(pedal_down, xp=xp)

  def applies(self, level: int, codes: Any, *, xp=np) -> Any:
    """Whether a frame uses `level`; see `grammar.applies`."""
    return grammar.applies(level, codes, self.config, xp=xp)

  def legal(
    self,
    level: int,
    codes: Any,
    rules: Rules,
    *,
    earliest_step: Any = 0,
    end_step: Any,
    keys: Any = None,
    xp=np,
  ) -> Any:
    """Mask of the legal codes of `level`, bool; see `grammar.legal`."""
    return grammar.legal(
      level,
      codes,
      rules,
      self.config,
      earliest_step=earliest_step,
      end_step=end_step,
      keys=keys,
      xp=xp,
    )

  def advance(self, rules: Rules, codes: Any, *, xp=np) -> Rules:
    """The rules after one more frame; see `grammar.advance`."""
    return grammar.advance(rules, codes, self.config, xp=xp)

  def _state(self, notes: Notes, held: list[int], start: int) -> Frames:
    """Frames for the notes and pedals that are down at a window's start."""
    config = self.config
    start_s = start / config.steps_per_s
    longest_s = config.duration_table_s[-1]
    end_s = notes.onset_s + np.minimum(notes.duration_s, longest_s)
    sounds = np.flatnonzero(config.time_to_step(end_s) > start)
    remaining_s = end_s - start_s
    order = sounds[np.lexsort((notes.part[sounds], notes.key[sounds]))]
    frames = empty_frames(LEVELS, len(held) + len(order))
    pedal, note = slice(len(held)), slice(len(held), None)
    frames.step[:] = start
    frames.part[pedal], frames.part[note] = held, notes.part[order]
    frames.codes[pedal, KEY] = PEDAL_DOWN
    frames.codes[note, KEY] = notes.key[order]
    frames.codes[note, VELOCITY] = config.velocity_to_code(
      notes.velocity[order]
    )
    frames.codes[note, DURATION] = config.duration_to_code(remaining_s[order])
    return frames

  def _check(self, codes, step, part, origin_s, part_names):
    self.vocabulary.to_ids(codes)  # every code in its range
    key = codes[:, KEY]
    note = key < KEYS
    if np.any(key == UNUSED) or np.any(codes[note] == UNUSED):
      raise ValueError(
        "frames must use every level, or be END or pedal changes; got "
        "an unused key, velocity or duration."
      )
    ordering.check_times(
      step, part, origin_s, self.config.steps_per_s, part_names
    )


@functools.lru_cache
def _vocabulary(config: NoteCodecConfig) -> Vocabulary:
  return Vocabulary(
    level_names=("onset", "key", "velocity", "duration"),
    level_sizes=(
      config.horizon_steps + 1,
      KEYS + 2,
      config.velocity_bins,
      config.duration_codes,
    ),
  )
