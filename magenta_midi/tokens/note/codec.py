"""The `note` codec: one frame an event (a note, pedal down, pedal up, END).

A frame's levels are onset, key, velocity and duration. Order inside a step:
pedal changes as they came, then keys ascending. A note stands once, in the
chunk of its onset, with its whole duration.

The onset level is the step from the previous frame *of the same part*. Where
there is none it counts from the start: of the chunk (a whole file), of the
window (a context), or from now (targets).
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
  """Music as notes and pedal changes; hashable, so static under `jit`."""

  name: ClassVar[str] = "note"
  # Frames the model hears and plays at most: 10 s hold 213 notes and their
  # pedal at the 95th percentile of the training corpora, 2 s hold 153 at most.
  context_frames: ClassVar[int] = 256
  chunk_frames: ClassVar[int] = 192

  config: NoteCodecConfig = dataclasses.field(default_factory=NoteCodecConfig)

  @property
  def levels(self) -> int:
    """Onset, key, velocity, duration: 4."""
    return LEVELS

  @property
  def vocabulary(self) -> Vocabulary:
    """Onset (END last), key (pedal down, up last), velocity, duration."""
    return _vocabulary(self.config)

  def encode(self, score: Score) -> Encoded:
    """Encodes a whole score, chunk by chunk on the absolute grid.

    A note belongs to the chunk of its *quantized* step: 1.9951 s is step 200,
    the first of chunk 1. Of exact duplicates the longest note stays, of those
    the loudest.

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
    """Rebuilds the score from codes, parts and chunk offsets alone.

    A note is trimmed to the next onset of its key in its part, which costs
    it at most 10 ms of its true duration.

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

    END frames and pedal changes that change nothing are left out; notes of
    one key, step and part are merged, and trimmed where they overlap. Several
    pedal changes of one step lie 1 ns apart.

    Args:
      frames: Of a file, a context or a generated stream.
      origin_s: Time of step 0, in seconds.
      pedal_down: Whether the pedal of part 0 is down before the first frame;
        it is then stated at `origin_s`.
      until_step: Not needed: every note has its duration.
      part_names: One a part; by default the score's own default.

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
    """What the model hears at `now`: the events of the last seconds.

    Steps are quantized relative to now, so an event's step is the nearest
    whole number of 10 ms from now (on the file's grid if now is on it). With
    w = minus the steps of `context_s`, in this order:

    1. State frames, all at step w: pedal down of each player whose last pedal
       event before w is down; then, keys ascending, the notes with an onset
       step before w whose end rounds to a step after w, with the duration
       that remains from w. Notes count as no longer than the codec can say
       (10 s).
    2. Every event with a step in [w, 0), ordered as in a file. Notes keep
       their whole duration, even where it reaches beyond now.

    Nothing with a step of 0 or later has any influence. The onset level is
    the step from the previous frame of the same player, from w for the first,
    saturating at the horizon. Of more than `max_frames` the last are
    returned, as they are.

    Args:
      score: The own part and, as any other part, the partner's. Parts beside
        the own one share PLAYER: merge them first if they share keys.
      now_s: The origin, in seconds; `step` is relative to it, so negative.
      context_s: Length of the window, in seconds.
      max_frames: Most frames to return.
      model_part: The part that is MODEL.

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
      _finite(now_s),
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
    """The own events with a step in [0, steps of `seconds`) from now.

    The onset level is the step from the previous of these frames, from now
    for the first; `step` is relative to now. There is no END inside.

    Args:
      score: As for `encode_context`.
      now_s: The origin, in seconds.
      seconds: At most the horizon.
      model_part: The part to predict.

    Raises:
      ValueError: `seconds` is negative or beyond the horizon.
    """
    config = self.config
    length = config.seconds_to_steps(seconds, name="seconds")
    if length > config.horizon_steps:
      raise ValueError(
        f"seconds must be at most the codec's horizon of {config.horizon_s} "
        f"s, got {seconds}."
      )
    notes, pedals = events_around(
      score,
      _finite(now_s),
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
    """Whether the own pedal is down just before `now`."""
    held = pedals_down(score, _finite(now_s), self.config, before=0)
    return model_part in held

  def end_frame(self) -> Int[np.ndarray, " l"]:
    """The codes of an END frame, int32 `[l]`."""
    return np.array([self.config.end, UNUSED, UNUSED, UNUSED], np.int32)

  # Generation, chunk by chunk.

  def complete(
    self, history: Score, frames: Frames, now_s: float, end_step: int
  ) -> Frames:
    """The frames as they are: every note has its duration."""
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
    """The history (one part) with the frames of a chunk from `now_s`.

    Args:
      history: What was played before.
      frames: A chunk's.
      now_s: Its start, in the history's time.
      end_step: Not needed: every note has its duration.
      pedal_down: Whether the pedal is down at its start.
    """
    del end_step
    new = self.decode_frames(frames, pedal_down=pedal_down)
    return ordering.append_score(history, new, now_s, stated=pedal_down)

  # What may come next: see `rules`.

  def rules_at(
    self, score: Score, now_s: float, *, model_part: int = 0
  ) -> Rules:
    """The rules at `now`, before the first own frame."""
    return self.init_rules(
      self.pedal_down_at(score, now_s, model_part=model_part)
    )

  def init_rules(self, pedal_down: Any = False, *, xp=np) -> Rules:
    """At the origin, before the first own frame."""
    return grammar.init_rules(pedal_down, xp=xp)

  def applies(self, level: int, codes: Any, *, xp=np) -> Any:
    """Whether a frame uses `level`, given its codes below; see `rules`."""
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
    """Which codes of `level` may follow, bool `[level_size]`; see `rules`."""
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
    """The state of the rules after one own frame; see `rules`."""
    return grammar.advance(rules, codes, self.config, xp=xp)

  def _state(self, notes: Notes, held: list[int], start: int) -> Frames:
    """What sounds and whose pedal is held at the start of a window."""
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


def _finite(now_s: float) -> float:
  if not np.isfinite(now_s):
    raise ValueError(f"now_s must be a time in seconds, got {now_s}.")
  return now_s


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
