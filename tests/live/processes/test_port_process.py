"""What the process that owns the ports does with the player's messages."""

import contextlib
from contextlib import closing

import pytest

from magenta_midi.live.io.calibration import Calibration
from magenta_midi.live.io.reconnecting import ReconnectingInput
from magenta_midi.live.processes.port_process import PortConfig, _Ports
from magenta_midi.live.processes.shm_ring import Ring
from magenta_midi.live.processes.wire_format import pack_plan, unpack_message
from magenta_midi.live.protocol.events import Message, PlannedNote, PlannedPedal
from magenta_midi.live.protocol.messages import EchoFound, decode
from magenta_midi.midi.io.messages import control_change, note_off, note_on
from magenta_midi.testing.ports import FakeBackend, FakeOutput

SECOND = 1_000_000_000
NAMES = (
  "to_model",
  "feedback",
  "received",
  "commands",
  "port_requests",
  "sent",
  "port_reports",
  "control",
)


class Rig:
  """The loop's state without a loop: time is what a test says it is."""

  def __init__(self, rings, **settings):
    self.rings = rings
    config = PortConfig(no_input=True, no_output=True, shared=True, **settings)
    names = {name: ring.name for name, ring in rings.items()}
    self.ports = _Ports(config, names)
    self.thru = self.ports.input.thru = FakeOutput()
    self.ports.output.port = FakeOutput()
    self.now_ns = 0
    self.ports.now_ns = lambda: self.now_ns

  def plan(self, *events):
    self.rings["commands"].put(pack_plan(self.now_ns, events, [], "react"))
    self.ports.output.handle_commands()

  def play(self, data):
    self.ports.input.receive(Message(self.now_ns, data))

  def send(self):
    """What was due; what went out."""
    self.ports.output.send_due()
    port = self.ports.output.port
    sent, port.sent = port.sent, []
    return sent

  def reports(self):
    return [decode(record) for record in self.rings["port_reports"].drain()]

  def close(self):
    self.ports.close()


@pytest.fixture
def rings():
  with contextlib.ExitStack() as stack:
    rings = {}
    for name in NAMES:
      ring = rings[name] = Ring.create(256, 1500)
      stack.callback(ring.unlink)
      stack.callback(ring.close)
    yield rings


@pytest.fixture
def rig(rings):
  with closing(Rig(rings)) as rig:
    yield rig


def test_the_players_pedal_passes_through_only_where_it_ends_nothing(rig):
  rig.plan(PlannedPedal(1, 0, True), PlannedPedal(2, SECOND, False))
  assert rig.send() == [control_change(2, 64, 127)]
  down, up = control_change(1, 64, 127), control_change(1, 64, 0)
  rig.play(down)
  rig.play(up)
  assert rig.thru.sent == [down]
  # The model hears both, whatever the instrument gets.
  heard = [unpack_message(r).data for r in rig.rings["to_model"].drain()]
  assert heard == [down, up]
  rig.send()
  rig.now_ns = SECOND
  assert rig.send() == [control_change(2, 64, 0), up]


def test_a_calibrated_keyboard_is_heard_as_any_other(rings):
  calibration = Calibration(
    velocity_low=40,
    velocity_typical=60,
    velocity_high=80,
    pedal_inverted=True,
    pedal_down_at=30,
  )
  with closing(Rig(rings, calibration=calibration)) as rig:
    played = [note_on(1, 60, velocity) for velocity in (40, 60, 80)]
    played += [note_off(1, 60)]
    played += [control_change(1, 64, value) for value in (100, 31, 30, 0)]
    for data in played:
      rig.play(data)
    for name in ("to_model", "received"):
      heard = [unpack_message(r).data for r in rings[name].drain()]
      assert [data[2] for data in heard] == [20, 64, 110, 64, 0, 0, 127, 127]
    # The instrument gets what was played.
    assert rig.thru.sent == played


def test_what_nobody_took_is_told(rings):
  with closing(Rig(rings)) as rig:
    backend = FakeBackend()
    port = ReconnectingInput(backend, "piano", backend)
    rig.ports.inputs.append(("player", port))
    backend.opened_inputs["Fake Piano"].dropped = 3
    for _ in range(rings["received"].capacity + 2):
      rig.play(note_on(1, 60, 64))
      rings["to_model"].drain()
    rig.ports._check(0)
    assert rig.reports()[-1].dropped == 5


def test_a_loop_is_named_once_and_leaves_no_key_down(rig):
  for index in range(8):
    key = 60 + index
    rig.now_ns = index * SECOND
    rig.plan(PlannedNote(index, rig.now_ns, SECOND // 2, key, 70))
    for after_ns in (0, SECOND // 2):
      rig.now_ns = index * SECOND + after_ns
      for data in rig.send():
        rig.now_ns += 1_000_000
        rig.play(bytes((data[0] - 1, *data[1:])))
    assert rig.ports.echo.looped == (index >= 3)
  assert [type(r) for r in rig.reports()] == [EchoFound]
  assert rig.ports.performer.player_keys == []
  assert rig.ports.performer.next_due_ns() is None
  # Three were taken for the player's, at first.
  heard = [unpack_message(r).data for r in rig.rings["to_model"].drain()]
  assert heard == [
    *(note_on(1, key, 70) for key in (60, 61, 62)),
    *(note_off(1, key) for key in (60, 61, 62)),
  ]
