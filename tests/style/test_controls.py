"""Control tokens: numbers to buckets, buckets to rows."""

import json

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from magenta_midi.style.controls import (
  CONTROL_BUCKETS,
  CONTROL_ROWS,
  CONTROLS,
  ControlTargets,
  Measures,
  control_rows,
  measured_rows,
)

FIRST = 1537
KEY = st.floats(0, 127)


def test_without_a_target_the_row_is_the_mask():
  rows = control_rows(ControlTargets(), FIRST)
  assert rows.tolist() == [0, 0, 0, 0]
  assert rows.dtype == np.int32
  assert np.flatnonzero(
    control_rows(ControlTargets(loudness=60.0), FIRST)
  ).tolist() == [CONTROLS.index("loudness")]


@given(
  st.floats(0, 1000),
  st.floats(1, 127),
  st.one_of(KEY, st.tuples(KEY, KEY).map(lambda keys: tuple(sorted(keys)))),
  st.floats(0, 1),
)
def test_controls_have_separate_rows(density, loudness, register, pedal):
  rows = control_rows(ControlTargets(density, loudness, register, pedal), FIRST)
  assert (np.diff(rows) > 0).all()
  assert rows[0] >= FIRST
  assert rows[-1] < FIRST + CONTROL_ROWS
  alone = control_rows(ControlTargets(density=density), FIRST)
  assert alone[0] == rows[0]


def test_all_rows_are_used():
  values = np.linspace(0, 130, 5001)
  none = np.full(len(values), np.nan)
  used = []
  for width in (np.nan, 5.0, 15.0, 20.0, 40.0):
    measures = Measures(
      density=values,
      loudness=values,
      center=values,
      width=none + 1 if width is np.nan else np.full(len(values), width),
      pedal=values / 130,
    )
    if width is np.nan:
      measures = measures._replace(width=none)
    rows = measured_rows(measures, FIRST)
    # A higher value has a later row.
    assert (np.diff(rows, axis=0) >= 0).all()
    used.append(rows)
  assert len(np.unique(used)) == CONTROL_ROWS
  assert np.min(used) == FIRST
  assert np.max(used) == FIRST + CONTROL_ROWS - 1


def test_the_buckets_are_as_described():
  assert json.loads(json.dumps(CONTROL_BUCKETS)) == CONTROL_BUCKETS
  assert tuple(CONTROL_BUCKETS) == CONTROLS
  first = CONTROL_BUCKETS["density"][0]
  below, at = (
    control_rows(ControlTargets(density=value), FIRST)[0]
    for value in (first - 1e-6, first)
  )
  assert (below, at) == (FIRST, FIRST + 1)


def test_a_single_key_means_any_width():
  center = control_rows(ControlTargets(register=60.0), FIRST)
  narrow = control_rows(ControlTargets(register=(60.0, 60.0)), FIRST)
  wide = control_rows(ControlTargets(register=(40.0, 80.0)), FIRST)
  assert center[2] < narrow[2] < wide[2] < center[2] + 5


@pytest.mark.parametrize(
  ("targets", "message"),
  [
    (
      ControlTargets(density=-1.0),
      "density must be a number from 0 to 1000 .*, got -1",
    ),
    (
      ControlTargets(density=np.inf),
      "density must be a number from 0 to 1000 .*, got inf",
    ),
    (
      ControlTargets(loudness=0.0),
      r"loudness must be a number from 1 to 127 .*, got 0",
    ),
    (
      ControlTargets(loudness=np.nan),
      r"loudness must be a number from 1 to 127 .*, got nan",
    ),
    (
      ControlTargets(register=128.0),
      r"register must be a number from 0 to 127 .*, got 128",
    ),
    (
      ControlTargets(register=(60.0, 40.0)),
      r"pair \(lowest, highest\), got 60-40",
    ),
    (
      ControlTargets(pedal=1.5),
      r"pedal must be a number from 0 to 1, got 1\.5",
    ),
  ],
)
def test_targets_out_of_range_are_refused(targets, message):
  with pytest.raises(ValueError, match=message):
    control_rows(targets, FIRST)
