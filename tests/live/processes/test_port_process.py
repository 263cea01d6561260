"""What the process that owns the ports does with the player's messages."""

import contextlib
import threading
from contextlib import closing

import pytest

from magenta_midi.live.io.calibration import Calibration
from magenta_midi.live.io.reconnecting import ReconnectingInput
from magenta_midi.live.processes.port_process import PortConfig, _Ports
from magenta_midi.live.processes.shm_ring import Ring
from magenta_midi.live.processes.wire_format import pack_plan, unpack_message
from magenta_midi.live.protocol.events import Message, PlannedNote, PlannedPedal
from magenta_midi.live.protocol.messages import (
  EchoFound,
  MessageUnsent,
  PlayerInput,
  SetBars,
  SetComp,
  Silence,
  decode,
  encode,
)
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
  "comp",
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


def held_and_refused(rig):
  """A note that sounds, and an output that takes nothing as it ends."""
  rig.plan(
    PlannedNote(1, 0, SECOND, 60, 70),
    PlannedNote(2, 0, 9 * SECOND, 64, 70),
    PlannedNote(3, SECOND, SECOND, 67, 70),
  )
  assert rig.send() == [note_on(2, 60, 70), note_on(2, 64, 70)]
  rig.ports.output.port.blocked = True
  rig.now_ns = SECOND
  assert rig.send() == []
  # What was to begin meanwhile is not made up for.
  unsent = [r.data for r in rig.reports() if isinstance(r, MessageUnsent)]
  assert unsent == [note_off(2, 60), note_on(2, 67, 70)]


def test_what_an_output_refuses_ends_once_it_takes_again(rig):
  held_and_refused(rig)
  rig.ports.output.port.blocked = False
  rig.now_ns += 1_000_000
  assert rig.send() == [note_off(2, 60)]
  rig.now_ns += 1_000_000
  assert rig.send() == []


def test_an_output_that_is_lost_ends_all_when_it_is_back(rig):
  held_and_refused(rig)
  rig.ports.performer.lost(rig.now_ns)
  rig.send()
  rig.ports.output.port.blocked = False
  rig.ports.performer.back(rig.now_ns)
  ends = [note_off(2, key) for key in (60, 64, 67)]
  ends += [control_change(2, 123, 0), control_change(2, 64, 0)]
  assert rig.send() == ends


@pytest.mark.parametrize("goes_on", [True, False])
def test_the_end_waits_for_an_output_that_stands_still(rig, goes_on):
  held_and_refused(rig)
  port = rig.ports.output.port
  asked = []

  def settle():
    asked.append(list(port.sent))
    port.blocked = not goes_on
    return goes_on

  assert rig.ports.output.close(settle) == goes_on
  ends = [note_off(2, 60), note_off(2, 64), note_off(2, 67)]
  ends += [control_change(2, number, 0) for number in (64, 123, 120)]
  assert port.sent == (ends if goes_on else [])
  # Asked again after the last message, so that this is handed on too.
  assert asked == ([[], ends] if goes_on else [[]])


def comped(rings):
  return [unpack_message(r).data for r in rings["comp"].drain()]


def ask(rig, *requests):
  for request in requests:
    rig.rings["port_requests"].put(encode(request))
  rig.ports._handle_requests()
  # Charts are read in a thread.
  for thread in threading.enumerate():
    if thread.name == "chart":
      thread.join(5.0)


def comp_sends(rig):
  rig.ports.play_comp()
  port = rig.ports.output.port
  sent, port.sent = port.sent, []
  return sent


CHART = SetComp(chords="| Dm7 | G7 |", on=True, loudness=0)
BARS = SetBars(bpm=60.0, beats_per_bar=4, start_ns=SECOND)


def test_the_comp_plays_with_the_bars_and_no_one_hears_it_as_theirs(rig):
  ask(rig, CHART, BARS)
  assert comp_sends(rig) == []
  rig.now_ns = SECOND
  struck = comp_sends(rig)
  assert [data[0] for data in struck] == [0x92] * 3
  assert struck[0][1] % 12 == 2
  rig.now_ns = 5 * SECOND
  sent = comp_sends(rig)
  assert comped(rig.rings) == struck + sent
  ended = {data[1] for data in sent if data[0] == 0x82}
  assert ended == {data[1] for data in struck}
  for name in ("to_model", "received", "sent", "feedback"):
    assert not len(rig.rings[name])


def test_it_is_below_the_player(rig):
  ask(rig, CHART, BARS)
  for _ in range(60):
    ask(rig, PlayerInput(data=note_on(1, 90, 40), time_ns=1))
  rig.now_ns = SECOND
  assert all(data[2] < 40 for data in comp_sends(rig))


def test_panic_ends_the_comp_too(rig):
  ask(rig, CHART, BARS)
  rig.now_ns = SECOND
  struck = comp_sends(rig)
  ask(rig, CHART.__class__(chords=CHART.chords, on=False, loudness=0))
  ask(rig, Silence())
  sent = comp_sends(rig)
  for _, key, _ in struck:
    assert note_off(3, key) in sent
  assert control_change(3, 123, 0) in sent
  rig.now_ns = 9 * SECOND
  assert comp_sends(rig) == []


def test_the_end_lifts_every_key_of_the_comp(rings):
  rig = Rig(rings)
  ask(rig, CHART, BARS)
  rig.now_ns = SECOND
  struck = comp_sends(rig)
  port = rig.ports.output.port
  rig.close()
  assert all(note_off(3, data[1]) in port.sent for data in struck)


def test_its_notes_that_come_back_are_a_loop(rig):
  ask(rig, CHART, BARS)
  for second in (1, 3, 5, 7):
    rig.now_ns = second * SECOND
    for data in comp_sends(rig):
      rig.now_ns += 2_000_000
      rig.play(data)
  assert any(isinstance(report, EchoFound) for report in rig.reports())


def test_another_chart_and_a_damaged_one_end_nothing_but_the_old(rig):
  ask(rig, CHART, BARS)
  rig.now_ns = SECOND
  struck = comp_sends(rig)
  ask(rig, SetComp(chords="| H7 |", on=True, loudness=0))
  rig.now_ns = 6 * SECOND
  sent = comp_sends(rig)
  assert {data[1] for data in sent if data[0] == 0x82} == {
    data[1] for data in struck
  }
  assert not [data for data in sent if data[0] == 0x92]
