"""Settings of a T5X checkpoint, from its shapes, a tag, or a settings file.

Settings are ours (`DepthformerConfig` fields) or the original's gin macros,
read as text: no gin is needed.
"""

import ast
import dataclasses
import difflib
import re
import statistics
from collections.abc import Mapping
from typing import Any, NamedTuple

from magenta_midi import plain_text
from magenta_midi.bounded_files import GIN_BYTES, parse_json
from magenta_midi.model.checkpoint import check_codec, check_object
from magenta_midi.model.config import (
  MAGENTA_RT,
  DepthformerConfig,
  magenta_rt_config,
  padded_vocabulary,
)

__all__ = [
  "Settings",
  "complete_config",
  "misfits",
  "parse_settings",
  "published_codec",
  "published_tag",
  "recognized_tag",
  "widths_of",
]

Shapes = Mapping[str, tuple[int, ...]]

# Macro of the original -> field of ours.
_MACROS = {
  "EMBED_DIM": "embed_dim",
  "HEAD_DIM": "head_dim",
  "NUM_HEADS": "num_heads",
  "MLP_DIM": "mlp_dim",
  "NUM_ENCODER_LAYERS": "encoder_layers",
  "NUM_TEMPORAL_LAYERS": "temporal_layers",
  "NUM_DEPTH_LAYERS": "depth_layers",
  "NUM_LEVELS": "levels",
  "ACTIVATION_DTYPE": "dtype",
}
# Macros with a meaning of their own below, or without one for the weights.
_OTHER_MACROS = (
  "DECODER_FACTORY",
  "NUM_DECODER_LAYERS",
  "NUM_INPUT_LEVELS",
  "MAX_SEQ_LEN",
  "TASK_FEATURE_LENGTHS",
)
_VOCABULARY = "PassThroughVocabulary.size"
_BUCKETS = re.compile(
  r"(temporal|depth)\w*/.*RelativePositionBiases\.num_buckets$"
)
_BINDING = re.compile(r"([\w./]+)\s*=\s*(.*)")
# Characters of a value that matters.
_MAX_LITERAL = 1000
# A line of gin that binds nothing.
_SKIPPED = ("import ", "from ", "include ")


class Settings(NamedTuple):
  """Contents of a settings file."""

  # Fields of `DepthformerConfig`; those absent are read from the shapes.
  fields: dict[str, Any]
  # The codec, where the file is a checkpoint's config.json; else None.
  codec: dict[str, Any] | None = None
  # Of such a file: what is known of its weights.
  notes: dict[str, Any] = {}  # noqa: RUF012 (never changed)


def parse_settings(text: str) -> Settings:
  """Reads a settings file: JSON, or lines `NAME = value` as in gin.

  A JSON object holds fields of `DepthformerConfig`, macros of the original,
  a checkpoint's `config.json`, or the macros' text under `overrides`.

  Raises:
    ValueError: It is none of these, names something unknown, or what it says
      of codec or notes is of another type.
  """
  try:
    values = parse_json(text)
  except ValueError as error:
    if text.lstrip().startswith("{"):
      raise ValueError(f"no JSON: {error}.") from None
    return Settings(_from_macros(_gin_lines(text)))
  if not isinstance(values, dict):
    raise ValueError("expected a JSON object or lines NAME = value.")
  if isinstance(values.get("model"), dict):
    codec, notes = values.get("codec"), values.get("notes", {})
    if codec is not None:
      check_codec(codec)
    check_object("notes", notes)
    return Settings(dict(values["model"]), codec, notes)
  if isinstance(overrides := values.get("overrides"), str):
    return Settings(_from_macros(_gin_lines(overrides)))
  known = {field.name for field in dataclasses.fields(DepthformerConfig)}
  fields = {name: values[name] for name in values if name in known}
  macros = {name: values[name] for name in values if name not in known}
  if unknown := [name for name in macros if not _is_known(name)]:
    raise ValueError(_unknown(unknown))
  return Settings((_from_macros(macros) if macros else {}) | fields)


def _is_known(name: str) -> bool:
  return (
    name in _MACROS
    or name in _OTHER_MACROS
    or name.endswith(_VOCABULARY)
    or _BUCKETS.match(name) is not None
  )


def _unknown(names: list[str]) -> str:
  return (
    f"unknown setting {', '.join(names)}. Known: {', '.join(_MACROS)},"
    f" {_VOCABULARY}, DECODER_FACTORY, or the fields of a checkpoint's"
    " config.json."
  )


def _gin_lines(text: str) -> dict[str, Any]:
  """Bindings of a gin text; `%NAME` stands for an earlier one."""
  if len(text) > GIN_BYTES:
    raise ValueError(f"more than {GIN_BYTES // 1024} kB of lines NAME = value.")
  bindings: dict[str, Any] = {}
  for line in text.splitlines():
    line = line.split("#")[0].strip()
    if not line or line.startswith(_SKIPPED) or line[0] in ")}],'\"":
      continue
    match = _BINDING.fullmatch(line)
    if match is None:
      if bindings:
        continue  # the rest of a value of several lines
      raise ValueError(
        f"expected a JSON object or lines NAME = value, got {line[:60]!r}."
      )
    name, value = match.groups()
    if value.startswith("%"):
      bindings[name] = bindings.get(value[1:], value)
      continue
    try:
      bindings[name] = ast.literal_eval(value[:_MAX_LITERAL])
    # The last three are of values nested deeply, or of lists as keys.
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
      bindings[name] = value  # @references and the like
  if not bindings:
    raise ValueError("expected a JSON object or lines NAME = value, got none.")
  # A gin file binds many names that do not matter for the weights; but a name
  # close to a known one is a spelling mistake.
  mistyped = [
    name
    for name in bindings
    if not _is_known(name)
    and difflib.get_close_matches(name, _MACROS, n=1, cutoff=0.85)
  ]
  if mistyped:
    raise ValueError(_unknown(mistyped))
  return bindings


def _from_macros(macros: Mapping[str, Any]) -> dict[str, Any]:
  # The original has no more than its macros say: nothing that its arrays seem
  # to have beside is taken from them.
  fields: dict[str, Any] = dict(
    depth_dim=None,
    depth_heads=None,
    depth_mlp_dim=None,
    time_features=False,
    parts=0,
    style_slots=0,
    temporal_buckets=128,
    temporal_positions="relative",
    # Default of its gin files.
    dtype="bfloat16",
  )
  plain = False
  for name, value in macros.items():
    if name in _MACROS:
      fields[_MACROS[name]] = value
    elif name.endswith(_VOCABULARY):
      fields["vocab_size"] = padded_vocabulary(_integer(name, value))
    elif buckets := _BUCKETS.match(name):
      fields[f"{buckets[1]}_buckets"] = _integer(name, value)
    elif name == "DECODER_FACTORY":
      plain = str(value).lstrip("@").startswith("t5_architecture.Decoder")
  if plain:
    # One stack, its depth under another macro; sinusoids, no depth stack.
    fields |= dict(levels=1, depth_layers=0, temporal_positions="sinusoid")
    fields.pop("temporal_layers", None)
    if "NUM_DECODER_LAYERS" in macros:
      fields["temporal_layers"] = macros["NUM_DECODER_LAYERS"]
  return fields


def _integer(name: str, value: Any) -> int:
  if not isinstance(value, int) or isinstance(value, bool):
    shown = plain_text.line(repr(value), longest=60)
    raise ValueError(f"{name} must be an integer, got {shown}.")
  return value


def _common(
  shapes: Shapes, index: int, ending: str, stack: str = "encoder."
) -> int | None:
  """An axis of most layers' arrays, so that one wrong one does not decide."""
  found = [
    shape[index]
    for name, shape in shapes.items()
    if name.startswith(stack) and name.endswith(ending) and len(shape) > index
  ]
  return statistics.mode(found) if found else None


def _joined_heads(shapes: Shapes) -> int | None:
  """Heads times head size."""
  return _common(shapes, 1, "attention.query.kernel")


def widths_of(shapes: Shapes) -> dict[str, Any]:
  """The fields of `DepthformerConfig` that the arrays' shapes give away.

  Args:
    shapes: T5X name without `target.` -> shape.
  """

  def axis(index: int, *names: str) -> int | None:
    for name in names:
      if len(shape := shapes.get(name, ())) > index:
        return shape[index]
    return None

  def layers(prefix: str) -> int:
    pattern = re.compile(re.escape(prefix) + r"(\d+)\.")
    found = (pattern.match(name) for name in shapes)
    return max((int(m[1]) + 1 for m in found if m), default=0)

  plain = layers("decoder.layers_") > 0
  temporal = "decoder.decoder.temporal_decoder."
  depth = "decoder.decoder.depth_decoder."
  stack = "decoder.layers_" if plain else temporal + "layers_"
  embedding, head = "token_embedder.embedding", "decoder.logits_dense.kernel"
  bias = temporal + "relpos_bias.rel_embedding"
  depth_bias = depth + "relpos_bias_depth.rel_embedding"
  fields: dict[str, Any] = dict(
    vocab_size=axis(0, embedding) or axis(1, head),
    embed_dim=_common(shapes, 0, "norm.scale") or axis(1, embedding),
    mlp_dim=_common(shapes, 1, "mlp.wi_0.kernel"),
    encoder_layers=layers("encoder.layers_") or None,
    temporal_layers=layers(stack) or None,
    depth_layers=layers(depth + "depth_layers_"),
  )
  joined = _joined_heads(shapes)
  if heads := axis(0, bias):
    fields["num_heads"] = heads
    if joined:
      fields["head_dim"] = joined // heads
  if buckets := axis(1, bias):
    fields["temporal_buckets"] = buckets
  if plain:
    fields["temporal_positions"] = "sinusoid"
  fields["levels"] = axis(1, depth_bias) or (1 if plain else None)
  width = _common(shapes, 0, "norm.scale", depth)
  if width and width != fields["embed_dim"]:
    fields["depth_dim"] = width
    fields["depth_heads"] = axis(0, depth_bias)
    fields["depth_mlp_dim"] = _common(shapes, 1, "mlp.wi_0.kernel", depth)
  if "time_projection.kernel" in shapes:
    fields["time_features"] = True
  if parts := axis(0, "part_embedder.embedding"):
    fields["parts"] = parts
  if rows := axis(0, "style_embedder.embedding"):
    fields["style_vocab_size"] = rows
  return {k: v for k, v in fields.items() if v is not None}


def complete_config(
  fields: Mapping[str, Any], shapes: Shapes
) -> DepthformerConfig:
  """A config from settings, the rest from the arrays' shapes.

  Raises:
    ValueError: A setting is unknown, or one is neither given nor to be read
      from the shapes.
  """
  values = widths_of(shapes) | dict(fields)
  for field in dataclasses.fields(DepthformerConfig):
    if field.type is int and field.name in values:
      _integer(field.name, values[field.name])
  joined = _joined_heads(shapes)
  # A plain T5 decoder has no table with an axis of heads: one of two is needed.
  for given, other in (("num_heads", "head_dim"), ("head_dim", "num_heads")):
    if joined and values.get(given) and other not in values:
      values[other] = joined // values[given]
  required = [
    field.name
    for field in dataclasses.fields(DepthformerConfig)
    if field.default is dataclasses.MISSING
  ]
  if missing := [name for name in required if name not in values]:
    raise ValueError(
      f"settings are missing: {', '.join(missing)}, and the arrays do not tell."
    )
  return DepthformerConfig.from_dict(values)


# Fields that identify each published model.
_TELLING = (
  "embed_dim",
  "mlp_dim",
  "encoder_layers",
  "temporal_layers",
  "depth_layers",
)


def recognized_tag(shapes: Shapes) -> str | None:
  """The published checkpoint with these widths, if there is one."""
  widths = widths_of(shapes)
  for tag in MAGENTA_RT:
    config = magenta_rt_config(tag)
    if all(widths.get(name) == getattr(config, name) for name in _TELLING):
      return tag
  return None


def published_tag(config: DepthformerConfig) -> str | None:
  """The published checkpoint of a config, if there is one.

  Precision of activations and dropout are how it is run, not what it is.
  """
  for tag in MAGENTA_RT:
    published = magenta_rt_config(tag)
    if published == dataclasses.replace(
      config, dtype=published.dtype, dropout_rate=published.dropout_rate
    ):
      return tag
  return None


def misfits(config: DepthformerConfig, shapes: Shapes) -> str:
  """How the arrays are another model's than a config's; empty: they are not.

  Missing layers are faults of a model of the right widths, not another model.
  """
  widths = widths_of(shapes)
  if all(
    widths.get(name, value) == value
    for name in ("embed_dim", "mlp_dim")
    if (value := getattr(config, name))
  ):
    return ""
  return ", ".join(
    f"{name} {found} (expected {getattr(config, name)})"
    for name, found in widths.items()
    if name in _TELLING and found != getattr(config, name)
  )


def published_codec(config: DepthformerConfig) -> dict[str, Any]:
  """The codec entry of an imported checkpoint: ids of audio tokens.

  Level q code c is id `2 + 1024 q + c`; style level s code c is
  `17410 + 1024 s + c`; 0 is padding, 1 is MASK and ends a chunk.
  """
  settings: dict[str, Any] = dict(levels=config.levels)
  if published_tag(config) is not None:
    settings |= dict(
      context_levels=4,
      chunk_frames=50,
      context_frames=250,
      frames_per_s=25,
      codes_per_level=1024,
      first_id=2,
      style_levels=6,
      style_codes=1024,
      first_style_id=17410,
    )
  return dict(name="spectrostream", settings=settings)
