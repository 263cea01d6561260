"""What gin files bind of a training run, and the run they give."""

import dataclasses
import inspect
import shlex
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from magenta_midi.cli.gin.config import (
  Configurable,
  GinSource,
  evaluate,
  optional,
)
from magenta_midi.settings import convert

__all__ = ["TrainRun", "gin_train_run", "save_gin_config"]

# The model's fields that follow from the codec.
_FROM_CODEC = ("vocab_size", "levels", "level_columns")


class TrainRun(NamedTuple):
  """A run as its gin files give it."""

  config: Any  # TrainConfig
  codec: str
  codec_settings: dict[str, Any]
  # DIR[:SHARE] or a task's name, each.
  mixture: tuple[str, ...]
  # Registers the seqio task that the mixture names; None: it names folders.
  task_module: str | None
  out: Path
  # The operative config.
  gin: str


def gin_train_run(
  source: GinSource, options: Mapping[str, tuple[str, Any]]
) -> TrainRun:
  """The run that gin files and flags, and options beside them, give.

  Args:
    source: Files and flags.
    options: Field of TrainConfig, or `codec`, `codec_settings`, `mixture`,
      `task_module` and `out`, -> the option that gives it, and its value.

  Raises:
    UserError: See `evaluate`; ValueError: a setting is refused.
  """
  bound: dict[str, tuple[str, Any]] = {}
  for field, (option, value) in options.items():
    if field == "model":
      for name, setting in value.items():
        bound[f"DepthformerConfig.{name}"] = (option, setting)
    else:
      bound[_ROOT.get(field, f"TrainConfig.{field}")] = (option, value)
    # One of both is given: the other may come from a file.
    if field in _LENGTHS and not options.keys() >= set(_LENGTHS):
      other = _LENGTHS[1 - _LENGTHS.index(field)]
      bound[f"TrainConfig.{other}"] = (option, None)
  result = evaluate(_configurables(), source, bound)
  return result.value._replace(gin=result.text)


def save_gin_config(run: TrainRun) -> None:
  """Writes the operative config into the run's folder, atomically."""
  from magenta_midi.midi.atomic import write_atomically

  path = run.out / "config.gin"
  run.out.mkdir(parents=True, exist_ok=True)
  write_atomically(
    path,
    "# All settings of this run. They give the same run again, in DIR:\n"
    f"#   magenta-midi train --gin_file={shlex.quote(str(path))} --out DIR\n\n"
    f"{run.gin}",
  )


_LENGTHS = ("steps", "minutes")
_ROOT = dict(
  codec="train.codec",
  codec_settings="train.codec_settings",
  mixture="train.mixture_or_task_name",
  task_module="train.mixture_or_task_module",
  out="train.model_dir",
)


def _configurables() -> list[Configurable]:
  """The root, and everything below it."""
  from magenta_midi.model.config import DepthformerConfig
  from magenta_midi.train.run_settings import TrainConfig

  parts: dict[str, Any] = {
    name: hint
    for name, hint in typing.get_type_hints(TrainConfig).items()
    if dataclasses.is_dataclass(hint)
  }
  model = [
    field.name
    for field in dataclasses.fields(DepthformerConfig)
    if field.name not in _FROM_CODEC
  ]
  return [
    _of("train", _run, config="TrainConfig"),
    Configurable(
      "TrainConfig",
      _defaults(TrainConfig),
      dict,
      dict(model="DepthformerConfig")
      | {name: cls.__name__ for name, cls in parts.items()},
    ),
    *(
      Configurable(cls.__name__, _defaults(cls), dict) for cls in parts.values()
    ),
    Configurable(
      "DepthformerConfig", dict.fromkeys(model, optional), _model_fields
    ),
    _of("context_seconds", _context_s),
    _of("target_seconds", _target_s),
    _of("frames_per_batch", _frames_per_batch),
  ]


def _of(name: str, function: Any, **parts: str) -> Configurable:
  """A function as it is: its parameters and their defaults."""
  parameters = {
    parameter.name: optional
    if parameter.default is parameter.empty
    else parameter.default
    for parameter in inspect.signature(function).parameters.values()
  }
  return Configurable(name, parameters, function, parts)


def _defaults(cls: Any) -> dict[str, Any]:
  """Field -> default, made where it has to be made."""
  defaults = {}
  for field in dataclasses.fields(cls):
    if field.default is not dataclasses.MISSING:
      defaults[field.name] = field.default
    elif field.default_factory is not dataclasses.MISSING:
      defaults[field.name] = field.default_factory()
    else:
      defaults[field.name] = optional
  return defaults


def _run(
  *,
  config: Any,
  mixture_or_task_name: Any = (),
  mixture_or_task_module: Any = None,
  codec: Any = "note",
  codec_settings: Any = None,
  model_dir: Any = "runs/train",
) -> TrainRun:
  from magenta_midi.train.run_settings import TrainConfig

  if not isinstance(config, dict):
    raise ValueError(f"train.config must be @TrainConfig(), got {config!r}.")
  return TrainRun(
    convert(TrainConfig, config),
    convert(str, codec, "train.codec"),
    convert(dict[str, Any], codec_settings or {}, "train.codec_settings"),
    _mixture(mixture_or_task_name),
    convert(str | None, mixture_or_task_module, "train.mixture_or_task_module"),
    Path(convert(str, model_dir, "train.model_dir")),
    "",
  )


def _mixture(given: Any) -> tuple[str, ...]:
  """`DIR:SHARE,DIR:SHARE`, or a list of such, as a tuple."""
  name = "train.mixture_or_task_name"
  parts = given.split(",") if isinstance(given, str) else given
  parts = tuple(part.strip() for part in convert(list[str], parts, name))
  if not parts or not all(parts):
    raise ValueError(
      f"{name} must name a folder of MIDI files, got {given!r}. Give it:"
      " --gin.MIXTURE_OR_TASK_NAME='\"DIR\"'"
    )
  return parts


def _model_fields(**given: Any) -> dict[str, Any]:
  """Overrides of the preset; None is the preset's where it is no value."""
  from magenta_midi.model.config import DepthformerConfig

  hints = typing.get_type_hints(DepthformerConfig)
  fields = {}
  for name, value in given.items():
    if value is None and type(None) not in typing.get_args(hints[name]):
      continue
    fields[name] = convert(hints[name], value, f"DepthformerConfig.{name}")
  return fields


def _context_s(*, lengths: Any = None) -> float:
  return _seconds(lengths, "inputs", "context_s")


def _target_s(*, lengths: Any = None) -> float:
  return _seconds(lengths, "targets", "target_s")


def _seconds(lengths: Any, feature: str, field: str) -> float:
  """Seconds of a feature whose length is in steps of the time grid."""
  from magenta_midi.tokens.grid import GridConfig
  from magenta_midi.train.run_settings import TrainConfig

  if lengths is None:
    return _defaults(TrainConfig)[field]
  lengths = convert(dict[str, int], lengths, "TASK_FEATURE_LENGTHS")
  if set(lengths) != {"inputs", "targets"}:
    raise ValueError(
      "TASK_FEATURE_LENGTHS must be {'inputs': STEPS, 'targets': STEPS}, got"
      f" {lengths!r}."
    )
  return lengths[feature] * GridConfig().step_ms / 1000


def _frames_per_batch(*, examples: Any = None, codec: Any = "note") -> int:
  """Work of a batch that holds so many of the longest examples."""
  from magenta_midi.data.examples.batches import BUCKETS
  from magenta_midi.train.run_settings import TrainConfig

  if examples is None:
    return _defaults(TrainConfig)["frames_per_batch"]
  count = convert(int, examples, "BATCH_SIZE")
  if count < 1:
    raise ValueError(f"BATCH_SIZE must be at least 1, got {count}.")
  if codec not in BUCKETS:
    raise ValueError(
      f"codec must be one of: {', '.join(BUCKETS)}; got {codec!r}."
    )
  context, target = BUCKETS[codec][-1]
  return count * (context + 3 * target // 2)
