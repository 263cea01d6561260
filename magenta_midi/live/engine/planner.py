"""The model's part of a duet: one stream at a time, and its refresh.

Holds what both players did, turns it into streams, and streams into planned
events. It decides nothing about when to play: that is the engine's.
"""

import dataclasses
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from magenta_midi.generate.duet.context import duet_context, padded_context
from magenta_midi.generate.duet.stream import DuetStream, PlanSettings
from magenta_midi.generate.generator import Generator
from magenta_midi.live.engine.note_history import PlayerRecord
from magenta_midi.live.protocol.events import SECOND, PlannedNote, PlannedPedal
from magenta_midi.midi.score import Score
from magenta_midi.model.depthformer import Depthformer
from magenta_midi.tokens.frames import MODEL
from magenta_midi.tokens.note.codec import (
  KEYS,
  PEDAL_DOWN,
  PEDAL_UP,
  NoteCodec,
)
from magenta_midi.tokens.vocabulary import UNUSED

__all__ = ["Planner", "PlayedFrame"]

# Steps of a stream are 10 ms.
STEP_NS = SECOND // 100
HISTORY_NS = 22 * SECOND
# Frames kept, so that a refresh can replay what happened since its *now*.
RECENT_NS = 8 * SECOND

Injection = Callable[[Score, Score], tuple[Score, Score]]


@dataclasses.dataclass(frozen=True, slots=True)
class PlayedFrame:
  """An event of either player, as a stream takes it.

  Attributes:
    step: Of the session, 10 ms.
    known_ns: When it became known: a stream's order.
    codes: Its levels; the onset level is computed by the stream.
    own: Whether the model played it.
  """

  step: int
  known_ns: int
  codes: tuple[int, ...]
  own: bool


class Planner:
  """Streams of one model.

  Args:
    generator: The model; codec `note`.
    partner_delay_ms: How late the partner's events become known.
    context_s: How much is heard.
    slots: Most frames of a stream.
    first_id: Number of the first planned event.
    weights: Networks to choose among, of the generator's shape; the first is
      in use. None given: the generator's own.

  Raises:
    ValueError: The checkpoint's codec is another, or it knows no parts.
  """

  def __init__(
    self,
    generator: Generator,
    *,
    partner_delay_ms: float = 5.0,
    context_s: float = 10.0,
    slots: int = 192,
    first_id: int = 0,
    weights: Sequence[Depthformer] = (),
  ):
    codec = generator.codec
    if not isinstance(codec, NoteCodec):
      raise ValueError(
        f"a duet needs a checkpoint of codec 'note', got {codec.name!r}."
        " Leave --checkpoint out, or train one with --codec note."
      )
    parts = generator.config.parts
    if not parts:
      raise ValueError(
        "a duet needs a checkpoint that knows two parts, and this one was"
        " made with parts=0. Leave --checkpoint out, or train one with"
        " --partners."
      )
    self.codec = codec
    self._context_s = context_s
    # Two parts only: made before partners had a delay.
    self.partner_part = 1
    if parts > 2:
      self.partner_part = 1 + min(int(partner_delay_ms // 20), parts - 2)
    self._style = np.zeros(generator.config.style_slots, np.int32)
    own = {
      guided: generator.duet_functions(guided=guided, slots=slots)
      for guided in (False, True)
    }
    # Of each choice, by whether they are guided; compiled once for all.
    self._choices = [
      {guided: own[guided].with_weights(network) for guided in own}
      for network in weights
    ] or [own]
    self._functions = self._choices[0]
    self.guided = False
    self.own = PlayerRecord()
    self.partner = PlayerRecord()
    self.stream: DuetStream | None = None
    # Planned events beside the stream's planned frames, in the same order.
    self.planned: list[PlannedNote | PlannedPedal] = []
    self._recent: list[PlayedFrame] = []
    self._next_id = first_id

  # What happened.

  def heard(self, time_ns: int, key: int, velocity: int) -> PlayedFrame:
    """The partner struck a key."""
    config = self.codec.config
    level = int(config.velocity_to_code(np.array([velocity]))[0])
    return self._remember(time_ns, (0, key, level, config.held))

  def heard_pedal(self, time_ns: int, down: bool) -> PlayedFrame:
    """The partner moved the pedal."""
    key = PEDAL_DOWN if down else PEDAL_UP
    return self._remember(time_ns, (0, key, UNUSED, UNUSED))

  def _remember(self, time_ns: int, codes: tuple[int, ...]) -> PlayedFrame:
    step = (time_ns + STEP_NS // 2) // STEP_NS
    frame = PlayedFrame(step, time_ns, codes, own=False)
    self._recent.append(frame)
    return frame

  def forget(self, now_ns: int) -> None:
    """Drops what can no longer matter."""
    self.own.forget(now_ns)
    self.partner.forget(now_ns)
    oldest = now_ns - RECENT_NS
    if self._recent and self._recent[0].known_ns < oldest:
      self._recent = [f for f in self._recent if f.known_ns >= oldest]

  # Streams.

  def set_style(self, rows: np.ndarray | None) -> None:
    """Style from the next refresh on; None: masked.

    Raises:
      ValueError: Not a row for each slot.
    """
    rows = np.zeros_like(self._style) if rows is None else rows
    if rows.shape != self._style.shape:
      raise ValueError(
        f"style must have {len(self._style)} rows, got {len(rows)}."
      )
    self._style = rows

  def choose(self, number: int) -> None:
    """Weights from the next refresh on.

    The stream that is open keeps its own: its caches hold what they made of
    the music, and are no other weights' caches.

    Args:
      number: Of the choice, from 0.
    """
    self._functions = self._choices[number]

  @property
  def outdated(self) -> bool:
    """Whether the stream that is played from has other weights."""
    return self.stream is not None and (
      self.stream.functions not in self._functions.values()
    )

  @property
  def is_asked(self) -> bool:
    """Whether any slot of the style is not masked."""
    return bool(self._style.any())

  def open_stream(
    self, origin_step: int, inject: Injection | None = None
  ) -> Iterator[DuetStream | None]:
    """Encodes everything before a step; the last item is the stream.

    Other items are None, a few milliseconds apart. The stream holds what
    became known since and lies at the step or later.

    Args:
      origin_step: *Now*, in steps of the session.
      inject: Changes what the model is told of both players' music.
    """
    functions = self._functions[self.guided]
    origin_ns = origin_step * STEP_NS
    history_ns = max(0, origin_ns - HISTORY_NS)
    # Onsets belong to their nearest step, as in files.
    before_ns = origin_ns - STEP_NS // 2
    own = self.own.score(before_ns, history_ns)
    partner = self.partner.score(before_ns, history_ns)
    now_s = (origin_ns - history_ns) / SECOND
    rules = self.codec.rules_at(own, now_s)
    if inject is not None:
      own, partner = inject(partner, own)
    frames = duet_context(
      self.codec,
      own,
      partner,
      self.partner.held_keys,
      now_s,
      partner_part=self.partner_part,
      context_s=self._context_s,
      max_frames=functions.context_sizes[-1],
    )
    context = padded_context(self.codec, frames, functions.context_sizes)
    yield None
    state = None
    for state in functions.encode(context, self._style):
      if state is None:
        yield None
    assert state is not None
    stream = DuetStream(functions, state, origin_step, rules)
    since = sorted(
      (f for f in self._recent if f.step >= origin_step),
      key=lambda f: (f.known_ns, not f.own),
    )
    self._append(stream, since)
    yield stream

  def use(self, stream: DuetStream | None) -> None:
    """Makes a stream the one that is played from."""
    self.stream = stream
    self.planned = []

  def _append(self, stream: DuetStream, frames: Sequence[PlayedFrame]) -> None:
    """Appends what fits; the newest matter most."""
    frames = frames[-stream.room :] if stream.room else []
    if not frames:
      return
    part = [MODEL if f.own else self.partner_part for f in frames]
    step = np.array([f.step for f in frames], np.int32) - stream.origin_step
    stream.append(
      np.array([f.codes for f in frames], np.int32),
      # Clocks of ports may disagree by a little: nothing lies before now.
      np.maximum(step, 0).astype(np.int32),
      np.array(part, np.int32),
    )

  def append(self, frames: Sequence[PlayedFrame]) -> None:
    """The partner's new events enter the stream; the plan is dropped."""
    assert self.stream is not None
    self._append(self.stream, frames)
    self.planned = []

  # Plans.

  def commit(self, before_ns: int) -> None:
    """Planned events before a time count as played from here on."""
    count = 0
    for event in self.planned:
      if event.time_ns >= before_ns:
        break
      count += 1
    if not count or self.stream is None:
      return
    frames = self.stream.commit(count)
    for event, codes in zip(self.planned, frames.codes, strict=False):
      self._recent.append(
        PlayedFrame(
          event.time_ns // STEP_NS,
          event.time_ns,
          tuple(int(code) for code in codes),
          own=True,
        )
      )
      if isinstance(event, PlannedNote):
        self.own.strike(
          event.time_ns,
          event.key,
          event.velocity,
          end_ns=event.time_ns + event.duration_ns,
          id=event.id,
        )
      else:
        self.own.pedal(event.time_ns, event.down)
    self.planned = self.planned[count:]

  def unplay(self, id: int) -> None:
    """A committed event did not sound after all."""
    self.own.notes = [n for n in self.own.notes if n.id != id]

  def cut_own(self, now_ns: int) -> None:
    """Every own note ends now, and the pedal comes up."""
    for note in self.own.notes:
      if note.end_ns is not None and note.end_ns > now_ns > note.onset_ns:
        note.end_ns = now_ns
    self.own.pedal(now_ns, False)
    self.drop_plan()

  def drop_plan(self) -> None:
    """Forgets what is planned and not committed."""
    if self.stream is not None:
      self.stream.drop_plan()
    self.planned = []

  def plan(
    self,
    settings: PlanSettings,
    *,
    events: int,
    earliest_ns: int,
    latest_ns: int | None = None,
    max_gap_ns: int | None = None,
    note_first: bool = False,
    end_ns: int | None = None,
    may_end: bool = True,
    loudness: int = 0,
  ) -> int:
    """Draws own events after those already planned.

    Args:
      settings: How.
      events: Most new ones.
      earliest_ns: Nothing begins before it.
      latest_ns: The first begins before it, if anything may.
      most_gap_ns: Each begins at most so long after the one before.
      note_first: Whether the first must be a note.
      end_ns: What begins here or later is left for another time.
      may_end: Whether the model may fall silent.
      loudness: Added to each velocity.

    Returns:
      How many are new.
    """
    stream = self.stream
    assert stream is not None
    origin_ns = stream.origin_step * STEP_NS
    limits = {}
    if latest_ns is not None:
      limits["latest_step"] = max(1, -((origin_ns - latest_ns) // STEP_NS))
    if end_ns is not None:
      limits["end_step"] = max(1, -((origin_ns - end_ns) // STEP_NS))
    if max_gap_ns is not None:
      limits["max_gap"] = max(1, max_gap_ns // STEP_NS)
    had = len(self.planned)
    plan = stream.plan(
      settings,
      events=events,
      earliest_step=max(0, -((origin_ns - earliest_ns) // STEP_NS)),
      may_end=may_end,
      note_first=note_first,
      **limits,
    )
    for codes, step in zip(
      plan.frames.codes[had:], plan.frames.step[had:], strict=True
    ):
      self.planned.append(
        self._event(codes, origin_ns + int(step) * STEP_NS, loudness)
      )
    return len(self.planned) - had

  def _event(
    self, codes: np.ndarray, time_ns: int, loudness: int
  ) -> PlannedNote | PlannedPedal:
    id, self._next_id = self._next_id, self._next_id + 1
    _, key, velocity, duration = (int(code) for code in codes)
    if key >= KEYS:
      return PlannedPedal(id, time_ns, key == PEDAL_DOWN)
    config = self.codec.config
    seconds = float(config.duration_table_s[duration])
    loud = int(config.code_to_velocity(np.array([velocity]))[0]) + loudness
    return PlannedNote(
      id, time_ns, round(seconds * SECOND), key, min(max(loud, 1), 127)
    )

  def pedal_up(self, time_ns: int) -> PlannedPedal:
    """An own pedal-up that the model did not plan."""
    id, self._next_id = self._next_id, self._next_id + 1
    self.own.pedal(time_ns, False)
    return PlannedPedal(id, time_ns, False)

  @property
  def ended(self) -> bool:
    """Whether the model says that nothing follows what is planned."""
    return self.stream is not None and self.stream.planned.ended

  @property
  def warm_up_steps(self) -> int:
    """How often `warm_up` reports progress."""
    return sum(5 * len(f.context_sizes) for f in self._functions.values())

  def warm_up(
    self, settings: PlanSettings, on_progress: Callable[[], None] = lambda: None
  ) -> None:
    """Compiles every shape and setting, so that playing never does."""
    telling = threading.Lock()

    def progress() -> None:
      with telling:
        on_progress()

    # Mostly compiling, which lets other threads run.
    with ThreadPoolExecutor(len(self._functions)) as pool:
      jobs = [
        pool.submit(self._warm_up, settings, guided, progress)
        for guided in self._functions
      ]
    for job in jobs:
      job.result()

  def _warm_up(
    self, settings: PlanSettings, guided: bool, on_progress: Callable[[], None]
  ) -> None:
    codec, functions = self.codec, self._functions[guided]
    settings = settings._replace(guidance=float(guided))
    for size in functions.context_sizes:
      frames = codec.encode_context(Score.empty(), 0.0)
      context = padded_context(codec, frames, (size,))
      *_, state = functions.encode(context, self._style)
      assert state is not None
      on_progress()
      stream = DuetStream(functions, state, 0, codec.init_rules())
      for count in (1, 4, 16):
        codes = np.tile(
          np.array([[0, 60, 9, codec.config.held]], np.int32), (count, 1)
        )
        step = np.zeros(count, np.int32)
        stream.append(codes, step, np.full(count, 1, np.int32))
        on_progress()
      stream.plan(settings, events=2, earliest_step=0)
      on_progress()
