"""Speed beside other systems, in one run, on the same 2 s of music.

  python -m tools.speed.peers --markdown docs/reports/performance.md

The first run installs CPU PyTorch, `transformers` and Notochord into an
environment of their own (build/peers, about 1.2 GB); nothing of it is ever
imported here. Later runs need no network. Systems take turns for several
rounds; prints medians over the rounds, with ratios to ours. All of it takes
about half an hour: run nothing else meanwhile.
"""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
from rich.console import Console
from rich.table import Table

from magenta_midi.cli.terminal.bounded_number import bounded
from magenta_midi.cli.terminal.errors import one_line_errors
from magenta_midi.limits import COUNT
from magenta_midi.midi.atomic import write_atomically
from tools.help_text import help_of
from tools.speed.other_systems.environment import TORCH, make_environment
from tools.speed.other_systems.shapes import T5Shape, fitted
from tools.speed.other_systems.tables import (
  DETAIL_HEAD,
  RATIO_HEAD,
  System,
  detail_rows,
  markdown,
  over_rounds,
  ratio_rows,
)

FOLDER = Path(__file__).resolve().parent
NOTES = 25  # in 2 s of piano
LEVELS = 4  # tokens of a note
CONTEXT_NOTES = 125  # in 10 s
QUIET = 0.5  # a load below is no other work
BEGIN, END = "<!-- bench_peers: begin -->", "<!-- bench_peers: end -->"

# The shapes of our models; the MLP is what is fitted.
MUSIC_T5 = T5Shape(vocab=640, embed=256, heads=4, head_dim=64, mlp=0, layers=4)
AUDIO_T5 = T5Shape(
  vocab=11392, embed=512, heads=8, head_dim=64, mlp=0, layers=8
)
AUDIO_CONTEXT, AUDIO_TOKENS = 1006, 200
AUDIO_PARAMETERS = 59_921_440


class Contestant(NamedTuple):
  """A system, and the command that prints its figures as a JSON line."""

  name: str
  command: list[str]
  # The figures that lie under this key; the whole line's otherwise.
  within: str | None = None


class Comparison(NamedTuple):
  """Systems that do the same work; ours comes first."""

  title: str
  parameters: int  # of ours
  contestants: list[Contestant]
  rounds: int


def ours(*arguments: str) -> list[str]:
  """A command of the project's own command line."""
  return [sys.executable, "-m", "magenta_midi.cli.main", *arguments, "--json"]


def json_line(command: list[str], environment: dict[str, str]) -> Any:
  """The last line that a command prints.

  Raises:
    OSError: It failed; its last words say why.
  """
  result = subprocess.run(
    command, capture_output=True, text=True, env=os.environ | environment
  )
  if result.returncode:
    words = (result.stderr.strip() or result.stdout.strip()).splitlines()
    raise OSError(words[-1] if words else f"exit {result.returncode}")
  return json.loads(result.stdout.splitlines()[-1])


def t5(python: Path, shape: T5Shape, way: str, *arguments: str) -> list[str]:
  """A command that times a T5."""
  script = str(FOLDER / "other_systems" / "hf_t5.py")
  # -P: our modules beside the script must not hide anyone's.
  command = [str(python), "-P", script, *shape.arguments()]
  return [*command, "--way", way, *arguments]


def music(
  python: Path, parameters: int, threads: int, rounds: int
) -> Comparison:
  """The model in the package, and others of as many parameters."""
  shape = fitted(MUSIC_T5, parameters)
  shared = [f"--threads={threads}", "--repeats=10"]

  def decode(context: int) -> list[str]:
    return [
      *shared,
      f"--context={context}",
      f"--tokens={NOTES * LEVELS}",
      f"--levels={LEVELS}",
    ]

  def notochord(*arguments: str) -> list[str]:
    script = str(FOLDER / "other_systems" / "notochord_events.py")
    return [
      *(str(python), "-P", script, *shared, *arguments),
      f"--notes={NOTES}",
      f"--context-notes={CONTEXT_NOTES}",
    ]

  flat = decode(CONTEXT_NOTES * LEVELS)
  return Comparison(
    f"{NOTES} notes after 10 s of context",
    parameters,
    [
      Contestant("magenta-midi", ours("bench", "--events", str(NOTES))),
      Contestant("T5, `generate`", t5(python, shape, "generate", *flat)),
      Contestant("T5, loop", t5(python, shape, "bare", *flat)),
      Contestant(
        "T5, loop, compiled",
        t5(python, shape, "compiled", *flat),
      ),
      Contestant(
        "T5, loop, compiled, short",
        t5(python, shape, "compiled", *decode(CONTEXT_NOTES)),
      ),
      Contestant(
        "Notochord, scaled, `query`",
        notochord("--way=query", f"--parameters={parameters}"),
      ),
      Contestant("Notochord, `query`", notochord("--way=query")),
      Contestant("Notochord, `sample`", notochord("--way=sample")),
    ],
    rounds,
  )


def audio(python: Path, threads: int, rounds: int) -> Comparison:
  """The shape at which Magenta RealTime was timed, and a T5 like it."""
  shape = fitted(AUDIO_T5, AUDIO_PARAMETERS)
  work = [
    f"--threads={threads}",
    "--repeats=2",
    f"--context={AUDIO_CONTEXT}",
    f"--tokens={AUDIO_TOKENS}",
    f"--levels={LEVELS}",
    "--rows=2",
  ]
  bench = ours("bench", "--config", "v1-59m")
  return Comparison(
    f"{AUDIO_TOKENS} audio tokens with guidance, Magenta RealTime's shape",
    AUDIO_PARAMETERS,
    [
      Contestant("magenta-midi", bench),
      Contestant("magenta-midi, cut head", bench, "sliced"),
      Contestant("T5, `generate`", t5(python, shape, "generate", *work)),
      Contestant("T5, loop", t5(python, shape, "bare", *work)),
      Contestant(
        "T5, loop, compiled",
        t5(python, shape, "compiled", *work),
      ),
    ],
    rounds,
  )


def take_turns(
  comparison: Comparison,
  environment: dict[str, str],
  console: Console,
) -> tuple[list[System], dict[str, str], list[dict[str, Any]]]:
  """Measures each in turn, round after round.

  Returns:
    The systems; why others are missing, by name; and every line printed.

  Raises:
    OSError: Ours failed: there is nothing to compare with.
  """
  found: dict[str, list[dict[str, Any]]] = {}
  missing: dict[str, str] = {}
  for turn in range(comparison.rounds):
    lines: dict[tuple[str, ...], dict[str, Any]] = {}
    for name, command, within in comparison.contestants:
      if name in missing:
        continue
      try:
        # Two rows of one command are one run.
        if tuple(command) not in lines:
          with console.status(
            f"round {turn + 1} of {comparison.rounds}: {name}"
          ):
            lines[tuple(command)] = json_line(command, environment)
        line = lines[tuple(command)]
        facts = dict(parameters=comparison.parameters) | line
        facts |= line[within] if within else {}
      except (OSError, KeyError) as error:
        if name == comparison.contestants[0].name:
          raise OSError(f"{comparison.title}: {error}") from None
        missing[name] = " ".join(str(error).split())
        found.pop(name, None)
        console.print(f"{name} is left out: {missing[name]}", markup=False)
        continue
      found.setdefault(name, []).append(facts)
  systems = [over_rounds(name, facts) for name, facts in found.items()]
  raw = [
    dict(system=name, round=turn, **facts)
    for name, rows in found.items()
    for turn, facts in enumerate(rows)
  ]
  return systems, missing, raw


def cpu_model() -> str:
  """As the kernel names it."""
  try:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
  except OSError:
    return platform.processor() or platform.machine()
  names = [
    line.split(":", 1)[1] for line in lines if line.startswith("model name")
  ]
  return names[0].strip() if names else platform.machine()


def keep_to(threads: int) -> int:
  """Lets this process and its children run on so many cores only.

  Returns:
    The cores that were there.
  """
  if not hasattr(os, "sched_setaffinity"):
    return os.cpu_count() or 1
  cores = sorted(os.sched_getaffinity(0))
  os.sched_setaffinity(0, cores[:threads])
  return len(cores)


def rich_table(
  title: str, head: Sequence[str], rows: Sequence[Sequence[str]]
) -> Table:
  """For the terminal; backticks are for Markdown."""
  table = Table(title=title)
  for index, name in enumerate(head):
    table.add_column(
      name, justify="right" if index else "left", no_wrap=not index
    )
  for row in rows:
    table.add_row(*(cell.replace("`", "") for cell in row))
  return table


def document(
  sections: Sequence[tuple[Comparison, list[System], dict[str, str]]],
  machine: dict[str, Any],
  versions: dict[str, str],
) -> str:
  """The tables and what they were measured with, as Markdown."""
  parts = [
    f"{machine['cpu']}, {machine['threads']} threads on"
    f" {machine['cores']} cores; "
    + ", ".join(f"{name} {version}" for name, version in versions.items())
    + ". Medians over the rounds; × is a multiple of the first row.",
  ]
  if machine["load"] > QUIET:
    parts.append(
      f"Other work was running (load {machine['load']:.1f} at the start): it"
      " slows PyTorch's threads, which wait for each other, more than ours."
      " Repeat this run on a quiet machine before quoting it."
    )
  for comparison, systems, missing in sections:
    parts += [
      f"### {comparison.title} (rounds: {comparison.rounds})",
      markdown(RATIO_HEAD, ratio_rows(systems)),
      markdown(DETAIL_HEAD, detail_rows(systems)),
    ]
    parts += [f"{name} is left out: {why}" for name, why in missing.items()]
  return "\n\n".join(parts)


def write_between(path: Path, text: str) -> None:
  """Puts text between the two marks of a file, or at its end with marks."""
  block = f"{BEGIN}\n{text}\n{END}"
  old = path.read_text() if path.exists() else ""
  before, begin, rest = old.partition(BEGIN)
  _, end, after = rest.partition(END)
  if begin and not end:
    raise OSError(f"{path} has {BEGIN} but no {END} after it; add it.")
  new = before + block + after if begin else f"{old}{block}\n"
  path.parent.mkdir(parents=True, exist_ok=True)
  write_atomically(path, new)


@click.command(help=help_of(__doc__))
@click.option(
  "--venv",
  "folder",
  type=click.Path(path_type=Path),
  default=FOLDER.parents[1] / "build" / "peers",
  help="The peers' environment. [default: build/peers]",
)
@click.option(
  "--torch",
  default=TORCH,
  show_default=True,
  help="The PyTorch to install: a requirement, or a wheel's path.",
)
@click.option(
  "--rounds",
  type=bounded(COUNT),
  default=5,
  show_default=True,
  help="Rounds of measuring; the large shape has half of them.",
)
@click.option(
  "--threads",
  type=bounded(COUNT),
  default=2,
  show_default=True,
  help="Threads, and cores that the run is bound to.",
)
@click.option(
  "--only",
  type=click.Choice(["music", "v1-59m"]),
  help="Run one of the two comparisons; the file of --markdown then loses the"
  " other.",
)
@click.option(
  "--markdown",
  "out",
  type=click.Path(path_type=Path, dir_okay=False),
  help="Also write the tables into this file, between their marks.",
)
@click.option(
  "--json",
  "as_json",
  is_flag=True,
  help="Print one JSON object as the last line of stdout.",
)
def main(
  folder: Path,
  torch: str,
  rounds: int,
  threads: int,
  only: str | None,
  out: Path | None,
  as_json: bool,
) -> None:
  """Measures us, a T5 of Hugging Face and Notochord, taking turns."""
  console = Console(stderr=as_json)
  if not console.is_terminal:
    console.width = 110
  with one_line_errors():
    python = make_environment(folder, torch=torch).absolute()
    cores = keep_to(threads)
    load = os.getloadavg()[0]
    if load > QUIET:
      console.print(f"other work is running here (load {load:.1f})")
    # Notochord makes a folder for its data, PyTorch one for what it compiles.
    environment = dict(
      XDG_DATA_HOME=str(folder.absolute() / "data"),
      TORCHINDUCTOR_CACHE_DIR=str(folder.absolute() / "compiled"),
      HF_HUB_OFFLINE="1",
      OMP_NUM_THREADS=str(threads),
    )
    info = json_line(ours("info"), {})
    machine = dict(cpu=cpu_model(), cores=cores, threads=threads, load=load)
    comparisons = []
    if only != "v1-59m":
      comparisons.append(music(python, info["parameters"], threads, rounds))
    if only != "music":
      comparisons.append(audio(python, threads, (rounds + 1) // 2))
    versions = {"magenta-midi": info["version"], "jax": info["jax"]}
    sections, lines = [], []
    for comparison in comparisons:
      try:
        systems, missing, raw = take_turns(comparison, environment, console)
      except OSError as error:
        console.print(f"left out: {error}", markup=False)
        continue
      sections.append((comparison, systems, missing))
      lines += [dict(comparison=comparison.title, **line) for line in raw]
      for line in raw:
        versions |= line.get("versions", {})
      for head, rows in (
        (RATIO_HEAD, ratio_rows(systems)),
        (DETAIL_HEAD, detail_rows(systems)),
      ):
        console.print(rich_table(comparison.title, head, rows))
    if out is not None:
      write_between(out, document(sections, machine, versions))
      console.print(f"wrote {out}")
  if as_json:
    click.echo(
      json.dumps(dict(machine=machine, versions=versions, measured=lines))
    )


if __name__ == "__main__":
  main()
