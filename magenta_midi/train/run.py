"""The training run: one loop of steps, evaluations, states and logs.

Each training of this project is a task for a `TrainingRun`: a base model
(`train.train`), an adapter (`finetune.finetune`), MidiCoCa (`train.style.loop`)
and the GPT-2 baseline of `tools`. The run decides when something is done; the
task knows how.

A run is a folder. `state/` holds what the run continues from, `log.jsonl`,
`tensorboard/` and `loss.png` show its course. A killed run continues from its
last whole state.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from magenta_midi.midi.folder_lock import folder_lock
from magenta_midi.train.guard import Guard, Guarded, WentBack
from magenta_midi.train.run_clock import CLOCKS, RunClock, RunSchedule
from magenta_midi.train.run_settings import STATE
from magenta_midi.train.run_store import (
  Marks,
  RunStore,
  Stateful,
  restore_state,
  save_state,
)
from magenta_midi.train.watch import RunLog
from magenta_midi.typing import Float

__all__ = [
  "HELD_OUT",
  "ModelTrainer",
  "RunProgress",
  "TrainingRun",
  "TrainingTask",
  "held_folder",
  "named_errors",
]

# The row of an evaluation whose `nats_per_note` decides which is the best.
HELD_OUT = "held_out"
# Least time between two reports that no log line causes, s.
REPORT_EVERY_S = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunProgress:
  """Progress of a run."""

  step: int
  fraction: float  # of the run, 0..1
  minutes: float  # of training
  # Training loss by level over the last steps; None: nothing is logged yet.
  levels: Float[np.ndarray, " l"] | None
  notes_per_s: float
  # Whether the log has a new line.
  logged: bool


@runtime_checkable
class ModelTrainer(Stateful, Protocol):
  """Model, optimizer and data of a run.

  Attributes:
    step: Optimizer steps done.
    notes: Notes predicted; the run counts from 0 again at each log line.
  """

  step: int
  notes: int

  def rate(self, fraction: float) -> float:
    """The learning rate of the next step."""
    ...

  def train_step(self, fraction: float) -> jax.Array:
    """Does one step; gives the loss by level, not yet awaited.

    Args:
      fraction: How much of the run is done, 0..1.
    """
    ...


@runtime_checkable
class TrainingTask(Protocol):
  """Task of a run: it trains, evaluates and writes."""

  @property
  def trainer(self) -> ModelTrainer:
    """Does the steps."""
    ...

  @property
  def exported(self) -> bool:
    """Whether the result of an ended run is there."""
    ...

  def begin(self, run: "TrainingRun") -> None:
    """Prepares the first step of a session.

    Args:
      run: The task may read its clock, log and marks, and set marks.
    """
    ...

  def evaluate(self) -> dict[str, dict[str, Any]]:
    """Figures of this moment by kind of evaluation; {}: nothing is held out."""
    ...

  def report(self, progress: RunProgress) -> None:
    """Shows where the run stands; called at least twice a second."""
    ...

  def export(self, *, finished: bool) -> None:
    """Writes the result of this moment beside a state.

    Args:
      finished: Whether the run has ended.
    """
    ...


class TrainingRun:
  """One session of a run.

  Args:
    task: What is trained.
    schedule: When something is done.
    out: The run's folder.
    level_names: Of the loss that a step gives.
    stores: Whether states are saved, and an earlier one is continued.
    writes: Whether the run logs.
    earlier_min: Minutes that this session spent before training.
    on_going_back: Called when the guard went back.

  Attributes:
    marks: What is saved with every state.
    resumed: Whether an earlier state is continued.
    clock: Of the session.
    log: Of the run.
  """

  clock: RunClock
  log: RunLog

  def __init__(
    self,
    task: TrainingTask,
    schedule: RunSchedule,
    out: Path,
    level_names: tuple[str, ...],
    *,
    stores: bool = True,
    writes: bool = True,
    earlier_min: float = 0.0,
    on_going_back: Callable[[WentBack], None] = lambda done: None,
  ):
    self.task = task
    self.schedule = schedule
    self.out = out
    self.level_names = level_names
    self.stores = stores
    self.writes = writes
    self.marks = Marks()
    self.resumed = False
    self.store: RunStore | None = None
    self.guard: Guard | None = None
    self.on_going_back = on_going_back
    self._earlier_min = earlier_min
    # Losses since the last line of the log, and those the guard has not seen.
    self._unseen: list[jax.Array] = []
    self._recent: list[jax.Array] = []
    self._levels: np.ndarray | None = None
    self._notes_per_s = 0.0

  @property
  def fraction(self) -> float:
    """How much of the run is done; beyond its end above 1."""
    return self.clock.fraction(self.task.trainer.step)

  @property
  def total_minutes(self) -> float:
    """Of training in all sessions, and of all else in this one."""
    return self._earlier_min + self.clock.minutes

  def go(
    self,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    session_minutes: float | None = None,
  ) -> bool:
    """Trains to the end, or until it is to stop.

    Args:
      should_stop: Asked before every step; True saves and stops.
      session_minutes: Saves and stops after so many minutes; None: at the end.

    Returns:
      Whether the run has ended.

    Raises:
      CheckpointError: The state in the folder is of another model or version.
      FolderInUseError: Another process is at work in the folder.
      OSError: Something cannot be written; the state before is whole.
    """
    trainer, schedule = self.task.trainer, self.schedule
    with contextlib.ExitStack() as stack:
      stack.enter_context(named_errors(self.out))
      if self.stores or self.writes:
        stack.enter_context(held_folder(self.out))
      if self.stores:
        self.store = stack.enter_context(
          RunStore(self.out / STATE, keep_best=schedule.keep_best)
        )
        if self.store.newest is not None:
          self.marks = restore_state(self.store, trainer)
          self.resumed = True
      self.clock = RunClock(
        steps=schedule.steps,
        minutes=schedule.minutes,
        earlier_min=self.marks.minutes,
        clock=CLOCKS[schedule.clock],
      )
      self.log = stack.enter_context(
        RunLog(self.out, trainer.step, self.level_names, writes=self.writes)
      )
      self.task.begin(self)
      self._begin_guard()
      if self.marks.ended and self.task.exported:
        return True
      first = trainer.step
      if not self._train(should_stop, session_minutes):
        return False
      if trainer.step > first or not self.task.exported:
        self._end()
      return True

  def _train(
    self, should_stop: Callable[[], bool], session_minutes: float | None
  ) -> bool:
    """Does the steps that are left; False: it was to stop before the last."""
    trainer, schedule = self.task.trainer, self.schedule
    self._start_minutes()
    compiled = not schedule.skip_compiling
    while not self.marks.ended and self.fraction < 1.0:
      if should_stop():
        self._save()
        return False
      self._recent.append(trainer.train_step(self.fraction))
      if self.guard is not None:
        self._unseen.append(self._recent[-1])
      if not compiled:
        compiled = True
        jax.block_until_ready(self._recent[-1])
        self._start_minutes()
      logged = trainer.step % schedule.log_every_steps == 0
      if logged:
        self._log_steps()
        self._check_guard()
      if self._evaluation_is_due():
        self._evaluate()
        if 0 < schedule.early_stopping <= self.marks.stalls:
          return True
        self._save()
      elif self._is_due(
        schedule.save_every_steps, schedule.save_every_min, self._saved_s
      ):
        # A state may be of any step: it changes nothing of the run.
        self._save()
      if logged or self.clock.now_s - self._reported_s >= REPORT_EVERY_S:
        self._report(logged)
      if (
        session_minutes is not None
        and self.clock.session_min >= session_minutes
        and self.fraction < 1.0
      ):
        self._save()
        return False
    return True

  def _begin_guard(self) -> None:
    """Begins to watch, from the state of this moment."""
    schedule, trainer = self.schedule, self.task.trainer
    if not schedule.guard:
      return
    if not isinstance(trainer, Guarded):
      raise TypeError(f"{type(trainer).__name__} cannot go back.")
    self.guard = Guard(
      schedule.guard, schedule.guard_from_step, self.marks.guard
    )
    trainer.rate_factor = self.guard.rate_factor
    self.guard.copy(trainer.step, trainer)

  def _show_guard(self) -> None:
    """Gives the guard the losses of the last steps."""
    if self.guard is not None:
      losses = [float(np.sum(x)) for x in self._unseen]
      self._unseen.clear()
      self.guard.add(self.task.trainer.step, losses)

  def _check_guard(self) -> None:
    """Lets the guard go back if the loss has risen."""
    trainer = self.task.trainer
    if self.guard is None or not isinstance(trainer, Guarded):
      return
    self._show_guard()
    done = self.guard.check(trainer.step, trainer)
    if done is not None:
      self.log.went_back(self.clock.minutes, done)
      self.on_going_back(done)

  def _start_minutes(self) -> None:
    """Counts this session from now."""
    self._earlier_min += self.clock.session_min
    self.clock.start_again()
    now = self.clock.started_s
    self._logged_s = self._reported_s = self._evaluated_s = self._saved_s = now

  def _evaluation_is_due(self) -> bool:
    schedule, marks = self.schedule, self.marks
    if schedule.evaluate_every_steps is None and marks.evaluations:
      # The last is done at the end.
      done = self.fraction
      return done < 1 and done * marks.evaluations > marks.evaluated + 1
    return self._is_due(
      schedule.evaluate_every_steps,
      schedule.evaluate_every_min,
      self._evaluated_s,
    )

  def _is_due(
    self, every_steps: int | None, every_min: float, last_s: float
  ) -> bool:
    """By steps or, without these, by minutes since the last time."""
    if every_steps is not None:
      return self.task.trainer.step % every_steps == 0
    return self.clock.now_s - last_s > 60 * every_min

  def _log_steps(self) -> None:
    """Logs the steps since the last line."""
    trainer, now = self.task.trainer, self.clock.now_s
    levels = np.mean([np.asarray(x) for x in self._recent], axis=0)
    self._levels = levels
    self._recent.clear()
    self._notes_per_s = trainer.notes / max(1e-9, now - self._logged_s)
    trainer.notes, self._logged_s = 0, now
    self.log.training(
      trainer.step,
      self.clock.minutes,
      levels,
      trainer.rate(min(1.0, self.fraction)),
      self._notes_per_s,
    )

  def _report(self, logged: bool) -> None:
    self._reported_s = self.clock.now_s
    self.task.report(
      RunProgress(
        step=self.task.trainer.step,
        fraction=min(1.0, self.fraction),
        minutes=self.clock.minutes,
        levels=self._levels,
        notes_per_s=self._notes_per_s,
        logged=logged,
      )
    )

  def _evaluate(self) -> None:
    """Evaluates, and notes what early stopping counts."""
    marks, schedule = self.marks, self.schedule
    step, began_s = self.task.trainer.step, self.clock.now_s
    rows = self.task.evaluate()
    marks.evaluated_at = step
    # A clock may be past several.
    marks.evaluated = max(
      marks.evaluated + 1, int(self.fraction * marks.evaluations)
    )
    if rows:
      self.log.evaluation(step, self.clock.minutes, rows)
    if HELD_OUT in rows:
      nats = rows[HELD_OUT]["nats_per_note"]
      best = marks.best is None or nats < marks.best
      if schedule.stall == "not the best":
        gained = best
      else:
        # A run may lose at first what it gains as its rate falls: it goes on
        # while its figures fall, though they are above the best.
        gained = marks.last is None or nats < marks.last
      if gained:
        marks.stalls = 0
      elif self.fraction > schedule.no_stall_until:
        marks.stalls += 1
      if best:
        marks.best, marks.best_step = nats, step
      marks.last = nats
    self._evaluated_s = self.clock.now_s
    # Notes a second are of training alone.
    self._logged_s += self._evaluated_s - began_s

  def _save(self) -> None:
    """Saves the state, and what the task writes beside it."""
    began_s = self.clock.now_s
    self._show_guard()
    if not self._is_well():
      # The state before it is whole; from there the same steps come again.
      self._saved_s = began_s
      return
    self._save_state()
    if self.guard is not None and isinstance(self.task.trainer, Guarded):
      # As a run does that is continued from this state.
      self.guard.copy(self.task.trainer.step, self.task.trainer)
    self.task.export(finished=False)
    self._saved_s = self.clock.now_s
    self._logged_s += self._saved_s - began_s

  def _is_well(self) -> bool:
    """Whether this state is worth saving; the first always is."""
    if self.guard is None or self.store is None or self.store.newest is None:
      return True
    return self.guard.well

  def _save_state(self) -> None:
    """Hands the state to the store, which writes it in the background."""
    if self.store is None:
      return
    self.marks.minutes = self.clock.minutes
    if self.guard is not None:
      self.marks.guard = self.guard.facts()
    evaluated = self.marks.evaluated_at == self.task.trainer.step
    save_state(
      self.store,
      self.task.trainer,
      self.marks,
      held_out=self.marks.last
      if evaluated and self.schedule.keep_best
      else None,
    )

  def _end(self) -> None:
    """Evaluates the last step, saves, and writes the result."""
    marks, trainer, store = self.marks, self.task.trainer, self.store
    if not marks.ended:
      if marks.evaluated_at != trainer.step:
        self._evaluate()
      marks.ended = True
      self._save_state()
    if store is not None:
      store.wait()
      if self.schedule.end_at_best and marks.stalls:
        restore_state(store, trainer, store.best)
        self.task.evaluate()
    self.task.export(finished=True)


@contextlib.contextmanager
def held_folder(out: Path) -> Iterator[None]:
  """Keeps other processes out of a run's folder, which is made.

  Of several hosts, the first holds it for all.

  Raises:
    FolderInUseError: Another process is at work there.
    OSError: It cannot be made or written to.
  """
  if jax.process_index() != 0:
    yield
    return
  # A command holds it before it reads files, its training once more.
  with folder_lock(out, again=True):
    yield


@contextlib.contextmanager
def named_errors(folder: Path) -> Iterator[None]:
  """Adds the folder to an error of a file that cannot be written."""
  try:
    yield
  except OSError as error:
    if error.filename is not None or error.errno is None:
      raise
    # The system's error of a full disk names no file.
    raise OSError(error.errno, error.strerror, str(folder)) from error
