"""What a person means by a part of a port's name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.live.io.port_names import (
  display_names,
  find_port,
  obvious_keyboard,
)

ALSA = (
  "Midi Through:Midi Through Port-0 14:0",
  "Digital Piano:Digital Piano MIDI 1 24:0",
  "KeyLab 61:KeyLab 61 MIDI 28:0",
  "KeyLab 61:KeyLab 61 DAW 28:1",
)


def test_names_are_shown_without_alsa_numbers():
  assert display_names(ALSA) == [
    "Midi Through:Midi Through Port-0",
    "Digital Piano:Digital Piano MIDI 1",
    "KeyLab 61:KeyLab 61 MIDI",
    "KeyLab 61:KeyLab 61 DAW",
  ]
  assert display_names(["Piano:24:0", "a2j:Piano [20] (capture): MIDI 1"]) == [
    "Piano",
    "a2j:Piano (capture): MIDI 1",
  ]
  # They stay where they are all that tells two apart.
  twins = ["Piano:Piano MIDI 1 20:0", "Piano:Piano MIDI 1 24:0"]
  assert display_names(twins) == twins


@pytest.mark.parametrize(
  ("wanted", "index"),
  [
    ("digital", 1),
    ("PIANO midi", 1),
    ("Digital Piano:Digital Piano MIDI 1", 1),
    ("Digital Piano:Digital Piano MIDI 1 99:0", 1),  # as it was yesterday
    ("61 DAW", 3),
    ("through", 0),
  ],
)
def test_a_unique_part_is_enough(wanted, index):
  assert find_port(wanted, ALSA) == ALSA[index]


def test_a_whole_name_may_be_part_of_another():
  assert find_port("piano", ["Piano", "Piano 2"]) == "Piano"
  twins = ["Piano 20:0", "Piano 24:0"]
  assert find_port("Piano 24:0", twins) == "Piano 24:0"


def test_none_and_several_are_told():
  with pytest.raises(
    ValueError, match=r'no input port "organ"\. There are: "Mi'
  ):
    find_port("organ", ALSA, kind="input port")
  with pytest.raises(ValueError, match=r'any of "KeyLab.*MIDI", "KeyLab.*DAW"'):
    find_port("keylab", ALSA)
  with pytest.raises(ValueError, match=r"any of .*20:0.*24:0"):
    find_port("piano", ["Piano 20:0", "Piano 24:0"])
  with pytest.raises(ValueError, match="no port at all"):
    find_port("piano", [])
  with pytest.raises(ValueError, match='no port ""'):
    find_port("", ALSA)


@given(st.lists(st.text(min_size=1), unique=True), st.data())
def test_what_is_found_exists(names, data):
  wanted = data.draw(st.sampled_from(names) if names else st.text())
  try:
    assert find_port(wanted, names) in names
  except ValueError as error:
    assert str(error)
  if names:
    assert find_port(wanted, names) == wanted


def test_the_obvious_keyboard():
  assert obvious_keyboard(ALSA) == ALSA[1]
  assert obvious_keyboard(ALSA[2:]) == ALSA[2]
  assert obvious_keyboard(ALSA[3:]) == ALSA[3]
  assert obvious_keyboard(ALSA[:1]) is None
  assert obvious_keyboard(["magenta-midi:out", "magenta-midi-01:out"]) is None
  assert obvious_keyboard(["System:Announce 0:1", "UM-ONE 20:0"]) == (
    "UM-ONE 20:0"
  )
  assert obvious_keyboard(["IAC Driver Bus 1", "USB Device"]) == "USB Device"
  assert obvious_keyboard([]) is None
