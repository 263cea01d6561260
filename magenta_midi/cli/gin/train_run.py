"""A training run from gin files, flags and options."""

import dataclasses
import shlex
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from magenta_midi.cli.gin.evaluation import (
  Configurable,
  configurable,
  evaluate,
  optional,
)
from magenta_midi.cli.gin.statements import GinSource, Reference
from magenta_midi.data.examples.batches import BUCKETS
from magenta_midi.midi.atomic import write_atomically
from magenta_midi.model.config import DepthformerConfig
from magenta_midi.tokens.grid import GridConfig
from magenta_midi.train.run_settings import TrainConfig

__all__ = ["TrainRun", "gin_train_run", "save_gin_config"]

# The model's fields that follow from the codec.
_FROM_CODEC = ("vocab_size", "levels", "level_columns")
_LENGTHS = ("steps", "minutes")
# Option -> parameter; all others are fields of TrainConfig.
_ROOT = dict(
  codec="train.codec",
  codec_settings="train.codec_settings",
  mixture="train.mixture_or_task_name",
  task_module="train.mixture_or_task_module",
  out="train.model_dir",
)


class TrainRun(NamedTuple):
  """A run as its gin files give it."""

  config: TrainConfig
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
    UserError: See `evaluate`.
    ValueError: A setting is refused.
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
  result = evaluate("train", _configurables(), source, bound)
  return result.value._replace(gin=result.text)


def save_gin_config(run: TrainRun) -> None:
  """Writes the operative config into the run's folder, atomically."""
  path = run.out / "config.gin"
  run.out.mkdir(parents=True, exist_ok=True)
  write_atomically(
    path,
    "# All settings of this run. They give the same run again, in DIR:\n"
    f"#   magenta-midi train --gin_file={shlex.quote(str(path))} --out DIR\n\n"
    f"{run.gin}",
  )


def _configurables() -> dict[str, Configurable]:
  """The root, and everything below it."""
  parts: dict[str, Any] = {
    name: hint
    for name, hint in typing.get_type_hints(TrainConfig).items()
    if dataclasses.is_dataclass(hint)
  }
  model = typing.get_type_hints(DepthformerConfig)
  for name in _FROM_CODEC:
    del model[name]

  def overrides(**given: Any) -> dict[str, Any]:
    """Fields in place of the preset's; None, where it is no value, is not."""
    return {
      name: value
      for name, value in given.items()
      if value is not None or type(None) in typing.get_args(model[name])
    }

  return dict(
    train=configurable(_run, config=Reference("TrainConfig")),
    TrainConfig=configurable(
      TrainConfig,
      model=Reference("DepthformerConfig"),
      **{name: Reference(cls.__name__) for name, cls in parts.items()},
    ),
    DepthformerConfig=Configurable(
      dict.fromkeys(model, optional),
      overrides,
      {name: hint | None for name, hint in model.items()},
    ),
    context_seconds=configurable(_context_s),
    target_seconds=configurable(_target_s),
    frames_per_batch=configurable(_frames_per_batch),
    **{cls.__name__: configurable(cls) for cls in parts.values()},
  )


def _run(
  *,
  mixture_or_task_name: str | list[str] = "",
  mixture_or_task_module: str | None = None,
  codec: str = "note",
  codec_settings: dict[str, Any] | None = None,
  model_dir: str = "runs/train",
  config: TrainConfig,
) -> TrainRun:
  name = mixture_or_task_name
  parts = name.split(",") if isinstance(name, str) else name
  mixture = tuple(part.strip() for part in parts)
  if not mixture or not all(mixture):
    raise ValueError(
      "train.mixture_or_task_name must name a folder of MIDI files, got"
      f" {name!r}. Give it: --gin.MIXTURE_OR_TASK_NAME='\"DIR\"'"
    )
  return TrainRun(
    config,
    codec,
    codec_settings or {},
    mixture,
    mixture_or_task_module,
    Path(model_dir),
    "",
  )


def _context_s(lengths: dict[str, int] | None = None) -> float:
  return _seconds(lengths, "inputs", TrainConfig.context_s)


def _target_s(lengths: dict[str, int] | None = None) -> float:
  return _seconds(lengths, "targets", TrainConfig.target_s)


def _seconds(
  lengths: dict[str, int] | None, feature: str, default: float
) -> float:
  """Seconds of a feature whose length is in steps of the time grid."""
  if lengths is None:
    return default
  if set(lengths) != {"inputs", "targets"}:
    raise ValueError(
      "TASK_FEATURE_LENGTHS must be {'inputs': STEPS, 'targets': STEPS}, got"
      f" {lengths!r}."
    )
  return lengths[feature] * GridConfig().step_ms / 1000


def _frames_per_batch(examples: int | None = None, codec: str = "note") -> int:
  """Work of a batch that holds so many of the longest examples."""
  if examples is None:
    return TrainConfig.frames_per_batch
  if examples < 1:
    raise ValueError(f"BATCH_SIZE must be at least 1, got {examples}.")
  if codec not in BUCKETS:
    raise ValueError(
      f"codec must be one of: {', '.join(BUCKETS)}; got {codec!r}."
    )
  context, target = BUCKETS[codec][-1]
  return examples * (context + 3 * target // 2)
