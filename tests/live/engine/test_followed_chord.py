"""The player's chord as a weak prior, where there is no chart."""

from typing import Any

import numpy as np
import pytest

from magenta_midi.live.engine.compile_counter import CompilationCounter
from magenta_midi.live.engine.followed_chord import FOLLOW_WEIGHT
from magenta_midi.live.protocol.controls import Controls, changed
from magenta_midi.live.protocol.events import SECOND, Message, PlannedNote
from magenta_midi.midi.io.messages import note_off, note_on
from magenta_midi.testing import tiny_generator
from tests.support.engine_play import STEP, an_engine


@pytest.fixture(scope="module")
def generator():
  return tiny_generator(parts=9)


def strike(engine, *keys, at_s=0.1):
  for key in keys:
    engine.receive(Message(round(at_s * SECOND), note_on(1, key, 70)))


def prior_of(engine) -> Any:
  return engine.planner.plan_settings.priors.key


def test_a_clear_chord_is_kept_weakly_and_not_for_long(generator):
  engine = an_engine(generator, harmony="follow")
  assert prior_of(engine) is None
  strike(engine, 50, 65, 69, 72)
  prior = prior_of(engine)
  chord = prior.chords.chord_at(0.5)
  assert chord.name.startswith("Dm7") and chord.bass == 2
  assert 0 < prior.weight <= FOLLOW_WEIGHT
  # The player says no more; the chord is nobody's any more.
  assert prior.chords.chord_at(5.0).root is None
  # A model that reads charts is not told of a guess.
  assert not len(engine.planner.plan_settings.priors.outline(0.5).root)


def test_a_cluster_or_a_note_is_no_chord(generator):
  for keys in ((60,), (60, 61, 62, 63, 64)):
    engine = an_engine(generator, harmony="follow")
    strike(engine, *keys)
    prior = prior_of(engine)
    assert prior is None or prior.weight < 0.5 * FOLLOW_WEIGHT


def test_off_by_default_and_after_a_chart(generator):
  engine = an_engine(generator)
  strike(engine, 50, 65, 69, 72)
  assert Controls().harmony == "off" and prior_of(engine) is None
  engine.set_controls(changed(engine.controls, "harmony", "follow"), STEP)
  strike(engine, 50, 65, 69, 72, at_s=0.2)
  assert prior_of(engine).chords.chord_at(0.5).root == 2
  # A chart waits for bars; nothing is followed meanwhile.
  engine.set_controls(changed(engine.controls, "chords", "| C |"), STEP)
  assert prior_of(engine) is None


def beside_a_chord(engine, steps):
  """Notes that are planned while the player repeats a chord."""
  found = {}
  for index in range(steps):
    now = index * STEP
    for key in (50, 65, 69, 72):
      engine.receive(Message(now, note_on(1, key, 70)))
      engine.receive(Message(now + STEP // 2, note_off(1, key)))
    for _ in range(8):
      job = engine.next_job(now + STEP // 2 + 1)
      if job is None:
        break
      for command in job.run(now + STEP // 2 + 1):
        for event in getattr(command, "events", ()):
          if isinstance(event, PlannedNote):
            found[event.id] = event
  return list(found.values())


def test_more_of_its_tones_are_played_and_nothing_compiles(generator):
  found = []
  for harmony in ("off", "follow"):
    engine = an_engine(generator, harmony=harmony)
    engine.warm_up()
    with CompilationCounter() as counter:
      notes = beside_a_chord(engine, 200)
    assert counter.count == 0
    assert len(notes) > 50
    found.append(np.mean([note.key % 12 in (2, 5, 9, 0) for note in notes]))
  # The drawn weights know nothing of chords.
  assert found[1] > found[0] + 0.05
