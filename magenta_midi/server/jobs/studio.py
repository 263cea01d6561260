"""Studio: the child that generates without playing, and renders sound.

`python -m magenta_midi.server.jobs.studio`, started by `jobs`. Each line of its
input is a job; it answers with lines until `done`, `error` or `cancelled`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magenta_midi.plain_text import line
from magenta_midi.server.jobs.child import ChildSide

if TYPE_CHECKING:
  from magenta_midi.api import MagentaMidi

__all__ = ["main"]


class _Cancelled(Exception):
  """The client no longer wants it."""


class _Studio:
  """Jobs, one after the other."""

  def __init__(self) -> None:
    self._cancelled = threading.Event()
    self._side = ChildSide(self._cancelled.set)
    self._model: tuple[str | None, MagentaMidi] | None = None

  def run(self) -> None:
    while (job := self._side.receive()) is not None:
      self._cancelled.clear()
      try:
        kind = {"generate": self._generate, "render": self._render}
        kind[job["job"]](job)
      except _Cancelled:
        self._side.send({"type": "cancelled"})
      except (ValueError, OSError) as error:
        # Of an OSError only the reason: the rest are our own folders.
        text = getattr(error, "strerror", None) or str(error)
        self._side.send({"type": "error", "text": line(text, longest=300)})

  def _check(self) -> None:
    if self._cancelled.is_set():
      raise _Cancelled

  def _load(self, checkpoint: str | None) -> MagentaMidi:
    if self._model is None or self._model[0] != checkpoint:
      self._side.send({"type": "loading"})
      from magenta_midi.api import MagentaMidi

      folder = None if checkpoint is None else Path(checkpoint)
      self._model = checkpoint, MagentaMidi.load(folder)
    return self._model[1]

  def _generate(self, job: Mapping[str, Any]) -> None:
    from magenta_midi.generate.onset_prior import prior_after
    from magenta_midi.generate.priors import Priors
    from magenta_midi.midi.continuation import context_then_music
    from magenta_midi.midi.score import Score
    from magenta_midi.midi.score_files import read_score
    from magenta_midi.style.players import name_players_alone

    mm = self._load(job["checkpoint"])
    mm.use_adapters(job["adapters"])
    context = None if job["context"] is None else read_score(job["context"])
    if context is not None:
      # What lies further back is not read by the model.
      context = context.merged()
    style = None
    prompts = [(text, weight) for text, weight in job["prompts"] if weight > 0]
    if prompts and mm.uses_style:
      style = mm.embed_style(prompts)
    controls = _targets(job)
    guidance = job["guidance"]
    if guidance is None:
      guidance = mm.guidance_for(
        style,
        controls,
        players_alone=name_players_alone([text for text, _ in prompts]),
      )
    if style is None and controls is None:
      guidance = 0.0
    self._check()
    mm.generator.warm_up(guided=guidance != 0)
    sampling = mm.default_sampling
    if job["temperature"] is not None:
      from dataclasses import replace

      sampling = replace(sampling, temperature=job["temperature"])
    before = Score.empty() if context is None else context
    beat = prior_after(before, bpm=job["tempo"])
    self._check()
    self._side.send({"type": "begin", "context_s": round(before.end_s, 3)})
    begun_s: float | None = None

    def show(chunk: Any) -> None:
      nonlocal begun_s
      self._check()
      begun_s = chunk.start_s if begun_s is None else begun_s
      self._side.send(_chunk(chunk, chunk.start_s - begun_s))

    music, first = mm.generate(
      job["seconds"],
      context=context,
      style=style,
      controls=controls,
      seed=job["seed"],
      sampling=sampling,
      guidance=guidance,
      priors=Priors(onset=beat),
      on_chunk=show,
    )
    score = context_then_music(context, music, first.now_s, "magenta_midi")
    score.to_file(job["out"])
    self._side.send(
      {"type": "done", "seconds": job["seconds"], "notes": len(music)}
    )

  def _render(self, job: Mapping[str, Any]) -> None:
    from magenta_midi.audio.render import render
    from magenta_midi.midi.score_files import read_score

    score = read_score(job["midi"])
    if score.end_s > job["longest_s"]:
      raise ValueError(
        f"only {job['longest_s'] / 60:g} minutes can be made into sound here."
      )
    render(score, job["out"])
    self._side.send({"type": "done"})


def _targets(job: Mapping[str, Any]) -> Any:
  """Control targets of a job; None: none."""
  from magenta_midi.style.controls import ControlTargets

  register = job["register"]
  targets = ControlTargets(
    density=job["density"],
    loudness=job["loudness"],
    register=None if register is None else (register[0], register[1]),
    pedal=job["pedal"],
  )
  return None if targets == ControlTargets() else targets


def _chunk(chunk: Any, from_s: float) -> dict[str, Any]:
  return {
    "type": "chunk",
    "from_s": round(from_s, 3),
    "seconds": chunk.seconds,
    "notes": [
      [
        int(note["key"]),
        int(note["velocity"]),
        round(from_s + float(note["onset_s"]), 4),
        round(float(note["duration_s"]), 4),
      ]
      for note in chunk.score.notes
    ],
    "pedals": [
      [round(from_s + float(change["time_s"]), 4), bool(change["down"])]
      for change in chunk.score.pedals
    ],
  }


def main() -> None:
  """Runs until the server ends."""
  _Studio().run()


if __name__ == "__main__":
  main()
