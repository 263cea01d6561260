"""Settings of a run, and the checks before anything is read or written.

Gin, the command line and Python fill the same `TrainConfig`; `run.json` holds
it, so that a run is continued only with the settings it was begun with.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import jax

from magenta_midi.bounded_files import read_json
from magenta_midi.data.examples.conditioning import StyleRows, load_style
from magenta_midi.data.examples.examples import Augmentation
from magenta_midi.data.examples.outline_draws import check_given
from magenta_midi.data.examples.partners import PARTS, SOLO, check_shares
from magenta_midi.limits import (
  AMOUNT,
  CONTEXT_S,
  COUNT,
  FRACTION,
  LEARNING_RATE,
  LEVEL_WEIGHT,
  POSITIVE,
  RATE_FACTOR,
  SEED,
  SHARE,
  TARGET_S,
)
from magenta_midi.model.checkpoint import Storage, StoredCheckpoint
from magenta_midi.model.config import DepthformerConfig, preset
from magenta_midi.settings import (
  check_bounds,
  check_choice,
  check_choices,
  check_length,
  check_numbers,
)
from magenta_midi.style.text.facts import PieceFacts
from magenta_midi.tokens.codec import Codec
from magenta_midi.tokens.outline_rows import ROWS
from magenta_midi.tokens.vocabulary import RESERVED
from magenta_midi.train.run_clock import Clock
from magenta_midi.train.sharding import AXES
from magenta_midi.train.warm_start import check_widths

__all__ = [
  "EARLIER_DEFAULTS",
  "LEARNING_RATES",
  "RUN",
  "STATE",
  "TrainConfig",
  "as_begun",
  "check_init_from",
  "check_settings",
  "has_state",
  "level_weights",
  "model_config",
  "settings_json",
  "style_rows",
]

# A run's settings, and what it continues from.
RUN = "run.json"
STATE = "state"
# State file of earlier versions.
OLD_STATE = "state.safetensors"
# Of a setting that is not there; None is a value.
_UNSET = object()

Optimizer = Literal[
  "muon_drawn", "adam_drawn", "adam_relative", "adamw", "adafactor", "muon"
]
Shapes = Literal["all", "few"]
Schedule = Literal["cosine", "constant", "linear", "rsqrt"]

# Peaks where none is given. Adafactor's is the top of the original's
# 0.5 / sqrt(max(step, 1000)); the drawn and the relative ones move each array
# in proportion to its size, so they are larger than AdamW's.
LEARNING_RATES = dict(
  muon_drawn=8e-3,
  adam_drawn=0.015,
  adam_relative=0.015,
  adamw=1e-3,
  adafactor=0.5 / 1000**0.5,
  muon=2e-3,
)
# What was the default before these settings had their present ones; their
# runs have no `rest_rate` in run.json.
EARLIER_DEFAULTS = dict(
  optimizer="adam_relative",
  learning_rate=LEARNING_RATES["adam_relative"],
  z_loss=0.0,
)
# May be changed when a run is continued: where it runs and how it is watched,
# not what it computes.
_FREE = frozenset(
  {
    "guard",
    "mesh",
    "source",
    "workers",
    "save_every_min",
    "save_every_steps",
    "sample_s",
  }
)
# Counts, from 1; None passes.
_COUNTS = (
  "accumulate",
  "evaluate_every_steps",
  "frames_per_batch",
  "held_out_windows",
  "save_every_steps",
)
# Counts and amounts, from 0.
_AMOUNTS = (
  "early_stopping",
  "evaluate_every_min",
  "guard",
  "sample_s",
  "save_every_min",
  "warmup_steps",
  "weight_decay",
  "workers",
  "z_loss",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
  """Settings of one run. Of `steps` and `minutes`, one is given."""

  preset: str = "small"
  # Overrides of the preset's fields.
  model: dict[str, Any] = dataclasses.field(default_factory=dict)
  # Length of the run in optimizer steps: repeatable to the bit.
  steps: int | None = None
  # Length of the run in minutes of training: the schedule follows the clock.
  minutes: float | None = None
  # Clock of the minutes: `wall`; or `processor`, the work of a core, for
  # comparable runs on a machine that is also used for other work.
  clock: Clock = "wall"
  # Optimizer; see `optimizers` for each.
  optimizer: Optimizer = "muon_drawn"
  # Peak of the learning rate; 0: the optimizer's default (`LEARNING_RATES`).
  # Relative to the root mean square of each array: as it was drawn with
  # muon_drawn and adam_drawn, of the moment with adam_relative and adafactor.
  learning_rate: float = 0.0
  # Under muon_drawn, the rate of embeddings, norms, biases and head as a factor
  # of the kernels'.
  rest_rate: float = 2.0
  # After a linear warm-up: cosine and linear end at 2 % of the peak; rsqrt
  # falls with the root of the step and knows no end; constant stays.
  schedule: Schedule = "cosine"
  warmup_steps: int = 200
  # Share of the run before cosine and linear begin to fall, 0..1.
  hold: float = 0.0
  # Not for adafactor, which is the original's.
  weight_decay: float = 0.01
  adam_b2: float = 0.98
  # Largest global norm of a gradient; not for adafactor, which clips updates.
  clip: float = 1.0
  # Pulls each level's log normalizer to 0; the original's is 1e-4.
  z_loss: float = 1e-4
  # Share of each target that is spread over its level's codes.
  label_smoothing: float = 0.0
  # Factors on the loss of levels by name, 1 where none is given.
  level_weights: dict[str, float] = dataclasses.field(default_factory=dict)
  # Checkpoint whose predictions are learned from beside the music
  # (`train.teacher`), and how much of each target is what it expects.
  teacher: str | None = None
  teacher_share: float = 0.5
  # Of the weights' moving average, which is then what is evaluated and
  # written; 0: none.
  ema_decay: float = 0.0
  # Batches whose gradients make one step.
  accumulate: int = 1
  # Recomputes the layers' activations in the backward pass: slower, smaller.
  remat: bool = False
  # Of the activations; None: bfloat16 on accelerators, float32 on the CPU.
  dtype: Literal["float32", "bfloat16"] | None = None
  # Devices along each axis of `sharding.AXES`; {}: one device.
  mesh: dict[str, int] = dataclasses.field(default_factory=dict)
  # Work of a batch, in context frames: about 27 examples.
  frames_per_batch: int = 4096
  # Shapes of batches: all of the codec's, which pad little, or a few, which
  # are compiled sooner.
  shapes: Shapes = "all"
  # Source that cuts the examples, and its number of processes; 0: in the
  # training process.
  source: str = "grain"
  workers: int = 0
  # Music predicted for each encoded context, s. 2 s are played at a time.
  target_s: float = 4.0
  context_s: float = 10.0
  augmentation: Augmentation = dataclasses.field(default_factory=Augmentation)
  seed: int = 0
  # Held-out windows scored on the way, and how often: in minutes or, where
  # given, in steps, which a run repeats.
  held_out_windows: int = 384
  evaluate_every_min: float = 10.0
  evaluate_every_steps: int | None = None
  # Evaluations without a gain after which the run ends, with the best weights
  # as its checkpoint; 0: never.
  early_stopping: int = 0
  # Nats an event by which the training loss of 100 steps may rise above its
  # lowest: then the run goes back to its last good weights, at 0.7 of the rate;
  # 0: it never does.
  guard: float = 0.5
  save_every_min: float = 4.0
  save_every_steps: int | None = None
  # Keeps, beside the newest state, that of the best evaluation.
  keep_best: bool = True
  # Music played after each evaluation, into `samples/`, s; 0: none.
  sample_s: float = 8.0
  # How the checkpoint's weights are stored.
  storage: Storage = "bfloat16"
  # Checkpoint whose blocks a new run starts from; None: drawn weights.
  init_from: str | None = None
  # Share of examples by how they are split into two players.
  partners: dict[str, float] = dataclasses.field(
    default_factory=lambda: dict(SOLO)
  )
  # Share of the examples by what they are given of beats and chords
  # (`outline_draws.GIVEN`); {}: the model has no input for them.
  outline: dict[str, float] = dataclasses.field(default_factory=dict)
  # Share of the examples whose notes before *now* are early or late
  # (`history_noise`), so that a model learns to come back to the beat.
  history_noise: float = 0.0
  # Style model of the style tokens; with it come control tokens: descriptors,
  # midicoca or the folder of a MidiCoCa; None: no style.
  style: str | None = None

  def __post_init__(self) -> None:
    """Refuses what cannot run."""
    check_length(self.steps, self.minutes)
    check_choices(self)
    check_choice("source", self.source, ("grain", "numpy"))
    check_numbers(self)
    check_bounds(self, POSITIVE, "clip")
    check_bounds(self, TARGET_S, "target_s")
    check_bounds(self, CONTEXT_S, "context_s")
    check_bounds(
      self, FRACTION, "ema_decay", "label_smoothing", "adam_b2", "hold"
    )
    check_bounds(self, SHARE, "teacher_share", "history_noise")
    check_bounds(self, COUNT, *_COUNTS)
    check_bounds(self, AMOUNT, *_AMOUNTS)
    check_bounds(self, SEED, "seed")
    check_bounds(self, LEVEL_WEIGHT, "level_weights")
    check_bounds(self, COUNT, "mesh")
    check_bounds(self, RATE_FACTOR, "rest_rate")
    if self.learning_rate != 0:
      check_bounds(self, LEARNING_RATE, "learning_rate")
    if self.learning_rate == 0:
      rate = LEARNING_RATES[self.optimizer]
      object.__setattr__(self, "learning_rate", rate)
    if self.early_stopping and not self.keep_best:
      raise ValueError("early_stopping needs keep_best: it ends at the best.")
    for axis in self.mesh:
      check_choice("a mesh's axis", axis, AXES)
    check_shares(self.partners)
    check_given(self.outline)

  @property
  def duet(self) -> bool:
    """Whether any example has another part."""
    return any(self.partners[mode] for mode in self.partners.keys() - SOLO)


def style_rows(
  config: TrainConfig, facts: Sequence[Sequence[PieceFacts]] | None = None
) -> StyleRows | None:
  """Rows of style of a run's batches; None: no style.

  Args:
    config: The run's.
    facts: What is known of each piece of each corpus; None: its name only.

  Raises:
    ValueError: The style model is unknown; OSError if it cannot be read.
  """
  if config.style is None:
    return None
  return StyleRows(load_style(config.style), facts, seed=config.seed)


def model_config(
  config: TrainConfig, codec: Codec, style: StyleRows | None = None
) -> DepthformerConfig:
  """The model of a run: bfloat16 on accelerators, float32 on the CPU.

  Args:
    config: The run's.
    codec: The run's.
    style: The run's `style_rows`.

  Raises:
    ValueError: The preset or one of its fields is unknown, the run has another
      part that codec or model do not support, or `level_weights` do not fit.
  """
  level_weights(config, codec)
  values: dict[str, Any] = dict(
    dtype="float32" if jax.default_backend() == "cpu" else "bfloat16"
  )
  if config.dtype is not None:
    values["dtype"] = config.dtype
  if config.duet:
    values["parts"] = PARTS
    if codec.name != "note":
      raise ValueError(
        f"the codec {codec.name!r} knows no partner: train it with --partners"
        " solo:1, or --codec note."
      )
  if config.outline:
    values["outline_rows"] = ROWS
  if style is not None:
    values["style_slots"] = style.slots
    values["style_vocab_size"] = style.table_rows
    values["style_shift"] = True
  shape = preset(
    config.preset,
    level_sizes=tuple(codec.vocabulary.level_sizes),
    reserved=RESERVED,
    **{**values, **config.model},
  )
  if config.duet and shape.parts < PARTS:
    raise ValueError(
      f"a run with partners needs parts of at least {PARTS} (the model, and"
      f" the other part by delay), got {shape.parts}."
    )
  return shape


def level_weights(config: TrainConfig, codec: Codec) -> tuple[float, ...]:
  """The factor on each level's loss; (): 1 each.

  Raises:
    ValueError: A level is not the codec's.
  """
  names = codec.vocabulary.level_names
  if unknown := sorted(config.level_weights.keys() - set(names)):
    raise ValueError(
      f"level_weights: {', '.join(unknown)} is no level of the codec"
      f" {codec.name!r}: {', '.join(names)}."
    )
  if not config.level_weights:
    return ()
  return tuple(config.level_weights.get(name, 1.0) for name in names)


def has_state(out: Path) -> bool:
  """Whether there is a run in `out` that can be continued."""
  return (out / RUN).is_file() and newest_step(out) is not None


def newest_step(out: Path) -> int | None:
  """Step of the newest whole state; unfinished ones have longer names."""
  folder = out / STATE
  if not folder.is_dir():
    return None
  names = [path.name for path in folder.iterdir()]
  return max((int(name) for name in names if name.isdecimal()), default=None)


def as_begun(config: TrainConfig, out: Path) -> TrainConfig:
  """The settings with which the run in `out` goes on.

  Where an earlier version began it, settings that are at today's defaults are
  at those of that time, so that the same command continues it.
  """
  try:
    found = read_json(out / RUN) if has_state(out) else None
  except (OSError, ValueError):
    # `check_settings` says so.
    return config
  if not isinstance(found, dict) or "rest_rate" in found:
    return config
  today = TrainConfig(steps=1)
  then = {
    name: value
    for name, value in EARLIER_DEFAULTS.items()
    if getattr(config, name) == getattr(today, name) != value
    and found.get(name) == value
  }
  return dataclasses.replace(config, **then)


def check_init_from(
  config: TrainConfig,
  codec: Codec,
  out: Path,
  style: StyleRows | None = None,
) -> None:
  """Refuses what a new run cannot start from; a continued one needs nothing.

  Raises:
    ValueError: `init_from` is no checkpoint, or one of other widths.
  """
  if config.init_from is not None and not has_state(out):
    stored = StoredCheckpoint(Path(config.init_from))
    check_widths(stored, model_config(config, codec, style))


def check_settings(config: TrainConfig, codec: Codec, out: Path) -> None:
  """Refuses to continue a run with other settings.

  Raises:
    ValueError: `out` holds such a run; names what differs, with both values.
      Or a run of an earlier version, or one that is further than `steps`.
  """
  if (out / OLD_STATE).is_file() and not (out / STATE).is_dir():
    raise ValueError(
      f"{out}: its state ({OLD_STATE}) is of an earlier version. Give --out a"
      f" new folder and --init-from {out / 'checkpoint'}."
    )
  step = newest_step(out)
  if step is None:
    return
  if config.steps is not None and config.steps < step:
    raise ValueError(
      f"{out}: its state is at step {step}, beyond the {config.steps} steps"
      " asked for. Give --out a new folder, or the steps it was begun with."
    )
  if not (out / RUN).is_file():
    raise ValueError(
      f"{out}: holds a state without its settings ({RUN}). Give --out a new"
      " folder."
    )
  try:
    found = read_json(out / RUN)
  except ValueError:
    found = None
  if not isinstance(found, dict):
    raise ValueError(f"{out / RUN}: damaged. Give --out a new folder.")
  # A setting that came later was at its default.
  defaults = dataclasses.asdict(TrainConfig(steps=1, learning_rate=1.0))
  changes = _changes(
    _fixed(json.loads(json.dumps(defaults)) | found),
    _fixed(json.loads(settings_json(config, codec))),
  )
  if changes:
    raise ValueError(
      f"{out}: holds a run with other settings ({RUN}):"
      f" {', '.join(changes)}. Give --out another folder, or the same"
      " settings to continue."
    )


def settings_json(config: TrainConfig, codec: Codec) -> str:
  """Text of `run.json`; of the codec, only values other than the defaults."""
  plain = dataclasses.asdict(type(codec.config)())
  changed = {
    name: value
    for name, value in dataclasses.asdict(codec.config).items()
    if value != plain[name]
  }
  codec_settings = dict(codec_settings=changed) if changed else {}
  return json.dumps(
    dict(codec=codec.name) | codec_settings | dataclasses.asdict(config),
    indent=2,
  )


def _fixed(settings: dict[str, Any]) -> dict[str, Any]:
  return {name: v for name, v in settings.items() if name not in _FREE}


def _changes(
  stored: dict[str, Any], given: dict[str, Any], prefix: str = ""
) -> list[str]:
  """Each setting that differs, with both values; of groups, what is inside."""
  changes = []
  for name in sorted(stored.keys() | given.keys()):
    values = stored.get(name, _UNSET), given.get(name, _UNSET)
    if values[0] == values[1]:
      continue
    if all(isinstance(value, dict) for value in values):
      changes += _changes(*values, prefix=f"{prefix}{name}.")
    else:
      was, now = (
        "not set" if value is _UNSET else json.dumps(value) for value in values
      )
      changes.append(f"{prefix}{name} was {was}, now {now}")
  return changes
