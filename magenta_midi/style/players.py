"""What prompts ask for: players by their names, and texts that say something.

The name of an installed adapter is the style of its player (`mentions`); that a
word without `@` was taken for one is reported. The rest of the text is a
separate prompt: `"@ohhalim ballad"` is halfway between the two. A text in which
the style model finds nothing about music is left out and named: its embedding
would ask for something at random.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from magenta_midi.model.lora.adapter_file import AdapterError, PlayerStyle
from magenta_midi.model.lora.adapter_library import (
  find_adapter,
  installed_names,
)
from magenta_midi.plain_text import line
from magenta_midi.style.mentions import Mention, find_mentions, only_links
from magenta_midi.style.model import StyleModel, understands
from magenta_midi.style.prompt import Prompt, PromptItem, is_file_name
from magenta_midi.typing import Float

__all__ = [
  "NOTHING_SAID",
  "PLAYER_GUIDANCE",
  "check_style_model",
  "name_players_alone",
  "text_parts",
  "with_players",
]

# Follows a text in which the style model finds no description of music.
NOTHING_SAID = (
  "says nothing about music that the style model understands, and steers"
  " nothing. Words of tempo, loudness, register, mood, form or genre do."
)

# Guidance for prompts of only players. With more, a player of 11 notes a second
# becomes a player of 17.
PLAYER_GUIDANCE = 0.75


def name_players_alone(
  texts: Sequence[str], *, folder: Path | None = None
) -> bool:
  """Whether prompts contain only names of installed players.

  Args:
    texts: Prompts; False if there are none.
    folder: Folder of the installed adapters; None: the default.
  """
  names = installed_names(folder) if texts else []
  for text in texts:
    try:
      mentions, rest = find_mentions(text, names)
    except AdapterError:
      return False
    if not mentions or not only_links(rest):
      return False
  return bool(texts)


def with_players(
  prompt: Prompt,
  model: StyleModel,
  *,
  folder: Path | None = None,
  on_remark: Callable[[str], None] = lambda line: None,
) -> Prompt | None:
  """Replaces players' names by their embeddings, and drops what says nothing.

  The players of a text and the rest of it share its weight equally. For other
  shares write separate items: `[("@ohhalim", 2.0), ("ballad", 1.0)]`. A text
  or rest in which the model finds nothing, as in "play like @ohhalim", is
  dropped.

  Args:
    prompt: See `StyleModel.embed`; items that are not text do not change, but
      None, which this returned for a text that says nothing, is dropped.
    model: The style model of the embeddings.
    folder: Folder of the installed adapters; None: the default.
    on_remark: Called with a line that states the meaning of each name, and
      one for each text that is dropped.

  Returns:
    The prompt; None if nothing is left of it, which asks for no style.

  Raises:
    AdapterError: A marked name is not installed, or a player has no style or a
      style of another style model.
  """
  if isinstance(prompt, str):
    parts = text_parts(prompt, model, folder=folder, on_remark=on_remark)
    if not parts:
      return None
    return parts[0][0] if len(parts) == 1 else parts
  if not isinstance(prompt, (list, tuple)):
    return prompt
  found: list[Any] = []
  dropped = False
  for entry in prompt:
    # Other entries are refused later, when the prompt is embedded.
    pair = isinstance(entry, (list, tuple)) and len(entry) == 2
    text, weight = entry if pair else ("", None)
    if text is None:
      # An embedding of nothing.
      dropped = True
      continue
    if not isinstance(text, str) or not isinstance(
      weight, (int, float, np.number)
    ):
      found.append(entry)
      continue
    parts = text_parts(text, model, folder=folder, on_remark=on_remark)
    dropped |= not parts
    if len(parts) == 1:
      found.append((parts[0][0], weight))
    else:
      found += [(part, share * weight) for part, share in parts]
  # What is left may stand there with a weight of 0 only.
  if dropped and not any(_weight(entry) for entry in found):
    return None
  return found


def _weight(entry: object) -> object:
  """Of a pair; anything that is true for what is refused later."""
  if isinstance(entry, (list, tuple)) and len(entry) == 2:
    return entry[1]
  return True


def text_parts(
  text: str,
  model: StyleModel,
  *,
  folder: Path | None = None,
  on_remark: Callable[[str], None] = lambda line: None,
) -> list[tuple[PromptItem, float]]:
  """Splits a text into its players and the rest, with their shares.

  There are none if the model finds nothing in it.

  Args:
    text: A prompt.
    model: The style model of the embeddings.
    folder: Folder of the installed adapters.
    on_remark: See `with_players`.

  Raises:
    AdapterError: See `with_players`.
  """
  if is_file_name(text):
    return [(text, 1.0)]
  names = installed_names(folder)
  mentions: list[Mention] = []
  rest = text
  if names or "@" in text:
    mentions, rest = find_mentions(text, names)
  if not mentions:
    if understands(model, text):
      return [(text, 1.0)]
    on_remark(f"{_shown(text)} {NOTHING_SAID}")
    return []
  items: list[PromptItem] = []
  for mention in mentions:
    try:
      items.append(_vector_of(mention.name, model, folder))
    except AdapterError as error:
      if mention.marked:
        raise
      raise AdapterError(f"{error} {_quote_hint(mention.name)}") from None
    remark = f"{mention.name}: the style of the adapter {mention.name}"
    if not mention.marked:
      remark += f". {_quote_hint(mention.name)}"
    on_remark(remark)
  if any(c.isalnum() for c in rest):
    if only_links(rest) or not understands(model, rest):
      on_remark(f"{_shown(rest)} says nothing about music and is left out")
    else:
      items.append(rest)
  return [(item, 1.0 / len(items)) for item in items]


def _shown(text: str) -> str:
  return repr(line(text, longest=60))


def _quote_hint(name: str) -> str:
  return f'To mean the word, put it in double quotes: "{name}".'


def _vector_of(
  name: str, model: StyleModel, folder: Path | None
) -> Float[np.ndarray, " 768"]:
  style = find_adapter(name, folder).style
  if style is None:
    raise AdapterError(
      f"the adapter {name} has no style: its base uses no style, or it was"
      f" made without. Make it again: magenta-midi finetune RECORDINGS --name"
      f" {_shell(name)} --replace."
    )
  check_style_model(name, style, model)
  return style.vector


def check_style_model(name: str, style: PlayerStyle, model: StyleModel) -> None:
  """Checks that a style was made by the given style model.

  Args:
    name: Name of the adapter.
    style: Style of the adapter.
    model: The expected style model.

  Raises:
    AdapterError: The style is of another style model.
  """
  digest = getattr(model, "digest", "")
  # A style model that is not from a file has no digest.
  same = style.digest == digest or not (style.digest and digest)
  if style.model == model.name and same:
    return
  raise AdapterError(
    f"the style of the adapter {name} is of the style model"
    f" {_model_label(style.model, style.digest)}, but this checkpoint was"
    f" trained with {_model_label(model.name, digest)}. Make it again:"
    f" magenta-midi finetune RECORDINGS --name {_shell(name)} --replace."
  )


def _model_label(model: str, digest: str) -> str:
  return f"{model} ({digest})" if digest else model


def _shell(name: str) -> str:
  return f'"{name}"' if " " in name else name
