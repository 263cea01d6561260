"""The figures of all players as a table."""

from typing import Any

from tools.speed.other_systems.tables import markdown

__all__ = ["BASE", "in_words"]

# The source that others are compared with.
BASE = "base"
# Of the table; in brackets are 95 % intervals.
LEGEND = (
  "named, neutral: how many continuations of the player's and of other music"
  " are named the player's (less the base's, in points). voicings, figures:"
  " different ones, × the base's; equal: among as many. followed: what replies"
  " to chords sound more than replies to a line, for 1 key that the calls do."
)
HEAD = ("", *("named", "neutral"), *("voicings", "figures"), "texture followed")


def in_words(found: dict[str, Any]) -> str:
  """A line about the probe, a Markdown table, and how to read it.

  Args:
    found: `probe`, and `players` by name.
  """
  held = found["probe"]["held"]
  low, high = held["ci95"]
  rows = [
    row
    for player, one in found["players"].items()
    for row in _rows(player, one)
  ]
  return (
    f"The probe knows {len(found['probe']['players'])} players, and names"
    f" {held['accuracy']:.1%} ({low:.1%}..{high:.1%}) of held-out recordings"
    f" right.\n\n{markdown(HEAD, rows)}\n\n{LEGEND}\n"
  )


def _rows(player: str, found: dict[str, Any]) -> list[list[str]]:
  """Lines of the table: one for each source, and how the player played on."""
  rows = []
  for name in found["collapse"]["voicings"]:
    cells = [f"{player}, {name}"]
    for where in ("own", "neutral"):
      cells.append(_probe_cell(found["probe"].get(where, {}), name))
    cells += [
      _collapse_cell(found["collapse"][kind][name], name == BASE)
      for kind in ("voicings", "figures")
    ]
    rows.append([*cells, _texture_cell(found["texture"], name)])
  return rows


def _probe_cell(found: dict[str, Any], name: str) -> str:
  if name == BASE:
    any_of = next(iter(found.values()), None)
    return f"{any_of['share']['base']:.1%}" if any_of else ""
  if name not in found:
    return ""
  share = found[name]["share"]
  low, high = share["ci95"]
  return f"{share['with']:.1%} ({100 * low:+.0f}..{100 * high:+.0f})"


def _collapse_cell(found: dict[str, Any], base: bool) -> str:
  if base:
    return f"{found['distinct']:,}"
  low, high = found["ratio_ci95"]
  return (
    f"{found['distinct']:,}, × {found['ratio']:.2f} ({low:.2f}..{high:.2f});"
    f" equal {found['ratio_at_equal']:.2f}"
  )


def _texture_cell(found: dict[str, Any], name: str) -> str:
  one = found.get("sounding", {}).get(name)
  if one is None:
    return ""
  low, high = one["followed_ci95"]
  return f"{one['followed']:.2f} ({low:.2f}..{high:.2f})"
