"""MidiCoCa: style model of text and MIDI, small enough for the package.

It has a text tower and a MIDI tower, trained together so that music and its
description have similar embeddings, and a residual quantizer. It does for MIDI
what MusicCoCa does for audio, with the same interface.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import jax
import ml_dtypes
import numpy as np
from flax import nnx

from magenta_midi.bounded_files import read_json
from magenta_midi.limits import COUNT
from magenta_midi.midi.atomic import open_atomically, write_atomically
from magenta_midi.midi.score import Score
from magenta_midi.model.depthformer import Frames
from magenta_midi.model.weights_file import (
  ArrayInfo,
  CheckpointError,
  WeightsFile,
  write_weights,
)
from magenta_midi.settings import check_bounds, convert
from magenta_midi.style.model import EMBEDDING_DIM
from magenta_midi.style.prompt import Prompt, embed_prompt
from magenta_midi.style.quantizer import Quantizer
from magenta_midi.style.text.near_words import is_near
from magenta_midi.style.text.translation import translate
from magenta_midi.style.text.words import (
  MAX_WORDS,
  TextInputs,
  Words,
  check_length,
  split_words,
)
from magenta_midi.style.towers import MidiTower, TextTower, TowerConfig
from magenta_midi.tokens.codec import get_codec
from magenta_midi.typing import Float, Int

__all__ = [
  "WEIGHTS",
  "MidiCoCa",
  "MidiCoCaConfig",
  "Towers",
  "parameter_names",
]

FORMAT = 1
# Number of characters of the weights' SHA-256 that identify a MidiCoCa.
DIGEST = 16
CONFIG, WEIGHTS, WORDS = "config.json", "weights.safetensors", "words.txt"
WINDOW_S = 10.0
# Windows overlap by half; a long piece has _MAX_WINDOWS, evenly spread.
_HOP_S = 5.0
_MAX_WINDOWS = 48
# Sizes of a window in frames; of more frames only the newest are used.
SIZES = (96, 256)
_MIN_ONSETS = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class MidiCoCaConfig:
  """Configuration of a MidiCoCa."""

  midi: TowerConfig = dataclasses.field(
    default_factory=lambda: TowerConfig(
      width=256, heads=4, mlp_dim=683, layers=3
    )
  )
  text: TowerConfig = dataclasses.field(
    default_factory=lambda: TowerConfig(
      width=192, heads=3, mlp_dim=512, layers=2
    )
  )
  vocab_size: int
  vector_width: int = 100

  def __post_init__(self) -> None:
    """Refuses sizes that no model can have."""
    check_bounds(self, COUNT, "vocab_size", "vector_width")


class Towers(nnx.Module):
  """Both towers."""

  def __init__(self, config: MidiCoCaConfig, *, rngs: nnx.Rngs):
    self.midi = MidiTower(config.midi, config.vocab_size, rngs=rngs)
    self.text = TextTower(config.text, config.vector_width, rngs=rngs)


class MidiCoCa:
  """A `StyleModel` with learned towers; see `load` and `embedded`."""

  name: ClassVar[str] = "midicoca"

  def __init__(
    self,
    config: MidiCoCaConfig,
    towers: Towers,
    words: Words,
    quantizer: Quantizer,
    neutral: np.ndarray,
    facts: dict[str, Any] | None = None,
    digest: str = "",
  ):
    self.config = config
    self.words = words
    self.quantizer = quantizer
    # Embedding of a text that says nothing about music: a unit vector.
    self.neutral = neutral
    # Figures and settings of its training.
    self.facts = facts or {}
    # Digest of the weights file; empty: not from a file.
    self.digest = digest
    self._codec = get_codec("note")
    graph, params, rest = nnx.split(towers, nnx.Param, ...)
    self._leaves, treedef = jax.tree.flatten(params)

    def towers_of(leaves: list[jax.Array]) -> Towers:
      return nnx.merge(graph, jax.tree.unflatten(treedef, leaves), rest)

    self._text = jax.jit(lambda leaves, inputs: towers_of(leaves).text(*inputs))
    self._midi = jax.jit(lambda leaves, frames: towers_of(leaves).midi(frames))

  # Files -------------------------------------------------------------------

  @classmethod
  def embedded(cls) -> MidiCoCa:
    """Reads the model in the package.

    Raises:
      CheckpointError: It is missing or damaged.
    """
    folder = Path(__file__).parent / "embedded"
    if not folder.exists():
      raise CheckpointError(
        f"{folder}: MidiCoCa's weights are missing. Install magenta_midi"
        " again; the style model descriptors works without weights."
      )
    return cls.load(folder)

  @classmethod
  def load(cls, folder: Path) -> MidiCoCa:
    """Reads a folder that `save` wrote.

    Raises:
      CheckpointError: It is missing, damaged or in another format.
    """
    try:
      stored = read_json(folder / CONFIG)
      config = convert(MidiCoCaConfig, stored["shapes"], source="json")
      file = WeightsFile(folder / WEIGHTS)
      file.check(stored["sha256"])
      towers = nnx.eval_shape(lambda: Towers(config, rngs=nnx.Rngs(0)))
      graph, params, rest = nnx.split(towers, nnx.Param, ...)
      flat = {
        name: _stored_array(file, name) for name in parameter_names(params)
      }
      leaves, treedef = jax.tree.flatten(params)
      arrays = [
        jax.numpy.asarray(flat[name]) for name in parameter_names(params)
      ]
      for leaf, array in zip(leaves, arrays, strict=True):
        if leaf.shape != array.shape:
          raise ValueError(f"an array is {array.shape}, expected {leaf.shape}")
      towers = nnx.merge(graph, jax.tree.unflatten(treedef, arrays), rest)
      quantizer = Quantizer(
        *(
          _stored_array(file, f"quantiser.{name}") for name in Quantizer._fields
        )
      )
      words = Words.load(folder / WORDS, file.read("words"))
      neutral = _stored_array(file, "neutral")
    except (OSError, KeyError, TypeError, ValueError) as error:
      if isinstance(error, CheckpointError):
        raise
      raise CheckpointError(
        f"{folder}: holds no MidiCoCa that can be read"
        f" ({type(error).__name__}: {error}). Copy it again."
      ) from None
    facts = stored.get("facts", {})
    return cls(
      config,
      towers,
      words,
      quantizer,
      neutral,
      facts,
      digest=stored["sha256"][:DIGEST],
    )

  def save(self, folder: Path) -> None:
    """Writes a folder with config, weights in bfloat16, and words."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, np.ndarray] = {
      name: np.asarray(leaf).astype(ml_dtypes.bfloat16)
      for name, leaf in zip(self._parameter_names, self._leaves, strict=True)
    }
    for name, value in self.quantizer._asdict().items():
      arrays[f"quantiser.{name}"] = value.astype(ml_dtypes.bfloat16)
    arrays["neutral"] = self.neutral.astype(np.float32)
    arrays["words"] = self.words.vectors
    infos = {
      name: ArrayInfo(array.shape, array.dtype)
      for name, array in arrays.items()
    }
    with open_atomically(folder / WEIGHTS) as file:
      sha256 = write_weights(file, infos, arrays.items())
    write_atomically(folder / WORDS, "\n".join(self.words.words))
    stored = dict(
      format=FORMAT,
      sha256=sha256,
      shapes=dataclasses.asdict(self.config),
      facts=self.facts,
    )
    write_atomically(folder / CONFIG, json.dumps(stored, indent=1) + "\n")

  @cached_property
  def _parameter_names(self) -> list[str]:
    towers = nnx.eval_shape(lambda: Towers(self.config, rngs=nnx.Rngs(0)))
    return parameter_names(nnx.state(towers, nnx.Param))

  # StyleModel --------------------------------------------------------------

  @property
  def levels(self) -> int:
    """Tokens of an embedding."""
    return self.quantizer.levels

  @property
  def table_rows(self) -> int:
    """Number of rows: the mask and those of each level."""
    return 1 + self.levels * self.quantizer.size

  # A text whose cosine to `neutral` is higher than this says nothing.
  neutral_cosine: ClassVar[float] = 0.9

  def embed(self, prompt: Prompt) -> Float[np.ndarray, " 768"]:
    """Embeds a prompt as a unit vector; see `StyleModel.embed`.

    Raises:
      ValueError: A text has no word or is too long, a score has fewer than two
        onsets, a weight is invalid, or a file cannot be read.
    """
    return embed_prompt(prompt, self._embed_one)

  def _embed_one(self, item: str | Score) -> np.ndarray:
    if isinstance(item, Score):
      return self.embed_score(item)
    # Without a word that it knows, a text stays what it is.
    return self.embed_texts([self._in_english(item) or item])[0]

  def _in_english(self, text: str) -> str:
    return translate(check_length(text), self.words.__contains__)

  def understands(self, text: str) -> bool:
    """Whether a text says something about music; see `model.understands`.

    Letters of unknown words steer too, at random unless they are those of a
    word of the captions: the words that are left must say something as well.
    """
    english = self._in_english(text)
    if not any(letter.isalnum() for letter in english):
      return False
    known = [
      word
      for word in split_words(english)
      if word in self.words or is_near(word)
    ]
    if not known:
      return False
    # One by one: `warm_up` compiles this shape.
    return all(
      float(self.embed_texts([text])[0] @ self.neutral) <= self.neutral_cosine
      for text in (english, " ".join(known))
    )

  def embed_texts(
    self, texts: Sequence[str], *, width: int = MAX_WORDS
  ) -> Float[np.ndarray, "n 768"]:
    """Embeds texts as unit vectors.

    Raises:
      ValueError: A text is empty, too long or without a word.
    """
    inputs = self.words.inputs(texts, width=width)
    return np.array(self._text(self._leaves, TextInputs(*inputs)))

  def embed_score(self, score: Score) -> Float[np.ndarray, " 768"]:
    """The mean over windows of 10 s, scaled to unit length.

    Raises:
      ValueError: There are fewer than two onsets.
    """
    score = score.merged()
    onset_s = score.notes["onset_s"]
    if len(np.unique(onset_s)) < _MIN_ONSETS:
      raise ValueError(
        "a style needs music with 2 onsets or more, got"
        f" {len(np.unique(onset_s))}. Give a longer piece."
      )
    first, last = float(onset_s[0]), float(onset_s[-1])
    ends = np.arange(first + WINDOW_S, last + _HOP_S, _HOP_S)
    ends = ends if len(ends) else np.array([first + WINDOW_S])
    if len(ends) > _MAX_WINDOWS:
      spread = np.linspace(0, len(ends) - 1, _MAX_WINDOWS)
      ends = ends[np.rint(spread).astype(int)]
    vectors = [
      self.embed_batch_frames(frames)[0]
      for end_s in ends
      if (frames := self._frames(score, float(end_s))) is not None
    ]
    mean = np.mean(vectors, axis=0)
    return (mean / np.linalg.norm(mean)).astype(np.float32)

  def _frames(self, score: Score, end_s: float) -> Frames | None:
    """The frames of the 10 s before `end_s`; None if there are none."""
    codec = self._codec
    steps_per_s = codec.config.steps_per_s
    end_s = round(end_s * steps_per_s) / steps_per_s
    found = codec.encode_context(
      score, end_s, context_s=WINDOW_S, max_frames=SIZES[-1]
    )
    count = len(found.step)
    if not count:
      return None
    size = next(size for size in SIZES if size >= count)
    ids = np.zeros((1, size, codec.levels), np.int32)
    time = np.zeros((1, size), np.int32)
    ids[0, :count] = codec.vocabulary.to_ids(found.codes)
    time[0, :count] = found.step
    return Frames(ids, time, np.zeros_like(time))

  def embed_batch_frames(self, frames: Frames) -> Float[np.ndarray, "n 768"]:
    """Embeds windows of frames `[n, s, l]` with times up to 0."""
    return np.array(self._midi(self._leaves, frames))

  def tokenize(
    self, embedding: Float[np.ndarray, " 768"]
  ) -> Int[np.ndarray, " l"]:
    """Converts an embedding to rows of the style table."""
    if embedding.shape != (EMBEDDING_DIM,) or not np.isfinite(embedding).all():
      raise ValueError(
        f"an embedding must be {EMBEDDING_DIM} finite numbers, got shape "
        f"{embedding.shape}. Use what embed returns."
      )
    return self.tokenize_batch(embedding[None])[0]

  def tokenize_batch(
    self, embeddings: Float[np.ndarray, "n 768"]
  ) -> Int[np.ndarray, "n l"]:
    """Embeddings as rows of the style table; each level has its rows."""
    first = 1 + self.quantizer.size * np.arange(self.levels, dtype=np.int32)
    return first + self.quantizer.encode(embeddings)

  def reconstruct(
    self, tokens: Int[np.ndarray, " l"]
  ) -> Float[np.ndarray, " 768"]:
    """The unit vector of tokens."""
    return self.quantizer.decode((tokens[None] - 1) % self.quantizer.size)[0]

  def warm_up(self) -> None:
    """Compiles the towers, so that a prompt while playing does not wait."""
    self.embed_texts(["piano"])
    levels = self._codec.levels
    for size in SIZES:
      time = np.zeros((1, size), np.int32)
      ids = np.ones((1, size, levels), np.int32)
      self.embed_batch_frames(Frames(ids, time, time))


def parameter_names(state: nnx.State) -> list[str]:
  """Dotted names of the leaves, in order."""
  paths = jax.tree_util.tree_flatten_with_path(state)[0]
  return [
    ".".join(
      str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", ""))))
      for key in path
    ).removesuffix(".value")
    for path, _ in paths
  ]


def _stored_array(file: WeightsFile, name: str) -> np.ndarray:
  if name not in file.infos:
    raise ValueError(f"{name} is missing")
  return file.read(name).astype(np.float32)
