"""tools/live/stalls.py: its figures, and one short run."""

import pytest

from magenta_midi.testing.jack import jack_missing
from tools.live import stalls as tool

pytestmark = pytest.mark.ports


def test_figures_of_stalls():
  assert tool.told(tool.Stalls([], 0)) == {
    "stalls": 0,
    "stalled_s": 0,
    "stalls_of_1_s": 0,
    "given_up": 0,
    "longest_s": 0.0,
  }
  found = tool.told(tool.Stalls([(1.0, 0.3), (5.0, 1.5), (9.0, 5.01)], 1))
  assert list(found.values()) == [3, 6.8, 2, 1, 5.01]
  assert tool.spread([]) == {}
  seconds = [float(value) for value in range(1, 101)]
  assert tool.spread(seconds) == {"p50": 50.5, "p99": 100.0, "max": 100.0}
  shown = tool.table({"load": 4, "starts": {"stalls": 3}})
  assert shown.splitlines()[2:] == ["| starts | stalls | 3 |"]


@pytest.mark.slow
def test_two_starts():
  pytest.importorskip("rtmidi")
  if reason := jack_missing():
    pytest.skip(reason)
  report = tool.starts(2)
  assert report["failed"] == []
  assert report["stuck_notes"] == 0
  assert report["given_up"] == 0
  assert 0 < report["ready_s"]["p50"] <= report["ready_s"]["max"] < 60
