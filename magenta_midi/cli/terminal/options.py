"""Options that several commands share, and their conversion."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from magenta_midi.cli.terminal.bounded_number import bounded, scaled
from magenta_midi.cli.terminal.errors import UserError
from magenta_midi.cli.terminal.file_paths import FilePath
from magenta_midi.cli.terminal.output import remark
from magenta_midi.limits import (
  ADAPTER_SCALE,
  DATA_WEIGHT,
  DENSITY,
  KEY,
  LOUDNESS,
  PROMPT_WEIGHT,
  SAMPLING,
  SHARE,
  TIGHTNESS,
  split_number,
)
from magenta_midi.plain_text import nfc

if TYPE_CHECKING:
  import numpy as np

  from magenta_midi.api import MagentaMidi
  from magenta_midi.midi.score import Score
  from magenta_midi.style.controls import ControlTargets
  from magenta_midi.style.model import StyleModel

__all__ = [
  "GROOVES",
  "adapter_option",
  "checkpoint_option",
  "control_options",
  "control_settings",
  "embed_items",
  "groove_options",
  "load_model",
  "meter_option",
  "parse_controls",
  "parse_sampling",
  "players_named",
  "read_music",
  "sampling_options",
  "style_items",
  "weighted_folder",
]

# Longest text of a prompt, characters.
MAX_TEXT = 2000
# Named here: --help imports nothing that plays.
GROOVES = ("auto", "straight", "swing", "triplet", "rubato")

checkpoint_option = click.option(
  "--checkpoint",
  type=FilePath(),
  help="Folder of a checkpoint, as train writes it [default: the embedded"
  " checkpoint].",
)


adapter_option = click.option(
  "--adapter",
  "adapters",
  multiple=True,
  metavar="NAME[:SCALE]",
  callback=scaled(ADAPTER_SCALE, "the scale"),
  help="Adapter to play with: an installed name or a file. SCALE, -10 to 10: 1"
  " is full strength (default). Repeatable: several are blended.",
)


def load_model(
  checkpoint: Path | None, adapters: Sequence[str] = ()
) -> "MagentaMidi":
  """Loads a checkpoint with adapters."""
  from magenta_midi.api import MagentaMidi

  return MagentaMidi.load(checkpoint, adapters)


def read_music(path: Path, what: str) -> "Score":
  """Reads a MIDI file, or an audio file by transcription; it must hold notes.

  Raises:
    UserError: It is missing, unreadable, or has no notes.
  """
  from magenta_midi.cli.terminal.audio_input import hear, is_audio
  from magenta_midi.midi.score_files import read_score

  if not path.is_file():
    raise UserError(f"{path}: no such file. Give {what} a MIDI file.")
  if is_audio(path):
    return hear(path).score
  score = read_score(path)
  if not len(score):
    reasons = "; ".join(score.repairs.messages())
    raise UserError(
      f"{path}: holds no notes"
      + (f" ({reasons})" if reasons else "")
      + f". Give {what} a file with music."
    )
  for message in score.repairs.messages():
    remark(f"{path}: {message}")
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
  from magenta_midi.plain_text import existing_path
  from magenta_midi.style.waveform import AUDIO_SUFFIXES

  items: list[tuple[Any, float]] = []
  for prompt in prompts:
    text, weight = split_number(prompt)
    text = nfc(text.strip())
    try:
      weight = PROMPT_WEIGHT.check(
        f"{what} {prompt[:60]}: the weight", 1.0 if weight is None else weight
      )
    except ValueError as error:
      raise UserError(
        f"{error} To move away from a text, write it with 'not'."
      ) from None
    if not text:
      raise UserError(f"{what} is empty. Give a text or a MIDI file.")
    if len(text) > MAX_TEXT:
      raise UserError(
        f"{what} must be at most {MAX_TEXT} characters long, got {len(text)}."
        " A few words will do."
      )
    if text.lower().endswith(SUFFIXES):
      items.append((read_music(existing_path(text), what), weight))
    elif text.lower().endswith(AUDIO_SUFFIXES):
      items.append((existing_path(text), weight))
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
  """The items with players' styles for names, without texts that say nothing.

  An audio file becomes the notes in it, unless the model embeds audio.

  Args:
    model: The style model.
    items: From `style_items`.
    say: Receives a line for each name, with its meaning, and for each text
      that is left out.

  Returns:
    Of each item its parts, with their weights: one, a player and the rest of
    the text, or none if the style model finds nothing in the text.

  Raises:
    UserError: A player is not installed, or has no style for this model; or
      an audio file cannot be transcribed.
  """
  from magenta_midi.cli.terminal.audio_input import hear
  from magenta_midi.style.players import text_parts

  found: list[list[tuple[Any, float]]] = []
  try:
    for item, weight in items:
      whole: list[tuple[Any, float]] = [(item, 1.0)]
      if isinstance(item, str):
        whole = list(text_parts(item, model, on_remark=say))
      elif isinstance(item, Path) and not getattr(model, "hears_audio", False):
        # The caller may be showing a spinner.
        whole = [(hear(item, shows_progress=False).score, 1.0)]
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
      type=bounded(SHARE),
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
      type=bounded(LOUDNESS),
      help="Mean MIDI velocity, 1 to 127 [default: not set].",
    ),
    click.option(
      "--density",
      type=bounded(DENSITY),
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
    low, dash, high = register.partition("-")
    try:
      if not dash:
        raise ValueError("there is only one.")
      keys = (
        float(KEY.read("the lowest key", low)),
        float(KEY.read("the highest key", high)),
      )
    except ValueError as error:
      raise UserError(
        f"--register {register[:60]}: expected two MIDI keys, as 48-72: {error}"
      ) from None
  targets = ControlTargets(density, loudness, keys, pedal)
  try:
    control_rows(targets, 1)
  except ValueError as error:
    raise UserError(f"--{error}") from None
  return None if targets == ControlTargets() else targets


def control_settings(
  ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
  """The callback of a repeatable option of live controls, `NAME=VALUE`.

  Raises:
    UserError: A name or a value is wrong.
  """
  from magenta_midi.live.protocol.controls import Controls, changed
  from magenta_midi.live.protocol.written import parse_setting

  del ctx
  controls = Controls()
  for value in values:
    try:
      controls = changed(controls, *parse_setting(value))
    except ValueError as error:
      raise UserError(f"{param.opts[0]} {value[:60]}: {error}") from None
  return values


def _checked_groove(
  ctx: click.Context, param: click.Parameter, value: str
) -> str:
  """Refuses a groove that there is not, before anything is loaded."""
  from magenta_midi.midi.groove import split_groove

  del ctx, param
  value = nfc(value)
  try:
    name, _ = split_groove(value)
    if name.startswith("@"):
      from magenta_midi.model.lora.player_grooves import find_groove

      find_groove(value, 120.0)
    elif name not in GROOVES:
      raise ValueError(
        f"unknown groove {name[:60]!r}. Choose one of {', '.join(GROOVES)}, or"
        " @NAME of an adapter."
      )
  except ValueError as error:
    raise UserError(f"--groove: {error}") from None
  return value


def groove_options(command: Callable) -> Callable:
  """Adds --groove, --tightness and --free."""
  for option in (
    click.option(
      "--free", is_flag=True, help="Keep no beat, whatever there is."
    ),
    click.option(
      "--tightness",
      type=bounded(TIGHTNESS),
      default=1.0,
      show_default=True,
      help="How strictly the beat is kept, 0 to 2; 0: freely.",
    ),
    click.option(
      "--groove",
      default="auto",
      show_default=True,
      metavar="NAME[:WEIGHT]",
      callback=_checked_groove,
      help=f"Where in the beat notes are likely: {', '.join(GROOVES)}, or a"
      " player's own, @NAME of an adapter. auto: straight or triplet, as the"
      " music is; rubato: anywhere. WEIGHT, 0 to 2: as --tightness.",
    ),
  ):
    command = option(command)
  return command


def meter_option(default: str | None, of: str) -> Callable:
  """--meter.

  Args:
    default: The meter; None: another one of each command.
    of: Which meter that is, for the help text.
  """
  return click.option(
    "--meter",
    default=default,
    callback=_checked_meter,
    help="Of the bars, as 3/4; 6/8 and 12/8 have 2 and 4 beats of three"
    f" [default: {of}].",
  )


def _checked_meter(
  ctx: click.Context, param: click.Parameter, value: str | None
) -> str | None:
  """A meter that is known.

  Raises:
    UserError: It is no meter that is known.
  """
  from magenta_midi.midi.meter import Meter

  del ctx, param
  if value is not None:
    try:
      Meter.parse(value)
    except ValueError as error:
      raise UserError(f"--meter: {error}") from None
  return value


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
      help="Sampling temperature, 0 to 10: above 1 bolder, below 1 safer, 0"
      " always the likeliest (what would be silence is drawn at 1). One value,"
      f" or four with commas: onset,key,velocity,duration {from_model}.",
    ),
  ):
    command = option(command)
  return command


def parse_sampling(**given: str | None) -> dict[str, Any]:
  """The fields of `Sampling` that were given, checked.

  The other fields keep the defaults of the checkpoint.
  """
  values: dict[str, Any] = {}
  for name, text in given.items():
    if text is None:
      continue
    try:
      parsed = [
        SAMPLING[name].read(f"--{name.replace('_', '-')}", part)
        for part in text.split(",")
      ]
    except ValueError as error:
      several = " Give one, or one a level with commas." if "," in text else ""
      raise UserError(f"{error}{several}") from None
    values[name] = parsed[0] if len(parsed) == 1 else parsed
  return values


def weighted_folder(text: str) -> tuple[Path, float | None]:
  """Splits `DIR[:WEIGHT]`.

  Raises:
    UserError: The weight is not positive.
  """
  from magenta_midi.plain_text import existing_path

  path, weight = split_number(text)
  if weight is None:
    return existing_path(text), None
  try:
    return existing_path(path), DATA_WEIGHT.check(
      f"--data {text}: the weight", weight
    )
  except ValueError as error:
    raise UserError(str(error)) from None
