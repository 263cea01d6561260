"""What the process that owns the ports does with the player's messages."""

import contextlib
import json

import pytest

from magenta_midi.live.events import Message, PlannedNote, PlannedPedal
from magenta_midi.live.port_process import PortConfig, _Ports
from magenta_midi.live.records import pack_plan, unpack_message
from magenta_midi.live.ring import Ring
from magenta_midi.live.wire import control_change, note_off, note_on
from magenta_midi.testing.ports import FakeOutput

SECOND = 1_000_000_000
NAMES = (
  "to_model",
  "feedback",
  "heard",
  "commands",
  "asked",
  "sent",
  "news",
  "control",
)


class Rig:
  """The loop's state without a loop: time is what a test says it is."""

  def __init__(self, rings):
    self.rings = rings
    config = PortConfig(no_input=True, no_output=True, shared=True)
    names = {name: ring.name for name, ring in rings.items()}
    self.ports = _Ports(config, names)
    self.ports.output, self.ports.thru = FakeOutput(), FakeOutput()
    self.now_ns = 0
    self.ports.now_ns = lambda: self.now_ns

  def plan(self, *events):
    self.rings["commands"].put(pack_plan(self.now_ns, events, [], "react"))
    self.ports._obey()

  def play(self, data):
    self.ports.take(Message(self.now_ns, data))

  def send(self):
    """What was due; what went out."""
    self.ports._send()
    sent, self.ports.output.sent = self.ports.output.sent, []
    return sent

  def news(self):
    return [json.loads(record) for record in self.rings["news"].drain()]


@pytest.fixture
def rig():
  with contextlib.ExitStack() as stack:
    rings = {}
    for name in NAMES:
      ring = rings[name] = Ring.create(256, 1500)
      stack.callback(ring.unlink)
      stack.callback(ring.close)
    rig = Rig(rings)
    stack.callback(rig.ports.close)
    yield rig


def test_the_players_pedal_passes_through_only_where_it_ends_nothing(rig):
  rig.plan(PlannedPedal(1, 0, True), PlannedPedal(2, SECOND, False))
  assert rig.send() == [control_change(2, 64, 127)]
  down, up = control_change(1, 64, 127), control_change(1, 64, 0)
  rig.play(down)
  rig.play(up)
  assert rig.ports.thru.sent == [down]
  # The model hears both, whatever the instrument gets.
  heard = [unpack_message(r).data for r in rig.rings["to_model"].drain()]
  assert heard == [down, up]
  rig.send()
  rig.now_ns = SECOND
  assert rig.send() == [control_change(2, 64, 0), up]


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
  assert len([news for news in rig.news() if "echo" in news]) == 1
  assert rig.ports.performer.player_keys == []
  assert rig.ports.performer.next_due_ns() is None
  # Three were taken for the player's, at first.
  heard = [unpack_message(r).data for r in rig.rings["to_model"].drain()]
  assert heard == [
    *(note_on(1, key, 70) for key in (60, 61, 62)),
    *(note_off(1, key) for key in (60, 61, 62)),
  ]
