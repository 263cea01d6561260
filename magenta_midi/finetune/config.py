"""Settings of a fine-tuning run, and the check of a continued one."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from magenta_midi.bounded_files import read_json
from magenta_midi.data.examples.examples import Augmentation
from magenta_midi.data.examples.partners import PARTS, SOLO
from magenta_midi.finetune.layer_schedule import check_schedule
from magenta_midi.limits import (
  AMOUNT,
  AUGMENTED_TEMPO,
  CONTEXT_S,
  COUNT,
  INNER_SHARE,
  LEARNING_RATE,
  SEED,
  TARGET_S,
  TIME_S,
)
from magenta_midi.midi.atomic import write_atomically
from magenta_midi.model.config import DepthformerConfig
from magenta_midi.model.lora.lora import LoraConfig
from magenta_midi.model.lora.quantized import Quantize, check_quantize
from magenta_midi.settings import (
  check_bounds,
  check_choices,
  check_length,
  check_numbers,
)
from magenta_midi.tokens.codec import Codec
from magenta_midi.train.run_settings import RUN, TrainConfig

__all__ = [
  "TEMPOS",
  "FinetuneConfig",
  "begin_run",
  "finetune_config",
  "train_config",
]

# Factors on the tempo of the recordings, each as often as the others.
TEMPOS = (0.9, 1.0, 1.1)
# Of a run whose length is not given.
DEFAULT_MINUTES = 20.0
# Of the shares of a run of a model that knows a partner: a player's own hands
# and phrases stand for the two.
DUET = {"solo": 0.7, "hands": 0.15, "turns": 0.15}


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
  """How an adapter is trained. Of `steps` and `minutes`, one is given."""

  lora: LoraConfig = dataclasses.field(default_factory=LoraConfig)
  # Length of the run in optimizer steps: repeatable to the bit.
  steps: int | None = None
  # Length of the run in minutes: the schedule follows the clock.
  minutes: float | None = None
  # Peak of AdamW's rate; a cosine follows a linear warm-up.
  learning_rate: float = 1e-3
  warmup_steps: int = 20
  # Augmentation that keeps a style: few semitones, both ends included, similar
  # tempos, and no change of velocity.
  transpose: tuple[int, int] = (-2, 2)
  tempos: tuple[float, ...] = TEMPOS
  # Of the music that is rehearsed against forgetting, where there is some:
  # share of the examples.
  rehearsal_share: float = 0.3
  # Music sampled once from the model that the run starts from, s: to rehearse,
  # and to say what was forgotten where no other music is given; 0: none.
  continuations_s: float = 480.0
  # Factor on the learning rate of each of `stack_schedule.GROUPS`, 1 where none
  # is given; 0: it stays as it is.
  stack_rates: dict[str, float] = dataclasses.field(default_factory=dict)
  # How much of the run is done when each begins to learn, 0..1; 0 where none is
  # given.
  unfreeze: dict[str, float] = dataclasses.field(default_factory=dict)
  # Share of examples by how they are split into two players; None: solo, and
  # for a base that knows a partner also hands and turns.
  partners: dict[str, float] | None = None
  # Work of a batch, in context frames: about 7 examples.
  frames_per_batch: int = 1024
  # Music predicted for each context, and its length, s.
  target_s: float = 4.0
  context_s: float = 10.0
  # Times at which held-out windows are scored on the way, how many of them,
  # and after how many in a row that are no lower than the one before the run
  # ends; 0: never.
  evaluations: int = 12
  held_out_windows: int = 384
  early_stopping: int = 4
  # Minutes between states from which a killed run continues.
  save_every_min: float = 2.0
  # How the base is held while factors are trained; what is not `none`
  # recomputes activations too. Figures are of the base as it is.
  quantize: Quantize = "none"
  # Recomputes the layers' activations in the backward pass: slower, smaller.
  remat: bool = False
  # Of all draws.
  seed: int = 0

  def __post_init__(self) -> None:
    """Refuses what cannot run."""
    check_length(self.steps, self.minutes)
    check_choices(self)
    check_numbers(self)
    check_bounds(self, LEARNING_RATE, "learning_rate")
    check_bounds(
      self, COUNT, "evaluations", "held_out_windows", "frames_per_batch"
    )
    check_bounds(
      self, AMOUNT, "warmup_steps", "early_stopping", "save_every_min"
    )
    check_bounds(self, TARGET_S, "target_s")
    check_bounds(self, CONTEXT_S, "context_s")
    check_bounds(self, SEED, "seed")
    check_bounds(self, AUGMENTED_TEMPO, "tempos")
    if not self.tempos:
      raise ValueError("tempos must name at least one, got none.")
    low, high = self.transpose
    if not -12 <= low <= high <= 12:
      raise ValueError(
        f"transpose must be two semitones in -12..12, got {self.transpose}."
      )
    check_bounds(self, INNER_SHARE, "rehearsal_share")
    check_bounds(self, TIME_S, "continuations_s")
    check_schedule(self.stack_rates, self.unfreeze)

  @property
  def evaluate_every_steps(self) -> int | None:
    """Steps between evaluations, of a run whose length is in steps."""
    if self.steps is None:
      return None
    return max(1, round(self.steps / self.evaluations))


def finetune_config(
  *, start: LoraConfig | None = None, **settings: Any
) -> FinetuneConfig:
  """Settings from fields of `FinetuneConfig` and `LoraConfig` in one.

  Without `steps` or `minutes`, the run takes 20 minutes; without `alpha`, it
  is twice the rank.

  Args:
    start: Of the adapter that the run goes on from: its rank, alpha and targets
      where they are not given.
    **settings: Fields.

  Raises:
    ValueError: A field is unknown, or its value cannot be.
  """
  lora = {field.name for field in dataclasses.fields(LoraConfig)}
  known = lora | {field.name for field in dataclasses.fields(FinetuneConfig)}
  if unknown := sorted(settings.keys() - known | settings.keys() & {"lora"}):
    raise ValueError(
      f"unknown settings {', '.join(unknown)}. Known:"
      f" {', '.join(sorted(known - {'lora'}))}."
    )
  for name in ("rank", "alpha", "targets") if start is not None else ():
    settings.setdefault(name, getattr(start, name))
  own = {name: settings.pop(name) for name in lora & settings.keys()}
  if "rank" in own:
    own.setdefault("alpha", 2.0 * own["rank"])
  if settings.get("steps") is None and settings.get("minutes") is None:
    settings["minutes"] = DEFAULT_MINUTES
  check_quantize(settings.get("quantize", "none"))
  return FinetuneConfig(lora=LoraConfig(**own), **settings)


def train_config(
  config: FinetuneConfig, model: DepthformerConfig, codec: Codec
) -> TrainConfig:
  """The same as training's settings: its data, optimizer and schedule.

  Raises:
    ValueError: The base knows no partner, and partners are asked for.
  """
  knows_partner = codec.name == "note" and model.parts >= PARTS
  partners = config.partners
  if partners is None:
    partners = DUET if knows_partner else SOLO
  found = TrainConfig(
    steps=config.steps,
    minutes=config.minutes,
    optimizer="adamw",
    learning_rate=config.learning_rate,
    warmup_steps=config.warmup_steps,
    weight_decay=0.0,
    frames_per_batch=config.frames_per_batch,
    # Grain would cut ahead in a thread of its own; recordings are few.
    source="numpy",
    target_s=config.target_s,
    context_s=config.context_s,
    # Tempos come as corpora of their own.
    augmentation=Augmentation(
      transpose=config.transpose,
      tempo=(1.0, 1.0),
      velocity_gain=(1.0, 1.0),
      velocity_shift=(0.0, 0.0),
      departures=0.0,
    ),
    seed=config.seed,
    partners=dict(partners),
  )
  if found.duet and not knows_partner:
    raise ValueError(
      "this base knows no partner: leave partners out, or give one that was"
      " trained with --partners."
    )
  return found


def begin_run(out: Path, config: FinetuneConfig, facts: dict[str, Any]) -> None:
  """Writes a run's settings, or compares them with those that are there.

  Args:
    out: The run's folder, which is made.
    config: The run's.
    facts: What else must be the same: name, base, takes.

  Raises:
    ValueError: It holds another run; names what differs.
    OSError: It cannot be written.
  """
  settings = json.loads(json.dumps(dict(facts, **dataclasses.asdict(config))))
  # How often it saves decides nothing else.
  settings.pop("save_every_min")
  # An earlier version may not know options that are at their defaults.
  known = {name: value for name, value in facts.items() if value is None}
  for field in dataclasses.fields(FinetuneConfig):
    known[field.name] = _default(field)
  path = out / RUN
  if not path.is_file():
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(settings, indent=2) + "\n")
    return
  try:
    found = read_json(path)
  except ValueError:
    found = None
  if not isinstance(found, dict):
    raise ValueError(f"{path}: damaged. Give --out a new folder.")
  known.pop("save_every_min")
  found = json.loads(json.dumps(known)) | found
  changed = [
    name
    for name in sorted(settings.keys() | found.keys())
    if settings.get(name) != found.get(name)
  ]
  if changed:
    shown = "; ".join(
      f"{name} was {_shown(found.get(name))}, now {_shown(settings.get(name))}"
      for name in changed
    )
    raise ValueError(
      f"{out}: holds another run ({shown}). Give --out a new folder, or the"
      " same recordings and settings to continue."
    )


def _default(field: dataclasses.Field) -> Any:
  if field.default_factory is not dataclasses.MISSING:
    value = field.default_factory()
    return dataclasses.asdict(value) if field.name == "lora" else value
  return field.default


def _shown(value: Any) -> str:
  text = json.dumps(value)
  return text if len(text) <= 60 else f"{text[:57]}..."
