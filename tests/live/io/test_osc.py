import math
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.live.io.osc import ADDRESSES, OscInput
from magenta_midi.live.io.osc_packet import OscError, OscMessage, pack, unpack
from magenta_midi.live.protocol.controls import (
  RANGES,
  Action,
  Change,
  Controls,
  changed,
)

IMMEDIATELY = bytes([0, 0, 0, 0, 0, 0, 0, 1])


def bundle(*elements):
  sized = [struct.pack(">i", len(element)) + element for element in elements]
  return b"#bundle\0" + IMMEDIATELY + b"".join(sized)


# The first two are the examples of the specification, byte by byte.
PACKETS = [
  (
    "2f 6f 73 63 69 6c 6c 61 74 6f 72 2f 34 2f 66 72"  # /oscillator/4/fr
    "65 71 75 65 6e 63 79 00 2c 66 00 00 43 dc 00 00",  # equency ,f 440.0
    OscMessage("/oscillator/4/frequency", (440.0,)),
  ),
  (
    "2f 66 6f 6f 00 00 00 00 2c 69 69 73 66 66 00 00"  # /foo ,iisff
    "00 00 03 e8 ff ff ff ff 68 65 6c 6c 6f 00 00 00"  # 1000 -1 hello
    "3f 9d f3 b6 40 b5 b2 2d",  # 1.234 5.678
    OscMessage(
      "/foo", (1000, -1, "hello", 1.2339999675750732, 5.6779999732971)
    ),
  ),
  ("2f 65 6e 64 00 00 00 00", OscMessage("/end", ())),
  (
    "2f 78 00 00 2c 54 46 4e 5b 68 5d 62 00 00 00 00"  # /x ,TFN[h]b
    "00 00 00 00 00 00 00 07 00 00 00 03 01 02 03 00",
    OscMessage("/x", (True, False, None, 7, b"\1\2\3")),
  ),
]


@pytest.mark.parametrize(("data", "message"), PACKETS)
def test_packets_byte_by_byte(data, message):
  (found,) = unpack(bytes.fromhex(data))
  assert found.address == message.address
  assert found.arguments == pytest.approx(message.arguments)


@given(
  st.text(st.characters(exclude_characters="\0", codec="utf-8")),
  st.lists(
    st.integers(-(2**31), 2**31 - 1)
    | st.floats(width=32, allow_nan=False)
    | st.text(st.characters(exclude_characters="\0", codec="utf-8"))
  ),
)
def test_what_is_packed_is_unpacked(address, arguments):
  packet = pack("/" + address, *arguments)
  assert len(packet) % 4 == 0
  message = OscMessage("/" + address, tuple(arguments))
  assert unpack(packet) == [message]
  assert unpack(bundle(packet, bundle(packet))) == [message, message]


def test_bundles_end():
  # An element of -4 bytes would be read for ever.
  with pytest.raises(OscError, match="element of -4 bytes"):
    unpack(b"#bundle\0" + IMMEDIATELY + b"\xff\xff\xff\xfc")
  deep = pack("/end")
  for _ in range(20):
    deep = bundle(deep)
  with pytest.raises(OscError, match="more than 8 bundles"):
    unpack(deep)


@given(
  st.binary(max_size=64)
  | st.builds(lambda tail: b"/mode\0\0\0," + tail, st.binary(max_size=40))
  | st.builds(lambda tail: b"#bundle\0" + tail, st.binary(max_size=60))
)
def test_no_bytes_do_more_than_be_refused(packet):
  try:
    unpack(packet)
  except OscError as error:
    assert "\n" not in str(error)


@pytest.fixture
def osc():
  with OscInput(0) as osc, socket.socket(type=socket.SOCK_DGRAM) as sender:

    def send(*packets):
      for packet in packets:
        sender.sendto(packet, ("127.0.0.1", osc.port))
      return osc.poll()

    osc.send = send
    yield osc


@pytest.mark.parametrize(
  ("address", "arguments", "event"),
  [
    ("/mode", ("listen",), Change("mode", "listen")),
    ("/temperature", (0.5,), Change("temperature", 0.5)),
    ("/temperature", (1,), Change("temperature", 1.0)),
    ("/guidance", (2.0,), Change("guidance", 2.0)),
    ("/density", (4.0,), Change("density", 4.0)),
    ("/register", (40, 80), Change("register", (40, 80))),
    ("/register_low", (40,), Change("register_low", 40)),
    ("/register_high", (80.0,), Change("register_high", 80)),
    ("/loudness", (-5,), Change("loudness", -5)),
    ("/loudness", (-5.0,), Change("loudness", -5)),
    ("/injection", ("harmonic",), Change("injection", "harmonic")),
    ("/groove", ("swing",), Change("groove", "swing")),
    ("/chord_weight", (0.5,), Change("chord_weight", 0.5)),
    ("/chords", ("| C | F |",), Change("chords", "| 4/4 C | F |")),
    ("/tightness", (1.5,), Change("tightness", 1.5)),
    ("/tempo", (0.0,), Change("tempo", 0.0)),
    ("/tempo", (96.0,), Change("tempo", 96.0)),
    ("/tap", (1,), Action.TAP),
    ("/free", (1,), Change("free", True)),
    ("/harmony", ("follow",), Change("harmony", "follow")),
    ("/pedal", ("off",), Change("pedal", "off")),
    ("/comp", (1.0,), Change("comp", True)),
    ("/comp_loudness", (-6,), Change("comp_loudness", -6)),
    ("/style_s", (8.0,), Change("style_s", 8.0)),
    ("/mix_ratio", (0.5,), Change("mix_ratio", 0.5)),
    ("/prompt", ("slow  jazz", 2.0), Change("prompt", ("slow jazz", 2.0))),
    ("/clear_prompts", (), Change("prompts", ())),
    ("/adapter", (2,), Change("adapter", 2)),
    ("/adapter", (1.0,), Change("adapter", 1)),
    ("/next_adapter", (), Change("adapter_step", 1)),
    ("/mute", (1,), Change("muted", True)),
    ("/mute", (0.0,), Change("muted", False)),
    ("/solo", (1,), Change("solo", True)),
    ("/release_clashes", (0,), Change("release_clashes", False)),
    ("/hand_over", (), Action.HAND_OVER),
    ("/end", (), Action.END),
    ("/panic", (1.0,), Action.PANIC),
    ("/bookmark", (1,), Action.BOOKMARK),
  ],
)
def test_each_address(osc, address, arguments, event):
  assert osc.send(pack(address, *arguments)) == [event]
  if isinstance(event, Change):
    changed(Controls(adapters=("a", "b", "")), *event)
  assert (osc.malformed, osc.unknown, osc.refused) == (0, 0, 0)


def test_every_address_is_tested():
  rows = test_each_address.pytestmark[0].args[1]
  assert {row[0] for row in rows} == set(ADDRESSES)


def test_a_button_let_go_is_no_second_press(osc):
  assert osc.send(pack("/panic", 1.0), pack("/panic", 0.0)) == [Action.PANIC]


def test_what_cannot_be_is_counted_and_the_rest_heard(osc):
  events = osc.send(
    b"",
    b"garbage",
    b"/mode\0\0\0,s\0\0list",
    pack("/volume", 3),
    pack("/mode", "duel"),
    pack("/temperature", float("nan")),
    pack("/adapter", 0),
    pack("/adapter", "me"),
    pack("/adapter", float("inf")),
    pack("/adapter", 1.5),
    pack("/register", 60),
    pack("/end"),
  )
  assert events == [Action.END]
  assert (osc.malformed, osc.unknown, osc.refused) == (3, 1, 7)
  assert osc.problem == "OSC /register: takes 2 arguments (ii), got 1."


@pytest.mark.parametrize("name", RANGES)
def test_numbers_that_cannot_be_are_refused_and_the_rest_heard(osc, name):
  below, above = RANGES[name].bounds.low - 1, RANGES[name].bounds.high + 1
  wrong = [
    *(double(f"/{name}", x) for x in (math.nan, math.inf, -math.inf, 1e300)),
    *(pack(f"/{name}", float(x)) for x in (1e30, below, above)),
    pack(f"/{name}", int(above)),
    pack(f"/{name}", int(below)),
  ]
  for number, packet in enumerate(wrong, 1):
    assert osc.send(packet) == []
    assert osc.refused == number
    assert osc.problem.startswith(f"OSC /{name}: {name} must be a ")
    assert ", got " in osc.problem
    assert len(osc.problem.splitlines()) == 1
    assert (osc.news(), osc.news()) == (osc.problem, "")
  value = RANGES[name].bounds.low
  assert osc.send(pack(f"/{name}", float(value))) == [Change(name, value)]


def double(address, value):
  head = pack(address, 0.0)
  return head[:-4].replace(b",f", b",d") + struct.pack(">d", value)


def test_a_flood_is_taken_in_portions_and_nothing_waits(osc):
  assert osc.poll() == []
  heard = [len(osc.send(*[pack("/end")] * 100)), len(osc.poll())]
  assert heard == [64, 36]
  assert osc.poll() == []


def test_a_closed_port_is_silent():
  osc = OscInput(0)
  osc.close()
  assert osc.poll() == []


def test_a_taken_port_is_named(osc):
  with pytest.raises(OSError, match=rf"127.0.0.1:{osc.port} .*another port"):
    OscInput(osc.port)
