"""What is particular about a keyboard."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.live.io.calibration import Calibration, calibrate, round_trip
from magenta_midi.live.protocol.events import SECOND
from magenta_midi.midi.io.messages import control_change, note_off, note_on


def notes(velocities):
  messages = []
  for i, velocity in enumerate(velocities):
    messages.append((i * SECOND // 4, note_on(1, 60, velocity)))
    messages.append((i * SECOND // 4 + SECOND // 8, note_off(1, 60)))
  return messages


TOUCH = notes(range(20, 101, 4))


def test_the_usual_touch_is_left_alone():
  same = Calibration()
  assert [same.usual_velocity(v) for v in range(1, 128)] == [*range(1, 128)]


@given(st.lists(st.integers(1, 127), min_size=3, max_size=3).map(sorted))
def test_every_touch_becomes_the_usual_one(touch):
  low, typical, high = touch
  found = Calibration(
    velocity_low=low, velocity_typical=typical, velocity_high=high
  )
  heard = [found.usual_velocity(velocity) for velocity in range(1, 128)]
  assert heard == sorted(heard)
  assert set(heard) <= set(range(1, 128))
  assert found.usual_velocity(typical) == 64
  if low < typical < high:
    assert found.usual_velocity(low) == 20
    assert found.usual_velocity(high) == 110


def pedal(*values, start_ns=10 * SECOND, step_ns=SECOND // 20):
  return [
    (start_ns + i * step_ns, control_change(1, 64, value))
    for i, value in enumerate(values)
  ]


def test_touch():
  found = calibrate(TOUCH)
  assert found.velocity_low in (20, 24)
  assert found.velocity_typical == 60
  assert found.velocity_high in (96, 100)
  # One slip among many notes is no range.
  slipped = calibrate(notes([*[50] * 30, 127]))
  assert slipped.velocity_high == 50


def test_too_few_notes_are_told():
  with pytest.raises(ValueError, match=r"at least 8 notes .* got 3"):
    calibrate(notes([20, 60, 100]))


def test_a_switch():
  found = calibrate(TOUCH + pedal(127, 0, 127, 0))
  assert not found.pedal_inverted and not found.pedal_continuous
  assert found.pedal_down_at == 64
  assert found.pedal_is_down(127) and not found.pedal_is_down(0)


def test_an_inverted_switch():
  found = calibrate(TOUCH + pedal(0, 127, 0, 127))
  assert found.pedal_inverted and not found.pedal_continuous
  assert found.pedal_is_down(0) and not found.pedal_is_down(127)


@pytest.mark.parametrize("inverted", [False, True])
def test_half_pedal(inverted):
  way = [*range(0, 121, 10), *range(120, -1, -10)]
  rise = [10, 20, 30, 42]
  turn = (lambda v: 120 - v) if inverted else (lambda v: v)
  messages = TOUCH + pedal(*map(turn, way * 3))
  end_ns = messages[-1][0] + SECOND
  messages += pedal(*map(turn, rise), start_ns=end_ns)
  # It stays at 42 for three seconds.
  messages += pedal(*map(turn, (30, 10, 0)), start_ns=end_ns + 3 * SECOND)
  found = calibrate(messages)
  assert found.pedal_continuous
  assert found.pedal_inverted == inverted
  assert found.pedal_down_at == turn(42)
  assert found.pedal_is_down(turn(42)) and found.pedal_is_down(turn(120))
  assert not found.pedal_is_down(turn(41))
  assert not found.pedal_is_down(turn(0))


def test_continuous_without_half_pedal_takes_the_middle():
  way = [*range(0, 121, 10), *range(120, -1, -10)]
  found = calibrate(TOUCH + pedal(*way))
  assert found.pedal_continuous and found.pedal_down_at == 60


def test_no_pedal_is_the_default():
  found = calibrate(TOUCH)
  assert not found.pedal_inverted and found.pedal_down_at == 64
  assert calibrate(TOUCH + pedal(0, 0)).pedal_down_at == 64


@given(
  st.lists(st.tuples(st.integers(0, SECOND), st.binary(max_size=2))),
  st.lists(st.integers(0, 127), min_size=2),
)
def test_the_foot_is_off_the_pedal_at_the_end(junk, values):
  found = calibrate([*sorted(junk), *TOUCH, *pedal(*values)])
  if max(values) > min(values):
    middle = (max(values) + min(values)) / 2
    if values[-1] != middle:
      assert not found.pedal_is_down(values[-1])


def test_round_trip():
  sent = [0, SECOND, 2 * SECOND]
  heard = [
    (time_ns + delay, control_change(16, 119, i))
    for i, (time_ns, delay) in enumerate(
      zip(sent, (3_000_000, 2_000_000, 9_000_000), strict=True)
    )
  ]
  assert round_trip(sent, heard) == 3.0
  assert round_trip(sent, heard[:1]) is None
  assert round_trip(sent, []) is None


def test_saved_per_keyboard(tmp_path, monkeypatch):
  monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
  name = "Digital Piano:Digital/Piano MIDI 1"
  assert Calibration.load(name) == Calibration()
  made = calibrate(TOUCH + pedal(0, 127), round_trip_ms=2.5)
  path = made.save(name)
  assert path.parent == tmp_path / "magenta_midi" / "keyboards"
  assert json.loads(path.read_text())["keyboard"] == name
  assert Calibration.load(name) == made
  assert Calibration.load("Digital Piano:Digital_Piano MIDI 1") != made
  # In the home folder by default.
  monkeypatch.delenv("XDG_CONFIG_HOME")
  monkeypatch.setenv("HOME", str(tmp_path / "home"))
  assert Calibration.load(name) == Calibration()
  made.save(name)
  assert (tmp_path / "home" / ".config" / "magenta_midi").is_dir()


@pytest.mark.parametrize(
  "text",
  [
    "",
    "[]",
    "{}",
    '{"velocity_low": 1}',
    json.dumps({**vars(Calibration()), "pedal_down_at": 300}),
    json.dumps({**vars(Calibration()), "pedal_down_at": "64"}),
    json.dumps({**vars(Calibration()), "pedal_inverted": 1}),
    json.dumps({**vars(Calibration()), "round_trip_ms": -1}),
    json.dumps({**vars(Calibration()), "velocity_low": 99}),
    json.dumps({**vars(Calibration()), "velocity_low": 10**400}),
    json.dumps({**vars(Calibration()), "round_trip_ms": 10**400}),
    json.dumps({**vars(Calibration()), "round_trip_ms": float("nan")}),
    json.dumps({**vars(Calibration()), "round_trip_ms": [1]}),
    "[" * 100_000 + "]" * 100_000,
    '{"velocity_low": ' + "9" * 5000 + "}",
  ],
)
def test_a_damaged_file_is_told(tmp_path, monkeypatch, text):
  monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
  path = Calibration().save("piano")
  path.write_text(text)
  with pytest.raises(
    ValueError, match=r"is no calibration .*Calibrate again"
  ) as e:
    Calibration.load("piano")
  assert "\n" not in str(e.value) and len(str(e.value)) < 600


def test_a_calibration_is_a_regular_file(tmp_path):
  os.mkfifo(tmp_path / "a.json")
  with pytest.raises(OSError, match="no regular file"):
    Calibration.read(tmp_path / "a.json")
