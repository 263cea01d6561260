"""Times of Notochord's events: one event is fed, the next one is sampled.

Run by tools/speed/peers.py in an environment of its own; prints one JSON line.
The weights are random: their values do not change the time.
"""
# PyTorch is never in the environment that checks types.
# pyright: reportMissingImports=false

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from notochord import Notochord
from notochord.event import EventConstraints

PIANO = 1
KEYS = set(range(21, 109))
HELD = 4  # a note goes off when the fourth after it goes on


def build(parameters: int | None) -> Notochord:
  """The default size, or its shape scaled to about so many parameters."""

  def make(width: int) -> Notochord:
    return Notochord(emb_size=width, rnn_hidden=2 * width)

  def distance(width: int) -> int:
    with torch.device("meta"):
      return abs(count(make(width)) - (parameters or 0))

  torch.manual_seed(0)
  if parameters is None:
    return Notochord().eval()
  return make(min(range(64, 1025, 8), key=distance)).eval()


def count(model: Notochord) -> int:
  """Its parameters."""
  return sum(parameter.numel() for parameter in model.parameters())


def events(notes: int) -> list[tuple[int, int, float, float]]:
  """A scale as rows of (instrument, key, s since the last event, velocity).

  Each note is two events, on and off (velocity 0), as Notochord has it.
  """
  rows = []
  for note in range(notes + HELD):
    if note < notes:
      rows.append((PIANO, 36 + note * 7 % 48, 0.06, 64.0))
    if note >= HELD:
      rows.append((PIANO, 36 + (note - HELD) * 7 % 48, 0.02, 0.0))
  return rows


def ways(model: Notochord) -> dict[str, Callable[[], Any]]:
  """How the next event is sampled: `query`, and what its live app calls."""
  constraints = EventConstraints(note_on_map={PIANO: KEYS})
  return dict(
    query=lambda: model.query(next_inst=PIANO),
    sample=lambda: model.sample(constraints),
  )


def main() -> None:
  """Times one size and one way of sampling."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--parameters", type=int, help="[default: its own]")
  parser.add_argument("--way", choices=["query", "sample"], required=True)
  parser.add_argument("--notes", type=int, required=True)
  parser.add_argument("--context-notes", type=int, required=True)
  parser.add_argument("--threads", type=int, default=2)
  parser.add_argument("--repeats", type=int, default=10)
  options = parser.parse_args()
  torch.set_num_threads(options.threads)
  torch.set_num_interop_threads(1)
  model = build(options.parameters)
  sample = ways(model)[options.way]
  contexts, chunks, steps = [], [], []
  # Its debugging prints would drown the JSON line.
  with (
    open(os.devnull, "w") as nowhere,
    contextlib.redirect_stdout(nowhere),
  ):
    for repeat in range(options.repeats + 1):
      model.reset()
      start = time.perf_counter()
      for row in events(options.context_notes):
        model.feed(*row)
      context_ms = (time.perf_counter() - start) * 1000
      times = []
      for row in events(options.notes):
        start = time.perf_counter()
        model.feed(*row)
        sample()
        times.append((time.perf_counter() - start) * 1000)
      if repeat:  # the first warms up
        contexts.append(context_ms)
        chunks.append(sum(times))
        steps += times

  def quantile(times: list[float], share: float) -> float:
    return float(torch.tensor(times, dtype=torch.float64).quantile(share))

  spread = dict(p50=quantile(steps, 0.5), p99=quantile(steps, 0.99))
  facts = dict(
    parameters=count(model),
    chunk_ms=quantile(chunks, 0.5),
    # The state is always there: the first note is an event like any other.
    first_note_ms=spread,
    # Two of Notochord's events are one note.
    event_ms={key: 2 * value for key, value in spread.items()},
    own_event_ms=spread,
    encoder_ms=quantile(contexts, 0.5),
    threads=torch.get_num_threads(),
    peak_memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    / (1024 if sys.platform != "darwin" else 1024**2),
    versions=dict(
      python=platform.python_version(),
      torch=torch.__version__,
      notochord=importlib.metadata.version("notochord"),
    ),
  )
  print(json.dumps(facts))


if __name__ == "__main__":
  main()
