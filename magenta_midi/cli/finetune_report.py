"""Report of `finetune`: progress, the figures of the adapter, and the JSON."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from magenta_midi.cli.terminal.output import print_line, remark

if TYPE_CHECKING:
  from magenta_midi.data.recordings import Split
  from magenta_midi.finetune.finetune import Finetuned, FinetuneProgress
  from magenta_midi.finetune.forgetting import Divergence
  from magenta_midi.model.lora.adapter_file import Adapter

__all__ = ["Display", "facts", "music_line", "say", "say_drift"]

# Of the nats that a model's own music costs it, how many more it may cost now
# and be called known, or known in part.
_NEAR, _FAR = 0.02, 0.1


def music_line(split: "Split") -> str:
  """The amount of music, and what of it is held out."""
  minutes = [
    corpus.lengths_ms.sum() / 60_000 for corpus in (split.train, split.held_out)
  ]
  if split.by_time:
    how = "the end of each recording; there are fewer than three titles"
  else:
    shown = ", ".join(split.held_out_titles[:5])
    more = len(split.held_out_titles) - 5
    how = shown + (f" and {more} more" if more > 0 else "")
  rated = ""
  if len(weights := sorted(set(split.weights))) > 1:
    rated = f" (by ratings {weights[0]:g} to {weights[-1]:g} times as often)"
  return (
    f"learning from {minutes[0]:.1f} min, {split.train.notes:,} notes{rated};"
    f" held out: {minutes[1]:.1f} min ({how})"
  )


class Display:
  """Progress of a run: a bar, and one line with the estimated minutes."""

  def __init__(self, bar: Any, first: list[str]):
    self.bar = bar
    # Printed once the settings are accepted.
    self.first = first
    self.task: Any = None
    self.stage = ""
    self.estimated = False

  def __call__(self, progress: "FinetuneProgress") -> None:
    """Called about twice a second."""
    while self.first:
      remark(self.first.pop(0))
    if not self.estimated and progress.estimate_min is not None:
      self.estimated = True
      remark(
        f"about {max(1.0, progress.estimate_min):.0f} min in all, less if it"
        " stops improving"
      )
    if progress.stage != self.stage:
      if self.task is not None:
        self.bar.remove_task(self.task)
      self.stage = progress.stage
      self.task = self.bar.add_task(progress.stage, total=1.0, note="")
    note = ""
    if progress.stage == "training":
      note = f"step {progress.step}"
      if progress.nats is not None:
        note += f", {progress.nats:.2f} nats an event"
      if progress.held_out is not None:
        note += f", held out {progress.held_out:.3f} a note"
    self.bar.update(self.task, completed=progress.fraction, note=note)


def say(found: "Finetuned") -> None:
  """Prints the figures before and after training, with a verdict."""
  before, after = found.before.nats_per_note, found.after.nats_per_note
  difference = found.difference
  continued = found.adapter.figures.get("continued_from")
  interval = ""
  if difference.beyond is not None:
    low, high = difference.interval
    interval = f", 95 % {low:+.3f} to {high:+.3f} over pieces"
  share = (after - before) / before
  was = "as the adapter was" if continued else "before"
  print_line(
    f"held-out recordings: {before:.3f} nats a note {was}, {after:.3f} after"
    f" ({share:+.1%}; {difference.nats_per_note:+.3f}{interval})"
  )
  if after == before:
    stays = "stays as it was" if continued else "changes nothing"
    verdict = (
      f"nothing was gained, so the adapter {stays}. Give more recordings, or"
      " a lower --learning-rate."
    )
  elif difference.beyond is None:
    verdict = (
      "a gain on one held-out piece, which gives no interval: it may be chance."
      " Give more recordings to be sure."
    )
  elif difference.beyond:
    verdict = (
      "it predicts this player better by more than the variation between pieces"
    )
  else:
    verdict = "the gain is not more than the variation between pieces"
  print_line(f"  {verdict}")
  if found.general_before is not None and found.general_after is not None:
    print_line(
      f"other music: {found.general_before.nats_per_note:.3f} nats a note"
      f" before, {found.general_after.nats_per_note:.3f} after"
    )
  if found.drift is not None:
    say_drift(found.drift, "adapter" if continued else "base", found.adapter)
  print_line(
    f"  {found.trainable_parameters:,} numbers trained beside"
    f" {found.total_parameters - found.trainable_parameters:,}, in"
    f" {found.steps} steps and {found.minutes:.1f} min"
  )
  if found.quantize != "none":
    print_line(
      f"  trained on the base in {found.quantize}, {found.base_bytes / 1e6:.1f}"
      " MB really held; figures are of the base as it is"
    )


def say_drift(drift: "Divergence", was: str, adapter: "Adapter") -> None:
  """Prints what was forgotten, measured on what the model plays by itself."""
  low, high = drift.interval()
  print_line(
    f"what the {was} plays by itself: {drift.nats_per_note:.3f} nats a note"
    f" away from it now (KL; 95 % {low:.3f} to {high:.3f}),"
    f" {drift.share:.1%} of what it leaves open"
  )
  if drift.share < _NEAR:
    verdict = "next to nothing is forgotten"
  elif drift.share < _FAR:
    verdict = "some of it is forgotten"
  else:
    verdict = "much of it is forgotten"
  if drift.share >= _NEAR and "rehearsal" not in adapter.figures:
    verdict += "; --rehearsal itself keeps it nearer"
  print_line(f"  {verdict}")


def facts(
  found: "Finetuned", split: "Split", installed: Path, out: Path
) -> dict[str, Any]:
  """The facts that `--json` prints."""
  general = [
    None if scored is None else scored.nats_per_note
    for scored in (found.general_before, found.general_after)
  ]
  return dict(
    adapter=str(installed),
    adapter_bytes=installed.stat().st_size,
    trainable_parameters=found.trainable_parameters,
    total_parameters=found.total_parameters,
    quantize=found.quantize,
    base_bytes=found.base_bytes,
    nats_per_note_before=found.before.nats_per_note,
    nats_per_note_after=found.after.nats_per_note,
    general_before=general[0],
    general_after=general[1],
    name=found.adapter.name,
    base=found.adapter.base,
    difference=found.difference.figures(),
    kl_on_own_music=found.drift and found.drift.figures(),
    continued_from=found.adapter.figures.get("continued_from"),
    rehearsal=found.adapter.figures.get("rehearsal"),
    steps=found.steps,
    best_step=found.adapter.figures["best_step"],
    minutes=found.minutes,
    held_out=list(split.held_out_titles),
    out=str(out),
  )
