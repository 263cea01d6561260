"""tools/live/turn_taking.py on solos whose answer is known."""

import pytest

from magenta_midi.live.engine.turns import TurnSettings
from magenta_midi.live.protocol.events import SECOND
from magenta_midi.midi import Score
from magenta_midi.midi.score_files import write_score
from tools.live import turn_taking as tool

MS = 1_000_000


def solo(gaps_s):
  """Notes of 0.2 s with silences between."""
  onset_s, now_s = [], 0.0
  for gap_s in (*gaps_s, 0.0):
    onset_s.append(now_s)
    now_s += 0.2 + gap_s
  count = len(onset_s)
  return Score.from_arrays(
    onset_s=onset_s,
    duration_s=[0.2] * count,
    key=[60 + i % 12 for i in range(count)],
    velocity=[70] * count,
  )


def test_what_a_time_out_does():
  # 1.2 s: a false start at 1 s. 1.8 s: early, not false. 4 s, end: waits.
  messages = tool.messages_of(solo([0.1, 1.2, 1.8, 4.0, 0.1]))
  rule = tool.fixed(1.0, from_onset=False)
  found = tool.outcome(rule, messages)
  assert found.false_starts == 1
  assert found.waits_s == pytest.approx([1.0, 1.0])
  assert found.waits_from_onset_s == pytest.approx([1.2, 1.2])
  assert found.minutes == pytest.approx(8.2 / 60)


def test_counted_from_the_onset_a_long_note_is_a_pause():
  held = Score.from_arrays(
    onset_s=[0.0, 1.4], duration_s=[1.3, 0.2], key=[60, 62], velocity=[70, 70]
  )
  messages = tool.messages_of(held)
  deaf, hears = (
    tool.outcome(tool.fixed(1.0, from_onset=deaf), messages)
    for deaf in (True, False)
  )
  assert (deaf.false_starts, hears.false_starts) == (1, 0)


def test_our_rule_decides_once_in_each_silence():
  messages = tool.messages_of(solo([0.1, 3.0, 0.1, 3.0]))
  decisions = tool.ours(TurnSettings(prior=1000))(messages)
  assert [d.silent_ns // (100 * MS) for d in decisions] == [11, 11, 11]
  assert all(d.since_onset_ns > d.silent_ns for d in decisions)
  assert decisions[-1].time_ns > messages[-1].time_ns > 6 * SECOND


def test_the_table_has_every_rule(tmp_path, capsys):
  write_score(solo([0.1, 1.2, 4.0]), tmp_path / "solo.mid")
  tool.command.main(
    [str(tmp_path), "--plot", str(tmp_path / "curve.png")],
    standalone_mode=False,
  )
  shown = capsys.readouterr().out
  for rule in ("adaptive | default", "time-out | 1 s", "from onset | 2 s"):
    assert f"| {rule} |" in shown
  assert (tmp_path / "curve.png").stat().st_size > 5000


def test_a_folder_without_music_is_named(tmp_path):
  with pytest.raises(tool.UserError, match="expected MIDI files, found none"):
    tool.read_solos(tmp_path, 20)
