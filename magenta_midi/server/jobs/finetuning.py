"""Fine-tuning in the background: one run at a time, in a child."""

import asyncio
import contextlib
import hashlib
import json
import logging
import time
from pathlib import Path
from typing import Any

from magenta_midi.model.lora.adapter_file import check_name
from magenta_midi.server.jobs.child import Child
from magenta_midi.user_folders import data_home

__all__ = ["Finetuning", "RunExists"]

_log = logging.getLogger(__name__)

# A step may be compiled, and then the state is written.
_SAVE_S = 60.0
# Points of a curve; then every second one goes.
_MAX_POINTS = 400
_DIED = "the run ended unexpectedly; the server's log says why. Resume it."
_AT_WORK = ("starting", "reading", "training", "stopping")


class RunExists(ValueError):
  """A run is at work, or there is none to go on with."""


class Finetuning:
  """The run of a server.

  Args:
    module: Of the child.
    runs: Folder of the runs; None: in the user's data.
  """

  def __init__(
    self,
    module: str = "magenta_midi.server.jobs.adapter_run",
    runs: Path | None = None,
  ):
    self._module, self._runs = module, runs
    self._child: Child | None = None
    self._job: dict[str, Any] | None = None
    self._task: asyncio.Task[None] | None = None
    self._began_s = self._took_s = 0.0
    self._facts: dict[str, Any] = {"state": "none"}

  @property
  def facts(self) -> dict[str, Any]:
    """The run; see the guide."""
    if self._facts["state"] == "none":
      return dict(self._facts)
    took_s = self._took_s
    if self._at_work:
      took_s += time.monotonic() - self._began_s
    return self._facts | {"elapsed_s": round(took_s, 1)}

  @property
  def _at_work(self) -> bool:
    return self._facts["state"] in _AT_WORK

  async def start(
    self,
    *,
    name: str,
    paths: list[Path],
    settings: dict[str, Any],
    replace: bool,
    checkpoint: str | None,
  ) -> dict[str, Any]:
    """Begins a run.

    Args:
      name: The adapter's.
      paths: Recordings: files, or folders of takes.
      settings: Of `finetune_config`.
      replace: Whether an adapter of that name may be overwritten.
      checkpoint: The base; None: the embedded one.

    Raises:
      RunExists: One is at work.
      ValueError: The name cannot be.
    """
    if self._at_work:
      raise RunExists("a fine-tuning is at work; stop it first.")
    check_name(name)
    job = {
      "name": name,
      "paths": [str(path) for path in paths],
      "settings": settings,
      "replace": replace,
      "checkpoint": checkpoint,
    }
    # Another run of the name has a folder of its own; the same one continues.
    contents = sorted(map(_content, paths))
    described = json.dumps(job | {"paths": contents}, sort_keys=True)
    digest = hashlib.sha256(described.encode())
    runs = self._runs or data_home() / "magenta_midi" / "runs"
    job["out"] = str(runs / f"{name}-{digest.hexdigest()[:8]}")
    self._job, self._took_s = job, 0.0
    self._facts = {
      "name": name,
      "recordings": len(paths),
      "seconds_of_music": None,
      "estimate_minutes": None,
      "share": 0.0,
      "step": 0,
      "stage": "",
      "curve": [],
      "held_out": [],
      "before": None,
      "after": None,
      "adapter": None,
      "text": "",
    }
    return self._begin()

  async def resume(self) -> dict[str, Any]:
    """Goes on with a run that was stopped or failed.

    Raises:
      RunExists: There is none, or it is at work or done.
    """
    if self._job is None or self._facts["state"] not in ("stopped", "failed"):
      raise RunExists("there is no run to go on with.")
    return self._begin()

  def _begin(self) -> dict[str, Any]:
    self._facts |= {"state": "starting", "text": ""}
    self._began_s = time.monotonic()
    self._task = asyncio.create_task(self._follow())
    return self.facts

  async def stop(self) -> dict[str, Any]:
    """Asks the run to save and stop.

    Raises:
      RunExists: None is at work.
    """
    child = self._child
    if not self._at_work or child is None or not child.running:
      raise RunExists("no fine-tuning is at work, or it has just begun.")
    self._facts["state"] = "stopping"
    with contextlib.suppress(OSError):
      await child.send({"cancel": True})
    return self.facts

  async def close(self) -> None:
    """Saves and stops the run; the same request goes on with it."""
    if self._child is not None and self._at_work:
      await self._child.end(_SAVE_S)
    if self._task is not None:
      self._task.cancel()
      await asyncio.gather(self._task, return_exceptions=True)
    if self._child is not None:
      await self._child.end()

  async def _follow(self) -> None:
    child = self._child = Child(self._module)
    try:
      await child.start()
      assert self._job is not None
      await child.send(self._job)
      while True:
        message = await child.receive()
        if message is None:
          self._finish("failed", _DIED)
          return
        if self._take(message):
          return
    except Exception:
      # Whatever it is, the run must not seem to be at work.
      _log.exception("fine-tuning")
      self._finish("failed", _DIED)
    finally:
      await child.end()

  def _finish(self, state: str, text: str = "") -> None:
    self._took_s += time.monotonic() - self._began_s
    self._facts |= {"state": state, "text": text}

  def _take(self, message: dict[str, Any]) -> bool:
    """Takes a message of the child; returns whether it was the last."""
    match message["type"]:
      case "state":
        if self._facts["state"] != "stopping":
          self._facts["state"] = message["state"]
      case "music":
        self._facts |= {
          "recordings": message["recordings"],
          "seconds_of_music": message["seconds"],
        }
      case "progress":
        self._show(message)
      case "done":
        self._facts |= {
          name: message[name] for name in ("adapter", "before", "after")
        }
        self._facts["share"] = 1.0
        self._finish("done")
        return True
      case "stopped":
        self._finish("stopped", "stopped and saved.")
        return True
      case "error":
        self._finish("failed", message["text"])
        return True
    return False

  def _show(self, progress: dict[str, Any]) -> None:
    facts = self._facts
    if facts["state"] != "stopping":
      facts["state"] = "training"
    for name in ("stage", "share", "step", "before"):
      facts[name] = progress[name]
    if progress["estimate_minutes"] is not None:
      facts["estimate_minutes"] = round(progress["estimate_minutes"], 1)
    for curve, value in (("curve", "nats"), ("held_out", "held_out")):
      _add_point(facts[curve], progress["step"], progress[value])


def _content(path: Path) -> str:
  """What a recording is: the name of a take, the content of another file."""
  if path.is_dir():
    return path.name
  return hashlib.sha256(path.read_bytes()).hexdigest()


def _add_point(curve: list[list[float | int]], step: int, value: Any) -> None:
  if value is None or (curve and curve[-1][0] >= step):
    return
  curve.append([step, round(float(value), 4)])
  if len(curve) > _MAX_POINTS:
    del curve[1:-1:2]
