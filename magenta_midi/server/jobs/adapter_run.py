"""Adapter run: the child that fine-tunes in the background.

`python -m magenta_midi.server.jobs.adapter_run`, started by `finetuning`. Its
first line of input is the run; `{"cancel": true}` saves and stops it. The same
run continues where it was stopped.
"""

import functools
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from magenta_midi.plain_text import line
from magenta_midi.server.jobs.child import ChildSide

__all__ = ["main"]

_REPORT_S = 0.5


def _run(side: ChildSide, stopped: threading.Event, job: Mapping[str, Any]):
  side.send({"type": "state", "state": "reading"})
  from magenta_midi.api import MagentaMidi
  from magenta_midi.data.recordings import read_recordings, split_recordings
  from magenta_midi.finetune.config import finetune_config
  from magenta_midi.finetune.finetune import FinetuneProgress, finetune
  from magenta_midi.finetune.mixture import choose_rehearsal
  from magenta_midi.model.lora.adapter_library import (
    check_free,
    install_adapter,
  )
  from magenta_midi.train.machine import keep_memory

  name = job["name"]
  if not job["replace"]:
    check_free(name)
  config = finetune_config(start=None, **job["settings"])
  recordings, refused = read_recordings([Path(path) for path in job["paths"]])
  split = split_recordings(recordings)
  side.send(
    {
      "type": "music",
      "recordings": len(recordings),
      "left_out": len(refused),
      "seconds": round(
        sum(
          float(corpus.lengths_ms.sum()) / 1000
          for corpus in (split.train, split.held_out)
        ),
        1,
      ),
    }
  )
  keep_memory()
  folder = None if job["checkpoint"] is None else Path(job["checkpoint"])
  mm = MagentaMidi.load(folder)
  said_s = 0.0

  def show(progress: FinetuneProgress) -> None:
    nonlocal said_s
    now_s = time.monotonic()
    if now_s - said_s < _REPORT_S and progress.fraction < 1:
      return
    said_s = now_s
    side.send(
      {
        "type": "progress",
        "stage": progress.stage,
        "share": progress.fraction,
        "step": progress.step,
        "minutes": progress.minutes,
        "estimate_minutes": progress.estimate_min,
        "nats": progress.nats,
        "before": progress.before,
        "held_out": progress.held_out,
      }
    )

  rehearsed = choose_rehearsal(None, going_on=False)
  found = finetune(
    config,
    mm.finetune_base(),
    split,
    name,
    Path(job["out"]),
    general=rehearsed.judged,
    rehearsal=rehearsed.learned,
    learn_style=functools.partial(mm.learn_style, split),
    on_progress=show,
    should_stop=stopped.is_set,
  )
  if found is None:
    side.send({"type": "stopped"})
    return
  install_adapter(found.adapter, replace=job["replace"])
  side.send(
    {
      "type": "done",
      "adapter": name,
      "before": found.before.nats_per_note,
      "after": found.after.nats_per_note,
      "steps": found.steps,
      "minutes": round(found.minutes, 2),
    }
  )


def main() -> None:
  """Runs one fine-tuning."""
  stopped = threading.Event()
  side = ChildSide(stopped.set)
  job = side.receive()
  if job is None:
    return
  try:
    _run(side, stopped, job)
  except (ValueError, OSError) as error:
    text = getattr(error, "strerror", None) or str(error)
    side.send({"type": "error", "text": line(text, longest=300)})


if __name__ == "__main__":
  main()
