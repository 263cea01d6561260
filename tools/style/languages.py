"""Effect of prompts in other languages on what the model plays.

    python -m tools.style.languages --json languages.json

Plays 20 s from silence with each prompt, with a text that says nothing and
without a prompt, from the same seeds, and measures onsets and notes a second,
velocity, key and mode: how many of the attributes that the prompt names lie on
its side of what is played without a prompt.
"""

import json
from pathlib import Path
from typing import Any

import click
import numpy as np

from magenta_midi.api import MagentaMidi
from magenta_midi.cli.terminal.bounded_number import bounded
from magenta_midi.limits import COUNT
from magenta_midi.midi.atomic import write_atomically
from magenta_midi.midi.score import Score
from tools.help_text import help_of
from tools.style.obedience import PROMPTS, measured

MUSIC_S = 20.0
NONSENSE = "쿠쿠루 삥뽕"
# A prompt, and the attributes that it asks less (-1) or more (1) of.
WISHES: tuple[tuple[str, dict[str, int]], ...] = (
  ("느리고 조용한 발라드", dict(speed=-1, loudness=-1)),
  ("아주 빠르고 크게", dict(speed=1, loudness=1)),
  ("음이 적고 낮게", dict(density=-1, register=-1)),
  ("遅くて静かな曲", dict(speed=-1, loudness=-1)),
  ("とても速くて力強い", dict(speed=1, loudness=1)),
  ("慢而安静", dict(speed=-1, loudness=-1)),
  ("快速响亮，音符很多", dict(speed=1, density=1)),
  ("una balada lenta y suave", dict(speed=-1, loudness=-1)),
  ("rápido, fuerte y denso", dict(speed=1, density=1, loudness=1)),
  ("langsam und leise", dict(speed=-1, loudness=-1)),
  ("schnell, laut, hohe Lage", dict(loudness=1, register=1)),
  ("pas trop vite, très doux", dict(speed=-1, loudness=-1)),
  ("rapide, fort, dans les graves", dict(speed=1, register=-1)),
)


def figures(scores: list[Score]) -> dict[str, float]:
  """The mean of each attribute."""
  return {
    name: float(np.nanmean([measured(name, score) for score in scores]))
    for name in PROMPTS
  }


def compare(mm: MagentaMidi, seeds: int) -> dict[str, Any]:
  """Figures of all prompts, and in how many wishes they are followed."""

  def played(prompt: str | None) -> list[Score]:
    remarks: list[str] = []
    style = None
    if prompt is not None:
      style = mm.embed_style(prompt, on_remark=remarks.append)
    return [
      mm.generate(MUSIC_S, style=style, seed=seed)[0] for seed in range(seeds)
    ]

  without = played(None)
  usual = figures(without)
  nonsense = played(NONSENSE)
  rows = []
  for prompt, wishes in WISHES:
    found = figures(played(prompt))
    followed = {
      name: bool(side * (found[name] - usual[name]) > 0)
      for name, side in wishes.items()
    }
    rows.append(
      dict(
        prompt=prompt,
        measured={name: round(value, 3) for name, value in found.items()},
        followed=followed,
      )
    )
  all_wishes = [right for row in rows for right in row["followed"].values()]
  return dict(
    checkpoint=mm.checkpoint,
    seeds=seeds,
    without={name: round(value, 3) for name, value in usual.items()},
    nonsense_same_notes=all(
      np.array_equal(a.notes, b.notes)
      for a, b in zip(without, nonsense, strict=True)
    ),
    prompts=rows,
    followed=sum(all_wishes),
    wishes=len(all_wishes),
  )


@click.command(help=help_of(__doc__))
@click.option(
  "--seeds",
  type=bounded(COUNT),
  default=2,
  show_default=True,
  help="Times that each prompt is played.",
)
@click.option(
  "--json",
  "file",
  type=click.Path(path_type=Path),
  help="Write the figures into this file too.",
)
def command(seeds: int, file: Path | None) -> None:
  """Measures; the last line is JSON."""
  report = compare(MagentaMidi.load(), seeds)
  if file is not None:
    write_atomically(
      file, json.dumps(report, indent=1, ensure_ascii=False) + "\n"
    )
  click.echo(json.dumps(report, ensure_ascii=False))


if __name__ == "__main__":
  command()
