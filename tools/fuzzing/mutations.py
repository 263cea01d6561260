"""Mutations of files: of their bytes, and of the values of their JSON.

All randomness comes from the generator that is passed in, so an input is known
by its seed.
"""

import json
import random
from collections.abc import Callable
from typing import Any

__all__ = [
  "mutated_bytes",
  "mutated_json",
  "mutated_lines",
  "mutated_text",
  "mutated_tree",
]

_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFFFFFF, 0x7FFFFFFF)
# Values that programs do not expect, as JSON. Depths are beyond Python's limit.
_WEIRD = (
  "null",
  "true",
  "false",
  "0",
  "-1",
  "1e308",
  "-1e308",
  "1e999",
  "-1e999",
  "NaN",
  "1e-300",
  "0.1",
  "3",
  "4294967296",
  "9223372036854775808",
  "-9223372036854775809",
  "9" * 400,
  "9" * 5000,
  '""',
  '"x"',
  '"1"',
  '"\\u0000"',
  '"\\ud800"',
  '"\\u001b[2J\\u0007"',
  '"../../etc/passwd"',
  '"' + "가" * 300 + '"',
  '"' + "x" * 100_000 + '"',
  "[]",
  "{}",
  "[[]]",
  '[{"a":1}]',
  "[1,2,3]",
  '["x"]',
  "[" + "0," * 50_000 + "0]",
  "[" * 100_000 + "]" * 100_000,
  '{"a":' * 20_000 + "1" + "}" * 20_000,
  "[" * 60 + "]" * 60,
)
# Stands for a weird value until the text is made.
_MARK = "\x00mark\x00"


def mutated_bytes(data: bytes, rng: random.Random) -> bytes:
  """The bytes with 1 to 8 changes: flips, cuts, copies, numbers, runs."""
  changed = bytearray(data)
  for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
    at = rng.randrange(len(changed) + 1)
    until = min(len(changed), at + rng.choice((1, 2, 4, 16, 200)))
    kind = rng.randrange(9)
    if kind == 0 and at < len(changed):
      changed[at] ^= 1 << rng.randrange(8)
    elif kind == 1 and at < len(changed):
      changed[at] = rng.choice((0, 1, 0x7F, 0x80, 0x81, 0xF0, 0xF7, 0xFF))
    elif kind == 2:
      changed[at:at] = rng.randbytes(rng.choice((1, 2, 8, 100)))
    elif kind == 3:
      del changed[at:until]
    elif kind == 4:
      changed[at:at] = changed[at:until]
    elif kind == 5:
      size = rng.choice((2, 4, 8))
      number = rng.choice(_NUMBERS) & (1 << 8 * size) - 1
      order = rng.choice(("big", "little"))
      changed[at : at + size] = number.to_bytes(size, order)
    elif kind == 6 and rng.random() < 0.3:
      del changed[at:]
    elif kind == 7 and rng.random() < 0.3:
      changed[at:at] = bytes(changed[at:until]) * rng.choice((10, 1000))
    elif kind == 8:
      other = rng.randrange(len(changed) + 1)
      changed[at:until] = changed[other : other + until - at]
  return bytes(changed)


def mutated_json(tree: Any, rng: random.Random) -> bytes:
  """JSON text of a tree with some of its values changed.

  Args:
    tree: What `json` reads; not changed.
    rng: Draws the changes.
  """
  text = json.dumps(tree)
  for _ in range(rng.choice((1, 1, 1, 2, 4))):
    tree = json.loads(text) if text else tree
    marked, weird = mutated_tree(tree, rng)
    text = json.dumps(marked).replace(json.dumps(_MARK), weird)
    try:
      json.loads(text)
    except (ValueError, RecursionError):
      break
  if rng.random() < 0.1:
    return mutated_bytes(text.encode(), rng)
  return text.encode()


def mutated_tree(tree: Any, rng: random.Random) -> tuple[Any, str]:
  """A copy with one change, and the text that its mark stands for."""
  copy = json.loads(json.dumps(tree))
  places: list[tuple[Any, Any]] = []
  _collect(copy, places)
  weird = rng.choice(_WEIRD)
  if not places or rng.random() < 0.02:
    return _MARK, weird
  parent, key = rng.choice(places)
  kind = rng.randrange(10)
  if kind < 6:
    parent[key] = _MARK
  elif kind == 6:
    del parent[key]
  elif kind == 7:
    other, name = rng.choice(places)
    if isinstance(name, str) == isinstance(key, str):
      parent[key] = (
        json.loads(json.dumps(other.get(name)))
        if isinstance(other, dict)
        else parent[key]
      )
  elif kind == 8 and isinstance(parent, dict):
    parent[rng.choice(("x", "", "\x1b[2J", "a" * 1000))] = _MARK
  elif isinstance(parent, list):
    parent.extend([parent[key]] * rng.choice((1, 100)))
  return copy, weird


def _collect(tree: Any, places: list[tuple[Any, Any]]) -> None:
  """All places of a tree, as (parent, key)."""
  items: Any = ()
  if isinstance(tree, dict):
    items = list(tree.items())
  elif isinstance(tree, list):
    items = list(enumerate(tree))
  for key, value in items:
    places.append((tree, key))
    _collect(value, places)


def mutated_lines(data: bytes, rng: random.Random) -> bytes:
  """Lines of JSON with some lines changed, copied, moved or cut."""
  lines = data.splitlines()
  for _ in range(rng.choice((1, 2, 5))):
    at = rng.randrange(len(lines))
    kind = rng.randrange(6)
    if kind < 3:
      try:
        lines[at] = mutated_json(json.loads(lines[at]), rng)
      except (ValueError, RecursionError):
        lines[at] = mutated_bytes(lines[at], rng)
    elif kind == 3:
      lines[at:at] = [lines[at]] * rng.choice((1, 50))
    elif kind == 4:
      lines[at] = mutated_bytes(lines[at], rng)
    elif len(lines) > 1:
      del lines[at]
  return b"\n".join(lines) + b"\n"


def mutated_text(
  text: str, rng: random.Random, words: Callable[[random.Random], str]
) -> bytes:
  """Text with some of its words replaced, lines copied, or bytes changed.

  Args:
    text: The text.
    rng: Draws the changes.
    words: Draws a word of the format.
  """
  parts = text.split(" ")
  for _ in range(rng.choice((1, 1, 2, 4))):
    at = rng.randrange(len(parts))
    kind = rng.randrange(5)
    if kind < 3:
      parts[at] = words(rng)
    elif kind == 3:
      parts[at:at] = [words(rng), "\n"]
    else:
      parts[at : at + 1] = [parts[at]] * 2
  data = " ".join(parts).encode(errors="surrogatepass")
  return mutated_bytes(data, rng) if rng.random() < 0.2 else data
