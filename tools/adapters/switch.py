"""Cost of switching adapters while both play.

    python -m tools.adapters.switch --json figures.json

Drives one engine with switchable adapters of rank 16 (random, on every
projection: only their size matters here) and measures

* a switch: from the change to the first plan by the new weights, with every
  job in between;
* planning after an event (append one frame, plan one event) by the base and by
  each adapter in turn, event by event, so that a busy machine slows all alike;
  the ratio is the median over events;
* compilations in that time.

Prints a table; the last line is JSON.
"""

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import jax
import numpy as np
from flax import nnx

from magenta_midi.api import MagentaMidi
from magenta_midi.cli.terminal.bounded_number import bounded
from magenta_midi.cli.terminal.errors import one_line_errors
from magenta_midi.limits import COUNT_FROM_0
from magenta_midi.live.engine.compile_counter import CompilationCounter
from magenta_midi.live.engine.engine import Engine
from magenta_midi.live.protocol.controls import Controls
from magenta_midi.live.protocol.events import Message
from magenta_midi.live.recording.serialization import make_engine
from magenta_midi.midi.atomic import write_atomically
from magenta_midi.model.lora.adapter_file import Adapter
from magenta_midi.model.lora.adapter_library import install_adapter
from magenta_midi.model.lora.lora import LoraConfig, LowRank, init_factors
from tools.help_text import help_of

STEP_NS = 60_000_000
CHOICES = ("a", "a:0.6 + b:0.4", "b", "")


def install_drawn(mm: MagentaMidi, name: str, seed: int) -> None:
  """An adapter of the usual size that changes a little."""
  config = LoraConfig()
  params = nnx.state(mm.generator.model, nnx.Param)
  draw = np.random.default_rng(seed)
  factors = {
    array: LowRank(
      np.asarray(pair.a),
      draw.normal(0, 0.01, pair.b.shape).astype(np.float32),
    )
    for array, pair in init_factors(
      params, config, jax.random.key(seed)
    ).items()
  }
  install_adapter(
    Adapter(
      name=name,
      factors=factors,
      config=config,
      base=mm.checkpoint,
      base_sha256=mm.config.get("sha256", ""),
      codec={},
    )
  )


def bytes_of_copies(mm: MagentaMidi) -> list[int]:
  """Of each choice, what is not the checkpoint's own arrays."""
  base = {id(leaf) for leaf in jax.tree.leaves(_params(mm.network_with([])))}
  found = []
  for choice in CHOICES:
    network = mm.network_with(choice.split(" + ") if choice else [])
    found.append(
      sum(
        x.nbytes for x in jax.tree.leaves(_params(network)) if id(x) not in base
      )
    )
  return found


def _params(network: Any) -> Any:
  return nnx.state(network, nnx.Param)


class Player:
  """Plays steadily into an engine, and times its jobs."""

  def __init__(self, engine: Engine):
    self.engine = engine
    self.now_ns = 0
    self.index = 0
    self.switch_ms: list[float] = []

  def play(self, events: int) -> None:
    """So many strokes, and the jobs that follow from them."""
    for _ in range(events):
      self.now_ns += STEP_NS
      self.index += 1
      key = 55 + 7 * self.index % 24
      self.engine.receive(Message(self.now_ns, bytes((0x90, key, 60))))
      self.engine.receive(Message(self.now_ns + 1, bytes((0x80, key, 0))))
      for _ in range(6):
        job = self.engine.next_job(self.now_ns + 2)
        if job is None:
          break
        job.run(self.now_ns + 2)

  def switch(self, number: int) -> None:
    """Another adapter; runs until its first plan is there."""
    started = time.perf_counter()
    controls = self.engine.controls._replace(adapter=number)
    self.engine.set_controls(controls, self.now_ns)
    while self.engine.planner.outdated:
      job = self.engine.next_job(self.now_ns)
      assert job is not None
      job.run(self.now_ns)
    self.switch_ms.append(1e3 * (time.perf_counter() - started))


def answers_ms(engine: Engine, count: int) -> np.ndarray:
  """Time of an answer to the same event by each choice, `[count, choices]`."""
  planner = engine.planner
  settings = planner.plan_settings
  streams = []
  for number in range(len(CHOICES)):
    planner.encoder.choose(number)
    *_, stream = planner.open_stream(10_000)
    assert stream is not None
    streams.append(stream)
  took = np.zeros((count, len(CHOICES)))
  draw = np.random.default_rng(0)
  held = planner.encoder.codec.config.held
  for row in range(-3, count):
    codes = np.array([[0, 48 + row % 24, 9, held]], np.int32)
    step = np.zeros(1, np.int32)
    # In another order each time: the first one finds a colder cache.
    for choice in draw.permutation(len(CHOICES)):
      stream = streams[choice]
      started = time.perf_counter()
      stream.append(codes, step, np.ones(1, np.int32))
      stream.plan(settings, events=1, earliest_step=0)
      if row >= 0:
        took[row, choice] = 1e3 * (time.perf_counter() - started)
      stream.roll_back(1)
  planner.encoder.choose(engine.controls.adapter - 1)
  return took


def measure(rounds: int, events: int) -> dict[str, Any]:
  """All figures."""
  mm = MagentaMidi.load()
  install_drawn(mm, "a", 1)
  install_drawn(mm, "b", 2)
  controls = Controls(mode="simultaneous", density=2.0, adapters=CHOICES)
  started = time.perf_counter()
  engine = make_engine(mm, controls, seed=1)
  merged_s = time.perf_counter() - started
  engine.warm_up()
  player = Player(engine)
  player.play(60)
  with CompilationCounter() as counter:
    for _ in range(rounds):
      for number in range(1, len(CHOICES) + 1):
        player.switch(number)
        player.play(events)
    answers = answers_ms(engine, 50 * rounds)
  return {
    "choices": [choice or "base" for choice in CHOICES],
    "switch_ms": {
      "p50": float(np.median(player.switch_ms)),
      "p99": float(np.percentile(player.switch_ms, 99)),
      "max": max(player.switch_ms),
      "switches": len(player.switch_ms),
    },
    "answer_ms": np.median(answers, axis=0).tolist(),
    "answer_ratio": np.median(answers / answers[:, -1:], axis=0).tolist(),
    "answers": len(answers),
    "compilations": counter.count,
    "prepared_s": merged_s,
    "copy_mb": [size / 1e6 for size in bytes_of_copies(mm)],
  }


@click.command(help=help_of(__doc__))
@click.option(
  "--rounds",
  type=bounded(COUNT_FROM_0),
  default=40,
  show_default=True,
  help="Number of switches.",
)
@click.option(
  "--events",
  type=bounded(COUNT_FROM_0),
  default=20,
  show_default=True,
  help="Notes of the player between two switches.",
)
@click.option(
  "--json",
  "path",
  type=click.Path(path_type=Path),
  help="Write the figures into this file too.",
)
def main(rounds: int, events: int, path: Path | None) -> None:
  """Measures a switch, and events by each adapter beside the base."""
  with (
    one_line_errors(),
    tempfile.TemporaryDirectory() as folder,
  ):
    os.environ["MAGENTA_MIDI_ADAPTERS"] = folder
    facts = measure(rounds, events)
  switch = facts["switch_ms"]
  click.echo(
    f"switch: median {switch['p50']:.1f} ms, 99 % {switch['p99']:.1f},"
    f" longest {switch['max']:.1f} of {switch['switches']}"
  )
  for choice, ms, ratio in zip(
    facts["choices"], facts["answer_ms"], facts["answer_ratio"], strict=True
  ):
    click.echo(f"an answer by {choice}: {ms:.2f} ms, {ratio:.3f} of the base's")
  click.echo(f"compiled: {facts['compilations']}")
  line = json.dumps(facts)
  if path is not None:
    write_atomically(path, line + "\n")
  click.echo(line)


if __name__ == "__main__":
  main()
