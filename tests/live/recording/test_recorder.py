"""Takes: written as they are played, and whole after a crash."""

import datetime
import errno
import json
import os
import signal
import subprocess
import sys
import time
from unittest import mock

import mido
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magenta_midi.live.engine.engine import Engine
from magenta_midi.live.protocol.controls import Controls, to_json
from magenta_midi.live.protocol.events import SECOND, Message, Sounded
from magenta_midi.live.recording import journal as journal_module
from magenta_midi.live.recording import recorder as takes_module
from magenta_midi.live.recording.engine_trace import TracedEngine, check_trace
from magenta_midi.live.recording.files import (
  JOURNAL,
  MUSIC,
  PICTURE,
  TRACE,
  change_facts,
  read_journal,
  read_trace,
)
from magenta_midi.live.recording.journal import in_use
from magenta_midi.live.recording.library import read_session_score
from magenta_midi.live.recording.recorder import (
  SessionRecorder,
  new_session_folder,
  recover,
  recover_all,
  sessions_folder,
)
from magenta_midi.live.recording.score_messages import duet_score, part_messages
from magenta_midi.live.recording.serialization import load_session
from magenta_midi.live.timing.bars import Bars
from magenta_midi.midi.meter import Meter
from magenta_midi.midi.score import Score
from magenta_midi.midi.session_facts import FACTS, read_facts

CHECKPOINT = {"path": "embedded", "sha256": "ab" * 32}
WALL_S = datetime.datetime(2026, 11, 21, 14, 3, 22).timestamp()


def note(time_s, data):
  return Message(round(time_s * SECOND), bytes.fromhex(data))


def recorder(folder, **more):
  return SessionRecorder(
    folder,
    checkpoint=CHECKPOINT,
    settings={"seed": 3, "engine": {}},
    clock_start_wall=WALL_S,
    **more,
  )


def play(session, until_s=40.0):
  """A call, an answer, pedal, a bookmark, a decision; flushed as live."""
  session.player(note(1.0, "90 3c 40"))
  session.player(note(1.5, "b0 40 7f"))  # pedal down
  session.player(note(2.0, "80 3c 40"))
  session.flush(2 * SECOND)
  session.player(note(3.0, "b0 40 00"))
  session.model(note(4.0, "91 40 50"))
  session.decision({"time_ns": 3_900_000_000, "what": "reply", "seed": 3})
  session.model(note(4.5, "81 40 40"))
  session.model(note(5.0, "91 43 50"))
  session.model(note(5.25, "91 43 00"))  # a note-on without velocity ends it
  session.bookmark(35 * SECOND)
  session.flush(round(until_s * SECOND))


def test_a_session_becomes_music_facts_and_a_picture(tmp_path):
  folder = new_session_folder(tmp_path / "new", "Blues in F!", wall_s=WALL_S)
  assert folder.name == "2026-11-21_14-03-22-Blues-in-F"
  session = recorder(folder, controls={"mode": "call-response"})
  play(session)
  assert session.close(40 * SECOND, {"isr": 1.0}) is None
  score = Score.from_file(folder / MUSIC)
  assert score.part_names == ("player", "ai")
  rows = [
    (n["part"], n["key"], n["velocity"], n["onset_s"], n["duration_s"])
    for n in score.notes
  ]
  expected = [
    (0, 0x3C, 0x40, 1.0, 1.0),
    (1, 0x40, 0x50, 4.0, 0.5),
    (1, 0x43, 0x50, 5.0, 0.25),
  ]
  assert np.allclose(rows, expected, atol=0.001)
  assert score.pedals["time_s"].tolist() == pytest.approx([1.5, 3], abs=0.001)
  assert score.pedals["part"].tolist() == [0, 0]
  facts = read_facts(folder)
  assert facts["seconds"] == 40.0
  assert (facts["notes_player"], facts["notes_ai"]) == (1, 2)
  assert facts["bookmarks"] == [{"from_s": 5.0, "to_s": 35.0}]
  assert facts["started"].startswith("2026-11-21T14:03:22.000")
  assert (facts["rating"], facts["keep"], facts["recovered"]) == (
    None,
    False,
    False,
  )
  whole = json.loads((folder / FACTS).read_text())
  assert [d["what"] for d in whole["decisions"]] == ["reply"]
  assert whole["report"] == {"isr": 1.0}
  assert (folder / PICTURE).read_bytes()[:4] == b"\x89PNG"
  assert sorted(p.name for p in folder.iterdir()) == sorted(
    [JOURNAL, MUSIC, FACTS, PICTURE]
  )


def test_the_facts_are_a_session_to_replay(tmp_path):
  session = recorder(tmp_path / "s", controls={"mode": "listen"})
  # As the model's process writes it.
  (tmp_path / "s" / TRACE).write_text(
    '["m",1000,"903c40"]\n["j",2000]\n["d",{"what":"reply"}]\n["j",30'
  )
  session.describe(checkpoint={"path": "other", "sha256": "cd"})
  session.close(SECOND)
  stored = load_session(tmp_path / "s" / FACTS)
  assert stored["trace"] == [["m", 1000, "903c40"], ["j", 2000]]
  assert stored["decisions"] == [{"what": "reply"}]
  assert stored["checkpoint"] == {"path": "other", "sha256": "cd"}
  assert stored["settings"] == {"seed": 3, "engine": {}}
  assert stored["controls"] == {"mode": "listen"}
  assert stored["damaged_lines"] == 1


def test_every_call_of_the_engine_is_read_as_it_was_written(tmp_path):
  written = []
  engine = TracedEngine(mock.MagicMock(spec=Engine), written.append)
  engine.receive(note(1, "903c40"))
  engine.feedback(Sounded(0, SECOND, "on", 60, 70, ""))
  engine.set_controls(Controls(free=True, pedal="off"), SECOND)
  for rows in (None, [3, 0]):
    engine.set_style(rows)
  for bars in (None, Bars(99.96376430817655, 4, 4069045131)):
    for triplets in (False, True):
      engine.set_bars(bars, triplets=triplets)
  engine.add_groove("@me", [1.0] * 48)
  engine.set_horizon(20_000_000)
  engine.act("hand_over", SECOND)
  engine.keyboard_lost(SECOND)
  engine.next_job(SECOND)
  path = tmp_path / TRACE
  path.write_text("".join(json.dumps(entry) + "\n" for entry in written))
  found = read_trace(path)
  assert found.damaged == 0
  assert found.calls == json.loads(json.dumps(written))
  check_trace(found.calls)
  assert {entry[0] for entry in written} == set("mfcsbghakj")
  # As triplets were written at first.
  path.write_text('["b",100.0,4,0,false]\n["b",100.0,4,false,0]\n')
  found = read_trace(path)
  assert (found.calls, found.damaged) == ([["b", 100.0, 4, 0, 0]], 1)


def test_the_facts_say_which_adapter_played_when(tmp_path):
  controls = Controls(adapters=("a:0.6 + b", "a", ""))
  folder = tmp_path / "s"
  session = recorder(folder, controls=to_json(controls))
  session.describe(adapters={"a": "12", "b": "34"})
  calls = [
    ["c", 2 * SECOND, to_json(controls._replace(density=2.0))],
    ["c", 3 * SECOND, to_json(controls._replace(adapter=2))],
    ["r", 10, to_json(controls._replace(adapter=2))],
    ["c", 4 * SECOND, {"adapters": ["a"], "adapter": 7}],
    ["c", 5 * SECOND],
    ["c", 6_500_000_000, to_json(controls._replace(adapter=3))],
  ]
  text = "".join(json.dumps(call) + "\n" for call in calls)
  (folder / TRACE).write_text(text)
  play(session)
  assert session.close(40 * SECOND) is None
  facts = read_facts(folder)
  assert facts["adapters"] == {"a": "12", "b": "34"}
  assert facts["adapters_played"] == [
    {"time_s": 0.0, "adapter": "a:0.6 + b"},
    {"time_s": 3.0, "adapter": "a"},
    {"time_s": 6.5, "adapter": "no adapter"},
  ]
  play(session := recorder(tmp_path / "none"))
  assert session.close(40 * SECOND) is None
  assert read_facts(tmp_path / "none")["adapters_played"] == []


def test_bars_are_the_files_bars(tmp_path):
  session = recorder(tmp_path / "s")
  session.bars(SECOND, Bars(100, 3, 2 * SECOND))
  session.player(note(2 + 1.8 * 4, "90 3c 40"))  # the fifth bar line
  session.close(20 * SECOND)
  score = Score.from_file(tmp_path / "s" / MUSIC)
  beat = score.tempo.beats_at(score.notes["onset_s"][:1])[0]
  # The two seconds before are one bar of their own tempo.
  assert beat == pytest.approx(3 * 5, abs=0.01)
  assert read_facts(tmp_path / "s")["tempo"][-1]["bpm"] == 100


def test_meter_and_chart_stand_in_the_files(tmp_path):
  controls = Controls(chords="| 6/8 Dm7 | G7 |", tempo=60.0)
  session = recorder(tmp_path / "s", controls=to_json(controls))
  session.bars(0, Bars(60, 2, 2 * SECOND), Meter(6, 8))
  session.player(note(2.0, "90 3c 40"))
  session.player(note(3.0, "80 3c 40"))
  session.close(9 * SECOND)
  score = Score.from_file(tmp_path / "s" / MUSIC)
  # A dotted quarter note a second.
  assert score.tempo.bpm == pytest.approx([90])
  facts = read_facts(tmp_path / "s")
  assert facts["tempo"][0]["meter"] == "6/8"
  assert [(row["time_s"], row["chord"]) for row in facts["chords"]] == [
    *[(2.0, "Dm7"), (4.0, "G7")],
    *[(6.0, "Dm7"), (8.0, "G7")],
  ]
  found = {}
  second = 0.0
  for message in mido.MidiFile(tmp_path / "s" / MUSIC):
    second += message.time
    found.setdefault(message.type, []).append((round(second, 3), message))
  assert [(at, m.text) for at, m in found["marker"]] == [
    *[(2.0, "Dm7"), (4.0, "G7")],
    *[(6.0, "Dm7"), (8.0, "G7")],
  ]
  meter = found["time_signature"][0][1]
  assert (meter.numerator, meter.denominator) == (6, 8)


def test_another_chart_counts_from_when_it_was_asked_for(tmp_path):
  controls = Controls(chords="| C |", tempo=60.0)
  session = recorder(tmp_path / "s", controls=to_json(controls))
  session.bars(0, Bars(60, 4, 0), Meter())
  other = to_json(controls._replace(chords="| F | G |"))
  lines = [["c", 6 * SECOND, other], ["c", 7 * SECOND, {"chords": "| H |"}]]
  text = "".join(json.dumps(line) + "\n" for line in lines)
  (tmp_path / "s" / TRACE).write_text(text)
  session.player(note(13.0, "90 3c 40"))
  session.close(14 * SECOND)
  chords = read_facts(tmp_path / "s")["chords"]
  # In the middle of its second bar; what is no chart is none.
  assert [(row["time_s"], row["chord"]) for row in chords] == [
    *[(0.0, "C"), (4.0, "C"), (6.0, "G")],
  ]


def test_an_empty_session_is_one_too(tmp_path):
  session = recorder(tmp_path / "s")
  assert session.close(0) is None
  assert read_facts(tmp_path / "s")["notes_player"] == 0
  assert len(read_session_score(tmp_path / "s")) == 0


CRASHING = """
import os, signal, sys, time
from pathlib import Path
from magenta_midi.live.protocol.events import Message
from magenta_midi.live.recording.recorder import SessionRecorder
session = SessionRecorder(Path(sys.argv[1]), checkpoint="c", settings={},
                    clock_start_wall=0)
for n in range(2000):
  session.player(Message(n * 10**7, bytes((0x90, 60 + n % 12, 64))))
  session.player(Message(n * 10**7 + 5 * 10**6, bytes((0x80, 60 + n % 12, 64))))
  if n % 25 == 0:
    session.flush(n * 10**7)
for _ in range(10):
  session.flush(2 * 10**10)
print("written", flush=True)
time.sleep(0.3)
if sys.argv[2] == "kill":
  os.kill(os.getpid(), signal.SIGKILL)
sys.stdin.read()
"""


def test_a_killed_program_loses_nothing(tmp_path):
  folder = tmp_path / "s"
  done = subprocess.run(
    [sys.executable, "-c", CRASHING, folder, "kill"], check=False
  )
  assert done.returncode == -signal.SIGKILL
  assert [p.name for p in folder.iterdir()] == [JOURNAL]
  assert recover_all(tmp_path) == [folder]
  facts = read_facts(folder)
  assert facts["recovered"] is True
  assert facts["notes_player"] == 2000
  assert facts["damaged_lines"] == 0
  assert len(Score.from_file(folder / MUSIC)) == 2000
  assert recover_all(tmp_path) == []


def test_a_session_that_is_being_played_is_left_alone(tmp_path):
  folder = tmp_path / "s"
  child = subprocess.Popen(
    [sys.executable, "-c", CRASHING, folder, "wait"],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
  )
  try:
    assert child.stdout.readline() == b"written\n"
    assert in_use(folder / JOURNAL)
    assert not recover(folder)
    assert [p.name for p in folder.iterdir()] == [JOURNAL]
  finally:
    child.kill()
    child.communicate()
  assert not in_use(folder / JOURNAL)
  assert recover(folder)


@settings(max_examples=60)
@given(st.data())
def test_a_journal_cut_off_anywhere_is_read(tmp_path_factory, data):
  folder = tmp_path_factory.mktemp("cut")
  session = recorder(folder)
  play(session)
  session._journal.close()
  raw = (folder / JOURNAL).read_bytes()
  whole = read_journal(folder / JOURNAL)
  cut = data.draw(st.integers(0, len(raw)))
  (folder / JOURNAL).write_bytes(raw[:cut])
  part = read_journal(folder / JOURNAL)
  assert part.damaged <= 1
  assert whole.received[: len(part.received)] == part.received
  assert whole.sent[: len(part.sent)] == part.sent
  lines = raw[:cut].count(b"\n")
  entries = (
    len(part.received + part.sent) + len(part.decisions) + len(part.bookmarks)
  )
  # All whole lines but the header; the last may lack only its newline.
  assert entries in (max(lines - 1, 0), lines)


def test_bytes_that_are_no_entries_are_counted(tmp_path):
  path = tmp_path / JOURNAL
  lines = [
    b'{"format":1}',
    b"\xff\xfe",
    b"[]",
    b'["p","soon","90"]',
    b'["p",5,"9"]',
    b'["t",0,1e9,4,0]',
    b'["o",7,"903c40"]',
  ]
  path.write_bytes(b"\n".join(lines))
  contents = read_journal(path)
  assert contents.damaged == 5
  assert contents.sent == [Message(7, bytes.fromhex("903c40"))]
  assert contents.end_ns == 7


def test_a_full_disk_stops_recording_once_and_not_the_music(
  tmp_path, monkeypatch
):
  session = recorder(tmp_path / "s")
  session.player(note(1, "90 3c 40"))
  assert session.flush(SECOND) is None
  wait_for(lambda: b'"p"' in (tmp_path / "s" / JOURNAL).read_bytes())

  def full(fd, data):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  monkeypatch.setattr(journal_module.os, "write", full)
  messages = []
  for n in range(2, 50):
    session.player(note(n, "90 3c 40"))
    messages.append(session.flush(n * SECOND))
    time.sleep(0.005)
  said = [message for message in messages if message]
  assert len(said) == 1
  assert "recording stopped" in said[0] and "No space left" in said[0]
  assert str(tmp_path / "s") in said[0]
  assert not session.recording
  monkeypatch.undo()
  assert session.close(50 * SECOND) is None
  assert read_facts(tmp_path / "s")["notes_player"] == 1


def wait_for(condition):
  until = time.monotonic() + 5
  while not condition():
    assert time.monotonic() < until
    time.sleep(0.005)


def test_a_disk_that_hangs_does_not_fill_memory(tmp_path, monkeypatch):
  monkeypatch.setattr(journal_module.Journal, "_run", lambda self: None)
  session = recorder(tmp_path / "s")
  said = []
  monkeypatch.setattr(journal_module, "_MAX_WAITING_BYTES", 2000)
  for n in range(1000):
    session.player(note(n, "90 3c 40"))
    said += [message for message in [session.flush(0)] if message]
  assert len(said) == 1 and "the disk does not answer" in said[0]
  assert session._journal._queue.qsize() < 200


def test_files_that_cannot_be_written_in_the_end_are_named(
  tmp_path, monkeypatch
):
  session = recorder(tmp_path / "s")
  play(session)

  def full(*args, **more):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x")

  monkeypatch.setattr(takes_module, "finish", full)
  said = session.close(40 * SECOND)
  assert "cannot be written (No space left on device)" in said
  assert "tries again" in said
  monkeypatch.undo()
  assert recover(tmp_path / "s")
  assert read_facts(tmp_path / "s")["notes_player"] == 1


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(OSError, match="session cannot be saved here"):
    new_session_folder(tmp_path / "file")
  with pytest.raises(OSError, match="session cannot be saved here"):
    recorder(tmp_path / "file" / "s")


def test_a_full_disk_is_refused_before_playing(tmp_path, monkeypatch):
  usage = takes_module.shutil.disk_usage(tmp_path)
  monkeypatch.setattr(
    takes_module.shutil, "disk_usage", lambda _: usage._replace(free=1000)
  )
  with pytest.raises(OSError, match=r"\(No space left on device\). Make room"):
    recorder(tmp_path / "s")


def test_a_session_is_never_written_into_another(tmp_path):
  folders = [new_session_folder(tmp_path, wall_s=WALL_S) for _ in range(3)]
  assert [folder.name[19:] for folder in folders] == ["", "-2", "-3"]
  first = recorder(folders[0])
  with pytest.raises(OSError, match="File exists"):
    recorder(folders[0])
  first.close(0)


def test_sessions_lie_where_the_desktop_says(monkeypatch, tmp_path):
  monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
  assert sessions_folder() == tmp_path / "magenta_midi" / "sessions"
  monkeypatch.setenv("XDG_DATA_HOME", "relative")
  monkeypatch.setenv("HOME", str(tmp_path))
  assert sessions_folder() == tmp_path / ".local/share/magenta_midi/sessions"


def test_a_rating_outlives_a_second_finish(tmp_path):
  session = recorder(tmp_path / "s")
  play(session)
  session.close(40 * SECOND)
  change_facts(tmp_path / "s", rating=4, keep=True)
  (tmp_path / "s" / PICTURE).unlink()
  assert recover(tmp_path / "s")
  facts = read_facts(tmp_path / "s")
  assert (facts["rating"], facts["keep"]) == (4, True)
  whole = json.loads((tmp_path / "s" / FACTS).read_text())
  assert len(whole["decisions"]) == 1


def test_facts_laid_out_anew_are_read_all_the_same(tmp_path):
  session = recorder(tmp_path / "s")
  play(session)
  session.close(40 * SECOND)
  before = read_facts(tmp_path / "s")
  path = tmp_path / "s" / FACTS
  path.write_text(json.dumps(json.loads(path.read_text()), indent=2))
  assert read_facts(tmp_path / "s") == before
  path.write_text('{"format": 99}')
  with pytest.raises(ValueError, match="not the facts of a session"):
    read_facts(tmp_path / "s")


def test_flush_takes_little_at_a_time(tmp_path):
  session = recorder(tmp_path / "s")
  for n in range(1200):
    session.player(Message(n, b"\x90\x3c\x40"))
  session.flush(SECOND)
  assert len(session._pending) == 700
  session.close(2 * SECOND)
  assert read_facts(tmp_path / "s")["notes_player"] == 1200


def test_panic_and_reset_end_notes_and_pedal():
  score = duet_score(
    [],
    [
      note(0, "91 3c 40"),
      note(0, "b1 40 7f"),
      note(1, "b1 7b 00"),  # all notes off
      note(2, "b1 79 00"),  # all controllers off
    ],
    end_ns=9 * SECOND,
  )
  assert score.notes["duration_s"].tolist() == [1.0]
  assert score.pedals["time_s"].tolist() == [0.0, 2.0]


def test_what_is_held_ends_with_the_session():
  score = duet_score([note(1, "90 3c 40")], [], end_ns=3 * SECOND)
  assert score.notes["duration_s"].tolist() == [2.0]


NOTES = st.lists(
  st.tuples(
    st.integers(0, 5000),
    st.integers(1, 2000),
    st.integers(21, 108),
    st.integers(1, 127),
  ),
  max_size=40,
)


@given(NOTES, NOTES)
def test_messages_and_score_are_inverse(player, ai):
  rows = [(*row, part) for part, own in enumerate((player, ai)) for row in own]
  onset, duration, key, velocity, part = (
    np.array([row[i] for row in rows], np.int64) for i in range(5)
  )
  score = Score.from_arrays(
    onset_s=onset / 1000,
    duration_s=duration / 1000,
    key=key,
    velocity=velocity,
    part=part,
    pedal=[(0.5, True, 1), (1.5, False, 1)],
    part_names=("player", "ai"),
  )
  heard, sent = (part_messages(score, n, channel=n + 1) for n in range(2))
  back = duet_score(heard, sent)
  assert back.equals(score, tolerance_s=1e-8)
