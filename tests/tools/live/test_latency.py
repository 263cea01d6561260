"""tools/live/latency.py: what it plays and prints, and one short run."""

import numpy as np
import pytest

from magenta_midi.midi.score import Score
from magenta_midi.model.checkpoint import save_checkpoint
from magenta_midi.testing import tiny_generator
from magenta_midi.testing.jack import jack_missing
from tools.live import latency as tool

pytestmark = pytest.mark.ports


def recording(seconds):
  onset_s = np.arange(0, seconds, 0.25)
  return Score.from_arrays(
    onset_s=onset_s,
    duration_s=np.full(len(onset_s), 0.2),
    key=60 + np.arange(len(onset_s)) % 12,
    velocity=np.full(len(onset_s), 70),
  )


@pytest.mark.parametrize("seconds", [4, 10, 25])
def test_a_recording_fills_the_time(seconds):
  filled = tool.filled(recording(10.0), seconds)
  onset_s = filled.notes["onset_s"]
  assert seconds - 1.5 < onset_s[-1] < seconds
  assert np.diff(onset_s).max() < 1.5


def test_every_call_has_its_silence():
  held = recording(30.0)
  notes = held.notes.copy()
  notes["duration_s"] = 9.0
  found = tool.calls(
    Score.from_arrays(
      onset_s=notes["onset_s"],
      duration_s=notes["duration_s"],
      key=np.arange(len(notes)) % 88 + 21,
      velocity=notes["velocity"],
    ),
    3,
  )
  at_s, end_s = found.notes["onset_s"], found.notes["onset_s"].copy()
  end_s += found.notes["duration_s"]
  sounds = np.arange(0, 48, 0.5)[:, None] + 0.25
  sounds = ((at_s <= sounds) & (end_s > sounds)).any(axis=1)
  expected = np.tile(np.arange(32) < 10, 3)
  np.testing.assert_array_equal(sounds, expected)


def facts(**changes):
  same = {"p50": 5.0, "p99": 20.0}
  names = ("compute_ms", "reaction_ms", "jitter_ms", "bare_loop_ms")
  names += ("reply_ready_ms", "first_note_ms")
  counts = ("stuck_notes", "notes_dropped", "compiles_while_playing")
  given = dict.fromkeys(names, same) | dict.fromkeys(counts, 0)
  return given | {"isr": 1.0} | changes


def test_the_table_says_what_was_met():
  # 20 ms late is within 1.5 times the bare loop's 20 ms.
  assert all(row.met for row in tool.rows(facts(), facts()))
  slow = facts(
    compute_ms={"p50": 11.0, "p99": 20.0},
    bare_loop_ms={"p50": 0.0, "p99": 1.0},
    isr=0.998,
    notes_dropped=1,
  )
  missed = [row for row in tool.rows(slow, facts()) if not row.met]
  assert [row.name for row in missed] == [
    "compute p50, ms",
    "sent late p99, ms",
    "in time (ISR)",
    "notes dropped, together",
  ]
  assert missed[1].limit == 3
  silent = facts(first_note_ms={"p50": None, "p99": None})
  shown = tool.table(tool.rows(facts(), silent))
  assert "| reply's first note p99, ms | at most 40 | none | no |" in shown
  assert "| in time (ISR) | at least 0.999 | 1 | yes |" in shown


@pytest.mark.slow
def test_a_short_run(tmp_path, monkeypatch):
  pytest.importorskip("rtmidi")
  if reason := jack_missing():
    pytest.skip(reason)
  monkeypatch.setattr("magenta_midi.cli.replay_realtime.TAIL_NS", 2 * 10**9)
  model = tiny_generator(parts=9).model
  save_checkpoint(tmp_path / "duet", model, codec={"name": "note"})
  report = tool.measure(
    recording(10.0),
    minutes=0.1,
    phrases=1,
    checkpoint=tmp_path / "duet",
    seed=0,
  )
  assert report["ports"].startswith("JACK")
  assert report["runs"]["simultaneous"]["notes_in"] == 24
  figures = {row["name"]: row["measured"] for row in report["figures"]}
  assert figures["compute p50, ms"] > 0
  assert figures["notes dropped, together"] == 0
