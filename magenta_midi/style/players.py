"""Player names in prompts: the name of an installed adapter is its style.

`@ohhalim` means that player anywhere in a text. The word without `@` does too,
if an adapter of that name is installed; this is reported. The rest of the text
is a separate prompt: `"@ohhalim ballad"` is halfway between the two. A name in
double quotes is only a word.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from magenta_midi.model.lora.adapter_file import AdapterError, PlayerStyle
from magenta_midi.model.lora.adapter_library import (
  find_adapter,
  installed_names,
)
from magenta_midi.style.model import StyleModel, means_nothing
from magenta_midi.style.prompt import Prompt, PromptItem, is_file_name
from magenta_midi.typing import Float

__all__ = [
  "Mention",
  "PLAYER_GUIDANCE",
  "check_style_model",
  "find_mentions",
  "name_players_alone",
  "text_parts",
  "with_players",
]

# Guidance for prompts of only players. With more, a player of 11 notes a second
# becomes a player of 17.
PLAYER_GUIDANCE = 0.75

# A name must not be part of a longer word, a file's path or a mail address.
_BEFORE, _AFTER = r"(?<![\w@./\\-])", r"(?![\w@/\\-]|\.\w)"
_QUOTED = r'"(?P<quoted>[^"]*)"|“(?P<curled>[^”]*)”'
_UNKNOWN = _BEFORE + r"@(?P<unknown>\w[\w.-]*)"


# Words that only introduce a name, as in "play like @me" or "@me and @you". As
# a separate text they would be half of the prompt.
_LINKS = (
  frozenset({"a", "an", "and", "as", "by", "from", "in", "like", "manner"})
  | {"me", "music", "of", "or", "piano", "play", "played", "plays", "please"}
  | {"plus", "some", "something", "style", "that", "the", "this", "to", "way"}
  | {"with"}
)


class Mention(NamedTuple):
  """A player that a text names."""

  name: str  # name of the adapter
  marked: bool  # with an @


def find_mentions(text: str, names: Sequence[str]) -> tuple[list[Mention], str]:
  """Finds the players that a text names, and the rest of the text.

  Case does not matter. Of names with the same beginning the longest counts.

  Args:
    text: A prompt.
    names: Names of the installed adapters.

  Returns:
    Each player once, in order; and the rest of the text without quotes.

  Raises:
    AdapterError: A marked name is not installed.
  """
  text = _composed(text)
  exact = {_composed(name): name for name in names}
  folded = {_composed(name).casefold(): name for name in reversed(names)}
  longest = sorted(map(_composed, names), key=len, reverse=True)
  choice = "|".join(map(re.escape, longest)) or "(?!)"
  named = rf"{_BEFORE}(?P<mark>@?)(?P<name>{choice}){_AFTER}(?:['’]s\b)?"
  found: dict[str, Mention] = {}

  def take(match: re.Match[str]) -> str:
    if match["unknown"] is not None:
      raise AdapterError(_not_installed(match["unknown"].rstrip("."), names))
    if match["name"] is None:
      return match["quoted"] or match["curled"] or ""
    text_name = match["name"]
    # Two names may differ only by case.
    name = exact.get(text_name) or folded.get(text_name.casefold())
    if name is None:  # equal only for `re`, such as a dotless i
      return match[0]
    marked = bool(match["mark"])
    if name in found:
      marked |= found[name].marked
    found[name] = Mention(name, marked)
    return " "

  pattern = re.compile(f"{_QUOTED}|{named}|{_UNKNOWN}", re.IGNORECASE)
  rest = " ".join(pattern.sub(take, text).split())
  # Remove what joined the names, as in "@a, @b".
  rest = rest.strip(" ,;:&+-") if found else rest
  return list(found.values()), rest


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
    if not mentions or not _only_links(rest):
      return False
  return bool(texts)


def with_players(
  prompt: Prompt,
  model: StyleModel,
  *,
  folder: Path | None = None,
  on_remark: Callable[[str], None] = lambda line: None,
) -> Prompt:
  """Replaces the names of players in a prompt by their embeddings.

  The players of a text and the rest of it share its weight equally. For other
  shares write separate items: `[("@ohhalim", 2.0), ("ballad", 1.0)]`. A rest
  without meaning, as in "play like @ohhalim", is dropped.

  Args:
    prompt: See `StyleModel.embed`; items that are not text do not change.
    model: The style model of the embeddings.
    folder: Folder of the installed adapters; None: the default.
    on_remark: Called with a line that states the meaning of each name.

  Raises:
    AdapterError: A marked name is not installed, or a player has no style or a
      style of another style model.
  """
  if isinstance(prompt, str):
    parts = text_parts(prompt, model, folder=folder, on_remark=on_remark)
    return parts[0][0] if len(parts) == 1 else parts
  if not isinstance(prompt, (list, tuple)):
    return prompt
  found: list[Any] = []
  for entry in prompt:
    # Other entries are refused later, when the prompt is embedded.
    pair = isinstance(entry, (list, tuple)) and len(entry) == 2
    text, weight = entry if pair else (None, None)
    if not isinstance(text, str) or not isinstance(
      weight, (int, float, np.number)
    ):
      found.append(entry)
      continue
    parts = text_parts(text, model, folder=folder, on_remark=on_remark)
    if len(parts) == 1:
      found.append((parts[0][0], weight))
    else:
      found += [(part, share * weight) for part, share in parts]
  return found


def text_parts(
  text: str,
  model: StyleModel,
  *,
  folder: Path | None = None,
  on_remark: Callable[[str], None] = lambda line: None,
) -> list[tuple[PromptItem, float]]:
  """Splits a text into its players and the rest, with their shares.

  Args:
    text: A prompt.
    model: The style model of the embeddings.
    folder: Folder of the installed adapters.
    on_remark: See `with_players`.

  Raises:
    AdapterError: See `with_players`.
  """
  names = installed_names(folder)
  if is_file_name(text) or not (names or "@" in text):
    return [(text, 1.0)]
  mentions, rest = find_mentions(text, names)
  if not mentions:
    return [(text, 1.0)]
  items: list[PromptItem] = []
  for mention in mentions:
    try:
      items.append(_vector_of(mention.name, model, folder))
    except AdapterError as error:
      if mention.marked:
        raise
      raise AdapterError(f"{error} {_quote_hint(mention.name)}") from None
    line = f"{mention.name}: the style of the adapter {mention.name}"
    if not mention.marked:
      line += f". {_quote_hint(mention.name)}"
    on_remark(line)
  if any(c.isalnum() for c in rest):
    if _only_links(rest) or means_nothing(model, model.embed(rest)):
      on_remark(f"{rest[:60]!r} says nothing about music and is left out")
    else:
      items.append(rest)
  return [(item, 1.0 / len(items)) for item in items]


def _only_links(rest: str) -> bool:
  """Whether words only introduce a name."""
  return set(re.findall(r"\w+", rest.casefold())) <= _LINKS


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


def _not_installed(name: str, names: Sequence[str]) -> str:
  if not names:
    return (
      f"@{name}: no adapter is installed. Make one with `magenta-midi"
      " finetune`, or put it in double quotes to mean the word."
    )
  return (
    f"@{name}: no such adapter; installed: {', '.join(names)}. Name one of"
    " them, or put it in double quotes to mean the word."
  )


def _composed(text: str) -> str:
  """The composed form of letters with accents; some systems use the other."""
  return unicodedata.normalize("NFC", text)
