"""MusicCoCa: the style model of Magenta RealTime, from its package.

The package `magenta-rt` and its weights are loaded at the first prompt, not at
import, so a checkpoint trained with MusicCoCa plays without them.

Source: https://github.com/magenta/magenta-realtime; Yu et al. 2022,
https://arxiv.org/abs/2205.01917
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from magenta_midi.audio.piano import TAIL_S, synthesize
from magenta_midi.midi.score import Score
from magenta_midi.style.model import EMBEDDING_DIM
from magenta_midi.style.prompt import Prompt, embed_prompt
from magenta_midi.style.waveform import MAX_S, Waveform
from magenta_midi.typing import Float, Int

__all__ = ["CODES", "LEVELS", "WEIGHTS", "MusicCoCa"]

LEVELS = 12
CODES = 1024  # for each level
_RATE_HZ = 16_000  # input rate of the package
MAX_PIECES = 127  # of a text; the package silently drops the rest

# Files in the folder resources/musiccoca of the package's home.
WEIGHTS = (
  "spm.model",
  "text_encoder.tflite",
  "audio_preprocessor.tflite",
  "music_encoder.tflite",
  "pretrained_vector_quantizer.tflite",
)

_INSTALL = "pip install 'magenta-midi[magenta]'"
_FETCH = "mrt models init"
_WITHOUT = (
  "Without it this checkpoint plays, unprompted, and the embedded checkpoint "
  "takes words and MIDI"
)

# Below this (-80 dB of full scale) a sound counts as silent.
_SILENT = 1e-4
# A shorter sound would be almost only padding.
_MIN_DURATION_S = 0.1


class _Published(NamedTuple):
  """Parts of the package that are used, and the folder of its weights."""

  model: Any
  waveform: Any
  pieces: Any
  folder: Path


class MusicCoCa:
  """A `StyleModel` of text and audio; MIDI is rendered to audio first.

  Its vectors do not have unit length: the quantizer was fitted to unscaled
  vectors of the towers, so a scaled vector may have other tokens.
  """

  name: ClassVar[str] = "musiccoca"
  hears_audio: ClassVar[bool] = True

  def __init__(self, levels: int = LEVELS) -> None:
    """Sets the number of levels; loads nothing yet.

    Args:
      levels: Number of tokens of an embedding, 1..12, as the checkpoint reads
        them. The original v1 reads 6.

    Raises:
      ValueError: The levels are out of range.
    """
    if not 1 <= levels <= LEVELS:
      raise ValueError(
        f"MusicCoCa has 1..{LEVELS} levels, got {levels}. Look at `style` in "
        "the checkpoint's config.json."
      )
    self._levels = levels

  @property
  def levels(self) -> int:
    """Tokens of an embedding."""
    return self._levels

  @property
  def table_rows(self) -> int:
    """Number of rows: the mask and 1024 for each level."""
    return 1 + self._levels * CODES

  def embed(self, prompt: Prompt) -> Float[np.ndarray, " 768"]:
    """Embeds a prompt with the package, float32; see `StyleModel.embed`.

    For audio it is the mean over clips of 10 s; the last one is padded with
    silence.

    Args:
      prompt: Text, a `Waveform`, a `Score`, the path of an audio or MIDI
        file, or a list of (such an item, weight).

    Raises:
      ValueError: The package or its weights are missing, a text is empty, too
        long or has only unknown characters, a sound is silent or too short, a
        weight is invalid, or a file cannot be read.
    """
    return embed_prompt(prompt, self._embed_one, accepts_audio=True, unit=False)

  def tokenize(
    self, embedding: Float[np.ndarray, " 768"]
  ) -> Int[np.ndarray, " l"]:
    """Converts an embedding to rows of the style table.

    Code `c` of level `i` is row `1 + 1024 i + c`; row 0 is the mask.

    Raises:
      ValueError: It is not an embedding, or the weights are missing.
    """
    if embedding.shape != (EMBEDDING_DIM,) or not np.isfinite(embedding).all():
      raise ValueError(
        f"an embedding must be {EMBEDDING_DIM} finite numbers, got shape "
        f"{embedding.shape}. Use what embed returns."
      )
    codes = self._call("tokenize", embedding.astype(np.float32))
    codes = codes[: self._levels].astype(np.int32)
    if len(codes) < self._levels or codes.min() < 0 or codes.max() >= CODES:
      raise ValueError(
        self._unusable(f"the codes of an embedding are {codes.tolist()}")
      )
    return 1 + CODES * np.arange(self._levels, dtype=np.int32) + codes

  @cached_property
  def _published(self) -> _Published:
    try:
      # These imports load neither JAX nor TensorFlow.
      import sentencepiece
      from magenta_rt import musiccoca, paths  # pyright: ignore
      from magenta_rt.audio import Waveform as PublishedWaveform
    except (ImportError, OSError) as error:  # OSError: a library of the system
      reason = str(error).split("\n")[0]
      raise ValueError(
        f"MusicCoCa needs the package magenta-rt ({reason}). Get it with: "
        f"{_INSTALL}, then its weights with: {_FETCH}. {_WITHOUT}."
      ) from error
    folder = paths.musiccoca_dir()
    missing = [name for name in WEIGHTS if not (folder / name).is_file()]
    if missing:
      raise ValueError(
        f"MusicCoCa's weights are not at {folder} ({missing[0]} is missing). "
        f"Fetch them with: {_FETCH}, or let MAGENTA_HOME point to them. "
        f"{_WITHOUT}."
      )
    try:
      pieces = sentencepiece.SentencePieceProcessor(
        model_file=str(folder / WEIGHTS[0])
      )
      model = musiccoca.MusicCoCa(resource_dir=folder)
    except (OSError, RuntimeError, ValueError) as error:
      raise ValueError(_unusable(folder, str(error))) from error
    return _Published(model, PublishedWaveform, pieces, folder)

  def _embed_one(self, item: str | Score | Waveform) -> np.ndarray:
    if isinstance(item, str):
      value: Any = self._checked(item)
    else:
      sound = self._to_waveform(item)
      samples = np.ascontiguousarray(sound.samples)
      value = self._published.waveform(samples, sound.sample_rate)
    embedding = self._call("embed", value)
    if embedding.shape != (EMBEDDING_DIM,) or not np.isfinite(embedding).all():
      raise ValueError(self._unusable("an embedding is not 768 finite numbers"))
    return embedding

  def _checked(self, text: str) -> str:
    shown = " ".join(text.split())
    if not shown:
      raise ValueError(
        "a style text must have words, got none. Write what the music is "
        "like, such as 'slow jazz ballad'."
      )
    processor = self._published.pieces
    pieces = processor.encode(text.lower())
    if len(pieces) > MAX_PIECES:
      raise ValueError(
        f"a style text must have at most {MAX_PIECES} word pieces, got "
        f"{len(pieces)} ({len(text)} characters). Use a few words."
      )
    # Before an unknown word the space is a separate piece.
    recognized = {processor.id_to_piece(i) for i in set(pieces)} - {"\u2581"}
    if not recognized - {processor.id_to_piece(processor.unk_id())}:
      raise ValueError(
        f"MusicCoCa knows none of the characters of {shown[:60]!r}. Write it in"
        " English."
      )
    return text

  def _to_waveform(self, item: Score | Waveform) -> Waveform:
    if isinstance(item, Score):
      if item.end_s > MAX_S - TAIL_S:
        raise ValueError(
          f"MIDI must be at most {MAX_S - TAIL_S:.0f} s long to be "
          f"rendered, got {item.end_s:.0f} s. Cut out what has the style."
        )
      item = Waveform(synthesize(item, _RATE_HZ), _RATE_HZ)
    if item.seconds < _MIN_DURATION_S:
      raise ValueError(
        f"a sound must be at least {_MIN_DURATION_S} s long, got "
        f"{item.seconds:.3f} s. 10 s are best."
      )
    # The package uses the mean of the channels.
    if np.abs(item.samples.mean(axis=1)).max() < _SILENT:
      raise ValueError(
        "a sound must not be silent, but this one is (mixed to mono). Give "
        "one with music in it."
      )
    return item

  def _call(self, method: str, value: Any) -> np.ndarray:
    model = self._published.model
    try:
      return getattr(model, method)(value)
    except (AssertionError, OSError, RuntimeError, ValueError) as error:
      raise ValueError(self._unusable(str(error))) from error

  def _unusable(self, reason: str) -> str:
    return _unusable(self._published.folder, reason)


def _unusable(folder: Path, reason: str) -> str:
  reason = (reason.strip() or "no reason given").split("\n")[0].rstrip(".")
  return (
    f"MusicCoCa's weights at {folder} cannot be used ({reason}). Remove that "
    f"folder and fetch them again with: {_FETCH}"
  )
