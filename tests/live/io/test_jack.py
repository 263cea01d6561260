"""Real ports, over JACK's dummy driver."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

from magenta_midi.live.io.port_scan import PortList, PortWatch, scan
from magenta_midi.live.io.reconnecting import (
  ReconnectingInput,
  ReconnectingOutput,
)
from magenta_midi.live.io.rtmidi import PortError, RtMidiBackend
from magenta_midi.midi.io.messages import control_change, note_off, note_on
from magenta_midi.testing.jack import JackServer, jack_missing

pytestmark = pytest.mark.ports


def wait_until(condition, timeout_s: float = 30.0) -> None:
  end = time.monotonic() + timeout_s
  while not condition():
    assert time.monotonic() < end, "it never came"
    time.sleep(0.01)


def collect(port, count: int) -> list[tuple[int, bytes]]:
  got: list[tuple[int, bytes]] = []

  def enough() -> bool:
    got.extend(port.poll())
    return len(got) >= count

  wait_until(enough)
  return got


@pytest.fixture
def backend(jack_server):
  with contextlib.closing(RtMidiBackend()) as backend:
    assert backend.api == "jack"
    yield backend


def test_notes_arrive_whole_in_order_and_stamped(backend):
  keyboard = backend.open_virtual_output("keys")
  (name,) = backend.inputs()
  port = backend.open_input(name)
  draw = random.Random(4)
  sent = []
  before_ns = time.perf_counter_ns()
  for _ in range(500):
    make = draw.choice((note_on, control_change))
    message = make(draw.randint(1, 16), draw.randint(0, 127), 64)
    assert keyboard.send(message)
    sent.append(message)
    time.sleep(0.001)
  got = collect(port, len(sent))
  after_ns = time.perf_counter_ns()
  assert [message for _, message in got] == sent
  times = [time_ns for time_ns, _ in got]
  assert times == sorted(times)
  assert before_ns < times[0] and times[-1] < after_ns
  assert port.dropped == 0
  keyboard.close()
  port.close()


def test_midi_clock_is_not_filtered(backend):
  port = backend.open_virtual_input("in")
  (name,) = backend.outputs()
  clock = backend.open_output(name)
  # Tick, start, continue, stop; then active sensing, which is filtered.
  for byte in (b"\xf8", b"\xfa", b"\xfb", b"\xfc", b"\xfe"):
    assert clock.send(byte)
  assert clock.send(note_off(1, 60))
  got = [message for _, message in collect(port, 5)]
  assert got == [b"\xf8", b"\xfa", b"\xfb", b"\xfc", note_off(1, 60)]
  assert not clock.send(b"")
  assert not clock.send(b"\x90\x3c\x40\x90\x3c\x40")
  assert clock.alive
  clock.close()
  port.close()


def test_a_port_that_is_gone_cannot_be_opened(backend):
  with pytest.raises(PortError, match="the port nowhere is gone"):
    backend.open_input("nowhere")


@pytest.mark.parametrize(("refusals", "opens"), [(2, True), (3, False)])
def test_a_busy_server_may_refuse_a_client(
  backend, monkeypatch, refusals, opens
):
  real, left = backend._rtmidi.MidiOut, [refusals]

  def busy(*args, **settings):
    if left[0]:
      left[0] -= 1
      raise RuntimeError("JACK server not running?")
    return real(*args, **settings)

  monkeypatch.setattr(backend._rtmidi, "MidiOut", busy)
  if not opens:
    with pytest.raises(PortError, match="the MIDI system jack fails: JACK"):
      backend.open_virtual_output("keys")
    return
  port = backend.open_virtual_output("keys")
  assert backend.inputs() == ("magenta-midi:keys",)
  port.close()


def test_a_fetcher_that_sleeps_loses_counted_messages(backend, monkeypatch):
  monkeypatch.setattr("magenta_midi.live.io.rtmidi.QUEUE_MESSAGES", 10)
  keyboard = backend.open_virtual_output("keys")
  port = backend.open_input(backend.inputs()[0])
  for key in range(30):
    keyboard.send(note_on(1, key, 64))
  wait_until(lambda: port.dropped == 20)
  assert len(port.poll()) == 10
  keyboard.close()
  port.close()


CLOSE_OFTEN = """
import sys, threading, time
from magenta_midi.live.io.rtmidi import RtMidiBackend

def compute():
  while True:
    sum(range(20000))

threading.Thread(target=compute, daemon=True).start()
backend = RtMidiBackend()
heard = 0
for _ in range(60):
  port = backend.open_input(sys.argv[1])
  time.sleep(0.02)
  heard += len(port.poll())
  port.close()
  # As the next program would, it uses what memory came free.
  compile("def f(a, b): return (a, b)\\n" * 20, "f", "exec")
print(heard)
"""


@pytest.mark.slow
def test_ports_are_closed_amid_messages_and_computing(backend):
  keyboard = backend.open_virtual_output("keys")
  (name,) = backend.inputs()
  child = subprocess.Popen(
    [sys.executable, "-X", "faulthandler", "-c", CLOSE_OFTEN, name],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  try:
    end = time.monotonic() + 90
    while child.poll() is None and time.monotonic() < end:
      keyboard.send(note_on(1, 60, 64))
      time.sleep(0.001)
    assert child.poll() is not None, "closing never ended"
    out, errors = child.communicate()
    assert child.returncode == 0, errors[-2000:]
    assert int(out) > 0
  finally:
    child.kill()
    child.communicate()
    keyboard.close()


def test_scan_in_a_child(jack_server, backend):
  port = backend.open_virtual_output("keys")
  found = scan()
  assert found.api == "jack" and found.problem == ""
  assert found.inputs == ("magenta-midi:keys",)
  assert found.outputs == ()
  port.close()
  # A server that stands still.
  jack_server.freeze()
  started = time.monotonic()
  found = scan(timeout_s=0.5)
  assert time.monotonic() - started < 3
  assert found.hung and "did not answer within 0.5 s" in found.problem
  jack_server.thaw()


def test_scan_without_a_server(monkeypatch):
  pytest.importorskip("rtmidi")
  monkeypatch.setenv("JACK_DEFAULT_SERVER", "nobody")
  found = scan(api="jack")
  assert found.api == "" and not found.hung
  assert "no MIDI system answers (jack)" in found.problem
  assert "one of" in scan(api="spinet").problem
  with pytest.raises(PortError, match=r"no MIDI system answers \(jack\)"):
    RtMidiBackend("jack")
  with pytest.raises(ValueError, match="'spinet' here: expected one of"):
    RtMidiBackend("spinet")


def test_a_server_that_says_all_it_does(monkeypatch):
  pytest.importorskip("rtmidi")
  if reason := jack_missing():
    pytest.skip(reason)
  # libjack then writes into the output of its clients.
  with JackServer(verbose=True) as server:
    for name, value in server.environment.items():
      monkeypatch.setenv(name, value)
    found = scan()
  assert (found.api, found.problem, found.hung) == ("jack", "", False)


def test_a_watch_is_one_client_of_jack(jack_server):
  if not shutil.which("jack_evmon"):
    pytest.skip("jack_evmon not found (Debian: jack-tools, jackd2)")
  with subprocess.Popen(
    ["stdbuf", "-oL", "jack_evmon"], stdout=subprocess.PIPE, text=True
  ) as events:
    assert events.stdout is not None
    with PortWatch(0.05) as watch:
      wait_until(lambda: watch.count >= 10)
    scan()
    told = []
    while told.count("unregistered") < 2:
      line = events.stdout.readline()
      if "magenta-midi" in line:
        told.append(line.split()[-1])
    events.terminate()
  assert told == ["registered", "unregistered"] * 2


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_watch_replaces_a_child_that_hangs_or_dies(jack_server, number):
  with PortWatch(0.05, timeout_s=1.5) as watch:
    wait_until(lambda: watch.count >= 2)
    (child,) = children(watch._process.pid)
    os.kill(child, number)
    wait_until(lambda: children(watch._process.pid) not in ([child], []))
    seen = watch.count
    wait_until(lambda: watch.count > seen + 2)
    assert watch.latest == PortList((), (), "jack")


def children(pid: int) -> list[int]:
  path = f"/proc/{pid}/task/{pid}/children"
  with open(path) as file:
    return [int(word) for word in file.read().split()]


def test_unplugged_and_plugged_in_again(backend):
  keyboard = backend.open_virtual_output("keys")
  synth = backend.open_virtual_input("synth")
  with PortWatch(0.2) as watch:
    port = ReconnectingInput(backend, "keys", watch)
    out = ReconnectingOutput(backend, "synth", watch)
    keyboard.send(note_on(1, 60, 64))
    assert collect(port, 1)[0][1] == note_on(1, 60, 64)

    keyboard.close()
    synth.close()
    for each in (port, out):
      wait_until(lambda each=each: not (each.check(), each.alive)[1])
      assert [event.kind for event in each.take_events()] == ["lost"]
    assert not out.send(note_on(2, 60, 64))

    keyboard = backend.open_virtual_output("keys")
    synth = backend.open_virtual_input("synth")
    for each in (port, out):
      wait_until(lambda each=each: (each.check(), each.alive)[1])
      assert [event.kind for event in each.take_events()] == ["back"]
    keyboard.send(note_on(1, 61, 64))
    assert collect(port, 1)[0][1] == note_on(1, 61, 64)
    assert out.send(note_on(2, 61, 64))
    assert collect(synth, 1)[0][1] == note_on(2, 61, 64)
    for each in (port, out, keyboard, synth):
      each.close()
  assert threading.active_count() == 1 or all(
    thread.name != "port-watch" for thread in threading.enumerate()
  )


def test_a_server_that_stands_still_never_blocks_sending(jack_server, backend):
  with PortWatch(0.2) as watch:
    out = ReconnectingOutput(backend, None, watch)
    jack_server.freeze()
    time.sleep(0.1)
    longest_s, sent = 0.0, []
    for _ in range(4000):
      started = time.perf_counter()
      sent.append(out.send(note_on(2, 60, 64)))
      longest_s = max(longest_s, time.perf_counter() - started)
    # Without the guard it waits until the server goes on.
    assert longest_s < 0.5
    assert sent[0] and not sent[-1]
    assert out.alive
    jack_server.thaw()
    wait_until(lambda: out.send(note_on(2, 60, 64)))
    assert out.take_events() == []
    out.close()


def test_a_server_that_died_is_waited_for(jack_server, backend):
  with PortWatch(0.2) as watch:
    out = ReconnectingOutput(backend, None, watch)
    jack_server.process.kill()
    jack_server.process.wait()
    wait_until(lambda: not (out.check(), out.alive)[1])
    assert [event.kind for event in out.take_events()] == ["lost"]
    assert not out.send(note_on(2, 60, 64))
    with JackServer(name=jack_server.name):
      wait_until(lambda: (out.check(), out.alive)[1])
      assert [event.kind for event in out.take_events()] == ["back"]
      assert out.send(note_on(2, 60, 64))
      out.close()


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_the_watch_ends_with_its_process():
  program = (
    "import os, time\n"
    "from magenta_midi.live.io.port_scan import PortWatch\n"
    "print(PortWatch(0.1)._process.pid, flush=True)\n"
    "time.sleep(60)\n"
  )
  with subprocess.Popen(
    [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
  ) as process:
    assert process.stdout is not None
    helper = int(process.stdout.readline())
    os.kill(helper, 0)
    process.kill()
  wait_until(lambda: not _runs(helper))


def _runs(pid: int) -> bool:
  try:
    os.kill(pid, 0)
  except ProcessLookupError:
    return False
  # Where nobody collects orphans they stay as zombies.
  with open(f"/proc/{pid}/stat") as file:
    return file.read().rsplit(")")[-1].split()[0] != "Z"
