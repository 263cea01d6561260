"""`Duet`, the session from Python: over real ports, and without any."""

import time

import pytest

from magenta_midi.live.duet import Duet
from magenta_midi.live.processes.host import HostError
from magenta_midi.live.protocol.events import is_note_on
from magenta_midi.midi.io.messages import note_off, note_on
from magenta_midi.testing.port_player import PortPlayer, wait_until

pytestmark = pytest.mark.ports


def test_a_session_over_ports(jack_server, duet_checkpoint):
  player = PortPlayer()
  heard, sent = [], []
  # A busy machine may be late by more than a player would bear.
  with Duet(model=duet_checkpoint, seed=2, latency_target_ms=150.0) as duet:
    with pytest.warns(DeprecationWarning, match="on_received"):
      duet.on_heard = heard.append
    duet.on_note = sent.append
    duet.start_session()
    player.connect()
    player.play(10, 0.2)
    duet.generate_response()
    wait_until(lambda: (duet.capture_input(), player.onsets)[1])
  player.rest(0.3)
  assert not player.sounding and not player.pedal_down
  assert sum(is_note_on(m.data) for m in heard) == 10
  assert sum(is_note_on(m.data) for m in sent) == len(player.onsets)
  assert duet.score.part_names == ("player", "ai")
  assert len(duet.score.notes) == 10 + len(player.onsets)
  player.close()


def test_both_at_once_without_ports(duet_checkpoint):
  with Duet(model=duet_checkpoint, mode="simultaneous", no_ports=True) as duet:
    duet.start_session()
    duet.change("density", 4.0)
    for index in range(12):
      duet.play(note_on(1, 60 + index % 5, 70))
      duet.play_output(0.1)
      duet.play(note_off(1, 60 + index % 5))
    end = time.monotonic() + 20
    while not duet.compute_ms["p50"] and time.monotonic() < end:
      duet.play_output(0.1)
    assert duet.compute_ms["p50"]
    duet.act("panic")
    with pytest.raises(ValueError, match="density must be"):
      duet.change("density", 40.0)
  assert len(duet.score.notes) > 12
  # Entered again it waits until it is ready, and receives.
  received = []
  duet.on_received = received.append
  with duet:
    duet.start_session()
    duet.act("panic")
    duet.play(note_on(1, 60, 70))
    duet.play_output(0.5)
  assert [message.data for message in received] == [note_on(1, 60, 70)]


def test_devices_that_cannot_be_meant(jack_server):
  with (
    pytest.raises(ValueError, match="harpsichord"),
    Duet(input_device="harpsichord"),
  ):
    pass
  with pytest.raises(ValueError, match="must be entered first"):
    Duet().capture_input()
  with pytest.raises(
    ValueError, match="latency_target_ms must be a number from 1 to 500"
  ):
    Duet(latency_target_ms=0.0)
  with pytest.raises(ValueError, match="mode"):
    Duet(mode="monologue")


def test_without_a_midi_system(monkeypatch):
  pytest.importorskip("rtmidi")
  monkeypatch.setenv("MAGENTA_MIDI_API", "jack")
  monkeypatch.setenv("JACK_DEFAULT_SERVER", "nobody")
  monkeypatch.setenv("JACK_NO_START_SERVER", "1")
  with pytest.raises(HostError, match="no MIDI system works here"), Duet():
    pass
