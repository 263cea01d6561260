"""Options that several commands share, and what they are turned into."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from magenta_midi.app.errors import UserError

if TYPE_CHECKING:
  from magenta_midi.api import MagentaMidi
  from magenta_midi.midi.score import Score

__all__ = [
  "checkpoint_option",
  "load_model",
  "read_music",
  "refuse_adapters",
  "style_items",
]

checkpoint_option = click.option(
  "--checkpoint",
  type=click.Path(path_type=Path),
  help="Folder written by train [default: the embedded checkpoint].",
)


def load_model(checkpoint: Path | None) -> "MagentaMidi":
  """Loads a checkpoint; its faults are a user's mistake."""
  from magenta_midi.api import MagentaMidi

  return MagentaMidi.load(checkpoint)


def read_music(path: Path, what: str) -> "Score":
  """Reads a MIDI file that must hold notes.

  Raises:
    UserError: It is missing, unreadable, or has no notes.
  """
  from magenta_midi.midi.files import read_score

  if not path.is_file():
    raise UserError(f"{path}: no such file. Give {what} a MIDI file.")
  score = read_score(path)
  if not len(score):
    reasons = "; ".join(score.repairs.messages())
    raise UserError(
      f"{path}: holds no notes"
      + (f" ({reasons})" if reasons else "")
      + f". Give {what} a file with music."
    )
  for message in score.repairs.messages():
    click.echo(f"{path}: {message}", err=True)
  return score


def refuse_adapters(adapters: tuple[str, ...]) -> None:
  """No adapter is installed yet, so none can be found."""
  if adapters:
    raise UserError(
      f"--adapter {adapters[0]}: no adapter of that name is installed."
    )


def style_items(prompts: tuple[str, ...]) -> list[tuple[Any, float]]:
  """Parses `TEXT or FILE[:WEIGHT]`; a FILE ends in .mid or .midi.

  Raises:
    UserError: A weight is not a positive number, or a file is missing.
  """
  items = []
  for prompt in prompts:
    head, colon, tail = prompt.rpartition(":")
    text, weight = prompt, 1.0
    if colon:
      try:
        text, weight = head, float(tail)
      except ValueError:
        text = prompt
      if not 0 < weight < float("inf"):
        raise UserError(f"--prompt {prompt}: the weight must be above 0.")
    if text.lower().endswith((".mid", ".midi")):
      items.append((read_music(Path(text), "--prompt"), weight))
    elif text.strip():
      items.append((text, weight))
    else:
      raise UserError("--prompt is empty. Give a text or a MIDI file.")
  return items


def sampling_options(command: Callable) -> Callable:
  """Adds --temperature, --top-k, --top-p and --min-p."""
  from_model = "[default: the checkpoint's]"
  for option in (
    click.option(
      "--min-p",
      type=str,
      help=f"Least probability against the likeliest, 0-1 {from_model}.",
    ),
    click.option(
      "--top-p",
      type=str,
      help=f"Keep the likeliest codes up to this probability {from_model}.",
    ),
    click.option(
      "--top-k",
      type=str,
      help=f"Keep the k likeliest codes; 0: all {from_model}.",
    ),
    click.option(
      "--temperature",
      type=str,
      help="Above 1 bolder, below 1 safer, 0 the likeliest. One value, or one"
      f" a level of note: onset,key,velocity,duration {from_model}.",
    ),
  ):
    command = option(command)
  return command


def parse_sampling(**given: str | None) -> dict[str, Any]:
  """The fields of `Sampling` that were given, checked.

  They change the default of the checkpoint's codec.
  """
  from magenta_midi.generate.sampling import Sampling

  values: dict[str, Any] = {}
  for name, text in given.items():
    if text is None:
      continue
    try:
      number = int if name == "top_k" else float
      parsed = [number(part) for part in text.split(",")]
    except ValueError:
      raise UserError(
        f"--{name.replace('_', '-')} {text}: expected a number, or one a"
        " level with commas."
      ) from None
    values[name] = parsed[0] if len(parsed) == 1 else parsed
  Sampling(**values)
  return values


__all__ += ["parse_sampling", "sampling_options"]
