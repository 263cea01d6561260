"""Encoder of the context: the music of both players becomes a new stream.

Holds the networks to choose among, the style and the compiled functions. All
is compiled by `warm_up`; a change of network or style counts from the next
stream on.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from magenta_midi.generate.duet.context import duet_context, padded_context
from magenta_midi.generate.duet.stream import DuetStream, PlanSettings
from magenta_midi.generate.generator import Generator
from magenta_midi.generate.priors import Priors
from magenta_midi.live.player import NoteHistory, Player
from magenta_midi.live.protocol.events import SECOND
from magenta_midi.midi.score import Score
from magenta_midi.model.depthformer import Depthformer
from magenta_midi.tokens.note.codec import NoteCodec

__all__ = ["STEP_NS", "ContextEncoder", "Injection"]

# Steps of a stream are 10 ms.
STEP_NS = SECOND // 100
_HISTORY_NS = 22 * SECOND
# A second of two players who both play much: contexts and player's notes.
_DENSE_CONTEXTS, _DENSE_NOTES = 3, 12

# Player's and model's music -> the model's and the player's in the context.
Injection = Callable[[Score, Score], tuple[Score, Score]]


class ContextEncoder:
  """Opens streams of one model.

  Args:
    generator: The model; codec `note`.
    player_delay_ms: How late the player's events become known.
    context_s: Length of the context.
    slots: Most frames of a stream.
    weights: Networks to choose among, of the generator's shape; the first is
      in use. None given: the generator's own.

  Attributes:
    codec: The model's.
    player_part: How frames of the player are marked.
    guided: Whether streams are opened with a second row without style.

  Raises:
    ValueError: The checkpoint's codec is another, or it knows no parts.
  """

  def __init__(
    self,
    generator: Generator,
    *,
    player_delay_ms: float = 5.0,
    context_s: float = 10.0,
    slots: int = 192,
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
    # With two parts only, the delay of the player cannot be marked.
    self.player_part = 1
    if parts > 2:
      self.player_part = 1 + min(int(player_delay_ms // 20), parts - 2)
    self._style = np.zeros(generator.config.style_slots, np.int32)
    base = {
      guided: generator.duet_functions(guided=guided, slots=slots)
      for guided in (False, True)
    }
    # Of each choice, by whether they are guided; compiled once for all.
    self._choices = [
      {guided: base[guided].with_weights(network) for guided in base}
      for network in weights
    ] or [base]
    self._functions = self._choices[0]
    self.guided = False
    # Beats and chords that the next streams are given, if the model knows any.
    self.priors = Priors()

  def set_style(self, rows: np.ndarray | None) -> None:
    """Style of the next streams; None: masked.

    Args:
      rows: Of the style table, int32 `[m]`, one for each slot.

    Raises:
      ValueError: Not a row for each slot.
    """
    rows = np.zeros_like(self._style) if rows is None else rows
    if rows.shape != self._style.shape:
      raise ValueError(
        f"style must have {len(self._style)} rows, got {len(rows)}."
      )
    self._style = rows

  @property
  def has_style(self) -> bool:
    """Whether any slot of the style is not masked."""
    return bool(self._style.any())

  def choose(self, number: int) -> None:
    """Weights of the next streams.

    A stream that is open keeps its own: its caches were computed with them.

    Args:
      number: Of the choice, from 0.
    """
    self._functions = self._choices[number]

  def has_weights_of(self, stream: DuetStream) -> bool:
    """Whether a stream was opened with the weights of the present choice."""
    return stream.functions in self._functions.values()

  def open(
    self,
    origin_step: int,
    *,
    player: Player,
    model: NoteHistory,
    inject: Injection | None = None,
  ) -> Iterator[DuetStream | None]:
    """Encodes everything before a step; the last item is the stream.

    Other items are None, a few milliseconds apart.

    Args:
      origin_step: *Now*, in steps of the session.
      player: What the player did.
      model: What the model played.
      inject: Changes what the context holds of both players' music.
    """
    functions = self._functions[self.guided]
    origin_ns = origin_step * STEP_NS
    history_ns = max(0, origin_ns - _HISTORY_NS)
    # Onsets belong to their nearest step, as in files.
    before_ns = origin_ns - STEP_NS // 2
    model_score = model.score(before_ns, history_ns)
    player_score = player.history.score(before_ns, history_ns)
    now_s = (origin_ns - history_ns) / SECOND
    rules = self.codec.rules_at(model_score, now_s)
    if inject is not None:
      model_score, player_score = inject(player_score, model_score)
    frames = duet_context(
      self.codec,
      model_score,
      player_score,
      player.keyboard.held_keys,
      now_s,
      player_part=self.player_part,
      context_s=self._context_s,
      max_frames=functions.context_sizes[-1],
    )
    context = padded_context(self.codec, frames, functions.context_sizes)
    yield None
    state = None
    outline = self.priors.outline_frames(
      origin_ns / SECOND, self.codec.config.step_ms
    )
    for state in functions.encode(context, self._style, outline):
      if state is None:
        yield None
    assert state is not None
    yield DuetStream(functions, state, origin_step, rules)

  # Compiling.

  @property
  def warm_up_steps(self) -> int:
    """How often `warm_up` reports progress."""
    return sum(5 * len(f.context_sizes) for f in self._functions.values())

  def warm_up(
    self, settings: PlanSettings, on_progress: Callable[[], None] = lambda: None
  ) -> None:
    """Compiles every shape and setting, so that playing never does."""
    reporting = threading.Lock()

    def progress() -> None:
      with reporting:
        on_progress()

    # Mostly compiling, which lets other threads run.
    with ThreadPoolExecutor(len(self._functions)) as pool:
      jobs = [
        pool.submit(self._warm_up, settings, guided, progress)
        for guided in self._functions
      ]
    for job in jobs:
      job.result()

  def dense_second(self, settings: PlanSettings) -> tuple[float, float]:
    """What a second of dense music takes, with guidance; see `Engine`."""
    codec, functions = self.codec, self._functions[True]
    settings = settings._replace(guidance=1.0)
    frames = codec.encode_context(Score.empty(), 0.0)
    context = padded_context(codec, frames, functions.context_sizes[-1:])
    note = np.array([[0, 60, 9, codec.config.held]], np.int32)
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    for _ in range(_DENSE_CONTEXTS):
      *_, state = functions.encode(context, self._style)
      assert state is not None
      stream = DuetStream(functions, state, 0, codec.init_rules())
      for place in range(_DENSE_NOTES // _DENSE_CONTEXTS):
        step = np.array([10 * place], np.int32)
        stream.append(note, step, np.ones(1, np.int32))
        stream.plan(settings, events=3, earliest_step=10 * place + 1)
    return time.process_time() - cpu_s, time.perf_counter() - wall_s

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
