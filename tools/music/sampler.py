"""Ranking of the sampler's settings.

  python -m tools.music.sampler --data DIR [--data DIR] --out FOLDER

Every setting continues the same contexts with the same seed. Held-out `valid`
pieces are used, so that `test` stays for `tools.music.compare`. The score is

  mean overlap of the six quantities (`likeness.QUANTITIES`)
  - |silent chunks played - real|
  - max(0, continuations with a run of 10 repeated notes, played - real)
  - max(0, AUC of the two-sample test - 0.5)

FOLDER receives `results.jsonl`, one line for each finished setting (the same
command continues from there), and `ranking.md` and `ranking.json`.
"""

import itertools
import json
import time
from pathlib import Path
from typing import Any

import click

from magenta_midi.cli.terminal.bounded_number import bounded
from magenta_midi.cli.terminal.errors import UserError, writable
from magenta_midi.cli.terminal.options import checkpoint_option, load_model
from magenta_midi.cli.terminal.output import console, json_option, print_json
from magenta_midi.generate.sampling import Sampling, level_sampling
from magenta_midi.limits import SEED, Bounds
from magenta_midi.midi.atomic import write_atomically
from magenta_midi.tokens.note.codec import NoteCodec
from tools.help_text import help_of
from tools.music.compare import (
  FEWEST,
  play_all,
  read_all,
  run,
)
from tools.music.continuations import choose_passages
from tools.music.likeness import compare
from tools.music.two_sample import two_sample_figures

SETTINGS = ("temperature", "top_p", "min_p", "top_k")
# Cold onset and key with warm velocity and duration, and the other way round.
DEFAULT = (
  *(
    f"temperature={temperature} top_p={top_p}"
    for temperature in ("0.9", "0.95", "1.0", "1.05")
    for top_p in ("0.95", "0.98", "1.0")
  ),
  "temperature=0.95,0.9,1,1",
  "temperature=1,0.9,1,1",
  "temperature=0.9,1,1,1",
  "temperature=1,0.95,1,1 top_p=1,0.98,1,1",
  # Cutting the tail of the onsets cuts pauses: it plays denser.
  "temperature=1 top_p=1,0.98,0.98,0.98",
  "temperature=1 top_p=1,0.95,0.95,0.95",
  "temperature=1 min_p=0.02",
  "temperature=1 min_p=0.05",
  "temperature=1.05 min_p=0.02",
)


def parsed(setting: str) -> Sampling:
  """Reads `temperature=0.9,1,1,1 top_p=0.95`; what is absent is off.

  Raises:
    UserError: A name is unknown, or its value is no number.
  """
  values: dict[str, Any] = {}
  for word in setting.split():
    name, _, text = word.partition("=")
    number = int if name == "top_k" else float
    try:
      numbers = [number(part) for part in text.split(",")]
    except ValueError:
      numbers = []
    if name not in SETTINGS or not numbers:
      raise UserError(
        f"{setting!r}: expected NAME=VALUE (a number, or one a level with"
        f" commas) with a name of {', '.join(SETTINGS)}, got {word!r}."
      )
    values[name] = numbers[0] if len(numbers) == 1 else numbers
  sampling = Sampling(**values)
  level_sampling(sampling, NoteCodec().levels)
  return sampling


def score_of(result: dict[str, Any]) -> float:
  """The score of the module's docstring."""
  figures = result["short"]
  played, real = figures["generated"], figures["real"]
  return (
    figures["mean_overlap"]
    - abs(played["silent_chunks"] - real["silent_chunks"])
    - max(0.0, played["repeating"] - real["repeating"])
    - max(0.0, result["two_sample"]["auc"] - 0.5)
  )


def ranking(results: list[dict[str, Any]]) -> str:
  """Results as a Markdown table, best first."""
  lines = [
    "| setting | score | overlap | AUC | silent | repeating | notes/s |",
    "|---|---|---|---|---|---|---|",
  ]
  for result in results:
    figures = result["short"]
    played = figures["generated"]
    density = figures["quantities"]["notes_per_second"]["generated"]["mean"]
    lines.append(
      f"| {result['setting']} | {result['score']:.3f}"
      f" | {figures['mean_overlap']:.3f} | {result['two_sample']['auc']:.3f}"
      f" | {played['silent_chunks']:.1%} | {played['repeating']:.1%}"
      f" | {density:.2f} |"
    )
  if results:
    best = results[0]
    real = best["short"]["real"]
    density = best["short"]["quantities"]["notes_per_second"]["real"]["mean"]
    lines.append(
      f"| real music | | | {best['two_sample']['control_auc']:.3f}"
      f" | {real['silent_chunks']:.1%} | {real['repeating']:.1%}"
      f" | {density:.2f} |"
    )
  return "\n".join(lines) + "\n"


def read_results(path: Path, run_of: dict[str, Any]) -> list[dict[str, Any]]:
  """Results of the same run; a line cut off by a kill is left out."""
  results = []
  if path.is_file():
    for line in path.read_text(encoding="utf-8").splitlines():
      try:
        result = json.loads(line)
      except ValueError:
        continue
      if result["run"] == run_of:
        results.append(result)
  return results


@click.command(
  help=help_of(__doc__),
  context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
  "--data",
  "folders",
  multiple=True,
  required=True,
  type=click.Path(path_type=Path),
  help="Folder of MIDI files; repeatable. DIR.csv beside it gives the splits.",
)
@click.option(
  "--split", default="valid", show_default=True, help="Which pieces."
)
@checkpoint_option
@click.option(
  "--continuations",
  type=bounded(Bounds(FEWEST, 10**9, whole=True)),
  default=24,
  show_default=True,
  help="How many a setting.",
)
@click.option(
  "--seconds",
  type=bounded(Bounds(10, 24 * 3600, "seconds")),
  default=20.0,
  show_default=True,
  help="Their length, s.",
)
@click.option(
  "--setting",
  "settings",
  multiple=True,
  metavar="'NAME=VALUE ...'",
  help="One setting, e.g. 'temperature=0.95,0.9,1,1 top_p=0.98'; repeatable.",
)
@click.option(
  "--temperature",
  multiple=True,
  help="Repeatable, as are the others below: all combinations are tried.",
)
@click.option("--top-p", multiple=True, help="Likewise.")
@click.option("--min-p", multiple=True, help="Likewise.")
@click.option("--top-k", multiple=True, help="Likewise.")
@click.option(
  "--seed",
  type=bounded(SEED),
  default=0,
  show_default=True,
  help="Of all draws.",
)
@click.option(
  "--out",
  type=click.Path(path_type=Path, file_okay=False),
  default=Path("runs/sweep"),
  show_default=True,
  help="Folder of the results; a sweep found there is continued.",
)
@json_option
def command(
  folders: tuple[Path, ...],
  split: str,
  checkpoint: Path | None,
  continuations: int,
  seconds: float,
  settings: tuple[str, ...],
  seed: int,
  out: Path,
  as_json: bool,
  **grid: tuple[str, ...],
) -> None:
  """Rank settings of the sampler by what they play."""
  given = [
    [f"{name}={value}" for value in grid[name]]
    for name in SETTINGS
    if grid[name]
  ]
  wanted = list(settings)
  if given:
    wanted += [" ".join(words) for words in itertools.product(*given)]
  wanted = list(dict.fromkeys(wanted or DEFAULT))
  # All are read before the first is played: a slip must not show after hours.
  samplings = {setting: parsed(setting) for setting in wanted}
  results_path = writable(out / "results.jsonl")

  model = load_model(checkpoint)
  generator = model.generator
  run_of = dict(
    sha256=model.config.get("sha256"),
    data=[folder.name for folder in folders],
    split=split,
    continuations=continuations,
    seconds=seconds,
    seed=seed,
  )
  results = read_results(results_path, run_of)
  done = {result["setting"] for result in results}
  log = console()
  passages = choose_passages(
    read_all(folders, split, generator),
    continuations,
    seconds,
    codec=generator.codec,
    seed=seed,
  )
  for index, setting in enumerate(wanted, 1):
    if setting in done:
      continue
    begun = time.perf_counter()
    takes = play_all(
      generator,
      passages,
      seed=seed,
      sampling=samplings[setting],
      title=f"{index} of {len(wanted)}: {setting}",
    )
    result: dict[str, Any] = dict(
      setting=setting,
      run=run_of,
      short=compare(takes, seed=seed),
      two_sample=two_sample_figures(takes, seed=seed),
      wall_s=time.perf_counter() - begun,
    )
    result["score"] = score_of(result)
    with open(results_path, "a", encoding="utf-8") as file:
      # A line that a kill cut off must not swallow this one.
      file.write(("\n" if file.tell() else "") + json.dumps(result))
    results.append(result)
    log.print(f"{setting}: {result['score']:.3f}", soft_wrap=True)
  ranked = sorted(
    (result for result in results if result["setting"] in samplings),
    key=lambda result: -result["score"],
  )
  write_atomically(out / "ranking.md", ranking(ranked))
  write_atomically(out / "ranking.json", json.dumps(ranked, indent=2) + "\n")
  click.echo(ranking(ranked), nl=False)
  if as_json:
    print_json(
      dict(
        best=ranked[0]["setting"],
        score=ranked[0]["score"],
        settings=len(ranked),
        ranking=str(out / "ranking.json"),
      )
    )


if __name__ == "__main__":
  run(command)
