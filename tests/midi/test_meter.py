"""Meters as they are written."""

import pytest

from magenta_midi.midi.meter import Meter


@pytest.mark.parametrize(
  ("text", "meter", "beats", "quarters", "triplets"),
  [
    ("4/4", Meter(4, 4), 4, 1.0, False),
    ("3/4", Meter(3, 4), 3, 1.0, False),
    (" 7/4 ", Meter(7, 4), 7, 1.0, False),
    ("2/2", Meter(2, 2), 2, 2.0, False),
    ("5 / 8", Meter(5, 8), 5, 0.5, False),
    ("3/8", Meter(3, 8), 3, 0.5, False),
    ("6/8", Meter(6, 8), 2, 1.5, True),
    ("12/8", Meter(12, 8), 4, 1.5, True),
    ("48/16", Meter(48, 16), 16, 0.75, True),
  ],
)
def test_what_a_bar_has(text, meter, beats, quarters, triplets):
  found = Meter.parse(text)
  assert found == meter
  assert (found.beats, found.quarters, found.triplets) == (
    beats,
    quarters,
    triplets,
  )


@pytest.mark.parametrize(
  "text",
  ["", "4", "0/4", "17/4", "17/8", "4/0", "4/3", "4/4/4", "-3/4", "x", "4/64"],
)
def test_other_meters_are_refused(text):
  with pytest.raises(ValueError, match=r"^a meter must be such as 4/4.* got '"):
    Meter.parse(text)
