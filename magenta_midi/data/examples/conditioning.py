"""Style and control tokens of training examples.

In half of the examples the style is that of the example's targets, in half
that of a caption of them; in a few it is masked. Each control is given half of
the time. In an example with a shift of style, either all controls describe the
shift, or only the style does. All draws follow from the example and a seed, so
that a resumed run repeats them.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from magenta_midi.data.corpus import Corpus
from magenta_midi.data.examples.style_shifts import MODE, SHIFT_ATTRIBUTES
from magenta_midi.data.examples.style_windows import StyleWindows, style_windows
from magenta_midi.midi.analysis.description import describe
from magenta_midi.model.depthformer import Frames
from magenta_midi.style.controls import (
  CONTROL_BUCKETS,
  CONTROL_ROWS,
  CONTROLS,
  measured_rows,
)
from magenta_midi.style.midi_coca import MidiCoCa
from magenta_midi.style.model import MASK_TOKEN, StyleModel
from magenta_midi.style.registry import get_style_model
from magenta_midi.style.slots import same_style
from magenta_midi.style.text.captions import caption, statement
from magenta_midi.style.text.facts import PieceFacts, piece_facts
from magenta_midi.tokens.codec import Codec
from magenta_midi.tokens.note.codec import NoteCodec
from magenta_midi.typing import Bool, Int, Shaped

__all__ = ["StyleRows", "load_style", "stored_style"]

MASKED, CAPTIONED, CONTROL_DROPPED = 0.1, 0.5, 0.5
# Share of the examples without shift that get neither style nor controls.
# Without it they are so rare that a model with no style set plays unlike any of
# its examples.
UNCONDITIONED = 0.3
# Controls are measured over what is predicted, styles over 10 s.
CONTROL_S = 4.0
# A window with fewer notes gives no reliable style.
MIN_NOTES = 6
# Frames of a window that a MIDI tower reads (1 in 25 has more: the newest are
# kept), and windows or texts at a time. Few shapes are compiled, and a batch
# of 27 examples is padded by little.
WIDTHS = (96, 192)
CHUNK = 4


def load_style(name: str) -> StyleModel:
  """The style model of a name, or of the folder of a MidiCoCa.

  Raises:
    ValueError: There is none of that name; OSError if it cannot be read.
  """
  # Beside a GPU that is busy with the last step, the CPU is free.
  with jax.default_device(_cpu()):
    if Path(name).is_dir():
      return MidiCoCa.load(Path(name))
    model = get_style_model(name)
    # Raises here if the model is not installed. Later, music that it cannot
    # embed is masked.
    model.embed("slow piano")
    return model


def stored_style(config: Mapping[str, Any]) -> StyleRows:
  """The rows that a checkpoint was trained with.

  Args:
    config: Its config.json.

  Raises:
    ValueError: It has no style, or its style model is not installed.
  """
  entry = config.get("style")
  if not entry:
    raise ValueError(
      "the checkpoint hears no style. Give one that was trained with --style,"
      " or leave out --style-prompted."
    )
  rows = StyleRows(load_style(entry["model"]))
  if not same_style(rows.entry, entry):
    raise ValueError(
      f"the checkpoint was trained with another {entry['model']!r}:"
      f" {entry['levels']} levels of {entry['rows']} rows in all, here"
      f" {rows.entry['levels']} of {rows.entry['rows']}; or with other"
      " weights or controls."
    )
  return rows


def _cpu() -> Any:
  return jax.devices("cpu")[0]


class StyleRows:
  """Makes the rows of style slots from examples.

  Args:
    model: Embeds music and captions.
    facts: What is known of each piece of each corpus, an attribute that may be
      set later; None: its name only.
    seed: Of all draws.
  """

  def __init__(
    self,
    model: StyleModel,
    facts: Sequence[Sequence[PieceFacts]] | None = None,
    *,
    seed: int = 0,
  ):
    self.model = model
    self.facts = facts
    self.seed = seed
    # The style model reads notes, with any codec of the run.
    self._codec: Codec = NoteCodec()

  @property
  def slots(self) -> int:
    """Slots of a model: the style model's levels and the controls."""
    return self.model.levels + len(CONTROLS)

  @property
  def table_rows(self) -> int:
    """Rows of a model's style table."""
    return self.model.table_rows + CONTROL_ROWS

  @property
  def entry(self) -> dict[str, Any]:
    """Their entry in config.json."""
    digest = getattr(self.model, "digest", "")
    return dict(
      model=self.model.name,
      levels=self.model.levels,
      rows=self.model.table_rows,
      controls=CONTROL_BUCKETS,
      **({"digest": digest} if digest else {}),
    )

  def drawn(
    self, corpora: list[Corpus], examples: Shaped[np.ndarray, " n"]
  ) -> Int[np.ndarray, "n m"]:
    """Rows for training, int32: some parts masked, some from captions."""
    windows = style_windows(self._codec, corpora, examples)
    random = [
      np.random.default_rng((self.seed, zlib.crc32(example.tobytes())))
      for example in examples
    ]
    chance = np.array([rng.random(5 + len(CONTROLS)) for rng in random])
    shifted = examples["departure"] > 0
    enough = windows.notes() >= MIN_NOTES
    by_controls = shifted & (~enough | (chance[:, -1] < 0.5))
    # There is no control for the mode.
    by_controls &= examples["departure"] != MODE
    by_style = shifted & ~by_controls
    unconditioned = ~shifted & (chance[:, -2] < UNCONDITIONED)
    masked = chance[:, 0] < np.where(by_controls, 0.5, MASKED)
    masked |= unconditioned
    given = (by_style | ~masked) & enough
    captioned = given & (chance[:, 1] < CAPTIONED)
    captions = {
      row: self._caption(windows, row, examples[row], random[row], corpora)
      for row in np.flatnonzero(captioned).tolist()
    }
    # Shifts that have no words get the style of the music.
    without_words = [
      r for r, text in captions.items() if text is None and by_style[r]
    ]
    captioned[without_words] = False
    rows = np.concatenate(
      [
        self._of_music(windows, given & ~captioned),
        # In half of the registers the width is masked.
        self._of_controls(windows, chance[:, 2] < CONTROL_DROPPED),
      ],
      axis=1,
    )
    at = np.flatnonzero(captioned).tolist()
    texts = [captions[row] for row in at]
    styles, controls = np.split(rows, [self.model.levels], axis=1)
    styles[at] = self._of_texts(texts)
    # A style model may not know a word.
    by_style &= styles.any(axis=1)
    dropped = (chance[:, 3:-2] < CONTROL_DROPPED) | unconditioned[:, None]
    dropped = np.where(shifted[:, None], by_style[:, None], dropped)
    controls[dropped] = MASK_TOKEN
    return rows

  def given(
    self, corpora: list[Corpus], examples: Shaped[np.ndarray, " n"]
  ) -> Int[np.ndarray, "n m"]:
    """Rows for evaluation, int32: of the music to come, and all controls."""
    windows = style_windows(self._codec, corpora, examples)
    enough = windows.notes() >= MIN_NOTES
    everywhere = np.zeros(len(examples), bool)
    return np.concatenate(
      [self._of_music(windows, enough), self._of_controls(windows, everywhere)],
      axis=1,
    )

  def _of_controls(
    self, windows: StyleWindows, any_width: Bool[np.ndarray, " n"]
  ) -> np.ndarray:
    measures = windows.measures(CONTROL_S)
    width = np.where(any_width, np.nan, measures.width)
    return measured_rows(measures._replace(width=width), self.model.table_rows)

  def _of_music(
    self, windows: StyleWindows, which: Bool[np.ndarray, " n"]
  ) -> np.ndarray:
    rows = np.full((len(which), self.model.levels), MASK_TOKEN, np.int32)
    at = np.flatnonzero(which)
    embed: Any = getattr(self.model, "embed_batch_frames", None)
    if embed is None:
      scores = [windows.score(int(row)) for row in at]
      rows[at] = self._tokens(map(self._embedded, scores))
      return rows
    frames = windows.frames(WIDTHS[-1])
    used = np.count_nonzero(frames.ids[at, :, 0], axis=1)
    size = np.searchsorted(WIDTHS, used)
    for index, width in enumerate(WIDTHS):
      for chunk in _chunks(at[size == index]):
        part = Frames(*(array[chunk, :width] for array in frames))
        with jax.default_device(_cpu()):
          rows[chunk] = self._batch_tokens(embed(part))
    return rows

  def _of_texts(self, texts: Sequence[str | None]) -> np.ndarray:
    embed: Any = getattr(self.model, "embed_texts", None)
    if embed is None:
      return self._tokens(map(self._embedded, texts))
    rows = np.full((len(texts), self.model.levels), MASK_TOKEN, np.int32)
    known = np.array([row for row, text in enumerate(texts) if text], int)
    for chunk in _chunks(known):
      with jax.default_device(_cpu()):
        rows[chunk] = self._batch_tokens(embed([texts[i] for i in chunk]))
    return rows

  def _embedded(self, item: Any) -> np.ndarray | None:
    """One embedding; None where it means nothing to the model."""
    try:
      return None if item is None else self.model.embed(item)
    except ValueError:
      return None

  def _tokens(self, embeddings: Iterable[np.ndarray | None]) -> np.ndarray:
    """Tokens of each embedding, masked where there is none."""
    masked = np.full(self.model.levels, MASK_TOKEN, np.int32)
    one = self.model.tokenize
    rows = [masked if found is None else one(found) for found in embeddings]
    return np.array(rows, np.int32).reshape(-1, self.model.levels)

  def _batch_tokens(self, embeddings: np.ndarray) -> np.ndarray:
    batch: Any = getattr(self.model, "tokenize_batch", None)
    return self._tokens(embeddings) if batch is None else batch(embeddings)

  def _caption(
    self,
    windows: StyleWindows,
    row: int,
    example: Any,
    rng: np.random.Generator,
    corpora: list[Corpus],
  ) -> str | None:
    """Words for one window; None where it is too little to describe."""
    corpus, piece = int(example["corpus"]), int(example["piece"])
    if self.facts is None:
      facts = piece_facts(corpora[corpus].names[piece], "", "")
    else:
      facts = self.facts[corpus][piece]
    try:
      description = describe(windows.score(row))
    except ValueError:
      return None
    if example["departure"]:
      return statement(description, rng, SHIFT_ATTRIBUTES[example["departure"]])
    return caption(facts, description, rng)


def _chunks(
  rows: Int[np.ndarray, " n"],
) -> Iterable[Int[np.ndarray, " c"]]:
  """Runs of `CHUNK` rows, the last filled up with its first."""
  for start in range(0, len(rows), CHUNK):
    chunk = rows[start : start + CHUNK]
    yield np.append(chunk, np.repeat(chunk[:1], CHUNK - len(chunk)))
