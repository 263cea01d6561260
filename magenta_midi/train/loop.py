"""The training loop: batches in, checkpoints and a loss curve out.

A run is a folder: `run.json` (settings), `state.safetensors` (parameters,
optimizer, data position; written atomically), `log.jsonl`, `loss.png`, and
`checkpoint/`, which `generate` and `evaluate` load. A killed run continues
from its last state; with `steps` given, it ends where an unbroken one would.
"""

import dataclasses
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from safetensors import safe_open
from safetensors.numpy import save_file

from magenta_midi.model.checkpoint import (
  CheckpointError,
  Storage,
  StoredCheckpoint,
  save_checkpoint,
  write_atomically,
)
from magenta_midi.model.config import DepthformerConfig, preset
from magenta_midi.model.depthformer import Depthformer
from magenta_midi.model.dropout import seed_dropout
from magenta_midi.style.facts import PieceFacts
from magenta_midi.style.model import MASK_TOKEN
from magenta_midi.tokens.codec import Codec
from magenta_midi.tokens.vocabulary import RESERVED
from magenta_midi.train.batches import BatchStream
from magenta_midi.train.corpus import Corpus
from magenta_midi.train.evaluate import Evaluation, evaluate
from magenta_midi.train.losses import batch_nats
from magenta_midi.train.partners import PARTS, SOLO, check_shares
from magenta_midi.train.plots import plot_losses
from magenta_midi.train.style_rows import StyleRows, load_style
from magenta_midi.train.style_table import style_table
from magenta_midi.train.warm_start import WarmStart, check_widths, warm_start
from magenta_midi.train.windows import Augmentation, Batch

__all__ = [
  "Progress",
  "TrainConfig",
  "Trainer",
  "check_init_from",
  "check_settings",
  "learning_rate",
  "model_config",
  "style_rows",
  "train",
]


# A run's settings, and what it continues from.
RUN = "run.json"
STATE = "state.safetensors"
# Of a setting that is not there; None is a value.
_UNSET = object()


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
  # Peak of the learning rate, relative to the root mean square of each array;
  # warm-up is linear, then a cosine to 2 %.
  learning_rate: float = 0.015
  warmup_steps: int = 200
  weight_decay: float = 0.01
  adam_b2: float = 0.98
  # Largest global norm of a gradient.
  clip: float = 1.0
  # Work of a batch, in context frames: about 27 examples.
  frames_per_batch: int = 4096
  # Music predicted for each encoded context, s. 2 s are played at a time.
  target_s: float = 4.0
  context_s: float = 10.0
  augmentation: Augmentation = dataclasses.field(default_factory=Augmentation)
  seed: int = 0
  # Held-out windows scored on the way, and how often (minutes).
  held_out_windows: int = 384
  evaluate_every_min: float = 10.0
  save_every_min: float = 4.0
  # How the checkpoint's weights are stored.
  storage: Storage = "bfloat16"
  # Checkpoint whose blocks a new run starts from; None: drawn weights.
  init_from: str | None = None
  # Share of examples by how they are split into two players.
  partners: dict[str, float] = dataclasses.field(
    default_factory=lambda: dict(SOLO)
  )
  # Style model whose tokens, and the controls, the model is told: descriptors,
  # midicoca or a MidiCoCa's folder; None: no style.
  style: str | None = None

  def __post_init__(self) -> None:
    """Refuses what cannot run."""
    if (self.steps is None) == (self.minutes is None):
      raise ValueError("give either steps or minutes, not both and not none.")
    length = self.steps if self.minutes is None else self.minutes
    if length is not None and length <= 0:
      raise ValueError(f"the run's length must be positive, got {length}.")
    check_shares(self.partners)

  @property
  def duet(self) -> bool:
    """Whether any example has a partner."""
    return any(self.partners[mode] for mode in self.partners.keys() - SOLO)


@dataclasses.dataclass(frozen=True)
class Progress:
  """Where a run stands."""

  step: int
  fraction: float  # of the run, 0..1
  minutes: float
  nats: float  # training nats an event, lately
  held_out: float | None  # nats a note on held-out windows
  events_per_s: float


def style_rows(
  config: TrainConfig, facts: Sequence[Sequence[PieceFacts]] | None = None
) -> StyleRows | None:
  """What a run's batches tell of style; None: nothing.

  Args:
    config: The run's.
    facts: What is known of each piece of each corpus; None: its name only.

  Raises:
    ValueError: There is no such style model; OSError if it cannot be read.
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
    ValueError: The preset or one of its fields is unknown, or codec or model
      know no partner and the run has one.
  """
  values: dict[str, Any] = dict(
    dtype="float32" if jax.default_backend() == "cpu" else "bfloat16"
  )
  if config.duet:
    values["parts"] = PARTS
    if codec.name != "note":
      raise ValueError(
        f"the codec {codec.name!r} knows no partner: train it with --partners"
        " solo:1, or --codec note."
      )
  if style is not None:
    values["style_slots"] = style.slots
    values["style_vocab_size"] = style.table_rows
  shape = preset(
    config.preset,
    level_sizes=tuple(codec.vocabulary.level_sizes),
    reserved=RESERVED,
    **{**values, **config.model},
  )
  if config.duet and shape.parts < PARTS:
    raise ValueError(
      f"a run with partners needs parts of at least {PARTS} (self, and the"
      f" partner by delay), got {shape.parts}."
    )
  return shape


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
  if config.init_from is not None and not (out / STATE).is_file():
    stored = StoredCheckpoint(Path(config.init_from))
    check_widths(stored, model_config(config, codec, style))


def check_settings(config: TrainConfig, codec: Codec, out: Path) -> None:
  """Refuses to continue a run with other settings.

  Raises:
    ValueError: `out` holds such a run; names what differs, with both values.
  """
  if not (out / RUN).is_file() or not (out / STATE).is_file():
    return
  # Older runs do not name every setting.
  older = dict(init_from=None, codec="note", partners=SOLO, style=None)
  found = json.loads((out / RUN).read_text(encoding="utf-8"))
  changes = _changes(older | found, json.loads(_settings(config, codec)))
  if changes:
    raise ValueError(
      f"{out}: holds a run with other settings ({RUN}):"
      f" {', '.join(changes)}. Give --out another folder, or the same"
      " settings to continue."
    )


def _settings(config: TrainConfig, codec: Codec) -> str:
  return json.dumps(
    dict(codec=codec.name) | dataclasses.asdict(config), indent=2
  )


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


def learning_rate(config: TrainConfig, step: int, fraction: float) -> float:
  """Linear warm-up over steps, cosine over the run, down to 2 %."""
  warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
  cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, fraction)))
  return config.learning_rate * warm * (0.02 + 0.98 * cosine)


class Trainer:
  """Model, optimizer and data of one run; knows nothing of the clock."""

  def __init__(
    self,
    config: TrainConfig,
    codec: Codec,
    corpora: list[Corpus],
    shares: list[float],
    style: StyleRows | None = None,
  ):
    self.config = config
    self.codec = codec
    self.style = style_rows(config) if style is None else style
    shape = model_config(config, codec, self.style)
    self.model = Depthformer(shape, rngs=nnx.Rngs(config.seed))
    if self.style is not None:
      table = self.model.style_embedder.embedding
      rows = style_table(self.style.model, shape.embed_dim, config.seed)
      table[...] = table[...].at[MASK_TOKEN + 1 :].set(rows)
    self.model.train()
    step_ms = codec.config.step_ms
    target_steps = round(config.target_s * 1000 / step_ms)
    if target_steps > codec.config.horizon_steps:
      raise ValueError(
        f"target_s must be at most {codec.config.horizon_s} s (the codec's"
        f" horizon), got {config.target_s}."
      )
    self.stream = BatchStream(
      codec=codec,
      corpora=corpora,
      shares=shares,
      augmentation=config.augmentation,
      frames_per_batch=config.frames_per_batch,
      target_steps=target_steps,
      context_steps=round(config.context_s * 1000 / step_ms),
      seed=config.seed,
      partners=config.partners,
      style=self.style,
    )
    self.step = 0
    graph, params, rest = nnx.split(self.model, nnx.Param, ...)
    self.params = params
    optimizer = optax.chain(
      optax.clip_by_global_norm(config.clip),
      optax.scale_by_adam(b2=config.adam_b2),
      # As Adafactor does: each array moves in proportion to its own size.
      # Without it the query kernels, which start 8 times smaller in place of
      # 1/sqrt(head size), move 8 times too far, embeddings not far enough.
      optax.scale_by_param_block_rms(),
      # Norm scales and embeddings are not decayed.
      optax.add_decayed_weights(config.weight_decay, mask=_is_kernel),
    )
    self.optimizer_state = optimizer.init(params)
    has_dropout = shape.dropout_rate > 0

    def loss(params: nnx.State, batch: Batch, key: jax.Array) -> tuple:
      model = nnx.merge(graph, params, rest)
      if has_dropout:
        seed_dropout(model, key)
      nats, frames = batch_nats(model, batch)
      return jnp.sum(nats) / frames, nats / frames

    def update(
      params: nnx.State,
      optimizer_state: Any,
      batch: Batch,
      key: jax.Array,
      rate: jax.Array,
    ) -> tuple:
      grads, nats = jax.grad(loss, has_aux=True)(params, batch, key)
      updates, optimizer_state = optimizer.update(
        grads, optimizer_state, params
      )
      params = jax.tree.map(lambda p, u: p - rate * u, params, updates)
      return params, optimizer_state, nats

    self._update = jax.jit(update, donate_argnums=(0, 1))
    self._key = jax.random.key(config.seed)

  def start_from(self, stored: StoredCheckpoint) -> WarmStart:
    """Takes a checkpoint's weights where they fit, before the first step."""
    entry = None if self.style is None else self.style.entry
    taken = warm_start(self.model, stored, self.codec, entry)
    self.params = nnx.state(self.model, nnx.Param)
    return taken

  def train_step(self, fraction: float) -> jax.Array:
    """One step; returns nats an event by level (not yet awaited)."""
    batch = self.stream.next()
    rate = learning_rate(self.config, self.step, fraction)
    key = jax.random.fold_in(self._key, self.step)
    self.params, self.optimizer_state, nats = self._update(
      self.params, self.optimizer_state, batch, key, jnp.float32(rate)
    )
    self.step += 1
    return nats

  def current_model(self) -> Depthformer:
    """The model with the parameters of this moment, for evaluation."""
    nnx.update(self.model, self.params)
    self.model.eval()
    return self.model

  def save(self, path: Path, **facts: Any) -> None:
    """Writes everything that a resumed run needs, atomically."""
    arrays = {
      f"leaf.{index}": np.asarray(leaf)
      for index, leaf in enumerate(self._leaves())
    }
    data = self.stream.state()
    arrays["examples"] = data.pop("examples")
    header = dict(
      step=self.step,
      data=data,
      cut=self.stream.cut,
      capped=self.stream.capped,
      **facts,
    )
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
      save_file(arrays, temporary, metadata={"state": json.dumps(header)})
      os.replace(temporary, path)
    finally:
      temporary.unlink(missing_ok=True)

  def restore(self, path: Path) -> dict[str, Any]:
    """Continues from a saved state; returns the facts saved with it.

    Raises:
      CheckpointError: The state is of another model.
    """
    with safe_open(path, "numpy") as file:
      metadata = file.metadata()
      header = json.loads(metadata["state"])
      leaves, treedef = jax.tree.flatten((self.params, self.optimizer_state))
      arrays = []
      for index, leaf in enumerate(leaves):
        name = f"leaf.{index}"
        if name not in file.keys():  # noqa: SIM118 - not a dict
          raise CheckpointError(f"{path}: {name} is missing: another model's.")
        array = file.get_tensor(name)
        if array.shape != leaf.shape:
          raise CheckpointError(
            f"{path}: {name} is {array.shape}, expected {leaf.shape}: the"
            " state is another model's. Give --out a new folder."
          )
        arrays.append(jnp.asarray(array))
      examples = file.get_tensor("examples")
    self.params, self.optimizer_state = jax.tree.unflatten(treedef, arrays)
    self.step = header["step"]
    self.stream.restore({**header["data"], "examples": examples})
    self.stream.cut, self.stream.capped = header["cut"], header["capped"]
    return header

  def _leaves(self) -> list[jax.Array]:
    return jax.tree.leaves((self.params, self.optimizer_state))


def _is_kernel(params: nnx.State) -> nnx.State:
  """True for the matrices of dense layers."""
  return jax.tree.map_with_path(
    lambda path, _: "kernel" in jax.tree_util.keystr(path), params
  )


def _log(path: Path, **facts: Any) -> None:
  with open(path, "a", encoding="utf-8") as file:
    file.write(json.dumps(facts) + "\n")


def train(
  config: TrainConfig,
  codec: Codec,
  corpora: list[Corpus],
  shares: list[float],
  held_out: Corpus | None,
  out: Path,
  *,
  style: StyleRows | None = None,
  on_progress: Callable[[Progress], None] = lambda progress: None,
  on_warm_start: Callable[[WarmStart], None] = lambda taken: None,
  session_minutes: float | None = None,
  should_stop: Callable[[], bool] = lambda: False,
) -> Evaluation | None:
  """Trains, or continues the run in `out`.

  Args:
    config: Settings; those of a run that is continued must be the same.
    codec: The codec to train for.
    corpora: What to train on.
    shares: Share of examples from each corpus.
    held_out: Pieces scored on the way; None: none.
    out: The run's folder.
    style: The run's `style_rows`; None: made here.
    on_progress: Called about twice a second.
    on_warm_start: Called with what a new run took from `init_from`.
    session_minutes: Stop (resumably) after this time; None: at the end.
    should_stop: Asked after every step; True saves and stops, resumably.

  Returns:
    The last held-out figures.

  Raises:
    ValueError: `out` holds a run with other settings; names them.
  """
  out.mkdir(parents=True, exist_ok=True)
  state_file = out / STATE
  check_settings(config, codec, out)
  if not ((out / RUN).is_file() and state_file.is_file()):
    write_atomically(out / RUN, _settings(config, codec) + "\n")
  trainer = Trainer(config, codec, corpora, shares, style)
  log = out / "log.jsonl"
  elapsed = 0.0  # minutes of training in earlier sessions
  taken: dict[str, Any] | None = None
  if state_file.is_file():
    facts = trainer.restore(state_file)
    elapsed, taken = facts["minutes"], facts.get("warm_start")
  elif config.init_from is not None:
    start = trainer.start_from(StoredCheckpoint(Path(config.init_from)))
    on_warm_start(start)
    taken = start._asdict()
  started = time.monotonic()
  last_save = last_evaluation = last_report = started
  first_step = trainer.step
  recent: list[jax.Array] = []
  events_before, events_at = trainer.stream.cut, started
  evaluation: Evaluation | None = None
  prompted: Evaluation | None = None

  def minutes() -> float:
    return elapsed + (time.monotonic() - started) / 60

  def fraction() -> float:
    if config.steps is not None:
      return trainer.step / config.steps
    assert config.minutes is not None
    return minutes() / config.minutes

  def score() -> None:
    """Scores without style, and beside that with it; logs both."""
    nonlocal evaluation, prompted
    if held_out is None or not len(held_out):
      return
    model = trainer.current_model()
    windows = config.held_out_windows
    evaluation = evaluate(model, codec, held_out, windows=windows)
    if trainer.style is not None:
      prompted = evaluate(
        model, codec, held_out, windows=windows, style=trainer.style
      )
    _log(log, step=trainer.step, minutes=minutes(), **held_out_figures())

  def held_out_figures() -> dict[str, Any]:
    figures = dict(held_out=evaluation.figures() if evaluation else {})
    if prompted is not None:
      figures["held_out_prompted"] = prompted.figures()
    return figures

  def save(finished: bool) -> None:
    trainer.save(state_file, minutes=minutes(), warm_start=taken)
    save_checkpoint(
      out / "checkpoint",
      trainer.current_model(),
      codec=dict(name=codec.name, settings=dataclasses.asdict(codec.config)),
      storage=config.storage,
      style=None if trainer.style is None else trainer.style.entry,
      notes=dict(
        step=trainer.step,
        minutes=round(minutes(), 2),
        finished=finished,
        target_s=config.target_s,
        capped_share=trainer.stream.capped / max(1, trainer.stream.cut),
        **held_out_figures(),
        **({} if taken is None else dict(warm_start=taken)),
      ),
    )
    plot_losses(log, out / "loss.png", codec.vocabulary.level_names)

  while fraction() < 1.0:
    if should_stop():
      save(finished=False)
      return evaluation
    nats = trainer.train_step(fraction())
    recent.append(nats)
    if len(recent) == 20:
      # One wait for twenty steps keeps the queue to the device full.
      levels = np.mean([np.asarray(n) for n in recent], axis=0)
      recent.clear()
      now = time.monotonic()
      rate = (trainer.stream.cut - events_before) / (now - events_at)
      events_before, events_at = trainer.stream.cut, now
      _log(
        log,
        step=trainer.step,
        minutes=minutes(),
        nats=float(levels.sum()),
        levels=[float(x) for x in levels],
        examples_per_s=rate,
      )
      if now - last_evaluation > 60 * config.evaluate_every_min:
        score()
        last_evaluation = time.monotonic()
      if now - last_save > 60 * config.save_every_min:
        save(finished=False)
        last_save = time.monotonic()
      if now - last_report > 0.5:
        last_report = now
        held = evaluation.nats_per_note if evaluation else None
        on_progress(
          Progress(
            trainer.step,
            min(1.0, fraction()),
            minutes(),
            float(levels.sum()),
            held,
            rate,
          )
        )
      if (
        session_minutes is not None and (now - started) / 60 >= session_minutes
      ):
        save(finished=False)
        return evaluation
  if trainer.step > first_step or not (out / "checkpoint").exists():
    score()
    save(finished=True)
  return evaluation
