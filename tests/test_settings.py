"""Plain values as the types of settings, and one line for what is wrong."""

import dataclasses
import math
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.limits import FRACTION, POSITIVE, SHARE
from magenta_midi.settings import (
  check_at_least,
  check_bounds,
  check_choices,
  check_length,
  check_numbers,
  convert,
  convert_fields,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inner:
  tempo: tuple[float, float] = (1.0, 1.0)
  bars: int = 4

  def __post_init__(self) -> None:
    check_at_least(self, 1, "bars")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outer:
  name: str
  mode: Literal["fast", "slow"] = "fast"
  dtype: Literal["float32"] | None = None
  rate: float = 0.5
  steps: int | None = None
  columns: tuple[tuple[int, int], ...] = ()
  shares: dict[str, float] = dataclasses.field(default_factory=dict)
  inner: Inner = dataclasses.field(default_factory=Inner)


@pytest.mark.parametrize(
  ("hint", "value", "expected"),
  [
    (float, 1, 1.0),
    (int, 1e3, 1000),
    (int | None, None, None),
    (float | None, 2, 2.0),
    (dict[str, float], {"a": 1}, {"a": 1.0}),
    (tuple[int, int], [1, 2], (1, 2)),
    (tuple[float, ...], (1, 2, 3), (1.0, 2.0, 3.0)),
    (list[str], ("a",), ["a"]),
    (bool, True, True),
  ],
)
def test_values_take_the_type_of_their_field(hint, value, expected):
  found = convert(hint, value, "x")
  assert found == expected
  assert type(found) is type(expected)


@pytest.mark.parametrize(
  ("hint", "value", "expected"),
  [
    (int, True, "an integer"),
    (int, 1.5, "an integer"),
    (bool, 1, "True or False"),
    (str, 1, "text in quotes"),
    (int | None, "a", "an integer or None"),
    (tuple[int, int], [1], r"\(an integer, an integer\)"),
    (dict[str, float], [1], r"a {name: value}"),
  ],
)
def test_values_of_another_type_are_refused(hint, value, expected):
  with pytest.raises(ValueError, match=f"^x must be {expected}, got "):
    convert(hint, value, "x")


def test_a_dataclass_with_what_is_inside_it():
  found = convert(
    Outer,
    dict(
      name="a",
      rate=1,
      steps=1e3,
      columns=[[0, 2], [2, 4]],
      shares={"solo": 1},
      inner={"tempo": [1, 2]},
    ),
  )
  assert found == Outer(
    name="a",
    rate=1.0,
    steps=1000,
    columns=((0, 2), (2, 4)),
    shares={"solo": 1.0},
    inner=Inner(tempo=(1.0, 2.0)),
  )
  assert type(found.rate) is float and type(found.steps) is int


@pytest.mark.parametrize(
  ("values", "python", "json"),
  [
    (dict(rate="x"), "Outer.rate must be a number, got 'x'", None),
    (
      dict(steps="x"),
      "Outer.steps must be an integer or None, got 'x'",
      "Outer.steps must be an integer or null, got 'x'",
    ),
    (
      dict(name=3),
      "Outer.name must be text in quotes, got 3",
      "Outer.name must be a string, got 3",
    ),
    (dict(mode="x"), "Outer.mode must be 'fast' or 'slow', got 'x'", None),
    (
      dict(columns=[[1]]),
      "Outer.columns must be a list of (an integer, an integer), got [[1]]",
      "Outer.columns must be pairs of integers, got [[1]]",
    ),
    (
      dict(shares={"solo": 1, "hands": "x"}),
      "Outer.shares['hands'] must be a number, got 'x'",
      None,
    ),
    (
      dict(inner=3),
      "Outer.inner must be a {field: value} of tempo, bars, got 3",
      None,
    ),
    (
      dict(inner={"tempo": [1]}),
      "Outer.inner.tempo must be (a number, a number), got [1]",
      None,
    ),
    (dict(inner={"bars": 0}), "bars must be at least 1, got 0", None),
    (
      dict(inner={"bar": 1}),
      "unknown Outer.inner setting bar: Inner has no field 'bar'. Known: tempo,"
      " bars. Did you mean bars?",
      None,
    ),
    (
      dict(zzz=1),
      "unknown Outer setting zzz: Outer has no field 'zzz'. Known: name, mode,"
      " dtype, rate, steps, columns, shares, inner.",
      None,
    ),
  ],
)
def test_an_error_names_field_expected_and_given(values, python, json):
  for source, message in (("python", python), ("json", json or python)):
    with pytest.raises(ValueError) as error:
      convert(Outer, {"name": "a", **values}, source=source)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_what_has_no_default_must_be_there():
  with pytest.raises(ValueError, match=r"^Outer settings .*: name missing\.$"):
    convert(Outer, {"rate": 1.0})
  # Unless only some fields are meant.
  assert convert_fields(Outer, {"rate": 1}) == {"rate": 1.0}


json_values = st.recursive(
  st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
  lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
  max_leaves=5,
)


@given(json_values)
def test_any_value_is_converted_or_refused_in_one_line(value):
  for hint in (int, float | None, Literal["a"], dict[str, float], Outer, Any):
    try:
      found = convert(hint, value, "x")
    except ValueError as error:
      assert len(str(error).splitlines()) <= 1 or isinstance(value, dict)
    else:
      if hint is int:
        assert type(found) is int and found == value


@dataclasses.dataclass
class Checked:
  mode: Literal["fast", "slow"] = "fast"
  dtype: Literal["float32"] | None = None
  value: float | None = 0.5


@pytest.mark.parametrize(
  ("check", "fields", "message"),
  [
    (check_choices, dict(mode="x"), "mode must be one of fast, slow, got 'x'"),
    (
      check_choices,
      dict(dtype="x"),
      "dtype must be one of float32, None, got 'x'",
    ),
    (
      check_numbers,
      dict(value=math.nan),
      "value must be a number from -1000000000000000 to 1000000000000000, got"
      " nan",
    ),
    (
      check_numbers,
      dict(value=(0.5, {"a": 1e300})),
      "value['a'] must be a number from -1000000000000000 to 1000000000000000,"
      " got 1e+300",
    ),
    (
      lambda s: check_at_least(s, 0, "value"),
      dict(value=math.nan),
      "value must be at least 0, got nan",
    ),
    (
      lambda s: check_bounds(s, POSITIVE, "value"),
      dict(value=math.inf),
      "value must be a number above 0 and at most 1000000000, got inf",
    ),
    (
      lambda s: check_bounds(s, FRACTION, "value"),
      dict(value=1.0),
      "value must be a number of at least 0 and below 1, got 1",
    ),
    (
      lambda s: check_bounds(s, SHARE, "value"),
      dict(value=[0.5, 1.5]),
      "value must be a number from 0 to 1, got 1.5",
    ),
  ],
)
def test_checks_of_what_a_type_cannot_say(check, fields, message):
  check(Checked())
  with pytest.raises(ValueError) as error:
    check(Checked(**fields))
  assert str(error.value) == f"{message}."


def test_none_is_no_number_that_is_too_small():
  check_at_least(Checked(value=None), 0, "value")
  check_bounds(Checked(value=None), SHARE, "value")


@pytest.mark.parametrize(
  ("steps", "minutes", "message"),
  [
    (None, None, "either steps or minutes"),
    (1, 1.0, "either steps or minutes"),
    (0, None, "steps must be a whole number from 1 to 10+ .*, got 0"),
    (None, math.nan, "minutes must be a number above 0 .*, got nan"),
  ],
)
def test_a_run_has_one_length(steps, minutes, message):
  check_length(3, None)
  check_length(None, 0.5)
  with pytest.raises(ValueError, match=message):
    check_length(steps, minutes)
