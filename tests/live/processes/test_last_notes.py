"""The end of a session while JACK stands still."""

import contextlib
import time

import pytest

from magenta_midi.live.protocol.events import PlannedNote
from magenta_midi.live.session_settings import PortSettings, find_ports
from magenta_midi.testing.port_player import PortPlayer, wait_until
from tools.live.stalls import Start

pytestmark = pytest.mark.ports


@pytest.mark.slow
@pytest.mark.parametrize(("still_s", "heard"), [(2, True), (12, False)])
def test_the_last_notes_end_after_a_standstill(jack_server, still_s, heard):
  with contextlib.closing(PortPlayer()) as player:
    config = find_ports(PortSettings(), metronome=False)
    start = Start(config)
    start.wait_until_ready()
    player.connect()
    now_ns = time.perf_counter_ns()
    start.plan(PlannedNote(1, now_ns, 60 * 10**9, 60, 70))
    wait_until(lambda: player.onsets)
    jack_server.freeze(limit_s=still_s)
    # It ends in time, whether the server goes on or not.
    assert start.close() < 13
    if heard:
      wait_until(lambda: not player.sounding)
    else:
      assert player.sounding
      jack_server.thaw()
