"""Drawings of the rooms and the main lines in docs/architecture.md.

    python -m tools.docs.draw_architecture

Writes them between the markers of the page. `tests/test_docs.py` checks that
the page is current, that the modules exist, and that each one imports the next.
"""

import re
import tomllib
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "architecture.md"

ROOMS = {
  "cli": "the command line; `cli/gin` reads gin files",
  "app": "names of `cli` from before its move",
  "testing": "tiny models, fake ports, fake clock",
  "live": "ports, processes, the engine, what may sound, sessions",
  "api": "`MagentaMidi`: load, embed, generate, finetune",
  "finetune": "adapters from a player's recordings",
  "magenta_rt": "Magenta RealTime's arrays, checkpoints, seqio tasks",
  "train": "settings, optimizers, the loop",
  "evaluation": "losses, nats a note on held-out music",
  "data": "corpora, training examples, batches",
  "generate": "chunked generation: state in, (chunk, state) out",
  "style": "text or music to one vector",
  "model": "the Depthformer, checkpoints, adapters",
  "tokens": "music to integers `[frames, levels]` and back; what is legal next",
  "audio": "a piano voice, WAV files, FluidSynth",
  "midi": "notes, pedal, files, tempo, analysis, piano rolls",
  "settings": "typed conversion and checks of settings",
  "typing": "letters of array shapes",
}


class Stop(NamedTuple):
  """One module of a main line.

  Attributes:
    module: Its name within `magenta_midi`.
    does: What it does on this line.
    through: Where the module before it sends a message and does not call it:
      the module of the message, imported by both.
  """

  module: str
  does: str
  through: str = ""


LINES = {
  "generate": (
    Stop("cli.generate", "reads options and the context, writes the files"),
    Stop("api", "style and controls to rows; chunks to one score"),
    Stop("generate.generator", "context to a request; draws a chunk again"),
    Stop("generate.decoder", "one compiled call: encode, then frame by frame"),
    Stop("generate.sample_frame", "the levels of one frame, drawn in order"),
    Stop("model.kv_cache", "one step of the temporal and the depth stack"),
    Stop("model.depthformer", "the network: encoder, temporal, depth"),
    Stop("model.layers", "attention, gated MLP, norms"),
  ),
}


def floors() -> list[list[str]]:
  """The rooms of each floor by the import contract, the highest first."""
  settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
  contract = next(
    contract
    for contract in settings["tool"]["importlinter"]["contracts"]
    if contract["type"] == "layers"
  )
  return [
    [room.strip() for room in layer.split("|")] for layer in contract["layers"]
  ]


def path_of(module: str) -> Path:
  """The file of a module of `magenta_midi`."""
  path = ROOT / "magenta_midi" / Path(*module.split("."))
  return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def draw_rooms() -> str:
  """The floors as a drawing, then a table of the rooms."""
  levels = floors()
  width = max(len(" | ".join(level)) for level in levels) + 2
  drawing = [f"   ┌{'─' * width}┐"]
  rows = ["| floor | room | what |", "|---:|---|---|"]
  for number, level in zip(range(len(levels), 0, -1), levels, strict=True):
    drawing.append(f"{number:2} │{' | '.join(level):^{width}}│")
    rows += [f"| {number} | `{room}` | {ROOMS[room]} |" for room in level]
  drawing += [f"   └{'─' * width}┘", "     imports go down only"]
  return "\n".join(["```", *drawing, "```", "", *rows])


def draw_line(stops: tuple[Stop, ...]) -> str:
  """One main line as a drawing, from top to bottom."""
  width = max(len(stop.module) for stop in stops) + 5
  drawing = []
  for number, stop in enumerate(stops, 1):
    if number > 1:
      arrow = f"┆ {stop.through} (message)" if stop.through else "│"
      drawing.append(f"   {arrow}")
    name = str(path_of(stop.module).relative_to(ROOT / "magenta_midi"))
    drawing.append(f"{number}  {name:<{width}} {stop.does}")
  return "\n".join(["```", *drawing, "```"])


def drawn(page: str) -> str:
  """The page with all its drawings made anew.

  Raises:
    ValueError: A marker is missing.
  """
  drawings = {"rooms": draw_rooms()}
  drawings |= {f"line {name}": draw_line(line) for name, line in LINES.items()}
  for name, drawing in drawings.items():
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    pattern = re.escape(begin) + ".*?" + re.escape(end)
    block = f"{begin}\n{drawing}\n{end}"
    page, count = re.subn(pattern, lambda _, b=block: b, page, flags=re.DOTALL)
    if count != 1:
      raise ValueError(f"expected {begin} once in the page, got {count}.")
  return page


def main() -> None:
  page = drawn(PAGE.read_text("utf-8"))
  PAGE.write_text(page, "utf-8")


if __name__ == "__main__":
  main()
