"""Players by name in prompts: an installed adapter's name is its style.

`@ohhalim` is that player anywhere in a text; so is the bare word, if an
adapter of that name is installed, and then it is said. The rest of the text
is a prompt of its own: `"@ohhalim ballad"` lies halfway between the two. A
name in double quotes is the word itself.
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

# Where players alone are named: at more, who plays 11 notes a second becomes
# one who plays 17.
PLAYER_GUIDANCE = 0.75

# What may stand before and after a name: neither part of a longer word, nor
# of a file's path or a mail address.
_BEFORE, _AFTER = r"(?<![\w@./\\-])", r"(?![\w@/\\-]|\.\w)"
_QUOTED = r'"(?P<quoted>[^"]*)"|“(?P<curled>[^”]*)”'
_UNKNOWN = _BEFORE + r"@(?P<unknown>\w[\w.-]*)"


# Words that only lead up to a name, as in "play like @me" or "@me and @you":
# as a text of its own they would be half of the prompt.
_LINKS = (
  frozenset({"a", "an", "and", "as", "by", "from", "in", "like", "manner"})
  | {"me", "music", "of", "or", "piano", "play", "played", "plays", "please"}
  | {"plus", "some", "something", "style", "that", "the", "this", "to", "way"}
  | {"with"}
)


class Mention(NamedTuple):
  """A player in a text."""

  name: str  # as installed
  marked: bool  # with an @


def find_mentions(text: str, names: Sequence[str]) -> tuple[list[Mention], str]:
  """The players that a text names, and the rest of it.

  Upper and lower case are one. Of names that begin alike the longest counts.

  Args:
    text: A prompt.
    names: Of the installed adapters.

  Returns:
    Each player once, in order; and the rest, without its quotes.

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
    said = match["name"]
    # Two names may differ by case alone.
    name = exact.get(said) or folded.get(said.casefold())
    if name is None:  # alike to `re` alone, as a dotless i
      return match[0]
    marked = bool(match["mark"])
    if name in found:
      marked |= found[name].marked
    found[name] = Mention(name, marked)
    return " "

  pattern = re.compile(f"{_QUOTED}|{named}|{_UNKNOWN}", re.IGNORECASE)
  rest = " ".join(pattern.sub(take, text).split())
  # What held the names together, as in "@a, @b".
  rest = rest.strip(" ,;:&+-") if found else rest
  return list(found.values()), rest


def name_players_alone(
  texts: Sequence[str], *, folder: Path | None = None
) -> bool:
  """Whether prompts name installed players, and say nothing else.

  Args:
    texts: Prompts; of none, it is false.
    folder: Of the installed adapters; None: the usual one.
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
  """A prompt whose installed names are their players' embeddings.

  The players of a text and the rest of it share its weight equally; other
  shares are weights of items of their own: `[("@ohhalim", 2.0), ("ballad",
  1.0)]`. Of a rest that says nothing, as "play like @ohhalim", nothing is
  left.

  Args:
    prompt: See `StyleModel.embed`; what is no text stays as it is.
    model: Whose embeddings are meant.
    folder: Of the installed adapters; None: the usual one.
    on_remark: Told in a line what each name stands for.

  Raises:
    AdapterError: A marked name is not installed, or a player has no style, or
      one of another style model.
  """
  if isinstance(prompt, str):
    parts = text_parts(prompt, model, folder=folder, on_remark=on_remark)
    return parts[0][0] if len(parts) == 1 else parts
  if not isinstance(prompt, (list, tuple)):
    return prompt
  found: list[Any] = []
  for entry in prompt:
    # What is no pair is refused where the prompt is embedded.
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
  """A text's players and the rest of it, with their shares.

  Args:
    text: A prompt.
    model: See `with_players`, and so on.
    folder: Of the installed adapters.
    on_remark: Told what each name stands for.

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
      raise AdapterError(f"{error} {_to_mean_the_word(mention.name)}") from None
    line = f"{mention.name}: the style of the adapter {mention.name}"
    if not mention.marked:
      line += f". {_to_mean_the_word(mention.name)}"
    on_remark(line)
  if any(c.isalnum() for c in rest):
    if _only_links(rest) or means_nothing(model, model.embed(rest)):
      on_remark(f"{rest[:60]!r} says nothing about music and is left out")
    else:
      items.append(rest)
  return [(item, 1.0 / len(items)) for item in items]


def _only_links(rest: str) -> bool:
  """Whether words only lead up to a name."""
  return set(re.findall(r"\w+", rest.casefold())) <= _LINKS


def _to_mean_the_word(name: str) -> str:
  return f'To mean the word, put it in double quotes: "{name}".'


def _vector_of(
  name: str, model: StyleModel, folder: Path | None
) -> Float[np.ndarray, " 768"]:
  style = find_adapter(name, folder).style
  if style is None:
    raise AdapterError(
      f"the adapter {name} has no style: its base hears none, or it was made"
      f" without. Make it again: magenta-midi finetune TAKES --name"
      f" {_shell(name)} --replace."
    )
  check_style_model(name, style, model)
  return style.vector


def check_style_model(name: str, style: PlayerStyle, model: StyleModel) -> None:
  """Refuses a style that means something else to another style model.

  Args:
    name: The adapter's.
    style: Its style.
    model: The style model that is to hear it.

  Raises:
    AdapterError: Says whose it is, and whose was expected.
  """
  digest = getattr(model, "digest", "")
  # A style model that is not from a file has none.
  same = style.digest == digest or not (style.digest and digest)
  if style.model == model.name and same:
    return
  raise AdapterError(
    f"the style of the adapter {name} is of the style model"
    f" {_whose(style.model, style.digest)}, but this checkpoint was trained"
    f" with {_whose(model.name, digest)}. Make it again: magenta-midi finetune"
    f" TAKES --name {_shell(name)} --replace."
  )


def _whose(model: str, digest: str) -> str:
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
  """One form of letters with accents: some systems' files have the other."""
  return unicodedata.normalize("NFC", text)
