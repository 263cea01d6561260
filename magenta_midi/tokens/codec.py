"""The interface of all codecs, and a registry of codecs by name."""

from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from magenta_midi.midi.score import Score
from magenta_midi.settings import convert
from magenta_midi.tokens.event.codec import EventCodec, EventCodecConfig
from magenta_midi.tokens.frames import Encoded, Frames
from magenta_midi.tokens.note.codec import NoteCodec, NoteCodecConfig
from magenta_midi.tokens.vocabulary import Vocabulary
from magenta_midi.typing import Int

__all__ = ["Codec", "Rules", "get_codec", "codec_names"]


@runtime_checkable
class Rules(Protocol):
  """The state that decides which codes are legal next: a NamedTuple.

  Its arrays keep their shapes and types, so that a compiled loop can carry it.
  """

  @property
  def step(self) -> Any:
    """Step of the model's last frame, counted from the origin, int32."""
    ...

  @property
  def pedal_down(self) -> Any:
    """Whether the model's pedal is down after that frame, bool."""
    ...


@runtime_checkable
class Codec(Protocol):
  """Turns music into integers `[frames, levels]` and back."""

  # The name for `get_codec` and in checkpoints.
  name: ClassVar[str]
  # Maximum number of frames in a context of 10 s and in a chunk of 2 s.
  context_frames: ClassVar[int]
  chunk_frames: ClassVar[int]

  @property
  def levels(self) -> int:
    """Number of codes in a frame."""
    ...

  @property
  def config(self) -> Any:
    """A `GridConfig`; its fields are the settings of `get_codec`.

    Its `end` is the code of level 0 that ends a chunk.
    """
    ...

  @property
  def vocabulary(self) -> Vocabulary:
    """Names and sizes of the levels; converts codes to ids."""
    ...

  def encode(self, score: Score) -> Encoded:
    """Encodes a whole score in chunks."""
    ...

  def decode(self, encoded: Encoded) -> Score:
    """Decodes a score, within the codec's tolerances."""
    ...

  def decode_frames(
    self,
    frames: Frames,
    *,
    origin_s: float = 0.0,
    pedal_down: bool = False,
    until_step: int | None = None,
    part_names: tuple[str, ...] | None = None,
  ) -> Score:
    """Decodes a stream whose step 0 is at `origin_s`."""
    ...

  def encode_context(
    self,
    score: Score,
    now_s: float,
    *,
    context_s: float = 10.0,
    max_frames: int = 256,
    model_part: int = 0,
  ) -> Frames:
    """The model's context at `now`: state frames, then the last seconds."""
    ...

  def encode_targets(
    self, score: Score, now_s: float, *, seconds: float, model_part: int = 0
  ) -> Frames:
    """The model's events in the seconds after `now`, without END."""
    ...

  def end_frame(self) -> Int[np.ndarray, " l"]:
    """The codes of an END frame, int32 `[l]`."""
    ...

  def complete(
    self, history: Score, frames: Frames, now_s: float, end_step: int
  ) -> Frames:
    """A generated chunk, with frames added that end what it left open."""
    ...

  def append(
    self,
    history: Score,
    frames: Frames,
    now_s: float,
    *,
    end_step: int,
    pedal_down: bool = False,
  ) -> Score:
    """The history (one part), followed by a chunk that starts at `now_s`."""
    ...

  def rules_at(
    self, score: Score, now_s: float, *, model_part: int = 0
  ) -> Rules:
    """The rules at `now`, before the model's first frame."""
    ...

  def applies(self, level: int, codes: Any, *, xp=np) -> Any:
    """Whether a frame uses `level`, given its codes of lower levels."""
    ...

  def legal(
    self,
    level: int,
    codes: Any,
    rules: Any,
    *,
    earliest_step: Any = 0,
    end_step: Any,
    keys: Any = None,
    xp=np,
  ) -> Any:
    """Mask of the codes of `level` that may follow, bool `[level_size]`.

    `keys`, bool `[128]`, are the keys that may be played; None: all.
    """
    ...

  def advance(self, rules: Any, codes: Any, *, xp=np) -> Rules:
    """The rules after one more frame of the model."""
    ...


_CODECS: dict[str, tuple[Any, Any]] = {
  NoteCodec.name: (NoteCodec, NoteCodecConfig),
  EventCodec.name: (EventCodec, EventCodecConfig),
}


def codec_names() -> tuple[str, ...]:
  """The names that `get_codec` accepts, sorted."""
  return tuple(sorted(_CODECS))


def get_codec(name: str, **settings: Any) -> Codec:
  """Makes a codec by its name.

  Args:
    name: One of `codec_names()`.
    settings: Fields of the codec's configuration; other fields keep their
      defaults.

  Raises:
    ValueError: The name or a setting is unknown, or a setting is invalid.
  """
  if name not in _CODECS:
    known = ", ".join(codec_names())
    raise ValueError(f"codec must be one of: {known}; got {name!r}.")
  codec, config = _CODECS[name]
  if unknown := sorted(
    settings.keys() - (fields := config.__dataclass_fields__)
  ):
    raise ValueError(
      f"settings of codec {name!r} must be among {', '.join(fields)}; got"
      f" {', '.join(unknown)}."
    )
  return codec(config=convert(config, settings, "codec", source="json"))
