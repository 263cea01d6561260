import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.live.engine.accompaniment import YieldPolicy, YieldSettings
from magenta_midi.live.player import Player
from magenta_midi.live.protocol.events import SECOND, Message

MS = 1_000_000


class Policy(YieldPolicy):
  """With a player of its own."""

  def __init__(self, *args):
    self.player = Player()
    super().__init__(self.player.keyboard, *args)

  def receive(self, message):
    self.handle(self.player.receive(message))


def on(time_ns, key=60, velocity=70):
  return Message(time_ns, bytes((0x90, key, velocity)))


def off(time_ns, key=60):
  return Message(time_ns, bytes((0x80, key, 64)))


def pedal(time_ns, down):
  return Message(time_ns, bytes((0xB0, 64, 127 * down)))


def heard(*messages, settings=None):
  policy = Policy(settings)
  for message in messages:
    policy.receive(message)
  return policy


def line(seconds, rate, keys=(60, 62, 64, 65)):
  """So many notes a second, each let go at once."""
  messages = []
  for i in range(round(seconds * rate)):
    key = keys[i % len(keys)]
    time_ns = round(i * SECOND / rate)
    messages += [on(time_ns, key), off(time_ns + MS, key)]
  return messages


def test_it_waits_for_the_player_to_begin():
  assert Policy().decide(0).level == "rest"
  assert Policy().decide(0, solo=True).level == "lead"


@pytest.mark.parametrize(
  ("rate", "level"), [(3, "support"), (12, "thin"), (25, "rest")]
)
def test_the_denser_the_player_the_less_it_plays(rate, level):
  decided = heard(*line(4, rate)).decide(4 * SECOND)
  assert decided.level == level
  assert decided.velocity_offset <= 0


def test_hazards_are_in_the_order_of_the_levels():
  hazards = [
    heard(*line(4, rate)).decide(4 * SECOND).hazard for rate in (25, 12, 3)
  ]
  assert hazards == sorted(hazards) and hazards[0] == 0.0 and hazards[2] == 1.0


def test_density_has_hysteresis():
  """Eight a second: thinned out after ten, and not after five."""
  for before, level in ((5, "support"), (10, "thin")):
    policy = heard(*line(4, before))
    for message in line(4, 8):
      policy.receive(message._replace(time_ns=message.time_ns + 4 * SECOND))
    assert policy.decide(8 * SECOND).level == level


def test_a_full_pedal_thins_out():
  messages = [on(i * 400 * MS, 40 + 3 * i) for i in range(12)]
  lets_go = [off(5 * SECOND, 40 + 3 * i) for i in range(12)]
  policy = heard(pedal(0, True), *messages, *lets_go)
  assert policy.decide(5 * SECOND).level == "thin"
  policy.receive(pedal(5 * SECOND, False))
  assert policy.decide(5 * SECOND).level == "support"


def test_it_leads_while_the_player_holds_or_pauses():
  policy = heard(on(0, 48), on(0, 64))
  assert policy.decide(SECOND).level == "support"
  assert policy.decide(2 * SECOND).level == "lead"
  policy = heard(on(0), off(MS))
  assert policy.decide(7 * SECOND).level == "lead"


def test_it_stops_eight_seconds_after_the_player():
  policy = heard(on(0), off(SECOND))
  assert policy.decide(9 * SECOND - 1).level == "lead"
  assert policy.decide(9 * SECOND).level == "rest"
  assert policy.decide(9 * SECOND, solo=True).level == "lead"


def test_a_held_chord_is_playing_and_a_stuck_key_is_not():
  policy = heard(on(0))
  assert policy.decide(20 * SECOND).level == "lead"
  assert policy.decide(60 * SECOND).level == "rest"


@given(
  st.lists(
    st.tuples(
      st.integers(0, 600),
      st.sampled_from(["on", "on", "on", "off", "down", "up"]),
      st.integers(21, 108),
    ),
    max_size=80,
  ),
  st.lists(st.integers(0, 40_000), max_size=40),
)
def test_a_decision_depends_on_what_was_heard_alone(rows, asked):
  """However often it was asked; and the keys are as promised."""
  seldom, often = Policy(), Policy()
  time_ns, sounding, struck, asked = 0, set(), [], sorted(asked)
  held = set()
  down = False
  for since_ms, what, key in rows:
    time_ns += since_ms * MS
    while asked and asked[0] * MS <= time_ns:
      often.decide(asked.pop(0) * MS)
    if what == "on":
      message = on(time_ns, key)
      held.add(key)
      sounding.add(key)
      struck.append((time_ns, key))
    elif what == "off":
      message = off(time_ns, key)
      held.discard(key)
      if not down:
        sounding.discard(key)
    else:
      down = what == "down"
      message = pedal(time_ns, down)
      if not down:
        sounding &= held
    seldom.receive(message)
    often.receive(message)
  now_ns = time_ns + 100 * MS
  first, second = seldom.decide(now_ns), often.decide(now_ns)
  assert first[0] == second[0] and first[2:] == second[2:]
  assert (first.keys_allowed == second.keys_allowed).all()
  fresh = [key for at, key in struck[-64:] if now_ns - at <= 4 * SECOND]
  bass = min([*sounding, *fresh], default=127)
  if bass < 60:
    assert not first.keys_allowed[:bass].any()
  # All but an octave is open above the bass.
  above = first.keys_allowed[bass if bass < 60 else 0 :]
  assert (~above).sum() <= 12


def test_it_keeps_off_the_octave_the_player_is_in():
  policy = heard(*line(4, 4, keys=(72, 74, 76, 77, 79)))
  allowed = policy.decide(4 * SECOND).keys_allowed
  assert not allowed[72:80].any()
  assert (~allowed).sum() == 12
  # There is no bass: it may accompany from below.
  assert allowed[36:60].all()
  apart = YieldSettings(keeps_apart=False)
  policy = heard(*line(4, 4, keys=(72, 74, 76)), settings=apart)
  assert policy.decide(4 * SECOND).keys_allowed.all()


def test_it_moves_when_the_player_does():
  policy = heard(*line(4, 4, keys=(72, 74, 76, 77)))
  for message in line(5, 4, keys=(50, 52, 53, 55)):
    policy.receive(message._replace(time_ns=message.time_ns + 4 * SECOND))
  allowed = policy.decide(9 * SECOND).keys_allowed
  assert not allowed[50:56].any()
  assert allowed[72:78].all()


def test_it_never_goes_below_the_players_bass():
  policy = heard(on(0, 40), *line(2, 4, keys=(72, 74, 76)))
  allowed = policy.decide(2 * SECOND).keys_allowed
  assert not allowed[:40].any()
  assert allowed[40:64].all()
  policy.receive(off(2 * SECOND, 40))
  assert not policy.decide(3 * SECOND).keys_allowed[:40].any()
  assert policy.decide(9 * SECOND).keys_allowed[:40].all()


# Clashes.


@pytest.mark.parametrize("own", [59, 61, 47, 73, 71, 49])
def test_an_own_note_a_semitone_from_a_held_one_is_let_go(own):
  policy = heard(on(0, 60))
  assert policy.clash([own, 64, 67], SECOND) == [own]


def test_a_passing_note_clashes_with_nothing():
  policy = heard(on(0, 60))
  assert policy.clash([61], 149 * MS) == []
  assert policy.clash([61], 150 * MS) == [61]
  policy.receive(off(200 * MS, 60))
  assert policy.clash([61], 201 * MS) == []


def test_under_the_pedal_a_note_clashes_until_it_has_faded():
  policy = heard(pedal(0, True), on(0, 60), off(200 * MS, 60))
  assert policy.clash([61], SECOND) == [61]
  assert policy.clash([61], 3 * SECOND) == []


def test_what_the_player_sounds_too_belongs_to_the_chord():
  major_seventh = heard(*(on(0, key) for key in (48, 52, 55, 59)))
  assert major_seventh.clash([71, 72, 76], SECOND) == []
  assert major_seventh.clash([70], SECOND) == [70]


@given(
  st.sets(st.integers(21, 108), max_size=10),
  st.sets(st.integers(21, 108), max_size=12),
)
def test_what_is_left_after_releases_holds_no_semitone(player, own):
  policy = heard(*(on(0, key) for key in sorted(player)))
  released = policy.clash(own, SECOND)
  assert released == sorted(set(released)) and set(released) <= own
  classes = {key % 12 for key in player}
  for key in own:
    near = {(key + 1) % 12, (key - 1) % 12} & classes
    assert (key in released) == (bool(near) and key % 12 not in classes)


def test_keys_are_an_array_of_all_keys():
  keys = heard(on(0)).decide(0).keys_allowed
  assert keys.shape == (128,) and keys.dtype == np.bool_
