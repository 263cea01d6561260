"""Limits of numbers: what lies within passes, all else is refused in a line."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi import limits
from magenta_midi.limits import GUIDANCE, SEED, TOP_P, Bounds, split_number

ALL = {
  name: bounds
  for name, bounds in vars(limits).items()
  if isinstance(bounds, Bounds)
}
NO_LIMIT_LETS_IN = (
  math.nan,
  math.inf,
  -math.inf,
  1e300,
  -1e300,
  10**30,
  10**400,
  10**5000,
  True,
  None,
  "",
  "5",
  [5],
)


@pytest.mark.parametrize("bounds", ALL.values(), ids=ALL)
def test_what_no_setting_can_be_is_refused_in_one_line(bounds):
  for value in NO_LIMIT_LETS_IN:
    with pytest.raises(ValueError, match=r"^it must be .*, got .*\.$") as error:
      bounds.check("it", value)
    assert bounds.words() in str(error.value)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize("bounds", ALL.values(), ids=ALL)
def test_ends_count_unless_they_are_open(bounds):
  for end, is_open in (
    (bounds.low, bounds.above),
    (bounds.high, bounds.below),
  ):
    if is_open:
      with pytest.raises(ValueError, match="it must be"):
        bounds.check("it", end)
    else:
      assert bounds.check("it", end) == end
  inside = bounds.high - (1 if bounds.whole else bounds.high / 4)
  assert bounds.check("it", inside) == inside


@given(
  st.one_of(st.integers(), st.floats(), st.fractions()),
  st.booleans(),
  st.booleans(),
  st.booleans(),
)
def test_a_number_passes_exactly_if_it_lies_within(value, whole, above, below):
  bounds = Bounds(-2, 5, whole=whole, above=above, below=below)
  within = (
    not (isinstance(value, float) and math.isnan(value))
    and (value > -2 if above else value >= -2)
    and (value < 5 if below else value <= 5)
    and (not whole or value == math.floor(value))
  )
  try:
    found = bounds.check("it", value)
  except ValueError:
    assert not within
  else:
    assert within
    assert found == (value if whole else float(value))
    assert type(found) is (int if whole else float)


def test_numbers_of_numpy_are_numbers():
  assert SEED.check("seed", np.int64(3)) == 3
  assert GUIDANCE.check("guidance", np.float32(1.5)) == 1.5
  assert GUIDANCE.check("guidance", Fraction(1, 2)) == 0.5


@pytest.mark.parametrize(
  ("bounds", "text", "value"),
  [
    (SEED, "7", 7),
    (SEED, " 7 ", 7),
    (SEED, "1_000", 1000),
    (SEED, "１２", 12),  # full-width digits
    (SEED, "1e3", 1000),
    (SEED, "5.0", 5),
    (SEED, "4294967295", 2**32 - 1),
    (GUIDANCE, "1.5", 1.5),
    (GUIDANCE, "٣", 3.0),
    (GUIDANCE, "8", 8.0),
    (GUIDANCE, 2, 2.0),
  ],
)
def test_numbers_are_read_as_python_reads_them(bounds, text, value):
  found = bounds.read("it", text)
  assert found == value
  assert type(found) is type(value)


@pytest.mark.parametrize(
  ("bounds", "text", "got"),
  [
    (SEED, "", "got ''"),
    (SEED, "seven", "got 'seven'"),
    (SEED, "1.5", r"got 1\.5"),
    (SEED, "-1", "got -1"),
    (SEED, "4294967296", "got 4294967296"),
    (SEED, "9" * 30, r"got 1e\+30"),
    (SEED, "9" * 6000, "got inf"),
    (SEED, "nan", "got nan"),
    (GUIDANCE, "nan", "got nan"),
    (GUIDANCE, "1e300", r"got 1e\+300"),
    (GUIDANCE, "1,5", "got '1,5'"),
    (GUIDANCE, "x" * 500, r"got 'x+\.\.\.\."),
    (GUIDANCE, math.inf, "got inf"),
    (TOP_P, "0", "got 0"),
  ],
)
def test_text_that_is_no_such_number_is_refused(bounds, text, got):
  with pytest.raises(ValueError, match=f"^it must be .*, {got}") as error:
    bounds.read("it", text)
  assert len(str(error.value)) < 200


@pytest.mark.parametrize(
  ("text", "parts"),
  [
    ("calm", ("calm", None)),
    ("calm:2", ("calm", 2)),
    ("calm:0.5", ("calm", 0.5)),
    ("a:b:1e3", ("a:b", 1000.0)),
    ("calm:", ("calm:", None)),
    ("4:soft", ("4:soft", None)),
    (":3", ("", 3)),
    ("x:inf", ("x", math.inf)),
  ],
)
def test_a_number_after_a_colon_is_split_off(text, parts):
  assert split_number(text) == parts
