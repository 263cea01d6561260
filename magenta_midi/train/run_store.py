"""States of a run on disk, and what a run knows beside its arrays.

A state is a folder named by its step: the arrays, and `facts`, a JSON object.
Orbax writes it in the background under another name and renames it when it is
complete, so that a killed process leaves the state before.
"""

import base64
import dataclasses
import errno
import logging
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from magenta_midi.model.checkpoint import CheckpointError

__all__ = [
  "Marks",
  "RunStore",
  "State",
  "Stateful",
  "restore_state",
  "restored_marks",
  "save_state",
]

# If a file cannot be written, Orbax reports no OSError but these.
_FULL = {
  "No space left": errno.ENOSPC,
  "RESOURCE_EXHAUSTED": errno.ENOSPC,
  "Disk quota": errno.EDQUOT,
  "File too large": errno.EFBIG,
  "Permission denied": errno.EACCES,
  "Read-only": errno.EROFS,
}


class State(NamedTuple):
  """State that a trainer continues from.

  Attributes:
    step: Optimizer steps done.
    arrays: Every array that a step changes, by name.
    facts: JSON values, and NumPy arrays in them: the place in the data.
  """

  step: int
  arrays: dict[str, jax.Array]
  facts: dict[str, Any]


@runtime_checkable
class Stateful(Protocol):
  """A trainer whose state can be saved."""

  def state(self) -> State:
    """The state of this moment."""
    ...

  def load(self, state: State) -> None:
    """Continues from a state.

    Raises:
      CheckpointError: It does not fit this trainer.
    """
    ...


@dataclasses.dataclass
class Marks:
  """Facts of a run beside its trainer's state; saved with every state."""

  # Of training, over all sessions.
  minutes: float = 0.0
  # Lowest held-out nats a note, and its step.
  best: float | None = None
  best_step: int = 0
  # Held-out nats a note of the last evaluation, and its step; -1: none.
  last: float | None = None
  evaluated_at: int = -1
  # Evaluations in a row that early stopping counts.
  stalls: int = 0
  # Evaluations done, and those planned over the whole run; 0: they follow the
  # schedule's steps or minutes.
  evaluated: int = 0
  evaluations: int = 0
  # What the guard knows; {}: there is none.
  guard: dict[str, Any] = dataclasses.field(default_factory=dict)
  # No more steps are to be done.
  ended: bool = False
  # Facts of the task: JSON values, and NumPy arrays in them.
  facts: dict[str, Any] = dataclasses.field(default_factory=dict)


class RunStore:
  """The newest state of a run and, beside it, that of its best evaluation.

  Args:
    folder: Made if absent; what an earlier process left unfinished there is
      removed.
    keep_best: False keeps the newest only.
    read_only: Neither makes nor removes anything: the run may be going on.
  """

  def __init__(
    self, folder: Path, *, keep_best: bool = True, read_only: bool = False
  ):
    self.folder = folder
    # It remarks on every state that comes without a metric.
    logging.getLogger("absl").setLevel(logging.ERROR)
    managers = ocp.checkpoint_managers
    keep: list[Any] = [managers.LatestN(1)]
    if keep_best:
      keep.append(
        managers.BestN(
          get_metric_fn=lambda metrics: -metrics["held_out"],
          n=1,
          keep_checkpoints_without_metrics=False,
        )
      )
    self._manager = ocp.CheckpointManager(
      folder.absolute(),
      options=ocp.CheckpointManagerOptions(
        preservation_policy=managers.AnyPreservationPolicy(keep),
        best_fn=lambda metrics: metrics["held_out"],
        best_mode="min",
        cleanup_tmp_directories=not read_only,
        read_only=read_only,
      ),
    )

  def __enter__(self) -> "RunStore":
    """The store; leaving waits for what is being written."""
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: TracebackType | None,
  ) -> None:
    """Waits, and releases what Orbax holds."""
    try:
      if kind is None:
        self.wait()
    finally:
      self._close()

  def _close(self) -> None:
    try:
      self._manager.close()
    except Exception as error:
      # Another error is already raised, or `wait` has reported this one.
      logging.getLogger(__name__).debug("closing %s: %s", self.folder, error)

  @property
  def newest(self) -> int | None:
    """Step of the newest state."""
    return self._manager.latest_step()

  @property
  def best(self) -> int | None:
    """Step of the state with the lowest held-out nats."""
    return self._manager.best_step()

  def save(
    self,
    step: int,
    arrays: dict[str, jax.Array],
    facts: dict[str, Any],
    *,
    held_out: float | None = None,
  ) -> None:
    """Begins to write a state; one that is there already stays.

    Args:
      step: Its name.
      arrays: May be donated to a compiled function once this returns.
      facts: JSON values, and NumPy arrays in them.
      held_out: Nats a note, which decide the best; None: not evaluated.

    Raises:
      OSError: This state, or the one before, cannot be written.
    """
    if step in self._manager.all_steps():
      return
    if jax.default_backend() == "cpu":
      # There Orbax would go on reading buffers that the next step reuses.
      arrays = {name: jnp.copy(array) for name, array in arrays.items()}
    # Of the arrays, for a message in words when they are another model's.
    shapes = {name: list(array.shape) for name, array in arrays.items()}
    try:
      self._manager.save(
        step,
        args=ocp.args.Composite(
          arrays=ocp.args.StandardSave(arrays),
          facts=ocp.args.JsonSave(_to_json(dict(facts, shapes=shapes))),
        ),
        metrics=None if held_out is None else dict(held_out=held_out),
      )
    except Exception as error:
      raise self._explained(error) from error

  def wait(self) -> None:
    """Waits until all that was handed over is written.

    Raises:
      OSError: It cannot be; the newest whole state is still there.
    """
    try:
      self._manager.wait_until_finished()
    except Exception as error:
      raise self._explained(error) from error

  def restore(
    self, like: dict[str, jax.Array], step: int | None = None
  ) -> State:
    """Reads a state.

    Args:
      like: Arrays of the same names and shapes; each array is restored to the
        devices of its counterpart, whichever devices it was saved from.
      step: Which state; None: the newest.

    Raises:
      CheckpointError: There is none, it is damaged, or of another model.
    """
    step = self.newest if step is None else step
    if step is None:
      raise CheckpointError(f"{self.folder}: no state there.")
    where = self.folder / str(step)
    try:
      found = self._manager.restore(
        step, args=ocp.args.Composite(facts=ocp.args.JsonRestore())
      )
      facts = _from_json(found["facts"])
      _check_shapes(where, facts.pop("shapes"), like)
      wanted = {
        name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)
        for name, x in like.items()
      }
      restored = self._manager.restore(
        step,
        args=ocp.args.Composite(arrays=ocp.args.StandardRestore(wanted)),
      )
    except CheckpointError:
      raise
    except Exception as error:
      reason = " ".join(str(error).split())
      raise CheckpointError(
        f"{where}: damaged, cannot be read: {reason[:200]}. Remove that"
        " folder to continue from an older state, or give --out a new one."
      ) from error
    return State(step, dict(restored["arrays"]), facts)

  def _explained(self, error: Exception) -> Exception:
    """The error as an OSError with a hint, if its cause is the file system."""
    if isinstance(error, OSError) and error.errno is not None:
      number: int | None = error.errno
    else:
      text = str(error)
      number = next((n for part, n in _FULL.items() if part in text), None)
    if number is None:
      return error
    reason = {errno.ENOSPC: "no space left", errno.EACCES: "not permitted"}
    left = self.folder.is_dir() and any(
      path.name.isdecimal() for path in self.folder.iterdir()
    )
    remedy = (
      "the state before it is whole: make room, and the same command continues"
      if left
      else "make room, and give the same command again"
    )
    words = reason.get(number, errno.errorcode[number])
    return OSError(
      number, f"a state cannot be written ({words}); {remedy}", str(self.folder)
    )


def save_state(
  store: RunStore,
  trainer: Stateful,
  marks: Marks | None = None,
  *,
  held_out: float | None = None,
) -> None:
  """Hands the state of a trainer and a run to the store.

  Args:
    store: Writes it in the background.
    trainer: The run's.
    marks: The run's; None: those of a run that has just begun.
    held_out: Nats a note at this step; None: not evaluated.

  Raises:
    OSError: This state, or the one before, cannot be written.
  """
  step, arrays, facts = trainer.state()
  marks = Marks() if marks is None else marks
  facts = dict(facts, marks=dataclasses.asdict(marks))
  store.save(step, arrays, facts, held_out=held_out)


def restore_state(
  store: RunStore, trainer: Stateful, step: int | None = None
) -> Marks:
  """Continues a trainer from a saved state, whatever mesh it was saved on.

  Args:
    store: Holds the state.
    trainer: Is of the same model and optimizer.
    step: Which state; None: the newest.

  Returns:
    The run's marks.

  Raises:
    CheckpointError: There is no state, or it does not fit the trainer.
  """
  state = store.restore(trainer.state().arrays, step)
  marks = restored_marks(state.facts, store.folder)
  try:
    trainer.load(state)
  except CheckpointError as error:
    raise CheckpointError(f"{store.folder}: {error}") from None
  return marks


# Marks that version 326db6b saved of base training, and of fine-tuning.
_EARLIER_MARKS = (
  {"minutes", "warm_start", "best", "since_best", "ended"},
  {"minutes", "best", "best_step", "last", "rises"}
  | {"evaluated", "evaluations", "ended"},
)


def restored_marks(facts: dict[str, Any], folder: Path) -> Marks:
  """The marks of a run, from the facts of a state.

  Args:
    facts: From `RunStore.restore`; those of commit 326db6b are read too.
    folder: The store's, for the error.

  Raises:
    CheckpointError: Another version saved the state.
  """
  stored = dict(facts.get("marks", {}))
  fields = {field.name for field in dataclasses.fields(Marks)}
  if stored.keys() in _EARLIER_MARKS:
    stored["stalls"] = stored.pop("since_best", 0) + stored.pop("rises", 0)
    task = {name: facts[name] for name in ("before",) if name in facts}
    if (warm_start := stored.pop("warm_start", None)) is not None:
      task["warm_start"] = warm_start
    stored["facts"] = task
  elif "marks" not in facts and "minutes" in facts:
    # The GPT-2 baseline's, which had no marks.
    stored["minutes"] = facts["minutes"]
  # Marks without a guard are those of a run that had none.
  elif stored.keys() | {"guard"} != fields:
    raise CheckpointError(
      f"{folder}: another version of magenta-midi saved this run, which cannot"
      " be continued. Give --out a new folder, or remove this one."
    )
  return Marks(**stored)


def _check_shapes(
  where: Path, saved: dict[str, list[int]], like: dict[str, jax.Array]
) -> None:
  expected = {name: list(array.shape) for name, array in like.items()}
  for name in sorted(saved.keys() | expected.keys()):
    if saved.get(name) != expected.get(name):
      raise CheckpointError(
        f"{where}: {name} is {saved.get(name, 'missing')}, expected"
        f" {expected.get(name, 'none')}: the state is another model's or"
        " optimizer's. Give --out a new folder."
      )


def _to_json(value: Any) -> Any:
  """JSON values, with arrays as objects of `dtype`, `shape` and `base64`."""
  if isinstance(value, np.ndarray):
    return dict(
      dtype=value.dtype.str,
      shape=list(value.shape),
      base64=base64.b64encode(np.ascontiguousarray(value).tobytes()).decode(),
    )
  if isinstance(value, np.generic):
    return value.item()
  if isinstance(value, dict):
    return {name: _to_json(item) for name, item in value.items()}
  if isinstance(value, list | tuple):
    return [_to_json(item) for item in value]
  return value


def _from_json(value: Any) -> Any:
  if isinstance(value, dict):
    if value.keys() == {"dtype", "shape", "base64"}:
      data = base64.b64decode(value["base64"])
      return np.frombuffer(data, value["dtype"]).reshape(value["shape"])
    return {name: _from_json(item) for name, item in value.items()}
  if isinstance(value, list):
    return [_from_json(item) for item in value]
  return value
