"""Drawings of the rooms and the main lines in docs/architecture.md.

    python -m tools.docs.draw_architecture

Writes them between the markers of the page. `tests/test_docs.py` checks that
the page is current, that the modules exist, and that each one imports the next.
"""

import argparse
import re
import tomllib
from pathlib import Path
from typing import NamedTuple

from magenta_midi.midi.atomic import write_atomically

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "architecture.md"

ROOMS = {
  "cli": "the command line; `cli/gin` reads gin files",
  "app": "names of `cli` from before its move",
  "testing": "tiny models, fake ports, fake clock",
  "server": "sessions for a web page: sockets, takes, jobs, the page",
  "live": "ports, processes, the engine, what may sound, sessions",
  "api": "`MagentaMidi`: load, embed, generate, finetune",
  "finetune": "adapters from a player's recordings",
  "magenta_rt": "Magenta RealTime's arrays, checkpoints, seqio tasks",
  "train": "settings, optimizers, the loop",
  "evaluation": "losses, nats a note on held-out music",
  "data": "corpora, training examples, batches",
  "generate": "chunked generation: state in, (chunk, state) out",
  "style": "text or music to one vector",
  "transcribe": "recordings of sound to MIDI",
  "model": "the Depthformer, checkpoints, adapters",
  "tokens": "music to integers `[frames, levels]` and back; what is legal next",
  "audio": "a piano voice, audio files, FluidSynth, audio codecs and injection",
  "midi": "notes, pedal, files, tempo, analysis, piano rolls",
  "bounded_files": "files from outside: regular, and of bounded size",
  "plain_text": "text from outside, made fit to be shown",
  "limits": "the range of each number that people give",
  "settings": "typed conversion and checks of settings",
  "typing": "letters of array shapes",
  "user_folders": "where a user's data, settings and caches lie",
}


class Stop(NamedTuple):
  """One module of a main line.

  Attributes:
    module: Its name within `magenta_midi`.
    does: What it does on this line.
    message: Where the module before it does not call it but sends a message:
      the module that defines messages, imported by both.
    passed_by: Where the module before it calls it through an interface: the
      earlier module of the line that passes the object in.
  """

  module: str
  does: str
  message: str = ""
  passed_by: str = ""


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
  "live session": (
    Stop("cli.jam.command", "reads options"),
    Stop("cli.jam.session", "display, keys and messages of `jam`"),
    Stop("live.session", "LiveSession: controls in, events out, the recorder"),
    Stop("live.processes.host", "starts, watches and ends both processes"),
    Stop("live.processes.model_process", "the model process (next drawing)"),
  ),
  "live note": (
    Stop("live.processes.input_path", "takes the note from the input port"),
    Stop(
      "live.processes.model_process",
      "gives it to the engine; sends plans back",
      message="live.processes.wire_format",
    ),
    Stop("live.engine.engine", "events and time to the strategy of the mode"),
    Stop("live.engine.simultaneous", "decides whether and how to play"),
    Stop("live.engine.planner", "appends the note, draws the next events"),
    Stop("generate.duet.stream", "one stream: append, plan, commit, roll back"),
    Stop("generate.duet.functions", "the compiled steps of a stream"),
    Stop("generate.sample_frame", "the levels of one frame, drawn in order"),
  ),
  "live plan": (
    Stop("live.processes.model_process", "sends the plan"),
    Stop(
      "live.processes.output_path",
      "takes the newest plan, sends what is due",
      message="live.processes.wire_format",
    ),
    Stop("live.performer.performer", "keeps the plan, in order of time"),
    Stop("live.performer.limits", "keys, velocities and rates that may sound"),
  ),
  "served session": (
    Stop("cli.serve", "reads options, prints the address"),
    Stop("server.serving", "listens, ends in order"),
    Stop("server.app", "the routes, and what they share"),
    Stop("server.duets.client_socket", "one client's messages, in and out"),
    Stop("server.duets.sessions", "gives each client a session, or says full"),
    Stop("server.duets.played_session", "plays a LiveSession in a thread"),
    Stop("live.session", "LiveSession: as in the drawing above"),
  ),
  "finetune": (
    Stop("cli.finetune", "reads options, prints the report"),
    Stop("finetune.finetune", "splits recordings, starts the run (train/run)"),
    Stop("finetune.adapter_task", "scores and writes the adapter, as its task"),
    Stop("finetune.trainer", "one step: base, factors (model/lora), optimizer"),
    Stop("evaluation.losses", "the loss of a batch, by level"),
    Stop("model.depthformer", "the network: encoder, temporal, depth"),
    Stop("model.layers", "attention, gated MLP, norms"),
  ),
  "train": (
    Stop("cli.train", "reads options and corpora, prints progress"),
    Stop(
      "train.train", "base training, a task: evaluates, writes a checkpoint"
    ),
    Stop("train.run", "the one loop: when to step, evaluate, save, stop"),
    Stop(
      "train.trainer",
      "one step: model, optimizer, data",
      passed_by="train.train",
    ),
    Stop("evaluation.losses", "the loss of a batch, by level"),
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


def name_of(module: str) -> str:
  """The file of a module, within `magenta_midi`."""
  return path_of(module).relative_to(ROOT / "magenta_midi").as_posix()


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
      arrow = "│"
      if stop.message:
        arrow = f"┆ message of {name_of(stop.message)}"
      elif stop.passed_by:
        arrow = f"│ passed in by {name_of(stop.passed_by)}"
      drawing.append(f"   {arrow}")
    name = name_of(stop.module)
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
  argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  ).parse_args()
  page = drawn(PAGE.read_text("utf-8"))
  write_atomically(PAGE, page)


if __name__ == "__main__":
  main()
