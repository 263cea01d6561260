import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.cli.phrases import phrase_path
from magenta_midi.live.engine.harmony import Harmony
from magenta_midi.live.player import Player
from magenta_midi.live.protocol.events import SECOND, Message, Sounded
from magenta_midi.midi import read_score

MS = 1_000_000


class PlayersHarmony(Harmony):
  """With a player of its own."""

  def __init__(self, *args):
    self.player = Player()
    super().__init__(self.player.keyboard, *args)

  def receive(self, message):
    self.handle(self.player.receive(message))


def on(time_ns, key, velocity=70):
  return Message(time_ns, bytes((0x90, key, velocity)))


def off(time_ns, key):
  return Message(time_ns, bytes((0x80, key, 64)))


def heard(*messages):
  harmony = PlayersHarmony()
  for message in messages:
    harmony.receive(message)
  return harmony


def chord_at(time_ns, keys):
  return [on(time_ns + i * MS, key) for i, key in enumerate(keys)]


def test_nothing_is_heard_in_silence():
  harmony = PlayersHarmony()
  assert harmony.chord(0) is None
  assert harmony.key(0) is None
  assert harmony.bass(0) is None


def test_a_single_note_is_no_chord():
  assert heard(on(0, 60)).chord(SECOND) is None


def test_a_chord_is_heard_at_once_and_as_long_as_it_is_held():
  harmony = heard(*chord_at(0, [45, 60, 64, 67]))
  for seconds in (0.01, 1, 10):
    chord = harmony.chord(round(seconds * SECOND))
    assert chord is not None and chord.name == "Am7"


def test_a_new_chord_takes_the_place_of_the_old_one():
  harmony = heard(
    *chord_at(0, [48, 60, 64, 67]),
    *(off(SECOND, key) for key in (48, 60, 64, 67)),
    *chord_at(SECOND, [41, 60, 65, 69]),
  )
  chord = harmony.chord(SECOND + 500 * MS)
  assert chord is not None and chord.name == "F"


def test_a_chord_is_forgotten():
  harmony = heard(
    *chord_at(0, [60, 64, 67]), *(off(200 * MS, key) for key in (60, 64, 67))
  )
  assert harmony.chord(SECOND) is not None
  assert harmony.chord(15 * SECOND) is None


def test_a_prelude_bar_by_bar():
  notes = read_score(phrase_path("prelude")).notes
  events = []
  for note in notes:
    onset = round(note["onset_s"] * SECOND)
    end = onset + round(note["duration_s"] * SECOND)
    events += [on(onset, int(note["key"])), off(end, int(note["key"]))]
  events.sort()
  bars = [round(s * SECOND) for s in notes["onset_s"][16::16]]
  harmony, named = PlayersHarmony(), []
  for event in events:
    while bars and event.time_ns >= bars[0]:
      chord = harmony.chord(bars.pop(0))
      named.append(chord and chord.name)
    harmony.receive(event)
  assert named == ["C", "Dm7", "G7", "C", "Am"]
  key = harmony.key(events[-1].time_ns)
  # Its sixth bar goes to G.
  assert key is not None and key.name in ("C major", "G major")


@pytest.mark.parametrize("tonic", range(12))
def test_the_key_of_a_scale(tonic):
  harmony = PlayersHarmony()
  for i, step in enumerate([0, 2, 4, 5, 7, 9, 11, 12, 7, 4, 0]):
    key = 60 + tonic + step
    harmony.receive(on(i * SECOND // 2, key))
    harmony.receive(off((i + 1) * SECOND // 2, key))
  key = harmony.key(6 * SECOND)
  assert key is not None and key[:2] == (tonic, False)


def test_own_notes_count_less_than_the_players():
  harmony = heard(*chord_at(0, [48, 52, 55]))
  for key in (49, 53, 56):
    harmony.sounded(Sounded(key, 0, "on", key, 90))
  chord = harmony.chord(300 * MS)
  assert chord is not None and chord.name == "C"
  before = harmony.weights(SECOND)
  harmony.sounded(Sounded(1, SECOND, "off", 49, 0))
  assert (harmony.weights(SECOND) == before).all()
  harmony.sounded(Sounded(1, SECOND, "on", 49, 60))
  assert harmony.weights(SECOND)[1] > before[1]


@given(
  st.lists(
    st.tuples(st.integers(0, 2 * SECOND), st.integers(60, 71), st.booleans()),
    max_size=20,
  ),
  st.lists(st.integers(0, 12 * SECOND), max_size=5),
)
def test_weights_are_those_of_a_direct_sum(events, asked):
  # The pedal down: nothing is damped.
  harmony = heard(Message(0, bytes((0xB0, 64, 127))))
  held, spans, time_ns = {}, [], 0
  onsets = []
  for since_ns, key, down in events:
    time_ns += since_ns
    harmony.receive(on(time_ns, key) if down else off(time_ns, key))
    if key in held and not down:
      spans.append((key, held.pop(key), time_ns))
    if down:
      onsets.append((key, time_ns))
      held.setdefault(key, time_ns)
  for later_ns in sorted(asked):
    now_ns = time_ns + later_ns
    expected = np.zeros(12)
    now = now_ns / SECOND
    for key, at_ns in onsets:
      expected[key % 12] += 0.25 * math.exp(at_ns / SECOND - now)
    open_ones = [(key, at, now_ns) for key, at in held.items()]
    for key, from_ns, to_ns in [*spans, *open_ones]:
      expected[key % 12] += math.exp(to_ns / SECOND - now) - math.exp(
        from_ns / SECOND - now
      )
    np.testing.assert_allclose(harmony.weights(now_ns), expected, atol=1e-9)
