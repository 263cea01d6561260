"""The `event` codec: one token in each frame, as in Magenta's older models.

Tokens are time shifts, note-ons, note-offs, velocities, pedal down and up, BOS
(start of a file) and EOS (the model plays no more in this chunk). The `step` of
a frame is the time of its event; for a time shift it is the time after the
shift.

The same music always gives the same stream. Order inside a step: note-offs by
key, pedal changes in order of time, note-ons by key. A velocity token comes
before a note-on whose velocity differs from the previous one. Time and velocity
start again in every chunk of a file, at the start of a context, and at now.

Source: Oore et al. 2018, https://arxiv.org/abs/1808.03715
"""

import dataclasses
import functools
from typing import Any, ClassVar

import numpy as np

from magenta_midi.midi.score import Score
from magenta_midi.tokens import ordering
from magenta_midi.tokens.event import grammar
from magenta_midi.tokens.event.config import KEYS, EventCodecConfig
from magenta_midi.tokens.event.grammar import EventRules
from magenta_midi.tokens.event.layout import (
  Changes,
  Spans,
  merge_duplicates,
  time_shifts,
  tokens_between,
)
from magenta_midi.tokens.events import (
  Notes,
  Pedals,
  all_events,
  events_around,
  pedals_down,
)
from magenta_midi.tokens.frames import MODEL, PLAYER, Encoded, Frames
from magenta_midi.tokens.grid import MAX_DURATION_S, check_now
from magenta_midi.tokens.vocabulary import Vocabulary
from magenta_midi.typing import Int

__all__ = ["EventCodec", "EventCodecConfig", "EventRules"]

_ROLES = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class EventCodec:
  """Music as note-ons, note-offs and time shifts; hashable (static in
  `jit`).
  """

  name: ClassVar[str] = "event"
  # Maximum number of tokens in a context and in a chunk: about four times the
  # frames of `note` (`docs/decisions.md`).
  context_frames: ClassVar[int] = 1024
  chunk_frames: ClassVar[int] = 512

  config: EventCodecConfig = dataclasses.field(default_factory=EventCodecConfig)

  @property
  def levels(self) -> int:
    """Number of levels: 1."""
    return 1

  @property
  def vocabulary(self) -> Vocabulary:
    """One level, `event`: see `EventCodecConfig`."""
    return _vocabulary(self.config)

  def encode(self, score: Score) -> Encoded:
    """Encodes a whole score, chunk by chunk on the absolute grid.

    BOS comes first and EOS ends every chunk. If a key is still down at the end
    of its chunk, its note-off is in a later chunk. Of exact duplicates the
    longest note stays; of equally long ones, the loudest. Durations of any
    length are kept, rounded to steps.

    Args:
      score: Any score; its origin is time 0.

    Raises:
      ValueError: An event lies before 0 s or beyond 245 days.
    """
    config = self.config
    notes, pedals = all_events(score, config)
    earliest = min(notes.step.min(initial=0), pedals.step.min(initial=0))
    if earliest < 0:
      raise ValueError(
        f"a whole score must start at 0 s or later, got an event at "
        f"{earliest / config.steps_per_s} s. Shift it first."
      )
    spans, merged = self._settled(notes)
    tokens = tokens_between(
      spans,
      Changes(pedals.part, pedals.step, pedals.down),
      np.zeros(score.parts, np.int32),
      2**31 - 1,
      config,
      chunk_steps=config.chunk_steps,
    )
    step, code, part = tokens.step, tokens.code, tokens.group
    if score.parts > 1:
      order = np.lexsort((part, step))
      step, code, part = step[order], code[order], part[order]
    end = int(config.time_to_step(np.array([score.end_s], np.float64))[0])
    chunks = -(-end // config.chunk_steps)
    if len(step):
      chunks = max(chunks, int(step[-1]) // config.chunk_steps + 1)
    upto = np.searchsorted(step, np.arange(1, chunks + 1) * config.chunk_steps)
    # BOS, then the tokens of each chunk, each followed by EOS.
    count = len(step) + chunks + (chunks > 0)
    ends = upto + np.arange(1, chunks + 1)
    codes = np.full(count, config.end, np.int32)
    steps = np.zeros(count, np.int32)
    parts = np.zeros(count, np.int32)
    codes[:1] = config.begin
    steps[ends] = np.arange(1, chunks + 1) * config.chunk_steps - 1
    is_event = np.ones(count, bool)
    is_event[:1] = False
    is_event[ends] = False
    codes[is_event], steps[is_event], parts[is_event] = code, step, part
    return Encoded(
      frames=Frames(codes[:, None], steps, parts),
      chunk_offsets=np.append(0, ends + 1),
      part_names=score.part_names,
      merged=merged,
      saturated=0,
    )

  def decode(self, encoded: Encoded) -> Score:
    """Decodes a score from codes, parts and chunk offsets only.

    Raises:
      ValueError: A code is out of range.
    """
    config = self.config
    codes, _, part = encoded.frames
    start = np.repeat(
      np.arange(encoded.chunks) * config.chunk_steps,
      np.diff(encoded.chunk_offsets),
    )
    code = codes[:, 0]
    wait = np.where(code < config.note_on, code + 1, 0)
    step = ordering.onsets_to_steps(wait, part, start)
    return self.decode_frames(
      Frames(codes, step.astype(np.int32), part),
      until_step=encoded.chunks * config.chunk_steps,
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
    """Decodes frames by their `step` (time shifts are not read).

    Note-offs of keys that are not down and pedal changes that change nothing
    are left out. A note ends at its note-off or at the next note-on of its key
    and part, whichever is first. Notes before the first velocity of a part get
    a middle velocity; this happens in a context that was cut.

    Args:
      frames: Frames of a file, a context or a generated stream.
      origin_s: Time of step 0, in seconds.
      pedal_down: Whether the pedal of part 0 is down before the first frame; if
        so, the score gets a pedal-down at `origin_s`.
      until_step: End of notes without a note-off; None: the last frame.
      part_names: The name of each part; None: the default of `Score`.

    Raises:
      ValueError: A code is out of range, unused, or an event lies before 0 s.
    """
    config = self.config
    self.vocabulary.to_ids(frames.codes)
    code, step, part = frames.codes[:, 0], frames.step, frames.part
    if np.any(code < 0):
      raise ValueError("frames must use their level, got an unused one.")
    ordering.check_times(step, part, origin_s, config.steps_per_s, part_names)
    if until_step is None:
      until_step = int(step.max(initial=0))
    time_s = origin_s + config.step_to_time_s(step)
    on, end = self._paired(code, step, part, until_step)
    notes = ordering.decoded_notes(
      step[on],
      code[on] - config.note_on,
      part[on],
      onset_s=time_s[on],
      velocity=config.code_to_velocity(self._running_velocity(code, part)[on]),
      duration_s=config.step_to_time_s(np.maximum(end - step[on], 1)),
    )
    is_pedal = (code == config.pedal_down) | (code == config.pedal_up)
    pedals = ordering.pedal_rows(
      time_s[is_pedal],
      code[is_pedal] == config.pedal_down,
      part[is_pedal],
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
    max_frames: int = 1024,
    model_part: int = 0,
  ) -> Frames:
    """Encodes the model's context at `now`: the last seconds of music.

    As for `note`, steps count from now, notes are cut to 10 s, and events at
    step 0 or later have no influence (a note that sounds at now has no note-off
    here). The stream starts with the pedals that are down and the notes that
    sound at the start of the window. Model and player have separate time shifts
    and velocities. Inside a step the model's tokens come first.

    Args:
      score: Contains the model's part; all other parts become PLAYER. Merge
        these parts first if they share keys.
      now_s: The origin, in seconds; `step` is relative to it and negative.
      context_s: Length of the window, in seconds.
      max_frames: Maximum number of frames; only the last ones are returned.
      model_part: Index of the part that becomes MODEL.

    Raises:
      ValueError: `context_s` or `max_frames` is negative, or a time is not
        finite.
    """
    config = self.config
    start = -config.seconds_to_steps(context_s, name="context_s")
    if max_frames < 0:
      raise ValueError(f"max_frames must be 0 or more, got {max_frames}.")
    notes, pedals = self._around(
      score, now_s, start=start, stop=0, model_part=model_part
    )
    held = np.zeros(_ROLES, bool)
    for part in pedals_down(score, now_s, config, before=start):
      held[MODEL if part == model_part else PLAYER] = True
    tokens = tokens_between(
      self._settled(notes, longest_s=MAX_DURATION_S)[0],
      Changes(pedals.part, pedals.step, pedals.down),
      np.full(_ROLES, start, np.int32),
      0,
      config,
      pedal_held=held,
    )
    step, code, part = tokens.step, tokens.code, tokens.group
    order = np.lexsort((part, step))[max(0, len(step) - max_frames) :]
    return Frames(code[order][:, None], step[order], part[order])

  def encode_targets(
    self, score: Score, now_s: float, *, seconds: float, model_part: int = 0
  ) -> Frames:
    """Encodes the model's tokens with steps in [0, steps of `seconds`).

    They include the note-offs of notes that sound at now. Notes are cut to 10
    s. There is no EOS.

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
    notes, pedals = self._around(
      score, now_s, start=0, stop=length, model_part=model_part
    )
    notes = notes.take(notes.part == MODEL)
    pedals = pedals.take(pedals.part == MODEL)
    tokens = tokens_between(
      self._settled(notes, longest_s=MAX_DURATION_S)[0],
      Changes(pedals.part, pedals.step, pedals.down),
      np.zeros(1, np.int32),
      length,
      config,
    )
    return Frames(tokens.code[:, None], tokens.step, tokens.group)

  def end_frame(self) -> Int[np.ndarray, " l"]:
    """The codes of an EOS frame, int32 `[1]`."""
    return np.array([self.config.end], np.int32)

  # Generation, chunk by chunk.

  def complete(
    self, history: Score, frames: Frames, now_s: float, end_step: int
  ) -> Frames:
    """Adds note-offs for keys that are down for longer than 10 s.

    Args:
      history: Music before the chunk, one part.
      frames: The frames of a chunk.
      now_s: Start of the chunk, in seconds of the history.
      end_step: Length of the chunk in steps.

    Returns:
      The frames. If needed, time shifts to the chunk's last step and one
      note-off for each such key are added.
    """
    config = self.config
    since = self._sounding(history, now_s)
    for code, step in zip(frames.codes[:, 0], frames.step, strict=True):
      if config.note_on <= code < config.note_off:
        since[code - config.note_on] = step
      elif config.note_off <= code < config.velocity:
        since[code - config.note_off] = _SILENT
    keys = np.flatnonzero(
      (since != _SILENT) & (end_step - since > config.max_duration_steps)
    )
    if not len(keys):
      return frames
    last = end_step - 1
    wait = max(0, last - int(frames.step.max(initial=0)))
    waits = time_shifts(wait, config)
    codes = np.append(frames.codes[:, 0], waits - 1)
    steps = np.append(frames.step, last - wait + np.cumsum(waits))
    # In a step note-offs come first, by key. Sort the new ones and the existing
    # ones of the last step together.
    is_off = (codes >= config.note_off) & (codes < config.velocity)
    others = np.flatnonzero(
      (steps == last) & (codes >= config.note_on) & ~is_off
    )
    stop = int(others[0]) if len(others) else len(codes)
    start = stop
    while start and steps[start - 1] == last and is_off[start - 1]:
      start -= 1
    lifted = np.sort(np.append(codes[start:stop], config.note_off + keys))
    codes = np.concatenate([codes[:start], lifted, codes[stop:]])
    steps = np.concatenate(
      [steps[:start], np.full(len(lifted), last), steps[stop:]]
    )
    return Frames(
      codes[:, None].astype(np.int32),
      steps.astype(np.int32),
      np.zeros(len(codes), np.int32),
    )

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

    Notes of the history that sound at now end at their note-off in the chunk.
    Notes that sound at the end of the chunk end there.

    Args:
      history: Music before the chunk.
      frames: The frames of a chunk, from `complete`.
      now_s: Start of the chunk, in seconds of the history.
      end_step: Length of the chunk in steps.
      pedal_down: Whether the pedal is down at the start of the chunk.
    """
    config = self.config
    ends = np.full(KEYS, end_step)
    code = frames.codes[:, 0]
    offs = np.flatnonzero((code >= config.note_off) & (code < config.velocity))
    # Backwards, so that the first note-off of a key overwrites later ones.
    ends[code[offs[::-1]] - config.note_off] = frames.step[offs[::-1]]
    notes = history.notes.copy()
    index = self._sounding_notes(history, now_s)
    end_s = now_s + ends[notes["key"][index]] / config.steps_per_s
    notes["duration_s"][index] = end_s - notes["onset_s"][index]
    new = self.decode_frames(frames, pedal_down=pedal_down, until_step=end_step)
    before = dataclasses.replace(history, notes=notes)
    return ordering.append_score(before, new, now_s, stated=pedal_down)

  # Legal tokens: see `grammar`.

  def rules_at(
    self, score: Score, now_s: float, *, model_part: int = 0
  ) -> EventRules:
    """The rules at `now`: pedal and sounding keys, before the first token.

    A note that ends at now still sounds: its note-off is yet to come.
    """
    down = pedals_down(score, check_now(now_s), self.config, before=0)
    since = self._sounding(score, now_s, model_part=model_part)
    return self.init_rules(model_part in down, since != _SILENT)

  def init_rules(
    self, pedal_down: Any = False, sounding: Any = None, *, xp=np
  ) -> EventRules:
    """The rules at the origin, before the model's first token."""
    if sounding is None:
      sounding = xp.zeros((*np.shape(pedal_down), KEYS), bool)
    return grammar.init_rules(pedal_down, sounding, xp=xp)

  def applies(self, level: int, codes: Any, *, xp=np) -> Any:
    """Every frame uses its one level."""
    del level
    return xp.ones(codes.shape[:-1], bool)

  def legal(
    self,
    level: int,
    codes: Any,
    rules: EventRules,
    *,
    earliest_step: Any = 0,
    end_step: Any,
    keys: Any = None,
    xp=np,
  ) -> Any:
    """Mask of the legal next codes, bool `[size]`; see `grammar.legal`."""
    del level, codes
    return grammar.legal(
      rules,
      self.config,
      earliest_step=earliest_step,
      end_step=end_step,
      keys=keys,
      xp=xp,
    )

  def advance(self, rules: EventRules, codes: Any, *, xp=np) -> EventRules:
    """The rules after one more token of the model; see `grammar.advance`."""
    return grammar.advance(rules, codes, self.config, xp=xp)

  # Helpers.

  def _settled(
    self, notes: Notes, *, longest_s: float = np.inf
  ) -> tuple[Spans, int]:
    """Notes on the grid without duplicates, and the number left out."""
    config = self.config
    duration_s = np.minimum(notes.duration_s, longest_s)
    spans = Spans(
      notes.part,
      notes.key,
      notes.step,
      config.time_to_step(notes.onset_s + duration_s),
      config.velocity_to_code(notes.velocity),
    )
    return merge_duplicates(spans, duration_s)

  def _around(
    self,
    score: Score,
    now_s: float,
    *,
    start: int,
    stop: int,
    model_part: int,
  ) -> tuple[Notes, Pedals]:
    """Events up to `stop`, with notes that may still sound at `start`."""
    return events_around(
      score,
      check_now(now_s),
      self.config,
      first_note=start - self.config.max_duration_steps,
      first_pedal=start,
      stop=stop,
      model_part=model_part,
    )

  def _sounding(
    self, score: Score, now_s: float, *, model_part: int = 0
  ) -> Int[np.ndarray, " k"]:
    """The step since which each key is down at `now`; _SILENT: it is up."""
    notes, _ = self._around(
      score, now_s, start=0, stop=0, model_part=model_part
    )
    spans, _ = self._settled(
      notes.take(notes.part == MODEL), longest_s=MAX_DURATION_S
    )
    sounds = spans.end >= 0
    since = np.full(KEYS, _SILENT, np.int64)
    since[spans.key[sounds]] = spans.step[sounds]
    return since

  def _sounding_notes(
    self, history: Score, now_s: float
  ) -> Int[np.ndarray, " n"]:
    """Indices of the notes that sound at `now` (history of one part)."""
    config = self.config
    onset_s = history.notes["onset_s"] - now_s
    duration_s = np.minimum(history.notes["duration_s"], MAX_DURATION_S)
    end = config.time_to_step(onset_s + duration_s)
    return np.flatnonzero((config.time_to_step(onset_s) < 0) & (end >= 0))

  def _paired(
    self,
    code: Int[np.ndarray, " n"],
    step: Int[np.ndarray, " n"],
    part: Int[np.ndarray, " n"],
    until_step: int,
  ) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]:
    """Indices of the note-ons, by voice, and the step where each ends."""
    config = self.config
    acts = np.flatnonzero((code >= config.note_on) & (code < config.velocity))
    voice = part[acts] * np.int64(KEYS) + (code[acts] - config.note_on) % KEYS
    order = np.argsort(voice, kind="stable")
    acts, voice = acts[order], voice[order]
    end = np.full(len(acts), until_step, np.int64)
    ended = np.flatnonzero(voice[1:] == voice[:-1])
    end[ended] = step[acts[ended + 1]]
    is_on = code[acts] < config.note_off
    return acts[is_on], end[is_on]

  def _running_velocity(
    self, code: Int[np.ndarray, " n"], part: Int[np.ndarray, " n"]
  ) -> Int[np.ndarray, " n"]:
    """The velocity bin in force at each frame."""
    config = self.config
    order = np.argsort(part, kind="stable")
    code, part = code[order], part[order]
    speaks = (code >= config.velocity) & (code < config.pedal_down)
    # Each part starts with the middle velocity.
    opens = np.append(True, part[1:] != part[:-1])[: len(part)]
    known = np.where(speaks, code - config.velocity, config.velocity_bins // 2)
    latest = np.where(speaks | opens, np.arange(len(code)), 0)
    running = np.empty(len(code), np.int64)
    running[order] = known[np.maximum.accumulate(latest)]
    return running


_SILENT = -(2**31)


@functools.lru_cache
def _vocabulary(config: EventCodecConfig) -> Vocabulary:
  return Vocabulary(level_names=("event",), level_sizes=(config.size,))
