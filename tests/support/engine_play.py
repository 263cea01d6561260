"""An engine that plays beside a player who never stops."""

from magenta_midi.live.engine.engine import Engine, EngineSettings
from magenta_midi.live.protocol.controls import Controls
from magenta_midi.live.protocol.events import SECOND, Message, PlannedNote

STEP = SECOND // 20


def an_engine(generator, **controls):
  return Engine(
    generator,
    settings=EngineSettings(seed=3),
    controls=Controls(mode="simultaneous", solo=True, density=4.0, **controls),
  )


def planned_notes(engine, steps, say=lambda index: None):
  """Notes that are planned while the player plays a note each 50 ms."""
  found = {}
  for index in range(steps):
    say(index)
    now = index * STEP
    key = 40 + index % 7
    engine.receive(Message(now, bytes((0x90, key, 60))))
    engine.receive(Message(now + 1, bytes((0x80, key, 0))))
    for _ in range(8):
      job = engine.next_job(now + 2)
      if job is None:
        break
      for command in job.run(now + 2):
        for event in getattr(command, "events", ()):
          if isinstance(event, PlannedNote):
            found[event.id] = event
  return list(found.values())
