"""Names of MIDI ports, and what a part of a name means."""

import re
from collections.abc import Iterable

from magenta_midi.plain_text import nfc

__all__ = ["CLIENT_NAME", "display_names", "find_port", "obvious_keyboard"]

# Name of this program among the clients of a MIDI system.
CLIENT_NAME = "magenta-midi"

# ALSA's `client:port` numbers, which change with the order of plugging in:
# " 24:0", ":24:0", and " [24]" as JACK's bridge writes them.
_CLIENT_NUMBERS = re.compile(r"[ :]\d+:\d+$| \[\d+\](?=[ :]|$)")

# Not keyboards: the system's own ports, and programs that listen to players.
_NEVER = re.compile(
  rf"midi[ _-]?through|through port|^system:(timer|announce)|^{CLIENT_NAME}",
  re.IGNORECASE,
)
# Ports of keyboards that carry no keys, and cables between programs.
_RATHER_NOT = re.compile(
  r"\b(daw|mcu|hui|ctrl|control|transport|din|midi ?out|thru)\b|daw"
  r"|iac driver|loopmidi|loopbe|virtual|virmidi|network|session|\bbus\b",
  re.IGNORECASE,
)
_LIKELY = re.compile(
  r"piano|key|klavi|clavi|kontrol|mpk|launch|oxygen|impact|synth|stage|nord"
  r"|roland|yamaha|kawai|casio|korg|arturia|novation|alesis|m-audio|nektar",
  re.IGNORECASE,
)


def _display(name: str) -> str:
  # A keyboard's name that was typed on macOS is decomposed.
  return nfc(_CLIENT_NUMBERS.sub("", name))


def display_names(names: Iterable[str]) -> list[str]:
  """Names as a person reads them, in the same order.

  ALSA's client numbers are left out, except where two ports would then share
  a name.
  """
  names = list(names)
  shown = [_display(name) for name in names]
  return [
    nfc(name) if shown.count(short) > 1 else short
    for name, short in zip(names, shown, strict=True)
  ]


def _listed(names: Iterable[str]) -> str:
  return ", ".join(f'"{name}"' for name in display_names(names))


def find_port(wanted: str, names: Iterable[str], *, kind: str = "port") -> str:
  """The port that is meant.

  Args:
    wanted: A name, or a part of it that no other has; case, ALSA's client
      numbers and the Unicode form do not matter.
    names: Those that exist.
    kind: What to call it in errors, such as `input port`.

  Returns:
    One of `names`, client numbers included.

  Raises:
    ValueError: None or several match.
  """
  names = list(names)
  if not names:
    raise ValueError(
      f'no {kind} "{wanted}": there is no {kind} at all. Plug the device in,'
      " switch it on, and try again."
    )
  # The whole name first: it may be a part of another, or the numbers may be
  # all that sets two apart.
  part = _display(wanted.strip()).casefold()
  found = [name for name in names if nfc(name) == nfc(wanted)]
  found = found or [n for n in names if _display(n).casefold() == part]
  if not found and part:
    found = [n for n in names if part in _display(n).casefold()]
  if len(found) == 1:
    return found[0]
  if found:
    raise ValueError(
      f'{kind} "{wanted}" could be any of {_listed(found)}. Give more of the'
      " name."
    )
  raise ValueError(f'no {kind} "{wanted}". There are: {_listed(names)}.')


def obvious_keyboard(names: Iterable[str]) -> str | None:
  """The input that somebody with one keyboard means; None: there is none.

  Named like a keyboard is best; a cable between programs is better than
  nothing; the first of equals is taken.
  """

  def rank(name: str) -> int:
    if _RATHER_NOT.search(name):
      return 2
    return 0 if _LIKELY.search(name) else 1

  candidates = [name for name in names if not _NEVER.search(name)]
  return min(candidates, key=rank, default=None)
