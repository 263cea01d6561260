"""The outbox: order, slots for display updates, and a client that is slow."""

import asyncio
import threading

import pytest

from magenta_midi.server.duets import outbox as module
from magenta_midi.server.duets.outbox import Outbox, OutboxFull


def run(play):
  async def main():
    return await asyncio.wait_for(play(Outbox(asyncio.get_running_loop())), 20)

  return asyncio.run(main())


def test_messages_come_in_order_and_the_newest_display_update_last():
  async def play(outbox):
    outbox.put("state 1", slot="state")
    outbox.put("a")
    outbox.put("state 2", slot="state")
    outbox.put(b"b")
    return [await outbox.get() for _ in range(3)]

  assert run(play) == ["a", b"b", "state 2"]


def test_another_thread_wakes_the_one_who_waits():
  async def play(outbox):
    waiting = asyncio.create_task(outbox.get())
    await asyncio.sleep(0)
    thread = threading.Thread(target=outbox.put, args=("late",))
    thread.start()
    found = await waiting
    thread.join()
    return found

  assert run(play) == "late"


def test_what_waits_is_sent_before_the_end():
  async def play(outbox):
    outbox.put("last")
    outbox.close(1000)
    outbox.put("too late")
    return [await outbox.get(), await outbox.get()]

  assert run(play) == ["last", 1000]


@pytest.mark.parametrize(
  ("items", "size"), [(module.MAX_ITEMS + 1, 1), (3, module.MAX_BYTES // 2)]
)
def test_a_client_that_does_not_read_is_given_up(items, size):
  async def play(outbox):
    for _ in range(items):
      outbox.put(b"x" * size)
    with pytest.raises(OutboxFull):
      await outbox.get()

  run(play)


def test_display_updates_never_fill_it():
  async def play(outbox):
    for number in range(3 * module.MAX_ITEMS):
      outbox.put(str(number), slot="state")
    return await outbox.get()

  assert run(play) == str(3 * module.MAX_ITEMS - 1)
