"""Configuration of the Depthformer, and its presets."""

import dataclasses
import json
import math
from typing import Any, Literal

from magenta_midi.limits import FRACTION
from magenta_midi.settings import (
  check_at_least,
  check_at_most,
  check_bounds,
  check_choices,
  check_numbers,
  convert,
)

__all__ = [
  "KEY_PERIODS",
  "MAGENTA_RT",
  "PRESETS",
  "DepthformerConfig",
  "magenta_rt_config",
  "padded_vocabulary",
  "preset",
]


# Periods of rotary positions over keys, in semitones: octaves and their even
# divisions first, then those that tell registers apart.
KEY_PERIODS = (12.0, 6.0, 4.0, 3.0, 24.0, 36.0, 48.0, 72.0, 128.0, 256.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DepthformerConfig:
  """Widths, depths and inputs of one Depthformer.

  The defaults are those of Magenta RealTime. Our presets switch on frames,
  time, parts and memory slots.

  Source: magenta-realtime v1, `mrt_merged_base.gin`.
  """

  # Rows of the embedding and columns of the head; best a multiple of 128.
  vocab_size: int
  # Levels of one decoder frame (Q).
  levels: int
  # Width of encoder and temporal stack (D).
  embed_dim: int
  # Heads of encoder and temporal stack (H), each `head_dim` wide (K).
  num_heads: int
  head_dim: int
  # Hidden width of the gated MLPs (F).
  mlp_dim: int
  encoder_layers: int
  temporal_layers: int
  depth_layers: int
  # The depth stack runs once for each level, so a narrow one saves much time.
  # None: as wide as the temporal stack, as in the original.
  depth_dim: int | None = None
  depth_heads: int | None = None
  depth_mlp_dim: int | None = None
  # Ids of each level as half-open (start, stop) columns of the head. Empty:
  # every level may use every id, as in the original.
  level_columns: tuple[tuple[int, int], ...] = ()
  # `flat`: one encoder position for each level. `frames`: one position for each
  # frame, the sum of its levels.
  encoder_input: Literal["flat", "frames"] = "flat"
  # Adds the absolute time of each frame (10 ms steps from the origin).
  time_features: bool = False
  # Number of part ids: 0 is the model, the others are the player, by the delay
  # of the input. 0: the network does not see the part.
  parts: int = 0
  # Number of cross-attention slots for style; 0: style is in the encoder input.
  style_slots: int = 0
  # Rows of the style table; row 0 is the mask ("no style").
  style_vocab_size: int = 1
  # Whether the sum of the slots is also added to all attended positions. Slots
  # are only 16 of 200 positions: without this, training learned to use them too
  # slowly.
  style_shift: bool = False
  # Positions of the temporal stack: learned biases by distance, or the fixed
  # sinusoids of the encoder (the plain T5 decoder of the original).
  temporal_positions: Literal["relative", "sinusoid"] = "relative"
  # Relative-position buckets of the temporal stack, and their reach in frames.
  temporal_buckets: int = 128
  # The same for the depth stack; None: one for each level, as in the original
  # (this fails for one level).
  depth_buckets: int | None = None
  # Rotary positions in all attention of encoder and temporal stack: of the
  # `head_dim / 2` pairs of a head, how many are turned by the time of a frame
  # and how many by its key (level 1). 0 and 0: none, as in the original.
  rotary_time: int = 0
  rotary_key: int = 0
  # Rows of the table of outlines: beats and chords, given to the encoder as
  # frames of their own. 0: the network has no input for them.
  outline_rows: int = 0
  # Type of the activations; parameters are float32.
  dtype: Literal["float32", "bfloat16"] = "float32"
  dropout_rate: float = 0.0

  def __post_init__(self) -> None:
    """Checks that the network can be built."""
    counts = [
      field.name
      for field in dataclasses.fields(self)
      if field.type in (int, int | None)
    ]
    check_numbers(self)
    check_at_least(self, 0, *_MAY_BE_ZERO)
    check_at_least(self, 1, *(n for n in counts if n not in _MAY_BE_ZERO))
    for name in counts:
      check_at_most(self, _MAX_LAYERS if "layers" in name else _MAX, name)
    check_choices(self)
    if self.level_columns and len(self.level_columns) != self.levels:
      raise ValueError(
        f"level_columns must name {self.levels} levels, got"
        f" {len(self.level_columns)}."
      )
    for start, stop in self.level_columns:
      if not 0 <= start < stop <= self.vocab_size:
        raise ValueError(
          f"level_columns must lie in 0..{self.vocab_size}, got"
          f" ({start}, {stop})."
        )
    if self.depth_layers == 0 and self.levels > 1:
      raise ValueError(
        f"{self.levels} levels need a depth stack, got depth_layers 0."
      )
    if self.rotary_time + self.rotary_key > self.head_dim // 2:
      raise ValueError(
        f"rotary_time and rotary_key must be at most {self.head_dim // 2}"
        f" together, half of head_dim, got {self.rotary_time} and"
        f" {self.rotary_key}."
      )
    if self.rotary_key > len(KEY_PERIODS):
      raise ValueError(
        f"rotary_key must be in 0..{len(KEY_PERIODS)}, got {self.rotary_key}."
      )
    if self.rotary and self.encoder_input == "flat":
      raise ValueError(
        'rotary positions need encoder_input "frames": ids of a flat input'
        " have no time."
      )
    if self.outline_rows and self.encoder_input == "flat":
      raise ValueError(
        'outline_rows needs encoder_input "frames": outlines are frames.'
      )
    if self.rotary_key and (len(self.columns) < 2 or _keys(self.columns) < 128):
      raise ValueError(
        "rotary_key needs keys in level 1: 128 columns there, got levels"
        f" {self.columns}. Set rotary_key to 0."
      )
    check_bounds(self, FRACTION, "dropout_rate")

  @property
  def rotary(self) -> bool:
    """Whether attention has rotary positions."""
    return self.rotary_time + self.rotary_key > 0

  @property
  def depth_width(self) -> int:
    """Width of the depth stack."""
    return self.depth_dim or self.embed_dim

  @property
  def depth_num_heads(self) -> int:
    """Heads of the depth stack."""
    return self.depth_heads or self.num_heads

  @property
  def depth_mlp_width(self) -> int:
    """Hidden width of the depth stack's MLPs."""
    return self.depth_mlp_dim or self.mlp_dim

  @property
  def columns(self) -> tuple[tuple[int, int], ...]:
    """Head columns of each level; by default the whole head."""
    return self.level_columns or ((0, self.vocab_size),) * self.levels

  def to_json(self) -> str:
    """The config as JSON, one key for each field."""
    return json.dumps(dataclasses.asdict(self), indent=2)

  @classmethod
  def from_dict(cls, values: dict[str, Any]) -> "DepthformerConfig":
    """Builds a config from parsed JSON.

    Raises:
      ValueError: A key is unknown or missing, or a value has the wrong type or
        is out of range.
    """
    return convert(cls, values, "model", source="json")


# Counts that may be 0.
_MAY_BE_ZERO = (
  "encoder_layers",
  "depth_layers",
  "parts",
  "style_slots",
  "rotary_time",
  "rotary_key",
  "outline_rows",
)


def _keys(columns: tuple[tuple[int, int], ...]) -> int:
  """Number of codes of level 1."""
  start, stop = columns[1]
  return stop - start


# No model that can be built has more; a config may be anybody's.
_MAX = 2**20
_MAX_LAYERS = 1000


# Only widths: vocabulary, levels and columns come from the codec.
PRESETS: dict[str, dict[str, Any]] = {
  # For tests: compiles in a second or two.
  "tiny": dict(
    embed_dim=32,
    num_heads=2,
    head_dim=16,
    mlp_dim=64,
    encoder_layers=1,
    temporal_layers=2,
    depth_layers=1,
    style_slots=2,
  ),
  # The embedded checkpoint: 2 CPU cores train it in an hour and play it live.
  "small": dict(
    embed_dim=256,
    num_heads=4,
    head_dim=64,
    mlp_dim=683,
    encoder_layers=4,
    temporal_layers=4,
    depth_layers=2,
    depth_dim=192,
    depth_heads=3,
    depth_mlp_dim=512,
    style_slots=6,
  ),
  # For training on one accelerator.
  "base": dict(
    embed_dim=640,
    num_heads=10,
    head_dim=64,
    mlp_dim=1728,
    encoder_layers=10,
    temporal_layers=10,
    depth_layers=3,
    depth_dim=384,
    depth_heads=6,
    depth_mlp_dim=1024,
    style_slots=6,
    dropout_rate=0.1,
  ),
  # MIDI models with the widths of Magenta RealTime's published models, so that
  # training can start from them. `magenta_rt_config` is the original model.
  "magenta_rt_base": dict(
    embed_dim=768,
    num_heads=12,
    head_dim=64,
    mlp_dim=2048,
    encoder_layers=12,
    temporal_layers=20,
    depth_layers=4,
    style_slots=6,
    dropout_rate=0.1,
  ),
  "magenta_rt_large": dict(
    embed_dim=1024,
    num_heads=16,
    head_dim=64,
    mlp_dim=2816,
    encoder_layers=24,
    # Intended: the original `large` has the same value as `base`.
    temporal_layers=20,
    depth_layers=4,
    style_slots=6,
    dropout_rate=0.1,
  ),
}

# Published checkpoint -> preset with the same widths.
MAGENTA_RT = {"base": "magenta_rt_base", "large": "magenta_rt_large"}


def padded_vocabulary(ids: int) -> int:
  """Number of rows for `ids` ids: the next multiple of 128."""
  return 128 * math.ceil(ids / 128)


def magenta_rt_config(tag: str) -> DepthformerConfig:
  """The configuration of a published Magenta RealTime checkpoint.

  Args:
    tag: `base` (347,873,472 parameters) or `large` (761,651,456).

  Raises:
    ValueError: The tag is unknown.

  Source: `mrt_merged_base.gin` and `mrt_merged_large.gin` of v1.
  """
  if tag not in MAGENTA_RT:
    raise ValueError(
      f"unknown tag {tag!r}. Choose one of {', '.join(MAGENTA_RT)}."
    )
  return DepthformerConfig.from_dict(
    PRESETS[MAGENTA_RT[tag]]
    | dict(
      vocab_size=padded_vocabulary(29698),
      levels=16,
      style_slots=0,
      dtype="bfloat16",
    )
  )


def preset(
  name: str, *, level_sizes: tuple[int, ...], reserved: int, **overrides: Any
) -> DepthformerConfig:
  """Makes the configuration of a preset for a codec's vocabulary.

  Args:
    name: One of `PRESETS`.
    level_sizes: Number of codes of each level.
    reserved: Number of ids before the first level.
    **overrides: Any field of `DepthformerConfig`.

  Raises:
    ValueError: The preset or a field is unknown.
  """
  if name not in PRESETS:
    raise ValueError(
      f"unknown preset {name!r}. Choose one of {', '.join(PRESETS)}."
    )
  columns = []
  start = reserved
  for size in level_sizes:
    columns.append((start, start + size))
    start += size
  values: dict[str, Any] = dict(
    vocab_size=padded_vocabulary(start),
    levels=len(level_sizes),
    level_columns=tuple(columns),
    encoder_input="frames",
    time_features=True,
    parts=2,
  )
  return DepthformerConfig.from_dict(values | PRESETS[name] | overrides)
