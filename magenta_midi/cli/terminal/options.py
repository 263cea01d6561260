"""Options that several commands share, and their conversion."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from magenta_midi.cli.terminal.errors import UserError

if TYPE_CHECKING:
  import numpy as np

  from magenta_midi.api import MagentaMidi
  from magenta_midi.midi.score import Score
  from magenta_midi.style.controls import ControlTargets
  from magenta_midi.style.model import StyleModel

__all__ = [
  "NOTHING_SAID",
  "adapter_option",
  "checkpoint_option",
  "control_options",
  "embed_items",
  "load_model",
  "parse_controls",
  "parse_sampling",
  "players_named",
  "read_music",
  "sampling_options",
  "style_items",
  "weighted_folder",
]

# Follows a text in which the style model finds no description of music.
NOTHING_SAID = (
  "says nothing about music that the style model understands. Words of tempo,"
  " loudness, register, mood, form or genre do."
)

# Longest text of a prompt, characters.
MAX_TEXT = 2000

checkpoint_option = click.option(
  "--checkpoint",
  type=click.Path(path_type=Path),
  help="Folder of a checkpoint, as train writes it [default: the embedded"
  " checkpoint].",
)


adapter_option = click.option(
  "--adapter",
  "adapters",
  multiple=True,
  metavar="NAME[:SCALE]",
  help="Adapter to play with: an installed name or a file. SCALE 1 is full"
  " strength (default). Repeatable: several are blended.",
)


def load_model(
  checkpoint: Path | None, adapters: Sequence[str] = ()
) -> "MagentaMidi":
  """Loads a checkpoint with adapters."""
  from magenta_midi.api import MagentaMidi

  return MagentaMidi.load(checkpoint, adapters)


def read_music(path: Path, what: str) -> "Score":
  """Reads a MIDI file that must hold notes.

  Raises:
    UserError: It is missing, unreadable, or has no notes.
  """
  from magenta_midi.midi.score_files import read_score

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


def style_items(
  prompts: tuple[str, ...], what: str = "--prompt"
) -> list[tuple[Any, float]]:
  """Parses `TEXT or FILE[:WEIGHT]`; a FILE is known by its suffix.

  Args:
    prompts: As given.
    what: What errors call them.

  Returns:
    Texts, scores and paths of audio files, and their weights.

  Raises:
    UserError: A text is empty or too long, a weight is negative or all are
      0, or a MIDI file is missing or holds no notes.
  """
  from magenta_midi.midi.io.files import SUFFIXES
  from magenta_midi.style.waveform import AUDIO_SUFFIXES

  items: list[tuple[Any, float]] = []
  for prompt in prompts:
    head, colon, tail = prompt.rpartition(":")
    text, weight = prompt, 1.0
    if colon:
      try:
        text, weight = head, float(tail)
      except ValueError:
        text = prompt
    text = text.strip()
    if not 0 <= weight < float("inf"):
      raise UserError(
        f"{what} {prompt[:60]}: the weight must be 0 or more, got {weight:g}."
        " To move away from a text, write it with 'not'."
      )
    if not text:
      raise UserError(f"{what} is empty. Give a text or a MIDI file.")
    if len(text) > MAX_TEXT:
      raise UserError(
        f"{what} must be at most {MAX_TEXT} characters long, got {len(text)}."
        " A few words will do."
      )
    if text.lower().endswith(SUFFIXES):
      items.append((read_music(Path(text), what), weight))
    elif text.lower().endswith(AUDIO_SUFFIXES):
      items.append((Path(text), weight))
    else:
      items.append((text, weight))
  if items and not any(weight for _, weight in items):
    raise UserError(
      f"{what}: all weights are 0. Give at least one prompt a weight above 0."
    )
  return items


def players_named(
  model: "StyleModel",
  items: list[tuple[Any, float]],
  say: Callable[[str], None],
) -> list[list[tuple[Any, float]]]:
  """The items with installed names replaced by the players' styles.

  Args:
    model: The style model.
    items: From `style_items`.
    say: Receives a line for each name, with its meaning.

  Returns:
    Of each item its parts, with their weights: one, or a player and the rest
    of the text.

  Raises:
    UserError: A player is not installed, or has no style for this model.
  """
  from magenta_midi.style.players import text_parts

  found: list[list[tuple[Any, float]]] = []
  try:
    for item, weight in items:
      whole: list[tuple[Any, float]] = [(item, 1.0)]
      if isinstance(item, str):
        whole = list(text_parts(item, model, on_remark=say))
      found.append([(part, share * weight) for part, share in whole])
    return found
  except ValueError as error:
    raise UserError(str(error)) from None


def embed_items(
  model: "StyleModel", items: list[tuple[Any, float]], names: Sequence[str]
) -> "np.ndarray":
  """Embeds the items of `style_items`.

  Raises:
    UserError: One cannot be embedded, which is named; or they cancel out.
  """
  try:
    return model.embed(items)
  except ValueError as error:
    for (item, _), name in zip(items, names, strict=True):
      try:
        model.embed(item)
      except ValueError as reason:
        if isinstance(item, Path) and str(item) in str(reason):
          raise UserError(str(reason)) from None
        long = isinstance(item, str) and len(name) > 60
        shown = name[:57] + "..." if long else name
        raise UserError(f"{shown}: {reason}") from None
    raise UserError(str(error)) from None


def control_options(command: Callable) -> Callable:
  """Adds --density, --loudness, --register and --pedal."""
  for option in (
    click.option(
      "--pedal",
      type=float,
      help="Share of the time with the pedal down, 0 to 1 [default: not set].",
    ),
    click.option(
      "--register",
      type=str,
      metavar="LOW-HIGH",
      help="Lowest and highest MIDI key that may be played, for example 48-72;"
      " 60 is middle C [default: not set].",
    ),
    click.option(
      "--loudness",
      type=float,
      help="Mean MIDI velocity, 1 to 127 [default: not set].",
    ),
    click.option(
      "--density",
      type=float,
      help="Notes per second, about 1 to 20 [default: not set].",
    ),
  ):
    command = option(command)
  return command


def parse_controls(
  density: float | None,
  loudness: float | None,
  register: str | None,
  pedal: float | None,
) -> "ControlTargets | None":
  """The targets that were given; None: none.

  Raises:
    UserError: One is out of range.
  """
  from magenta_midi.style.controls import ControlTargets, control_rows

  keys = None
  if register is not None:
    low, _, high = register.partition("-")
    try:
      keys = (float(int(low)), float(int(high)))
    except ValueError:
      raise UserError(
        f"--register {register}: expected two MIDI keys, as 48-72."
      ) from None
  targets = ControlTargets(density, loudness, keys, pedal)
  try:
    control_rows(targets, 1)
  except ValueError as error:
    raise UserError(f"--{error}") from None
  return None if targets == ControlTargets() else targets


def sampling_options(command: Callable) -> Callable:
  """Adds --temperature, --top-k, --top-p and --min-p."""
  from_model = "[default: set by the checkpoint]"
  for option in (
    click.option(
      "--min-p",
      type=str,
      help="Drop codes less likely than this share of the likeliest code, 0 to"
      f" 1 {from_model}.",
    ),
    click.option(
      "--top-p",
      type=str,
      help="Keep the likeliest codes that together have this probability, 0 to"
      f" 1 {from_model}.",
    ),
    click.option(
      "--top-k",
      type=str,
      help=f"Keep the k likeliest codes; 0: all {from_model}.",
    ),
    click.option(
      "--temperature",
      type=str,
      help="Sampling temperature: above 1 bolder, below 1 safer, 0 always the"
      " likeliest. One value, or four with commas: onset,key,velocity,duration"
      f" {from_model}.",
    ),
  ):
    command = option(command)
  return command


def parse_sampling(**given: str | None) -> dict[str, Any]:
  """The fields of `Sampling` that were given, checked.

  The other fields keep the defaults of the checkpoint.
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


def weighted_folder(text: str) -> tuple[Path, float | None]:
  """Splits `DIR[:WEIGHT]`.

  Raises:
    UserError: The weight is not positive.
  """
  path, colon, weight = text.rpartition(":")
  if colon:
    try:
      value = float(weight)
    except ValueError:
      return Path(text), None
    if value <= 0:
      raise UserError(f"--data {text}: the weight must be positive.")
    return Path(path), value
  return Path(text), None
