"""A run's length by steps or by the clock, over several sessions."""

import pytest

from magenta_midi.train.run_clock import RunClock, processor_s


class Seconds:
  """A clock that is moved by hand."""

  def __init__(self, now: float):
    self.now = now

  def __call__(self) -> float:
    return self.now


def test_minutes_add_up_over_sessions():
  clock = Seconds(1000.0)
  run = RunClock(minutes=10.0, earlier_min=4.0, clock=clock)
  assert (run.session_min, run.minutes) == (0.0, 4.0)
  clock.now += 180.0
  assert (run.session_min, run.minutes) == (3.0, 7.0)
  assert run.now_s - run.started_s == 180.0
  # Whatever the step.
  assert run.fraction(5) == run.fraction(0) == pytest.approx(0.7)
  clock.now += 240.0
  assert run.fraction(5) > 1.0


def test_a_session_that_starts_again_keeps_earlier_ones():
  clock = Seconds(0.0)
  run = RunClock(minutes=10.0, earlier_min=4.0, clock=clock)
  clock.now += 300.0
  run.start_again()
  assert (run.started_s, run.minutes) == (300.0, 4.0)
  clock.now += 60.0
  assert run.minutes == 5.0


def test_steps_go_before_the_clock():
  clock = Seconds(0.0)
  run = RunClock(steps=40, minutes=1.0, clock=clock)
  clock.now += 3600.0
  assert run.fraction(10) == 0.25
  assert run.minutes == 60.0


@pytest.mark.parametrize("length", [{}, {"steps": 0}, {"minutes": -1.0}])
def test_a_run_without_length_is_refused(length):
  with pytest.raises(ValueError, match="positive number of steps or minutes"):
    RunClock(**length)


def test_the_processors_clock_moves_with_work():
  first = processor_s()
  # A tenth of a second at least, anywhere.
  sum(range(10_000_000))
  assert 1e-3 < processor_s() - first < 60.0
