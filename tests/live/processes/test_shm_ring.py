"""Records from one process to another."""

import collections
import contextlib
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from multiprocessing import shared_memory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
  RuleBasedStateMachine,
  initialize,
  invariant,
  rule,
)

from magenta_midi.live.processes.shm_ring import Ring

COUNT = 100_000


@contextlib.contextmanager
def new_ring(capacity, record_size):
  ring = Ring.create(capacity, record_size)
  try:
    yield ring
  finally:
    ring.close()
    ring.unlink()


class RingIsABoundedDeque(RuleBasedStateMachine):
  """Writer and reader each with a view of their own on the same memory."""

  @initialize(
    capacity=st.integers(1, 9), size=st.sampled_from([1, 2, 7, 8, 9, 33])
  )
  def create(self, capacity, size):
    self.writer = Ring.create(capacity, size)
    self.reader = Ring.attach(self.writer.name)
    self.model: collections.deque[bytes] = collections.deque()
    self.capacity, self.size, self.dropped = capacity, size, 0

  @rule(data=st.data())
  def put(self, data):
    record = data.draw(st.binary(max_size=self.size))
    fits = len(self.model) < self.capacity
    assert self.writer.put(record) == fits
    if fits:
      self.model.append(record)
    self.dropped += not fits

  @rule()
  def get(self):
    assert self.reader.get() == (self.model.popleft() if self.model else None)

  @rule()
  def drain(self):
    assert self.reader.drain() == list(self.model)
    self.model.clear()

  @rule()
  def clear(self):
    assert self.reader.clear_for_new_consumer() == len(self.model)
    self.model.clear()

  @rule()
  def new_writer(self):
    # As after a crash: it goes on where the other one stopped.
    self.writer, old = Ring.attach(self.reader.name), self.writer
    old.close()

  @rule()
  def new_reader(self):
    self.reader, old = Ring.attach(self.writer.name), self.reader
    old.close()

  @invariant()
  def agree(self):
    assert len(self.reader) == len(self.writer) == len(self.model)
    assert self.reader.dropped == self.writer.dropped == self.dropped
    assert self.reader.capacity == self.capacity
    assert self.reader.record_size == self.size

  def teardown(self):
    if hasattr(self, "writer"):
      self.reader.close()
      self.writer.close()
      self.writer.unlink()


TestRingIsABoundedDeque = RingIsABoundedDeque.TestCase
TestRingIsABoundedDeque.settings = settings(
  max_examples=25, stateful_step_count=40, deadline=None
)


def record(number):
  """All lengths, each byte a function of the number."""
  return number.to_bytes(4, "little") * (number % 7) + bytes([number % 251])


def put_all(name):
  ring = Ring.attach(name)
  for number in range(COUNT):
    while not ring.put(record(number)):
      time.sleep(0)
  ring.close()


def test_records_arrive_whole_and_in_order_from_another_process():
  with new_ring(64, 25) as ring:
    writer = multiprocessing.get_context("spawn").Process(
      target=put_all, args=(ring.name,), daemon=True
    )
    writer.start()
    try:
      number = 0
      latest = time.monotonic() + 60
      while number < COUNT and time.monotonic() < latest:
        for got in ring.drain():
          assert got == record(number)
          number += 1
      assert number == COUNT
      writer.join(10)
      assert writer.exitcode == 0
      assert len(ring) == 0
    finally:
      writer.kill()
      writer.join()
      writer.close()


LEAK_CHECK = """
import sys
from magenta_midi.live.processes.shm_ring import Ring
rings = [Ring.attach(name) for name in sys.argv[1:]]
assert [ring.get() for ring in rings] == [b"to the child"] * len(rings)
for ring in rings:
  ring.put(b"back")
# As a process that just ends, and as one that tidies up.
rings[0].close()
"""


def test_a_ring_outlives_a_process_of_its_own_that_used_it():
  with new_ring(4, 16) as first, new_ring(4, 16) as second:
    rings = [first, second]
    for ring in rings:
      ring.put(b"to the child")
    # Not of our family: it has a resource tracker of its own.
    child = subprocess.run(
      [sys.executable, "-c", LEAK_CHECK, *(ring.name for ring in rings)],
      capture_output=True,
      text=True,
      timeout=60,
      check=False,
    )
    assert (child.returncode, child.stderr) == (0, "")
    for ring in rings:
      other = Ring.attach(ring.name)
      assert other.drain() == [b"back"]
      other.close()


CREATE_AND_REMOVE = """
import multiprocessing, sys
from magenta_midi.live.processes.shm_ring import Ring

def put(name):
  ring = Ring.attach(name)
  ring.put(b"1")

if __name__ == "__main__":
  ring = Ring.create(4, 16)
  print(ring.name)
  child = multiprocessing.get_context("spawn").Process(
    target=put, args=(ring.name,)
  )
  child.start()
  child.join()
  assert ring.drain() == [b"1"]
  ring.close()
  ring.unlink()
"""


def test_nothing_is_left_behind_and_nothing_is_complained_about(tmp_path):
  script = tmp_path / "script.py"
  script.write_text(CREATE_AND_REMOVE)
  child = subprocess.run(
    [sys.executable, "-W", "error", str(script)],
    capture_output=True,
    text=True,
    timeout=60,
    check=False,
  )
  assert (child.returncode, child.stderr) == (0, "")
  with pytest.raises(OSError, match=child.stdout.strip()):
    Ring.attach(child.stdout.strip())


@given(st.integers(0, 40), st.integers(1, 8))
def test_a_full_ring_refuses_and_counts(extra, capacity):
  with new_ring(capacity, 4) as ring:
    taken = [ring.put(bytes([n])) for n in range(capacity + extra)]
    assert taken == [True] * capacity + [False] * extra
    assert ring.dropped == extra
    assert ring.drain() == [bytes([n]) for n in range(capacity)]
    assert ring.put(b"free")


def test_a_record_that_is_not_wholly_there_is_not_taken():
  with new_ring(4, 8) as ring:
    ring.put(b"whole")
    memory = shared_memory.SharedMemory(name=ring.name)
    try:
      assert memory.buf is not None
      at = bytes(memory.buf).index(b"whole")
      # As a reader may see it whose machine shows the head before the bytes.
      memory.buf[at : at + 1] = b"\0"
      assert ring.get() is None and ring.drain() == []
      assert len(ring) == 1
      memory.buf[at : at + 1] = b"w"
      assert ring.drain() == [b"whole"]
    finally:
      memory.close()


def test_a_reader_that_takes_the_place_of_another_begins_with_what_is_new():
  with new_ring(4, 8) as ring:
    for _ in range(3):
      ring.put(b"stale")
    assert ring.get() == b"stale"
    reader = Ring.attach(ring.name)
    assert reader.clear_for_new_consumer() == 2
    ring.put(b"new")
    assert reader.drain() == [b"new"]
    reader.close()


def test_a_record_that_is_too_long_is_refused():
  with (
    new_ring(4, 8) as ring,
    pytest.raises(ValueError, match="at most 8 bytes, got 9"),
  ):
    ring.put(bytes(9))


@pytest.mark.parametrize(("capacity", "size"), [(0, 8), (8, 0), (-1, 8)])
def test_a_ring_holds_something(capacity, size):
  with pytest.raises(ValueError, match="must be above 0"):
    Ring.create(capacity, size)


def test_a_ring_that_is_not_there_or_is_none():
  with pytest.raises(OSError, match="no_such_ring"):
    Ring.attach(f"no_such_ring_{os.getpid()}")
  memory = shared_memory.SharedMemory(create=True, size=4096)
  try:
    with pytest.raises(ValueError, match="is no ring"):
      Ring.attach(memory.name)
  finally:
    memory.close()
    memory.unlink()


def test_closing_twice_does_no_harm():
  with new_ring(4, 8) as ring:
    ring.close()


def test_two_threads_see_the_same_records_in_order():
  with new_ring(8, 25) as ring:
    reader = Ring.attach(ring.name)

    def write():
      for number in range(20_000):
        while not ring.put(record(number)):
          time.sleep(0)

    thread = threading.Thread(target=write)
    thread.start()
    number = 0
    while number < 20_000:
      for got in reader.drain():
        assert got == record(number)
        number += 1
      time.sleep(0)
    thread.join()
    reader.close()


def read_and_stay(name, count, answer):
  ring, back = Ring.attach(name), Ring.attach(answer)
  while count:
    if (got := ring.get()) is not None:
      back.put(got)
      count -= 1
  time.sleep(60)


def test_a_reader_takes_the_place_of_one_that_was_killed():
  with new_ring(8, 25) as ring, new_ring(8, 25) as answer:
    first = multiprocessing.get_context("spawn").Process(
      target=read_and_stay, args=(ring.name, 2, answer.name), daemon=True
    )
    first.start()
    try:
      for number in range(6):
        assert ring.put(record(number))
      got = []
      while len(got) < 2:
        got += answer.drain()
    finally:
      first.kill()
      first.join()
      first.close()
    assert got == [record(0), record(1)]
    second = Ring.attach(ring.name)
    assert second.clear_for_new_consumer() == 4
    assert ring.put(b"new")
    assert second.drain() == [b"new"]
    second.close()


@pytest.mark.skipif(os.name != "posix", reason="elsewhere nothing is left over")
def test_a_maker_that_is_killed_leaves_no_memory_behind():
  text = """
    from magenta_midi.live.processes.shm_ring import Ring
    ring = Ring.create(4, 8)
    print(ring.name, flush=True)
    input()
    """
  maker = subprocess.Popen(
    [sys.executable, "-c", textwrap.dedent(text)],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    stderr=subprocess.DEVNULL,
    text=True,
  )
  with maker:
    assert maker.stdout is not None
    name = maker.stdout.readline().strip()
    Ring.attach(name).close()
    maker.send_signal(signal.SIGKILL)
  # Python's own tracker of such memory does it, in a process of its own.
  until = time.monotonic() + 20
  while time.monotonic() < until:
    try:
      Ring.attach(name).close()
    except FileNotFoundError:
      return
    time.sleep(0.05)
  pytest.fail("the memory is still there")


def test_a_forgotten_ring_closes_without_a_word():
  # A warning here would be an error: memory that views still look at.
  with new_ring(4, 8) as ring:
    forgotten = Ring.attach(ring.name)
    forgotten.put(b"x")
    del forgotten
    gc.collect()
    assert ring.get() == b"x"
