"""Plays a phrase to `magenta-midi serve` and prints what the model answers.

pip install websockets
python client.py http://127.0.0.1:8765/
"""

import asyncio
import json
import math
import struct
import sys
import time
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.client import connect

HEADER, RECORD = struct.Struct("<BBH"), struct.Struct("<dB3s")
NOTES, PLAYER, MODEL = 1, 0, 1  # a kind of frame; who
PHRASE = (60, 64, 67, 72, 71, 67, 64, 60)


class Client:
  """One session; `on_note(who, time_s, data)` gets every MIDI message."""

  def __init__(self, address, on_note=lambda who, time_s, data: None):
    parts = urlsplit(address)
    token = parse_qs(parts.query).get("token")
    self.headers = {"Authorization": f"Bearer {token[0]}"} if token else {}
    self.url = f"ws://{parts.netloc}/api/socket"
    self.on_note = on_note
    self.key = None  # to come back with
    self.messages = {}  # the newest of each type
    self.ready = asyncio.Event()
    self.trips = []  # round trip and offset of the last pings, s

  async def __aenter__(self):
    self.connection = connect(self.url, additional_headers=self.headers)
    self.socket = await self.connection.__aenter__()
    await self.send("hello", version=1, key=self.key)
    tasks = self.receive(), self.keep_time()
    self.tasks = [asyncio.create_task(task) for task in tasks]
    return self

  async def __aexit__(self, *_):
    [task.cancel() for task in self.tasks]
    await self.connection.__aexit__(None, None, None)

  async def send(self, type, **fields):
    await self.socket.send(json.dumps({"type": type, **fields}))

  async def play(self, *data):
    """Sends a MIDI message as of now: its bytes, as 0x90, 60, 80."""
    record = RECORD.pack(self.now_s(), len(data), bytes(data))
    await self.socket.send(HEADER.pack(NOTES, PLAYER, 1) + record)

  def now_s(self):
    """The session's time; NaN until the first answer to a ping."""
    return time.monotonic() + min(self.trips)[1] if self.trips else math.nan

  async def keep_time(self):
    while True:
      await self.send("ping", t=time.monotonic())
      await asyncio.sleep(2)

  async def receive(self):
    async for message in self.socket:
      if isinstance(message, bytes):
        kind, who, _ = HEADER.unpack_from(message)
        if kind == NOTES:
          for time_s, length, data in RECORD.iter_unpack(message[4:]):
            self.on_note(who, time_s, data[:length])
        continue
      message = json.loads(message)
      self.messages[message["type"]] = message
      if message["type"] == "pong":
        trip_s = time.monotonic() - message["t"]
        offset_s = message["now_s"] - message["t"] - trip_s / 2
        self.trips = [*self.trips[-19:], (trip_s, offset_s)]
      elif message["type"] == "welcome":
        self.key = message["key"]
      elif message["type"] == "status" and message["phase"] == "ready":
        self.ready.set()


async def main(address):
  def show(who, time_s, data):
    print(f"{time_s:8.3f} s", "model" if who == MODEL else "player", data.hex())

  async with Client(address, show) as client:
    await client.ready.wait()
    for key in PHRASE:
      await client.play(0x90, key, 80)
      await asyncio.sleep(0.25)
      await client.play(0x80, key, 64)
    await asyncio.sleep(10)
    await client.send("bye")


if __name__ == "__main__":
  asyncio.run(main(*sys.argv[1:]))
