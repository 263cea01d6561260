"""`magenta-midi style`: similarity of texts and music in style."""

import functools
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from magenta_midi.cli.terminal.errors import UserError
from magenta_midi.cli.terminal.options import (
  NOTHING_SAID,
  checkpoint_option,
  embed_items,
  players_named,
  style_items,
)
from magenta_midi.cli.terminal.output import (
  console,
  json_option,
  print_json,
  progress_bar,
)

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
  type=click.Path(path_type=Path),
  metavar="DIR",
  help="Rank the MIDI files in this folder and its subfolders by the prompts.",
)
@click.option(
  "--top",
  type=click.IntRange(min=1),
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

  A similarity of 1 is the same style, 0 is nothing in common. @NAME in a text
  is the player of an installed adapter. Weights are used with --nearest only:
  the prompts are blended by them.
  """
  items = style_items(prompts, "the prompt")
  from magenta_midi.model.checkpoint import embedded_path, read_config
  from magenta_midi.style.slots import StyleSlots

  config = read_config(checkpoint or embedded_path())
  model = StyleSlots(config).style_model()
  names = [" ".join(name.split()) for name in prompts]
  say = functools.partial(console().print, soft_wrap=True, markup=False)
  parts = players_named(model, items, say)
  if folder is not None:
    facts = _nearest(model, parts, names, folder, top)
  else:
    facts = _compare(model, items, parts, names)
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
  import rich.box
  import rich.console
  import rich.table

  from magenta_midi.style.model import neutral_similarity

  vectors = np.stack(
    [
      # With one item the weight has no effect.
      embed_items(
        model,
        [(item, weight or 1.0) for item, weight in own],
        [name] * len(own),
      )
      for own, name in zip(parts, names, strict=True)
    ]
  )
  units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
  cosines = units @ units.T
  tokens = [[int(row) for row in model.tokenize(v)] for v in vectors]
  neutral = [neutral_similarity(model, vector) for vector in units]
  table = rich.table.Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
  table.add_column("", justify="right")
  table.add_column("prompt", overflow="fold")
  for number in range(1, len(names) + 1):
    table.add_column(str(number), justify="right", no_wrap=True)
  if neutral[0] is not None:
    table.add_column("neutral", justify="right", no_wrap=True)
  table.add_column("tokens", overflow="fold")
  for place, ((item, _), name) in enumerate(zip(items, names, strict=True)):
    # A file's folder would fill the table.
    shown = name if isinstance(item, str) else Path(name).name
    row = [str(place + 1), _short(shown), *(f"{c:.2f}" for c in cosines[place])]
    if neutral[0] is not None:
      row.append(f"{neutral[place]:.2f}")
    table.add_row(*row, " ".join(map(str, tokens[place])))
  rich.console.Console(highlight=False, markup=False).print(table)
  nothing = _say_nothing(model, items, vectors, names)
  return {
    "prompts": [
      {
        "prompt": name,
        "tokens": own_tokens,
        "neutral": similarity,
        "means_nothing": name in nothing,
      }
      for name, own_tokens, similarity in zip(
        names, tokens, neutral, strict=True
      )
    ],
    "cosine": [[round(float(c), 6) for c in row] for row in cosines],
  }


def _say_nothing(
  model: "StyleModel",
  items: list[tuple[Any, float]],
  vectors: np.ndarray,
  names: list[str],
) -> list[str]:
  """The texts without a description of music; prints a remark on each."""
  from magenta_midi.style.model import means_nothing

  nothing = [
    name
    for (item, _), vector, name in zip(items, vectors, names, strict=True)
    if isinstance(item, str) and means_nothing(model, vector)
  ]
  for name in nothing:
    console().print(
      f"note: {_short(name)!r} {NOTHING_SAID}", soft_wrap=True, markup=False
    )
  return nothing


def _nearest(
  model: "StyleModel",
  parts: list[list[tuple[Any, float]]],
  names: list[str],
  folder: Path,
  top: int,
) -> dict[str, Any]:
  """Prints the files of a folder, the nearest first."""
  import rich.box
  import rich.console
  import rich.table

  items = list(itertools.chain.from_iterable(parts))
  shown = [n for n, own in zip(names, parts, strict=True) for _ in own]
  query = embed_items(model, items, shown)
  for item, _ in items:
    if isinstance(item, str):
      _say_nothing(model, [(item, 1.0)], model.embed(item)[None], [item])
  library = _embedded(model, folder)
  for path, reason in library.refused:
    click.echo(f"{path}: left out ({reason})", err=True)
  if not library.paths:
    raise UserError(f"{folder}: none of its MIDI files could be read.")
  ranked = library.ranked(query)
  table = rich.table.Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
  table.add_column("", justify="right")
  table.add_column("cosine", justify="right")
  table.add_column("file", overflow="fold")
  for place, (path, cosine) in enumerate(ranked[:top], 1):
    table.add_row(str(place), f"{cosine:.3f}", str(path.relative_to(folder)))
  rich.console.Console(highlight=False, markup=False).print(table)
  left_out = f", {len(library.refused)} left out" if library.refused else ""
  click.echo(
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
