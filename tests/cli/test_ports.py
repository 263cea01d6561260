"""`magenta-midi ports`, on fake ports and on JACK's."""

import json
import time

import pytest

from magenta_midi.cli import ports
from magenta_midi.live.io import port_scan
from magenta_midi.live.io.calibration import Calibration
from magenta_midi.live.io.port_scan import PortList
from magenta_midi.live.protocol.events import SECOND
from magenta_midi.midi.io.messages import control_change, note_on
from magenta_midi.testing.jack import JackServer, jack_missing
from magenta_midi.testing.ports import FakeBackend
from tests.support import command_line

pytestmark = pytest.mark.ports


def run(capsys, *args: str) -> tuple[int, str, str]:
  return command_line.run(capsys, "ports", *args)


def find(monkeypatch, found: PortList) -> None:
  monkeypatch.setattr(port_scan, "scan", lambda: found)


SOME = PortList(
  ("Midi Through:Midi Through Port-0 14:0", "Piano:Piano MIDI 1 24:0"),
  ("Midi Through:Midi Through Port-0 14:0",),
  "alsa",
)


def test_lists_ports_without_numbers(capsys, monkeypatch):
  find(monkeypatch, SOME)
  code, out, err = run(capsys, "--json")
  assert code == 0 and err == ""
  *lines, last = out.splitlines()
  assert lines[1].startswith("in   Piano:Piano MIDI 1   <- taken")
  assert "24:0" not in out
  assert json.loads(last) == {
    "api": "alsa",
    "inputs": ["Midi Through:Midi Through Port-0", "Piano:Piano MIDI 1"],
    "outputs": ["Midi Through:Midi Through Port-0"],
    "keyboard": "Piano:Piano MIDI 1",
    "problem": None,
  }


def test_no_ports_is_one_line_with_the_remedy(capsys, monkeypatch):
  find(monkeypatch, PortList((), (), "alsa"))
  code, out, err = run(capsys)
  assert (code, out) == (0, "")
  assert len(err.splitlines()) == 1
  assert "Plug a keyboard in" in err and "--virtual" in err


def test_no_midi_system_is_one_line_with_the_remedy(capsys, monkeypatch):
  find(monkeypatch, PortList((), (), "", "nothing answers. Start JACK"))
  code, out, err = run(capsys, "--json")
  assert code == 2
  assert json.loads(out)["api"] is None
  assert err == "magenta-midi: nothing answers. Start JACK.\n"
  code, out, err = run(capsys, "--calibrate")
  assert (code, err) == (2, "magenta-midi: nothing answers. Start JACK.\n")


@pytest.mark.parametrize(
  ("args", "match"),
  [
    (("--in", "piano"), "go with --calibrate"),
    (("--calibrate", "--in", "organ"), 'no input port "organ". There are: "M'),
    (("--calibrate", "--in", "mi"), 'input port "mi" could be any of "Midi'),
    (
      ("--calibrate", "--in", "piano", "--out", "piano"),
      'no output port "piano"',
    ),
  ],
)
def test_mistakes_are_one_line(capsys, monkeypatch, args, match):
  find(monkeypatch, SOME)
  code, _, err = run(capsys, *args)
  assert code == 2 and match in err
  assert len(err.splitlines()) == 1


def test_no_keyboard_to_calibrate(capsys, monkeypatch):
  find(monkeypatch, PortList(SOME.inputs[:1], (), "alsa"))
  code, _, err = run(capsys, "--calibrate")
  assert code == 2 and "no keyboard found" in err


class Player:
  """Plays to a fake port what it is asked for, on a clock of its own."""

  def __init__(self, backend, *, switch=False, loop_ms: float | None = None):
    self.time_ns = 0
    self.backend = backend
    self.switch = switch
    self.said: list[str] = []
    self.loop_ms = loop_ms
    self.looped = 0

  @property
  def port(self):
    return self.backend.opened_inputs["Fake Piano"]

  def say(self, text: str) -> None:
    self.said.append(text)
    now_ns = self.time_ns
    if text.startswith("1."):
      for i in range(30):
        self.port.press(now_ns + i, 60, 10 + 4 * i, duration_ns=1)
    elif text.startswith("2."):
      way = (
        [127, 0] if self.switch else [*range(0, 121, 5), *range(120, -1, -5)]
      )
      for i, value in enumerate(way * 3):
        self.port.pedal(now_ns + i, value)
    elif text.startswith("3."):
      self.port.pedal(now_ns, 20)
      self.port.pedal(now_ns + 1, 50)
      for i, value in enumerate((30, 5, 0)):
        self.port.pedal(now_ns + 2 * SECOND + i, value)

  def sleep(self, seconds: float) -> None:
    self.time_ns += round(seconds * 1e9)
    output = self.backend.opened_outputs.get("Fake Synth")
    if output is None or self.loop_ms is None:
      return
    for data in output.sent[self.looped :]:
      self.looped += 1
      self.port.inject(self.time_ns + round(self.loop_ms * 1e6), data)

  def guide(self) -> ports.Guide:
    return ports.Guide(self.say, lambda: self.time_ns, self.sleep)


def test_a_guided_calibration():
  backend = FakeBackend()
  player = Player(backend)
  found = ports.calibrate_port(backend, "Fake Piano", None, player.guide())
  assert 10 <= found.velocity_low <= 20 and found.velocity_high >= 115
  assert found.pedal_continuous and not found.pedal_inverted
  assert found.pedal_down_at == 50
  assert found.round_trip_ms is None
  assert len(player.said) == 3
  assert player.time_ns < 60 * SECOND
  assert not backend.opened_inputs["Fake Piano"].alive


def test_a_switch_is_not_asked_for_the_half_pedal():
  backend = FakeBackend()
  player = Player(backend, switch=True)
  found = ports.calibrate_port(backend, "Fake Piano", None, player.guide())
  assert not found.pedal_continuous and found.pedal_down_at == 64
  assert len(player.said) == 2


def test_silence_ends_within_a_minute():
  backend = FakeBackend()
  player = Player(backend)
  player.say = player.said.append
  with pytest.raises(ValueError, match=r"at least 8 notes .* got 0"):
    ports.calibrate_port(backend, "Fake Piano", "Fake Synth", player.guide())
  assert player.time_ns < 60 * SECOND
  assert "Nothing came back: no round trip measured." in player.said


def test_the_round_trip_through_a_loop():
  backend = FakeBackend()
  player = Player(backend, loop_ms=7.0)
  found = ports.calibrate_port(
    backend, "Fake Piano", "Fake Synth", player.guide()
  )
  assert found.round_trip_ms is not None
  assert 7.0 <= found.round_trip_ms <= 9.0
  # Nothing that sounds was sent.
  assert {data[:2] for data in backend.opened_outputs["Fake Synth"].sent} == {
    control_change(16, 119, 0)[:2]
  }


@pytest.fixture
def jack(monkeypatch):
  pytest.importorskip("rtmidi")
  if reason := jack_missing():
    pytest.skip(reason)
  try:
    server = JackServer()
  except RuntimeError as error:
    pytest.skip(str(error))
  with server:
    for name, value in server.environment.items():
      monkeypatch.setenv(name, value)
    yield server


def test_over_jack(capsys, monkeypatch, tmp_path, jack):
  from magenta_midi.live.io.rtmidi import RtMidiBackend

  backend = RtMidiBackend()
  synth = backend.open_virtual_input("synth")
  keys = backend.open_virtual_output("keys")
  code, out, err = run(capsys, "--json")
  assert (code, err) == (0, "")
  facts = json.loads(out.splitlines()[-1])
  assert facts["api"] == "jack"
  assert facts["inputs"] == ["magenta-midi-01:keys"]
  assert facts["outputs"] == ["magenta-midi:synth"]
  assert facts["keyboard"] is None  # ours, not a player's

  # A keyboard that plays of itself, and loops what it gets.
  monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

  # JACK takes its own time: a clock of ours would run away from it.
  def sleep(seconds: float) -> None:
    time.sleep(seconds)
    for _, data in synth.poll():
      keys.send(data)

  def say(text: str) -> None:
    if text.startswith("1."):
      for velocity in range(20, 100, 4):
        keys.send(note_on(1, 60, velocity))

  found = ports.calibrate_port(
    backend,
    "magenta-midi-01:keys",
    "magenta-midi:synth",
    ports.Guide(show=say, sleep=sleep),
  )
  assert found.velocity_low < 40 < found.velocity_high
  path = found.save("keys")
  assert path.is_relative_to(tmp_path)
  assert Calibration.load("keys") == found
  synth.close()
  keys.close()
