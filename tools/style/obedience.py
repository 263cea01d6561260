"""Effect of prompts, controls and blends on what the model plays.

    python -m tools.style.obedience CONTEXT_FOLDER --json obedience.json

Continues 10 s of held-out pieces by 20 s under two opposite prompts (sparse
or dense, soft or loud, low or high, slow or fast, major or minor) and under
two values of each control, from the same context and seed, and measures the
continuations: in how many pairs the attribute moves the right way. The same
over guidance, with a picture, and for blends of the two prompts; and whether
the continuation comes nearer to a MIDI example.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
from scipy.stats import spearmanr

from magenta_midi.api import (
  CONTROL_GUIDANCE,
  DEFAULT_GUIDANCE,
  MagentaMidi,
)
from magenta_midi.cli.terminal.bounded_number import bounded
from magenta_midi.cli.terminal.errors import UserError, one_line_errors
from magenta_midi.data.corpus import midi_files
from magenta_midi.limits import COUNT_FROM_0
from magenta_midi.midi.analysis.description import describe
from magenta_midi.midi.atomic import write_atomically
from magenta_midi.midi.figures import save_figure
from magenta_midi.midi.score import Score
from magenta_midi.plain_text import drawable
from magenta_midi.style.controls import ControlTargets
from magenta_midi.style.text.attributes import ATTRIBUTES
from tools.help_text import help_of

CONTEXT_S, MUSIC_S = 10.0, 20.0
PROMPTS = {
  "density": ("sparse", "dense"),
  "loudness": ("soft", "loud"),
  "register": ("low", "high"),
  "speed": ("slow", "fast"),
  "mode": ("minor", "major"),
}
CONTROLS = {
  "density": ({"density": 3.0}, {"density": 12.0}),
  "loudness": ({"loudness": 45.0}, {"loudness": 90.0}),
  # By a key about which it lies: nothing is forbidden.
  "register": ({"register": 54.0}, {"register": 72.0}),
  "pedal": ({"pedal": 0.0}, {"pedal": 1.0}),
}
UNITS = {
  "density": "notes a second",
  "loudness": "velocity",
  "register": "mean key",
  "speed": "onsets a second",
  "mode": "major above 0",
  "pedal": "share of the time",
}
GUIDANCES = (0.0, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


def contexts(folder: Path, count: int) -> list[Score]:
  """10 s from different pieces, with enough in them."""
  rng = np.random.default_rng(0)
  files = midi_files(folder)
  found: list[Score] = []
  for index in rng.permutation(len(files)):
    score = Score.from_file(files[index]).merged()
    if score.end_s < 2 * CONTEXT_S:
      continue
    start = rng.uniform(0, score.end_s - CONTEXT_S)
    stretch = score.crop(float(start), float(start) + CONTEXT_S)
    if len(stretch) > 2 * CONTEXT_S:
      found.append(stretch)
    if len(found) == count:
      return found
  if not found:
    raise UserError(f"{folder}: no piece of 20 s and 2 notes a second.")
  return [found[i % len(found)] for i in range(count)]


def measured(name: str, music: Score) -> float:
  """An attribute of music; nan where there is too little of it."""
  try:
    return ATTRIBUTES[name].measure(describe(music))
  except ValueError:
    # Almost no notes: density is 0, other measures are undefined.
    return 0.0 if name == "density" else float("nan")


class Runner:
  """Continues contexts, and remembers what was measured."""

  def __init__(self, mm: MagentaMidi, contexts: list[Score]):
    self.mm = mm
    self.contexts = contexts

  def __call__(
    self,
    name: str,
    seed: int,
    *,
    guidance: float | None,
    prompt: Any = None,
    **controls: float,
  ) -> float:
    """The attribute of one continuation."""
    music = self.music(seed, guidance=guidance, prompt=prompt, **controls)
    return measured(name, music)

  def music(
    self,
    seed: int,
    *,
    guidance: float | None = None,
    prompt: Any = None,
    **controls: float,
  ) -> Score:
    """One continuation."""
    music, _ = self.mm.generate(
      MUSIC_S,
      context=self.contexts[seed],
      style=None if prompt is None else self.mm.embed_style(prompt),
      controls=ControlTargets(**controls) if controls else None,
      seed=seed,
      guidance=guidance,
    )
    return music


def obeyed(
  low: Callable[[int], float], high: Callable[[int], float], seeds: int
) -> dict[str, Any]:
  """In how many pairs the second is more than the first."""
  pairs = np.array([(low(seed), high(seed)) for seed in range(seeds)])
  pairs = pairs[np.isfinite(pairs).all(axis=1)]
  right = pairs[:, 1] > pairs[:, 0]
  return {
    "share": round(float(right.mean()), 3),
    "pairs": len(pairs),
    "low": round(float(np.median(pairs[:, 0])), 3),
    "high": round(float(np.median(pairs[:, 1])), 3),
  }


def by_prompt(run: Runner, seeds: int, guidance: float | None) -> dict:
  """Every pair of prompts."""
  return {
    name: obeyed(
      lambda seed, n=name, p=low: run(n, seed, guidance=guidance, prompt=p),
      lambda seed, n=name, p=high: run(n, seed, guidance=guidance, prompt=p),
      seeds,
    )
    for name, (low, high) in PROMPTS.items()
  }


def by_control(run: Runner, seeds: int, guidance: float | None) -> dict:
  """Every control."""
  return {
    name: obeyed(
      lambda seed, n=name, c=low: run(n, seed, guidance=guidance, **c),
      lambda seed, n=name, c=high: run(n, seed, guidance=guidance, **c),
      seeds,
    )
    for name, (low, high) in CONTROLS.items()
  }


def by_example(run: Runner, seeds: int) -> dict[str, Any]:
  """How far attributes lie from another piece's, prompted by it and not."""
  found: dict[str, list[tuple[float, float]]] = {name: [] for name in PROMPTS}
  for seed in range(seeds):
    example = run.contexts[(seed + 1) % len(run.contexts)]
    prompted, usual = run.music(seed, prompt=example), run.music(seed)
    for name, distances in found.items():
      wanted = measured(name, example)
      distances.append(
        (
          abs(measured(name, prompted) - wanted),
          abs(measured(name, usual) - wanted),
        )
      )
  report = {}
  for name, distances in found.items():
    pairs = np.array(distances)
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    report[name] = {
      "nearer": round(float((pairs[:, 0] < pairs[:, 1]).mean()), 3),
      "pairs": len(pairs),
      "distance": round(float(pairs[:, 0].mean()), 3),
      "distance_unprompted": round(float(pairs[:, 1].mean()), 3),
    }
  return report


def blends(run: Runner, seeds: int) -> dict[str, Any]:
  """The attribute as the weight goes from one prompt to the other."""
  report = {}
  weights = np.linspace(0.0, 1.0, 11)
  for name, (low, high) in PROMPTS.items():
    means = []
    for weight in weights:
      prompt = [(low, 1.0 - weight), (high, weight)]
      values = [
        run(name, seed, guidance=None, prompt=prompt) for seed in range(seeds)
      ]
      means.append(float(np.nanmean(values)))
    correlation = np.asarray(spearmanr(weights, means))
    report[name] = {
      "means": [round(x, 4) for x in means],
      "rank_correlation": round(float(correlation[0]), 3),
    }
  return report


def draw(curves: dict[str, dict[float, dict]], path: Path) -> None:
  """Plot of the measures under each of two opposites, over guidance."""
  import matplotlib as mpl

  mpl.use("Agg")
  import matplotlib.pyplot as plt

  columns = max(len(next(iter(curve.values()))) for curve in curves.values())
  figure, axes = plt.subplots(
    len(curves), columns, figsize=(11, 5), layout="constrained", squeeze=False
  )
  for row, (title, curve) in zip(axes, curves.items(), strict=True):
    names = list(next(iter(curve.values())))
    for axis in row[len(names) :]:
      axis.set_axis_off()
    for axis, name in zip(row, names, strict=False):
      asked = PROMPTS[name] if title == "prompts" else CONTROLS[name]
      for side, opposite in zip(("low", "high"), asked, strict=True):
        given = opposite if isinstance(opposite, str) else opposite[name]
        played = [found[name][side] for found in curve.values()]
        said = drawable(given)
        axis.plot(list(curve), played, marker="o", markersize=3, label=said)
      heading = drawable(f"{name} ({UNITS[name]})")
      axis.set(title=heading, xlabel="guidance")
      axis.title.set_size(9)
      axis.set_ylim(*_around(axis.get_ylim()))
      axis.legend(frameon=False, fontsize=8)
      for edge in ("top", "right"):
        axis.spines[edge].set_visible(False)
  save_figure(figure, path)
  plt.close(figure)


def _around(limits: tuple[float, float]) -> tuple[float, float]:
  """From 0 where nothing is below it."""
  low, high = limits
  return (min(0.0, low) if low < 0.5 * high else low, high)


@click.command(help=help_of(__doc__))
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
@click.option(
  "--checkpoint",
  type=click.Path(path_type=Path),
  help="Folder of a checkpoint [default: the embedded checkpoint].",
)
@click.option(
  "--seeds",
  type=bounded(COUNT_FROM_0),
  default=30,
  show_default=True,
  help="Pairs of continuations for each attribute.",
)
@click.option(
  "--curve-seeds",
  type=bounded(COUNT_FROM_0),
  default=10,
  show_default=True,
  help="The same for the curve over guidance and for blends; 0: neither.",
)
@click.option(
  "--picture",
  type=click.Path(path_type=Path),
  help="Picture of the curve over guidance to write (PNG).",
)
@click.option(
  "--json",
  "file",
  type=click.Path(path_type=Path),
  help="Write the figures into this file too.",
)
def command(
  folder: Path,
  checkpoint: Path | None,
  seeds: int,
  curve_seeds: int,
  picture: Path | None,
  file: Path | None,
) -> None:
  """Measures; the last line is JSON."""
  with one_line_errors():
    mm = MagentaMidi.load(checkpoint)
    if not (mm.uses_style and mm.uses_controls):
      raise UserError(
        f"{mm.checkpoint}: was trained without style or controls. Train one"
        " with magenta-midi train --style midicoca."
      )
    run = Runner(mm, contexts(folder, max(seeds, curve_seeds)))
    report: dict[str, Any] = {
      "checkpoint": mm.checkpoint,
      "guidance": {"style": DEFAULT_GUIDANCE, "controls": CONTROL_GUIDANCE},
      "prompts": by_prompt(run, seeds, None),
      "controls": by_control(run, seeds, None),
      "examples": by_example(run, seeds),
    }
    if curve_seeds:
      curves = {
        "prompts": {g: by_prompt(run, curve_seeds, g) for g in GUIDANCES},
        "controls": {g: by_control(run, curve_seeds, g) for g in GUIDANCES},
      }
      report["curves"] = curves
      report["blends"] = blends(run, curve_seeds)
      if picture is not None:
        draw(curves, picture)
  if file is not None:
    write_atomically(file, json.dumps(report, indent=1) + "\n")
  click.echo(json.dumps(report))


if __name__ == "__main__":
  command()
