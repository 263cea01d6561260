"""Ports and model as processes, over real ports: faults and their repair."""

import os
import signal
import time

import pytest

from magenta_midi.live.engine.engine import EngineSettings
from magenta_midi.live.performer.limits import Limits
from magenta_midi.live.processes.host import Host, HostError
from magenta_midi.live.processes.model_process import ModelConfig
from magenta_midi.live.processes.port_process import PortConfig
from magenta_midi.live.protocol.controls import Action, Change, Controls
from magenta_midi.live.protocol.events import is_note_off
from magenta_midi.live.protocol.messages import ModelState
from magenta_midi.midi.io.messages import note_off, note_on
from magenta_midi.model.checkpoint import save_checkpoint
from magenta_midi.testing import tiny_generator
from magenta_midi.testing.port_player import PortPlayer, wait_until

pytestmark = pytest.mark.ports


@pytest.fixture
def played(jack_server, duet_checkpoint):
  """A duet on virtual ports in simultaneous mode, and its player."""
  model = ModelConfig(
    checkpoint=str(duet_checkpoint),
    settings=EngineSettings(seed=1),
    controls=Controls(mode="simultaneous", density=8.0),
  )
  with Host(PortConfig(api="jack"), model) as host:
    host.wait_until_ready()
    player = PortPlayer()
    player.connect()
    try:
      yield host, player
    finally:
      player.close()


def poll_until(host, condition, timeout_s=60.0):
  news = []

  def met():
    news.append(host.poll())
    return condition(news)

  wait_until(met, timeout_s)
  return news


def states(news):
  return [
    report
    for each in news
    for report in each.model
    if isinstance(report, ModelState)
  ]


def test_a_killed_model_is_started_again_as_it_was(played):
  host, player = played
  host.send(Change("temperature", 0.7))
  poll_until(
    host,
    lambda news: any(s.controls.temperature == 0.7 for s in states(news)),
  )
  player.play(12, 0.15)
  first = len(player.onsets)
  assert first > 2
  ports = host.ports_pid
  os.kill(host.model_pid, signal.SIGKILL)
  poll_until(host, lambda news: host.restarts == 1)
  # Meanwhile what is played is still heard.
  player.send(note_on(1, 50, 64))
  player.send(note_off(1, 50))
  poll_until(
    host, lambda news: any(m.data[1] == 50 for n in news for m in n.received)
  )
  host.wait_until_ready()
  assert host.ports_pid == ports
  before = len(player.onsets)
  player.play(12, 0.15)
  assert len(player.onsets) > before
  # What the dead one began ends in time, whatever the new one plays.
  began = player.onsets[first - 1]
  wait_until(lambda: _ended(player, began), Limits().longest_s + 1)
  news = poll_until(host, states)
  last = states(news)[-1]
  assert last.mode == "simultaneous"
  assert last.controls.temperature == 0.7
  assert last.compiles == 0


def _ended(player, onset):
  player.listen()
  key = onset.data[1]
  return any(
    is_note_off(data) and data[1] == key and at > onset.time_ns
    for at, data in player.received
  )


def test_closing_lifts_every_note(played):
  host, player = played
  player.play(16, 0.12)
  wait_until(lambda: player.sounding)
  host.close()
  wait_until(lambda: not player.sounding, 2.0)
  assert not player.pedal_down
  assert host.last_news is not None
  # Nothing of it is left.
  host.send(Action.PANIC)
  assert host.ports_pid is None and host.model_pid is None


def test_a_crowd_of_notes_is_heard_whole_and_survived(played):
  host, player = played
  count = 1000
  news = [host.poll()]
  for index in range(count):
    player.send(note_on(1, 40 + index % 40, 64))
    player.send(note_off(1, 40 + index % 40))
    time.sleep(0.001)
  # Nothing is lost, and what is no message is no end of anything.
  heard = 0

  def all_came(got):
    nonlocal heard
    heard = sum(len(each.received) for each in news + got)
    return heard >= 2 * count

  poll_until(host, all_came, 10.0)
  assert heard == 2 * count
  assert host.restarts == 0
  # The plan is up to date again within 500 ms.
  player.rest(0.5)
  host.poll()
  player.play(1, 0.1)
  news = poll_until(host, states)
  assert states(news)[-1].plan_age_ms < 500


def test_an_ended_ports_process_is_named(played):
  host, _ = played
  os.kill(host.ports_pid, signal.SIGTERM)
  with pytest.raises(HostError, match="plays the ports was ended"):
    poll_until(host, lambda news: False, 10.0)


def test_a_model_without_parts_says_so(tmp_path):
  model = tiny_generator(parts=0).model
  save_checkpoint(tmp_path, model, codec={"name": "note"})
  ports = PortConfig(no_input=True, no_output=True)
  with (
    Host(ports, ModelConfig(checkpoint=str(tmp_path))) as host,
    pytest.raises(HostError, match="made with parts=0"),
  ):
    host.wait_until_ready()


def test_a_port_that_is_not_there_is_named(jack_server, duet_checkpoint):
  ports = PortConfig(api="jack", input="harpsichord")
  model = ModelConfig(checkpoint=str(duet_checkpoint))
  with (
    Host(ports, model) as host,
    pytest.raises(HostError, match="harpsichord"),
  ):
    host.wait_until_ready()
