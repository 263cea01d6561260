"""The commit horizon follows the machine."""

from magenta_midi.live.engine.horizon import MAX_NS, Horizon

MS = 1_000_000


def after(horizon, *took_ms):
  for ms in took_ms:
    horizon.took(ms * MS)
  return horizon.changed()


def test_a_quick_machine_keeps_what_was_asked():
  horizon = Horizon(12 * MS)
  assert not after(horizon, *[3] * 64)
  assert horizon.ns == 12 * MS


def test_a_slow_one_plans_further_ahead_and_comes_back():
  horizon = Horizon(12 * MS)
  assert after(horizon, *[20] * 32)
  assert horizon.ns == 24 * MS
  assert after(horizon, *[500] * 64)
  assert horizon.ns == MAX_NS
  assert after(horizon, *[2] * 64)
  assert horizon.ns == 12 * MS


def test_single_hiccups_and_few_answers_change_nothing():
  horizon = Horizon(12 * MS)
  assert not after(horizon, *[50] * 7)
  calm = Horizon(12 * MS)
  assert not after(calm, *[5] * 60, 200, 200)
