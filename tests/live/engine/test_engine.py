"""The engine on a clock of its own: the mode changes while it plays."""

import pytest

from magenta_midi.live.engine.compile_counter import CompilationCounter
from magenta_midi.live.engine.engine import Engine, EngineSettings
from magenta_midi.live.protocol.commands import Release, Replan
from magenta_midi.live.protocol.controls import Controls
from magenta_midi.live.protocol.events import SECOND, Message
from magenta_midi.live.recording.engine_trace import TracedEngine, run_trace
from magenta_midi.testing import tiny_generator

STEP = SECOND // 20


@pytest.fixture(scope="module")
def generator():
  return tiny_generator(parts=9)


def an_engine(generator, mode):
  return Engine(
    generator,
    settings=EngineSettings(seed=3),
    controls=Controls(mode=mode, density=4.0),
  )


def run(engine, first, last, *, plays=True):
  """Steps of 50 ms, a note each if the player plays; returns commands."""
  commands = []
  for index in range(first, last):
    now = index * STEP
    if plays:
      key = 60 + index % 7
      engine.receive(Message(now, bytes((0x90, key, 60))))
      engine.receive(Message(now + 1, bytes((0x80, key, 0))))
    for _ in range(8):
      job = engine.next_job(now + 2)
      if job is None:
        break
      commands += job.run(now + 2)
  return commands


def switched(engine):
  """Simultaneous, then call and response, listening, and back again."""
  plain = getattr(engine, "engine", engine)

  def switch(mode, index):
    engine.set_controls(plain.controls._replace(mode=mode), index * STEP)

  parts = [run(engine, 0, 40)]
  switch("call-response", 40)
  parts += [run(engine, 40, 60), run(engine, 60, 110, plays=False)]
  switch("listen", 110)
  parts += [run(engine, 110, 130)]
  switch("simultaneous", 130)
  parts += [run(engine, 130, 160)]
  return parts


def test_each_mode_takes_over_where_the_other_was(generator):
  parts = switched(an_engine(generator, "simultaneous"))
  together, call, reply, listens, again = parts
  assert any(isinstance(c, Replan) and c.why == "react" for c in together)
  # What sounds is let go; while the player goes on nothing is planned.
  assert call == [Release(EngineSettings().interrupt_ns)]
  # The phrase that began in the other mode is answered.
  assert reply[0].why == "reply" and reply[0].events
  assert listens[0] == Release(EngineSettings().interrupt_ns)
  assert len(listens) == 1
  assert any(isinstance(c, Replan) and c.events for c in again[1:])


def test_changes_of_mode_are_played_again_exactly(generator):
  trace = []
  engine = TracedEngine(an_engine(generator, "simultaneous"), trace.append)
  commands = [command for part in switched(engine) for command in part]
  again = run_trace(an_engine(generator, "simultaneous"), trace)
  assert [command for _, command in again] == commands


def test_nothing_compiles_while_modes_change(generator):
  engine = an_engine(generator, "simultaneous")
  engine.warm_up()
  with CompilationCounter() as counter:
    cpu_s, wall_s = engine.dense_second()
    switched(engine)
  assert counter.count == 0
  assert cpu_s > 0 and wall_s > 0
