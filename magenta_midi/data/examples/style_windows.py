"""Style windows: the 10 s of music from *now* on that give an example's style.

Only the model's events, augmented like the example. In turns it is the music of
both parts: one continues when the other stops, and a single turn may be too
short for a style. Notes that began before *now* are left out; a pedal that is
down goes down again at the start.
"""

from typing import Any, NamedTuple

import numpy as np

from magenta_midi.data.corpus import Corpus
from magenta_midi.data.examples.examples import context_frames_of, gather
from magenta_midi.data.examples.framing import Events, both_sides
from magenta_midi.data.examples.partners import MODES
from magenta_midi.midi.notes import NOTE_DTYPE
from magenta_midi.midi.pedal import PEDAL_DTYPE
from magenta_midi.midi.score import Score
from magenta_midi.midi.tempo import TempoMap
from magenta_midi.model.depthformer import Frames
from magenta_midi.style.controls import Measures
from magenta_midi.tokens.codec import Codec
from magenta_midi.tokens.note.codec import PEDAL_DOWN, NoteCodec
from magenta_midi.typing import Int, Shaped

__all__ = [
  "STYLE_WINDOW_S",
  "StyleWindows",
  "style_frames",
  "style_scores",
  "style_windows",
]

STYLE_WINDOW_S = 10.0

_TEMPO = TempoMap.constant()
# Shorter music counts as so long, and fewer notes have no width.
_MIN_MEASURED_S = 1.0
_MIN_FOR_WIDTH = 5


class StyleWindows(NamedTuple):
  """The windows of some examples; frames and scores are made from them."""

  codec: Codec
  # Steps and offsets count from the *end* of the window.
  events: Events
  count: int

  @property
  def steps(self) -> int:
    """Length of a window, 10 ms steps."""
    return _steps(self.codec)

  def frames(self, width: int) -> Frames:
    """As contexts, padded to `width`; the newest frames are kept."""
    length = np.full(self.count, self.steps, np.int32)
    context, _ = both_sides(self.codec, self.events, length, 0)
    nobody = np.zeros(self.count, np.int32)
    arrays: tuple[Any, ...] = context_frames_of(
      self.codec, context, nobody, width
    )
    return Frames(*arrays)

  def scores(self) -> list[Score]:
    """As scores that begin at 0."""
    return [self.score(row) for row in range(self.count)]

  def score(self, row: int) -> Score:
    """One window as a score that begins at 0."""
    valid = self.events.valid[row]
    key = self.events.key[row, valid]
    start_ms = self.steps * self.codec.config.step_ms
    # The grid rounds half up: a window begins half a step early.
    time_ms = np.maximum(0.0, self.events.offset[row, valid] + start_ms)
    time_s = np.round(time_ms / 1000, 9)
    is_note = key < PEDAL_DOWN
    notes = np.zeros(np.count_nonzero(is_note), NOTE_DTYPE)
    notes["onset_s"], notes["key"] = time_s[is_note], key[is_note]
    notes["duration_s"] = self.events.duration[row, valid][is_note] / 1000
    notes["velocity"] = self.events.velocity[row, valid][is_note]
    held = self.events.pedal_at_start[row, 0]
    time_s = np.append(0.0, time_s[~is_note])
    down = np.append(held, key[~is_note] == PEDAL_DOWN)
    changes = np.diff(down, prepend=False)
    pedals = np.zeros(np.count_nonzero(changes), PEDAL_DTYPE)
    pedals["time_s"], pedals["down"] = time_s[changes], down[changes]
    order = np.lexsort((notes["key"], notes["onset_s"]))
    return Score(notes=notes[order], pedals=pedals, tempo=_TEMPO)

  def notes(self) -> Int[np.ndarray, " n"]:
    """Notes of each window."""
    is_note = self.events.key < PEDAL_DOWN
    return np.count_nonzero(self.events.valid & is_note, axis=1)

  def measures(self, seconds: float) -> Measures:
    """Measures for control tokens of the windows' first seconds.

    The time counts up to the last note's end where the music stops earlier.
    Without notes there is a density of 0 and nothing else, and not even that
    where the whole window has none.
    """
    events, config = self.events, self.codec.config
    time_s = (self.steps * config.step_ms + events.offset) / 1000
    is_note = events.key < PEDAL_DOWN
    inside = events.valid & (time_s < seconds)
    notes = inside & is_note
    count = notes.sum(axis=1)
    ends_s = np.where(
      events.valid & is_note, time_s + events.duration / 1000, 0.0
    )
    length_s = np.clip(ends_s.max(axis=1), _MIN_MEASURED_S, seconds)
    # Each change of the pedal adds the rest of the window to the time with
    # pedal, or subtracts it.
    left_s = np.clip(length_s[:, None] - np.maximum(time_s, 0.0), 0.0, None)
    sign = np.where(events.key == PEDAL_DOWN, 1, -1) * (inside & ~is_note)
    down_s = (sign * left_s).sum(axis=1)
    down_s += events.pedal_at_start[:, 0] * length_s
    keys = np.sort(np.where(notes, events.key, 128), axis=1)
    # A tenth of the notes is below, a tenth above.
    last = np.maximum(count - 1, 0)
    low, high = (
      np.take_along_axis(keys, at[:, None], 1)[:, 0]
      for at in (last // 10, last - last // 10)
    )
    velocity = np.where(notes, events.velocity, 0).sum(axis=1)

    def where(known: np.ndarray, values: np.ndarray) -> np.ndarray:
      return np.where(known, values, np.nan)

    return Measures(
      density=where(self.notes() > 0, count / length_s),
      loudness=where(count > 0, velocity / np.maximum(count, 1)),
      center=where(count > 0, (low + high) / 2),
      width=where(count >= _MIN_FOR_WIDTH, high - low),
      pedal=where(count > 0, np.clip(down_s / length_s, 0.0, 1.0)),
    )


def style_windows(
  codec: Codec, corpora: list[Corpus], examples: Shaped[np.ndarray, " n"]
) -> StyleWindows:
  """The windows of examples, `EXAMPLE_DTYPE`."""
  moved = examples.copy()
  steps = _steps(codec)
  moved["now_ms"] += steps * codec.config.step_ms
  moved["context_steps"] = steps
  turns = moved["mode"] == MODES.index("turns")
  moved["mode"][turns] = MODES.index("solo")
  events = gather(codec, moved, corpora, 0, 0)
  models = events.valid & (events.part == 0) & (events.step >= -steps)
  pedal = events.pedal_at_start & np.array([True, False])
  events = events._replace(
    valid=models,
    pedal_at_start=pedal,
    # The whole window is known: all of its notes have ended.
    unfinished=np.zeros_like(models),
  )
  return StyleWindows(codec, events, len(examples))


def style_frames(
  codec: Codec,
  corpora: list[Corpus],
  examples: Shaped[np.ndarray, " n"],
  width: int,
) -> Frames:
  """The windows as contexts `[n, width]`: times are -1000..-1 steps.

  Args:
    codec: Gives codes and vocabulary.
    corpora: What `examples` index.
    examples: `EXAMPLE_DTYPE`.
    width: Frames; of longer windows the newest are kept, the rest is PAD.
  """
  return style_windows(codec, corpora, examples).frames(width)


def style_scores(
  corpora: list[Corpus], examples: Shaped[np.ndarray, " n"]
) -> list[Score]:
  """The windows as scores, onsets from 0 s up to 10 s."""
  return style_windows(NoteCodec(), corpora, examples).scores()


def _steps(codec: Codec) -> int:
  return round(STYLE_WINDOW_S * 1000 / codec.config.step_ms)
