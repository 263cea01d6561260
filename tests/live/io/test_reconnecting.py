"""Ports that are unplugged and come back."""

import pytest

from magenta_midi.live.io.port_scan import PortList
from magenta_midi.live.io.reconnecting import (
  DEAD_SCANS,
  PortEvent,
  ReconnectingInput,
  ReconnectingOutput,
)
from magenta_midi.live.io.rtmidi import Backend, InputPort, OutputPort
from magenta_midi.midi.io.messages import note_on
from magenta_midi.testing.ports import FakeBackend

NOTE = note_on(1, 60, 64)


def test_an_input_comes_back():
  backend = FakeBackend(inputs=("Piano 24:0",))
  port = ReconnectingInput(backend, "piano", backend)
  first = backend.opened_inputs["Piano 24:0"]
  first.press(5, 60)
  assert port.poll() == [(5, NOTE)]
  assert port.take_events() == []

  first.press(6, 61)
  backend.unplug("Piano 24:0")
  # What came before is not lost with it.
  assert port.poll() == [(6, note_on(1, 61, 64))]
  assert port.take_events() == [PortEvent("lost", "Piano", True)]
  assert not port.alive and not first.alive
  assert port.poll() == []

  backend.plug_input("Other 20:0")
  assert port.take_events() == []
  # ALSA gives it another number.
  backend.plug_input("Piano 28:0")
  assert port.poll() == []
  assert port.take_events() == [PortEvent("back", "Piano", True)]
  backend.opened_inputs["Piano 28:0"].press(7, 60)
  assert port.poll() == [(7, NOTE)]
  assert port.name == "Piano"


def test_new_numbers_mean_it_was_plugged_in_again():
  backend = FakeBackend(inputs=("Piano 24:0",))
  port = ReconnectingInput(backend, "piano", backend)
  backend._inputs = ["Piano 28:0"]
  backend.scan()
  assert [event.kind for event in port.take_events()] == ["lost"]
  # A client that follows one that was just closed may halt JACK.
  assert backend.opened_inputs["Piano 24:0"] is not None
  assert "Piano 28:0" not in backend.opened_inputs
  backend.scan()
  assert [event.kind for event in port.take_events()] == ["back"]


def test_an_output_comes_back_and_never_raises():
  backend = FakeBackend()
  port = ReconnectingOutput(backend, "synth", backend)
  first = backend.opened_outputs["Fake Synth"]
  assert port.send(NOTE)
  first.alive = False  # the driver notices before any scan
  assert not port.send(NOTE)
  assert not port.send(NOTE)
  assert port.take_events() == [PortEvent("lost", "Fake Synth", False)]
  backend.scan()
  assert port.take_events() == [PortEvent("back", "Fake Synth", False)]
  assert port.send(NOTE)
  assert first.sent == backend.opened_outputs["Fake Synth"].sent == [NOTE]


def test_a_blocked_output_is_not_lost():
  backend = FakeBackend()
  port = ReconnectingOutput(backend, "synth", backend)
  fake = backend.opened_outputs["Fake Synth"]
  fake.blocked = True
  assert not port.send(NOTE)
  backend.scan()
  assert port.alive and port.take_events() == []
  fake.blocked = False
  assert port.send(NOTE) and fake.sent == [NOTE]
  assert fake.confirmed == 2  # on opening, and by the scan


def test_a_scan_that_hangs_says_nothing():
  class Hanging:
    count = 0
    latest = PortList((), (), "", "hangs", hung=True)

  backend, watch = FakeBackend(), Hanging()
  port = ReconnectingOutput(backend, "synth", watch)
  watch.count = 1
  assert port.alive and port.take_events() == []
  assert backend.opened_outputs["Fake Synth"].confirmed == 1


def test_a_busy_system_of_ports_may_refuse_now_and_then():
  class Busy:
    count = 0
    latest = PortList((), (), "", "no MIDI system answers")

  backend, watch = FakeBackend(), Busy()
  ports = [
    ReconnectingInput(backend, "piano", watch),
    ReconnectingInput(backend, None, watch),
    ReconnectingOutput(backend, None, watch, virtual="duet"),
  ]
  for refused in (True, True, False, True, True, False):
    watch.count += 1
    watch.latest = Busy.latest
    if not refused:
      watch.latest = PortList(("Fake Piano",), ("Fake Synth",), "fake")
    assert all(port.alive and not port.take_events() for port in ports)
  # Their first ones are open still: nobody has to connect again.
  assert backend.opened_outputs["duet"].alive
  # Output waits until the system is seen to live again.
  assert backend.opened_outputs["duet"].confirmed == 3


def test_the_system_of_ports_dies_and_is_back():
  backend = FakeBackend()
  named = ReconnectingInput(backend, "piano", backend)
  virtual = ReconnectingOutput(backend, None, backend, virtual="duet")
  assert virtual.name == "duet"
  backend.stop()
  for _ in range(DEAD_SCANS - 1):
    assert not named.take_events() and not virtual.take_events()
    backend.scan()
  assert [e.kind for e in named.take_events()] == ["lost"]
  assert [e.kind for e in virtual.take_events()] == ["lost"]
  assert not virtual.send(NOTE)
  backend.start()
  assert [e.kind for e in named.take_events()] == ["back"]
  assert [e.kind for e in virtual.take_events()] == ["back"]
  assert virtual.send(NOTE)
  assert backend.opened_outputs["duet"].sent == [NOTE]
  virtual.close()
  named.close()
  assert not virtual.send(NOTE) and named.poll() == []
  assert not backend.opened_outputs["duet"].alive


def test_a_port_that_cannot_be_opened_yet_is_waited_for():
  backend = FakeBackend()
  port = ReconnectingInput(backend, "piano", backend)
  backend.unplug("Fake Piano")
  listed = backend.latest
  assert listed is not None and port.take_events()

  class Early:  # lists the port before it is ready
    count = 9
    latest = PortList(("Fake Piano",), (), "fake")

  port._watch = Early()
  assert port.poll() == [] and not port.alive
  port._watch = backend
  backend.plug_input("Fake Piano")
  assert [e.kind for e in port.take_events()] == ["back"]


def test_a_wrong_name_is_told_at_once():
  backend = FakeBackend()
  with pytest.raises(
    ValueError, match=r'no input port "organ"\. There are: "Fa'
  ):
    ReconnectingInput(backend, "organ", backend)
  with pytest.raises(ValueError, match='no output port "organ"'):
    ReconnectingOutput(backend, "organ", backend)


def test_fakes_and_wrappers_keep_the_interfaces():
  backend = FakeBackend()
  assert isinstance(backend, Backend)
  for port in (
    ReconnectingInput(backend, "piano", backend),
    backend.opened_inputs["Fake Piano"],
  ):
    assert isinstance(port, InputPort)
  for port in (
    ReconnectingOutput(backend, "synth", backend),
    backend.opened_outputs["Fake Synth"],
  ):
    assert isinstance(port, OutputPort)


def test_fake_input_on_a_clock():
  port = FakeBackend().open_virtual_input("in")
  port.press(10, 60, duration_ns=20)
  port.pedal(5, 127)
  assert [t for t, _ in port.poll(now_ns=9)] == [5]
  assert [t for t, _ in port.poll(now_ns=10)] == [10]
  assert [t for t, _ in port.poll()] == [30]
