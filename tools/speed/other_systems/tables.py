"""Rounds of measurements as tables with ratios."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["System", "markdown", "over_rounds", "ratio_rows", "detail_rows"]
__all__ += ["RATIO_HEAD", "DETAIL_HEAD"]

RATIO_HEAD = (
  "system",
  "parameters",
  "2 s of music, ms",
  "×",
  "first note, ms",
  "×",
  "a note, ms",
  "×",
)
DETAIL_HEAD = (
  "system",
  "times real time",
  "lowest and highest of the rounds, ms",
  "first note, 99 %, ms",
  "context, ms",
  "memory, MB",
)
CHUNK_MS = 2000.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class System:
  """Results of the rounds for one system."""

  name: str
  parameters: int
  # One value for each round.
  chunk_ms: Sequence[float]
  first_ms: Sequence[float]
  first_p99_ms: Sequence[float]
  note_ms: Sequence[float]
  context_ms: Sequence[float]
  memory_mb: Sequence[float]


def over_rounds(name: str, rounds: Sequence[Mapping[str, Any]]) -> System:
  """Gathers what the same command printed in each round.

  Args:
    name: For the table.
    rounds: Each with `parameters`, and `rtf` or `chunk_ms`; the rest as in
      `magenta-midi bench --json`.
  """

  def chunk_ms(facts: Mapping[str, Any]) -> float:
    return CHUNK_MS / facts["rtf"] if "rtf" in facts else facts["chunk_ms"]

  return System(
    name=name,
    parameters=rounds[0]["parameters"],
    chunk_ms=[chunk_ms(facts) for facts in rounds],
    first_ms=[facts["first_note_ms"]["p50"] for facts in rounds],
    first_p99_ms=[facts["first_note_ms"]["p99"] for facts in rounds],
    note_ms=[facts["event_ms"]["p50"] for facts in rounds],
    context_ms=[facts["encoder_ms"] for facts in rounds],
    memory_mb=[facts["peak_memory_mb"] for facts in rounds],
  )


def ratio_rows(systems: Sequence[System]) -> list[tuple[str, ...]]:
  """Medians over the rounds, and each as a multiple of the first system's."""

  def cells(system: System, field: str) -> tuple[str, str]:
    own = statistics.median(getattr(system, field))
    ours = statistics.median(getattr(systems[0], field))
    return number(own), number(own / ours)

  return [
    (
      system.name,
      f"{system.parameters / 1e6:.2f} M",
      *cells(system, "chunk_ms"),
      *cells(system, "first_ms"),
      *cells(system, "note_ms"),
    )
    for system in systems
  ]


def detail_rows(systems: Sequence[System]) -> list[tuple[str, ...]]:
  """Rows with the details behind the medians."""
  return [
    (
      system.name,
      number(CHUNK_MS / statistics.median(system.chunk_ms)),
      f"{number(min(system.chunk_ms))} to {number(max(system.chunk_ms))}",
      number(statistics.median(system.first_p99_ms)),
      number(statistics.median(system.context_ms)),
      f"{max(system.memory_mb):.0f}",
    )
    for system in systems
  ]


def number(value: float) -> str:
  """Three digits that count, or all before the point."""
  decimals = 0 if value >= 100 else 1 if value >= 10 else 2
  return f"{value:.{decimals}f}"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  """A table: the first column to the left, the others to the right."""
  rule = ["---"] + ["---:"] * (len(head) - 1)
  return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))
