"""Generator of music, chunk by chunk: state in, `(chunk, state)` out."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from flax import nnx

from magenta_midi.generate.decoder import (
  ChunkRequest,
  Decoded,
  make_decoder,
)
from magenta_midi.generate.duet.functions import DuetFunctions
from magenta_midi.generate.key_prior import no_key_tables
from magenta_midi.generate.pauses import MIN_S, SILENT_S, pauses_too_long
from magenta_midi.generate.priors import Priors, PriorTables
from magenta_midi.generate.repetition import repeats_exactly
from magenta_midi.generate.sampling import LIKELIEST, Sampling, level_sampling
from magenta_midi.limits import GUIDANCE, SEED
from magenta_midi.midi.score import Score
from magenta_midi.model.depthformer import Depthformer, OutlineFrames
from magenta_midi.tokens.codec import Codec
from magenta_midi.tokens.frames import Frames, join_frames
from magenta_midi.tokens.note.codec import NoteCodec
from magenta_midi.typing import Bool, Int

__all__ = ["Chunk", "GenerationState", "Generator", "join_chunks"]

CONTEXT_S = 10.0
# If the history is longer than TRIM_AT_S, it is cut to KEEP_S, in seconds. Both
# are longer than the context and the longest note before it.
KEEP_S, TRIM_AT_S = 30.0, 60.0
# Maximum number of draws of a chunk that repeats the music before it.
REDRAWS = 3
# Without context, the first note must come in the first START_S seconds. If all
# of STARTS draws fail, so many more are drawn with OPENING in place of the
# settings. If these fail too, the last one is used.
START_S, STARTS = 0.5, 24
# The likeliest start of all is silence, and so is the likeliest end of a pause.
OPENING = Sampling()
# Maximum number of draws of a chunk with a long pause.
PAUSES = 8


class GenerationState(NamedTuple):
  """State of generation; passed in and returned, never modified.

  Attributes:
    history: The music so far, one part; its time 0 is `origin_s`.
    origin_s: Start of the history, in seconds since the session's start.
    now_s: Start of the next chunk, in seconds since the session's start.
    chunk_index: Number of chunks generated so far.
  """

  history: Score
  origin_s: float
  now_s: float
  chunk_index: int


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Chunk:
  """One chunk of generated music.

  Attributes:
    frames: The events; `step` counts 10 ms from the start of the chunk.
    score: The events as a score; its time 0 is the start of the chunk. If the
      pedal is down at the start, it begins with a pedal-down. With `event`,
      notes that still sound end at the end of the chunk; `join_chunks` gives
      their true length.
    start_s: Start of the chunk, in seconds since the session's start.
    seconds: Length of the chunk.
    pedal_down: Whether the pedal is down at the start of the chunk.
    log_p: float32 `[n, l]`, the model's log probability of each code; 0 for
      frames that the codec added to end notes.
    capped: Whether the chunk reached the maximum number of frames.
    redraws: How often the chunk was drawn again, because it repeated the music
      before it, paused for long, or began with silence without context.
  """

  frames: Frames
  score: Score
  start_s: float
  seconds: float
  pedal_down: bool
  log_p: np.ndarray
  capped: bool
  redraws: int

  @property
  def notes(self) -> int:
    """Number of notes."""
    return len(self.score)


def join_chunks(codec: Codec, chunks: Sequence[Chunk]) -> Score:
  """Joins successive chunks; time 0 is the start of the first."""
  if not chunks:
    return Score.empty()
  first = chunks[0]
  per_s = codec.config.steps_per_s
  frames = join_frames(
    *(
      chunk.frames._replace(
        step=chunk.frames.step
        + np.int32(round((chunk.start_s - first.start_s) * per_s))
      )
      for chunk in chunks
    )
  )
  last = chunks[-1]
  seconds = last.start_s + last.seconds - first.start_s
  return codec.decode_frames(
    frames, pedal_down=first.pedal_down, until_step=round(seconds * per_s)
  )


class Generator:
  """Generates with one model and codec; holds the compiled functions.

  Args:
    model: In evaluation mode.
    codec: The codec that the model was trained with.
  """

  def __init__(self, model: Depthformer, codec: Codec):
    self.codec = codec
    self.config = model.config
    self.model = model
    # A context is padded to the smallest of these sizes that holds it. Most
    # contexts fit in half.
    self.context_sizes = (codec.context_frames // 2, codec.context_frames)
    # Maximum number of frames of a chunk.
    self.chunk_frames = codec.chunk_frames
    self._decoders: dict[bool, Any] = {}
    self._duets: dict[tuple[bool, int], DuetFunctions] = {}

  def decode(self, request: ChunkRequest, *, guided: bool = False) -> Decoded:
    """Runs the compiled decoder; the first call compiles it."""
    if guided not in self._decoders:
      self._decoders[guided] = make_decoder(
        self.model, self.codec, max_frames=self.chunk_frames, guided=guided
      )
    decode, leaves = self._decoders[guided]
    return decode(leaves, request)

  def take_weights(self, model: Depthformer) -> None:
    """Changes to the weights of a model of the same shape, compiling nothing.

    Open duet streams, and functions returned before, keep the old weights.
    """
    self.model = model
    leaves = jax.tree.leaves(nnx.state(model, nnx.Param))
    for guided, (decode, _) in self._decoders.items():
      self._decoders[guided] = (decode, leaves)
    self._duets = {
      kind: functions.with_weights(model)
      for kind, functions in self._duets.items()
    }

  def duet_functions(self, *, guided: bool, slots: int) -> DuetFunctions:
    """Compiled functions for duet streams, made once."""
    if (guided, slots) not in self._duets:
      self._duets[guided, slots] = DuetFunctions(
        self.model,
        self.codec,
        context_sizes=self.context_sizes,
        slots=slots,
        guided=guided,
      )
    return self._duets[guided, slots]

  def init_state(self, context: Score | None = None) -> GenerationState:
    """The initial state, after `context`; None: without context.

    All parts of the context become one. Its end is rounded up to 10 ms, so that
    the continuation starts on the grid. Pedal changes after it are left out:
    from there on the model has the pedal.
    """
    if context is None or not len(context):
      return GenerationState(Score.empty(), 0.0, 0.0, 0)
    per_s = self.codec.config.steps_per_s
    merged = context.merged()
    last_onset = float(merged.notes["onset_s"][-1])
    now = np.ceil(max(last_onset + 1 / per_s, 0.0) * per_s) / per_s
    late = merged.pedals["time_s"] >= now
    if late.any():
      merged = dataclasses.replace(merged, pedals=merged.pedals[~late])
    return _trimmed(GenerationState(merged, 0.0, float(now), 0))

  def at(self, state: GenerationState, now_s: float) -> GenerationState:
    """The same history, continued from another time, in seconds."""
    return state._replace(now_s=now_s)

  def request(
    self,
    state: GenerationState,
    *,
    style: Int[np.ndarray, " m"] | None = None,
    seed: int = 0,
    sampling: Sampling | None = None,
    guidance: float = 0.0,
    keys: Bool[np.ndarray, "128"] | None = None,
    priors: Priors | None = None,
    redraw: int = 0,
    limit: int | None = None,
    forced: int = 0,
  ) -> ChunkRequest:
    """Makes the input of the compiled decoder for the next chunk.

    Args:
      state: State of generation.
      style: Rows of the style table; None: masked.
      seed: Random seed of the session, 0 to 2**32 - 1.
      sampling: Settings of drawing; None: the defaults.
      guidance: Weight of the style against no style.
      keys: Keys that may be played; None: all.
      priors: What is wanted of the music; None: nothing.
      redraw: Another number gives another draw of the same chunk.
      limit: Maximum number of frames; None: that of a chunk.
      forced: Minimum number of frames, at any time (for benchmarks).
    """
    seed = SEED.check("seed", seed)
    guidance = GUIDANCE.check("guidance", guidance)
    if keys is not None and not keys.any():
      raise ValueError("keys must allow at least one key, got none.")
    now = state.now_s - state.origin_s
    codec = self.codec
    context = codec.encode_context(
      state.history, now, context_s=CONTEXT_S, max_frames=self.context_sizes[-1]
    )
    count = len(context.step)
    size = next(size for size in self.context_sizes if size >= count)
    levels = codec.vocabulary.levels
    ids = np.zeros((1, size, levels), np.int32)
    time = np.zeros((1, size), np.int32)
    part = np.zeros((1, size), np.int32)
    ids[0, :count] = codec.vocabulary.to_ids(context.codes)
    time[0, :count] = context.step
    part[0, :count] = context.part
    slots = np.zeros((1, self.config.style_slots), np.int32)
    if style is not None:
      slots[0] = style
    return ChunkRequest(
      context_ids=ids,
      context_time=time,
      context_part=part,
      style=slots,
      rules=codec.rules_at(state.history, now),
      earliest_step=np.int32(0),
      end_step=np.int32(2**30 if forced else codec.config.chunk_steps),
      limit=np.int32(self.chunk_frames if limit is None else limit),
      keys=np.ones(128, bool) if keys is None else keys,
      forced=np.int32(forced),
      draw=np.array([seed, state.chunk_index, redraw], np.uint32),
      sampling=level_sampling(sampling or Sampling(), levels),
      guidance=np.float32(guidance),
      priors=self._prior_tables(priors, state.now_s),
      outline=self._outline_frames(priors, state.now_s),
    )

  def _outline_frames(
    self, priors: Priors | None, now_s: float
  ) -> OutlineFrames | None:
    """What the model is given of beats and chords; None: it has no input."""
    if not self.config.outline_rows:
      return None
    return (priors or Priors()).outline_frames(now_s, self.codec.config.step_ms)

  def _prior_tables(self, priors: Priors | None, start_s: float) -> PriorTables:
    """Tables of a chunk that starts at a time; empty without codec `note`."""
    config = self.codec.config
    if not isinstance(self.codec, NoteCodec):
      return PriorTables(np.zeros(0, np.float32), no_key_tables(0))
    steps = config.chunk_steps + config.horizon_steps
    return (priors or Priors()).tables(start_s, steps, 1 / config.steps_per_s)

  def generate_chunk(
    self,
    state: GenerationState,
    *,
    style: Int[np.ndarray, " m"] | None = None,
    seed: int = 0,
    sampling: Sampling | None = None,
    guidance: float = 0.0,
    keys: Bool[np.ndarray, "128"] | None = None,
    priors: Priors | None = None,
  ) -> tuple[Chunk, GenerationState]:
    """Generates the next 2 s.

    A chunk is drawn again if it repeats the music before it, if it pauses for
    long, or if it is the first one without context and begins with silence.
    Where settings such as temperature 0 or top_k 1 give only silence then, that
    chunk alone is drawn at temperature 1.

    Args:
      state: From `init_state` or an earlier call; not changed.
      style: Rows of the style table; None: masked.
      seed: The same seed and state give the same chunk.
      sampling: Settings of drawing; None: the defaults.
      guidance: Weight of the style against no style; 0 costs no time.
      keys: Keys that may be played; None: all.
      priors: What is wanted of the music, in codec `note`; None: nothing.

    Returns:
      The chunk and the state after it.
    """
    guided = guidance != 0.0
    now = state.now_s - state.origin_s
    codec = self.codec
    steps = codec.config.chunk_steps
    same, why = _always_the_same(sampling), None
    for redraw in itertools.count():
      # Draws that are all the same are made once.
      opening = (why == "pause" and same) or (
        why == "start" and (same or redraw >= STARTS)
      )
      request = self.request(
        state,
        style=style,
        # Where the seed had no part, it has none now.
        seed=0 if opening and same else seed,
        sampling=OPENING if opening else sampling,
        guidance=guidance,
        keys=keys,
        priors=priors,
        redraw=redraw,
      )
      pedal_down = bool(request.rules.pedal_down)
      decoded = self.decode(request, guided=guided)
      count = int(decoded.count)
      # Slice NumPy arrays: JAX compiles a slice for each length.
      frames = Frames(
        np.asarray(decoded.codes)[:count],
        np.asarray(decoded.step)[:count],
        np.zeros(count, np.int32),
      )
      frames = codec.complete(state.history, frames, now, steps)
      score = codec.decode_frames(
        frames, pedal_down=pedal_down, until_step=steps
      )
      steered = style is not None and bool(style.any())
      why = self._why_again(state, score, redraw, steered=steered)
      # The likeliest after silence is silence: it would last for ever.
      silent = same and not len(score) and not steered
      if why is None and silent and redraw < PAUSES:
        why = "pause"
      if why is None:
        break
    log_p = np.zeros(frames.codes.shape, np.float32)
    log_p[:count] = np.asarray(decoded.log_p)[:count]
    chunk = Chunk(
      frames=frames,
      score=score,
      start_s=state.now_s,
      seconds=codec.config.chunk_s,
      pedal_down=pedal_down,
      log_p=log_p,
      capped=count >= self.chunk_frames,
      redraws=redraw,
    )
    history = codec.append(
      state.history, frames, now, end_step=steps, pedal_down=pedal_down
    )
    next_state = GenerationState(
      history,
      state.origin_s,
      # Rounded, so that float errors do not add up over hours.
      round(state.now_s + chunk.seconds, 6),
      state.chunk_index + 1,
    )
    return chunk, _trimmed(next_state)

  def _why_again(
    self, state: GenerationState, score: Score, redraw: int, *, steered: bool
  ) -> Literal["start", "repetition", "pause"] | None:
    """Why draw number `redraw` of a chunk should not be used; None: it may.

    Args:
      state: The state before the chunk.
      score: The chunk.
      redraw: Number of the draw, from 0.
      steered: Whether the chunk has a style or control, which may ask for
        silence.
    """
    if not len(state.history):
      again = redraw < 2 * STARTS and not _starts(score)
      return "start" if again else None
    now = state.now_s - state.origin_s
    if redraw < REDRAWS and repeats_exactly(
      state.history, score, now, self.codec
    ):
      return "repetition"
    # A model that learned duets waits for a player, but here there is none.
    again = redraw < PAUSES and pauses_too_long(
      state.history,
      score,
      now,
      self.codec.config.chunk_s,
      min_s=SILENT_S if steered else MIN_S,
    )
    return "pause" if again else None

  def warm_up(self, *, guided: bool = False) -> None:
    """Compiles or loads the decoder, so that playing does not wait for it."""
    request = self.request(self.init_state(), limit=1)
    for size in self.context_sizes:
      blank = np.zeros((1, size), np.int32)
      padded = request._replace(
        context_ids=np.zeros((1, size, self.codec.levels), np.int32),
        context_time=blank,
        context_part=blank,
      )
      jax.block_until_ready(self.decode(padded, guided=guided))


def _always_the_same(sampling: Sampling | None) -> bool:
  """Whether every draw of a chunk's first code is the likeliest one."""
  if sampling is None:
    return False
  temperature = np.ravel(sampling.temperature)[0]
  top_k, min_p = np.ravel(sampling.top_k)[0], np.ravel(sampling.min_p)[0]
  return bool(temperature <= LIKELIEST or top_k == 1 or min_p == 1)


def _starts(score: Score) -> bool:
  onset_s = score.notes["onset_s"]
  return len(onset_s) > 0 and float(onset_s[0]) <= START_S


def _trimmed(state: GenerationState) -> GenerationState:
  """Removes old music that no context can contain."""
  length = state.now_s - state.origin_s
  if length <= TRIM_AT_S:
    return state
  # Cut on the grid, so that the steps of the rest do not change.
  cut = np.floor(length - KEEP_S)
  return state._replace(
    history=state.history.crop(float(cut)), origin_s=state.origin_s + cut
  )
