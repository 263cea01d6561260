"""`magenta-midi style`: similarity of texts and music in style."""

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from magenta_midi.cli.terminal.bounded_number import bounded
from magenta_midi.cli.terminal.errors import UserError
from magenta_midi.cli.terminal.file_paths import FilePath
from magenta_midi.cli.terminal.options import (
  checkpoint_option,
  embed_items,
  players_named,
  style_items,
)
from magenta_midi.cli.terminal.output import (
  json_option,
  print_json,
  print_line,
  print_table,
  progress_bar,
  remark,
  table,
)
from magenta_midi.limits import COUNT

if TYPE_CHECKING:
  from magenta_midi.style.library import Library
  from magenta_midi.style.model import StyleModel

__all__ = ["command"]


@click.command("style")
@click.argument(
  "prompts", nargs=-1, required=True, metavar="TEXT|FILE[:WEIGHT]..."
)
@click.option(
  "--nearest",
  "folder",
  type=FilePath(),
  metavar="DIR",
  help="Rank the MIDI files in this folder and its subfolders by the prompts.",
)
@click.option(
  "--top",
  type=bounded(COUNT),
  default=10,
  show_default=True,
  help="Number of files that --nearest lists.",
)
@checkpoint_option
@json_option
def command(
  prompts: tuple[str, ...],
  folder: Path | None,
  top: int,
  checkpoint: Path | None,
  as_json: bool,
) -> None:
  """Show the similarity of texts and files in style, and their style tokens.

  FILE is MIDI, or audio, which is transcribed. A similarity of 1 is the same
  style, 0 is nothing in common. @NAME in a text is the player of an installed
  adapter. Weights are used with --nearest only:
  the prompts are blended by them.
  """
  items = style_items(prompts, "the prompt")
  from magenta_midi.model.checkpoint import embedded_path, read_config
  from magenta_midi.style.slots import StyleSlots

  config = read_config(checkpoint or embedded_path())
  model = StyleSlots(config).style_model()
  names = [" ".join(name.split()) for name in prompts]
  remarks: list[str] = []
  parts = players_named(model, items, remarks.append)
  if folder is not None:
    facts = _nearest(model, parts, names, folder, top)
  else:
    facts = _compare(model, items, parts, names)
  for said in remarks:
    remark(said)
  if as_json:
    print_json({"model": model.name, **facts})


def _compare(
  model: "StyleModel",
  items: list[tuple[Any, float]],
  parts: list[list[tuple[Any, float]]],
  names: list[str],
) -> dict[str, Any]:
  """Prints the table of all against all.

  Args:
    model: Embeds them.
    items: As given.
    parts: For each item, with players' styles in place of their names.
    names: For each item, as it is shown.
  """
  from magenta_midi.style.model import neutral_similarity

  vectors = np.stack(
    [
      # With one item the weight has no effect. A text that says nothing is
      # shown too, by what the model makes of it.
      embed_items(
        model,
        [(part, weight or 1.0) for part, weight in own or [(item, 1.0)]],
        [name] * max(len(own), 1),
      )
      for (item, _), own, name in zip(items, parts, names, strict=True)
    ]
  )
  units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
  cosines = units @ units.T
  tokens = [[int(row) for row in model.tokenize(v)] for v in vectors]
  neutral = [neutral_similarity(model, vector) for vector in units]
  rows = table()
  rows.add_column("", justify="right")
  rows.add_column("prompt", overflow="fold")
  for number in range(1, len(names) + 1):
    rows.add_column(str(number), justify="right", no_wrap=True)
  if neutral[0] is not None:
    rows.add_column("neutral", justify="right", no_wrap=True)
  rows.add_column("tokens", overflow="fold")
  for place, ((item, _), name) in enumerate(zip(items, names, strict=True)):
    # A file's folder would fill the table.
    shown = name if isinstance(item, str) else Path(name).name
    row = [str(place + 1), _short(shown), *(f"{c:.2f}" for c in cosines[place])]
    if neutral[0] is not None:
      row.append(f"{neutral[place]:.2f}")
    rows.add_row(*row, " ".join(map(str, tokens[place])))
  print_table(rows)
  return {
    "prompts": [
      {
        "prompt": name,
        "tokens": own_tokens,
        "neutral": similarity,
        "means_nothing": not own,
      }
      for name, own, own_tokens, similarity in zip(
        names, parts, tokens, neutral, strict=True
      )
    ],
    "cosine": [[round(float(c), 6) for c in row] for row in cosines],
  }


def _nearest(
  model: "StyleModel",
  parts: list[list[tuple[Any, float]]],
  names: list[str],
  folder: Path,
  top: int,
) -> dict[str, Any]:
  """Prints the files of a folder, the nearest first."""
  items = list(itertools.chain.from_iterable(parts))
  shown = [n for n, own in zip(names, parts, strict=True) for _ in own]
  if not any(weight for _, weight in items):
    raise UserError(
      f"{folder}: cannot be ranked by prompts that say nothing about music."
      " Words of tempo, loudness, register, mood, form or genre do."
    )
  query = embed_items(model, items, shown)
  library = _embedded(model, folder)
  for path, reason in library.refused:
    remark(f"{path}: left out ({reason})")
  if not library.paths:
    raise UserError(f"{folder}: none of its MIDI files could be read.")
  ranked = library.ranked(query)
  rows = table()
  rows.add_column("", justify="right")
  rows.add_column("cosine", justify="right")
  rows.add_column("file", overflow="fold")
  for place, (path, cosine) in enumerate(ranked[:top], 1):
    rows.add_row(str(place), f"{cosine:.3f}", str(path.relative_to(folder)))
  print_table(rows)
  left_out = f", {len(library.refused)} left out" if library.refused else ""
  print_line(
    f"{min(top, len(ranked))} of {len(ranked)} files{left_out};"
    f" {library.cached} known from before"
  )
  return {
    "prompts": names,
    "files": len(ranked),
    "cached": library.cached,
    "refused": [[str(path), reason] for path, reason in library.refused],
    "nearest": [
      {"file": str(path), "cosine": round(cosine, 6)}
      for path, cosine in ranked[:top]
    ],
  }


def _embedded(model: "StyleModel", folder: Path) -> "Library":
  from magenta_midi.generate.compilation.compilation_cache import cache_folder
  from magenta_midi.style.library import (
    EmbeddingCache,
    embed_library,
    midi_files,
    model_key,
  )

  paths = midi_files(folder)
  database = cache_folder() / "style.sqlite"
  with (
    EmbeddingCache(database, model_key(model)) as cache,
    progress_bar() as bar,
  ):
    task = bar.add_task("listening", total=len(paths), note="")
    return embed_library(
      model,
      paths,
      cache,
      on_file=lambda path: bar.update(task, advance=1),
    )


def _short(name: str) -> str:
  return name if len(name) <= 60 else name[:57] + "..."
