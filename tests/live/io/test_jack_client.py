"""Clients outside JACK's graph, over JACK's dummy driver."""

import contextlib
import subprocess
import sys
import time

import pytest

from magenta_midi.live.io.jack_client import JackClient
from magenta_midi.live.io.rtmidi import RtMidiBackend
from magenta_midi.testing.jack import JackServer
from magenta_midi.testing.port_player import wait_until

pytestmark = pytest.mark.ports

KILLED = """
import time
from magenta_midi.live.io.jack_client import JackClient
client = JackClient("killed")
print(client.ports(), flush=True)
time.sleep(60)
"""

DROPPED = """
import gc, sys, time
from magenta_midi.live.io.jack_client import JackClient
for number in range(20):
  JackClient(f"dropped-{number}")
gc.collect()
taken = [bytearray(100) for _ in range(100_000)]  # what was freed is used anew
print("dropped", flush=True)
sys.stdin.readline()
time.sleep(0.5)
print("alive", flush=True)
"""


@pytest.fixture
def client(jack_server):
  with contextlib.closing(JackClient("lists")) as client:
    yield client


def test_it_lists_what_rtmidi_opens(client):
  backend = RtMidiBackend("jack")
  assert client.ports() == ((), ())
  keys = backend.open_virtual_output("clé")
  synth = backend.open_virtual_input("synth")
  assert client.ports() == (("magenta-midi:clé",), ("magenta-midi-01:synth",))
  assert client.ports() == (backend.inputs(), backend.outputs())
  heard = backend.open_input("magenta-midi:clé")
  for port in (heard, keys, synth):
    port.close()
  assert client.ports() == ((), ())
  backend.close()


def test_it_may_be_killed_and_nobody_waits(client):
  backend = RtMidiBackend("jack")
  keys = backend.open_virtual_output("keys")
  for _ in range(5):
    with subprocess.Popen(
      [sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True
    ) as child:
      assert child.stdout is not None and "keys" in child.stdout.readline()
      child.kill()
    # A client in the graph that is killed costs 5 s, in 19 of 20 tries.
    assert all(client.runs(2.0) for _ in range(100))
  assert keys.send(b"\x90\x3c\x40")
  keys.close()
  backend.close()


def test_a_server_that_stands_still_and_goes_on(jack_server, client):
  assert client.runs(10.0)
  jack_server.freeze()
  began = time.monotonic()
  assert not client.runs(0.2)
  assert 0.2 <= time.monotonic() - began < 5
  # Names lie in shared memory.
  assert client.ports() == ((), ())
  jack_server.thaw()
  assert client.runs(10.0)


def test_a_server_that_ended(jack_server, client):
  jack_server.process.kill()
  jack_server.process.wait()
  wait_until(lambda: client.server_ended)
  began = time.monotonic()
  assert not client.runs(60.0)
  assert time.monotonic() - began < 30
  client.close()
  with pytest.raises(ConnectionError, match="no JACK server answers"):
    JackClient("lists")
  # JACK keeps the places of eight servers: one that takes this one's frees it.
  JackServer(name=jack_server.name).close()


def test_clients_that_were_dropped_open_survive_their_server(jack_server):
  with subprocess.Popen(
    [sys.executable, "-c", DROPPED],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
  ) as child:
    assert child.stdout is not None
    assert child.stdout.readline() == "dropped\n"
    jack_server.process.terminate()
    jack_server.process.wait(20)
    assert child.communicate("\n", timeout=30)[0] == "alive\n"
  # JACK keeps the places of eight servers: one that takes this one's frees it.
  JackServer(name=jack_server.name).close()


def test_a_backend_settles_once_all_is_handed_on(jack_server):
  backend = RtMidiBackend("jack")
  synth = backend.open_virtual_input("synth")
  keys = backend.open_output(backend.outputs()[0])
  assert backend.settle(10.0)
  jack_server.freeze()
  assert keys.send(b"\x90\x3c\x40")
  assert not backend.settle(0.2)
  assert synth.poll() == []
  jack_server.thaw()
  assert backend.settle(10.0)
  wait_until(lambda: [data for _, data in synth.poll()] == [b"\x90\x3c\x40"])
  keys.close()
  synth.close()
  backend.close()
