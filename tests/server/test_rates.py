"""Rates: so many at once, and so many a second."""

from magenta_midi.server import rates
from magenta_midi.server.rates import Bucket, Buckets


class Clock:
  def __init__(self):
    self.now = 0.0

  def __call__(self):
    return self.now


def test_a_bucket_empties_and_fills():
  clock = Clock()
  bucket = Bucket(2, 3, clock)
  assert [bucket.take() for _ in range(4)] == [True, True, True, False]
  clock.now = 0.5
  assert [bucket.take() for _ in range(2)] == [True, False]
  clock.now = 100.0
  assert bucket.take(3) and not bucket.take()


def test_one_client_does_not_take_anothers(monkeypatch):
  clock = Clock()
  buckets = Buckets(1, 1, clock)
  assert buckets.take("a") and not buckets.take("a")
  assert buckets.take("b")


def test_few_addresses_are_remembered(monkeypatch):
  monkeypatch.setattr(rates, "_MAX_CLIENTS", 2)
  clock = Clock()
  buckets = Buckets(1, 1, clock)
  for name in ("a", "b", "c"):
    assert buckets.take(name)
  assert not buckets.take("c")
  assert buckets.take("a")  # forgotten
