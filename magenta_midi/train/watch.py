"""Logs of a run: `log.jsonl`, TensorBoard's events and the loss curve.

The log holds one JSON object a line. A continued run removes the lines after
the step that it continues from. TensorBoard shows the same figures:
`tensorboard --logdir OUT`. A machine without tensorboardX, which trains from a
bundle, writes the log only.
"""

import json
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from magenta_midi.midi.atomic import write_atomically
from magenta_midi.train.guard import WentBack
from magenta_midi.train.plots import plot_losses, read_log
from magenta_midi.typing import Float

__all__ = ["RunLog"]

LOG = "log.jsonl"
EVENTS = "tensorboard"


class RunLog:
  """Log, event files and loss curve of one run.

  Args:
    out: The run's folder.
    step: The step that the run begins or continues at.
    level_names: Names of the parts of the training loss, as the codec's levels.
    writes: False writes nothing: of several hosts, one writes.
  """

  def __init__(
    self,
    out: Path,
    step: int,
    level_names: tuple[str, ...],
    *,
    writes: bool = True,
  ):
    self.path = out / LOG
    self.level_names = level_names
    self._events: Any = None
    self._writes = writes
    if not writes:
      return
    _cut_back(self.path, step)
    try:
      from tensorboardX import SummaryWriter
    except ImportError:
      return
    self._events = SummaryWriter(
      str(out / EVENTS),
      # Of a continued run, TensorBoard drops what came after the state.
      purge_step=step + 1 if step else None,
    )

  def __enter__(self) -> "RunLog":
    """The log, which is closed on leaving."""
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: TracebackType | None,
  ) -> None:
    """Closes the event files."""
    if self._events is not None:
      self._events.close()

  def training(
    self,
    step: int,
    minutes: float,
    levels: Float[np.ndarray, " l"],
    rate: float,
    notes_per_s: float,
  ) -> None:
    """Logs the last training steps.

    Args:
      step: Steps done.
      minutes: Of training.
      levels: Mean nats an event by level, over the last steps.
      rate: The learning rate.
      notes_per_s: Notes predicted a second.
    """
    values = [float(x) for x in levels]
    self._write(
      step=step,
      minutes=minutes,
      nats=float(np.sum(levels)),
      levels=values,
      learning_rate=rate,
      notes_per_s=notes_per_s,
    )
    scalars = dict(zip(self.level_names, values, strict=True))
    self._scalars("train", step, dict(nats=float(np.sum(levels)), **scalars))
    self._scalars(
      "run", step, dict(learning_rate=rate, notes_per_s=notes_per_s)
    )

  def evaluation(
    self, step: int, minutes: float, rows: dict[str, dict[str, Any]]
  ) -> None:
    """Logs an evaluation.

    Args:
      step: Steps done.
      minutes: Of training.
      rows: Figures of each kind of evaluation. TensorBoard shows
        `nats_per_note` and `levels`, or every figure where these are missing.
    """
    self._write(step=step, minutes=minutes, **rows)
    for name, figures in rows.items():
      if "nats_per_note" in figures:
        scalars = dict(nats_per_note=figures["nats_per_note"])
        self._scalars(name, step, scalars | figures["levels"])
      else:
        self._scalars(name, step, figures)

  def went_back(self, minutes: float, done: WentBack) -> None:
    """Logs that the guard went back.

    Args:
      minutes: Of training.
      done: What it did.
    """
    facts = done._asdict()
    self._write(step=facts.pop("step"), minutes=minutes, went_back=facts)
    self._scalars("run", done.step, dict(rate_factor=done.rate_factor))

  def sample(self, step: int, picture: Path) -> None:
    """Shows the piano roll of a sample in TensorBoard."""
    if self._events is None:
      return
    from matplotlib.image import imread

    self._events.add_image(
      "sample", imread(picture)[..., :3], step, dataformats="HWC"
    )

  def plot(self, path: Path) -> None:
    """Draws the loss curve and writes the events to disk."""
    if self._writes:
      plot_losses(self.path, path, self.level_names)
    if self._events is not None:
      self._events.flush()

  def _write(self, **facts: Any) -> None:
    if not self._writes:
      return
    with open(self.path, "a", encoding="utf-8") as file:
      file.write(json.dumps(facts) + "\n")

  def _scalars(self, group: str, step: int, values: dict[str, float]) -> None:
    if self._events is not None:
      for name, value in values.items():
        self._events.add_scalar(f"{group}/{name}", value, step)


def _cut_back(path: Path, step: int) -> None:
  """Removes what a killed process logged after its last state."""
  if not path.is_file():
    return
  kept = [row for row in read_log(path) if row["step"] <= step]
  write_atomically(path, "".join(f"{json.dumps(row)}\n" for row in kept))
