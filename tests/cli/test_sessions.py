"""`magenta-midi sessions`, on sessions that were recorded."""

import datetime
import json
import wave

import mido
import numpy as np
import pytest

from magenta_midi.cli import sessions as sessions_module
from magenta_midi.live.io import port_scan
from magenta_midi.live.io import rtmidi as ports
from magenta_midi.live.io.port_scan import PortList
from magenta_midi.live.protocol.events import SECOND, Message
from magenta_midi.live.recording.files import JOURNAL
from magenta_midi.live.recording.library import session_folders
from magenta_midi.live.recording.recorder import (
  SessionRecorder,
  new_session_folder,
)
from magenta_midi.live.timing.bars import Bars
from magenta_midi.midi.score import Score
from magenta_midi.midi.session_facts import FACTS, read_facts
from tests.support import command_line

WALL_S = datetime.datetime(2026, 11, 21, 14, 3, 22).timestamp()


def record(
  root, name="", *, wall_s=WALL_S, seconds=40, marks=(35,), close=True
):
  """A session: a note of either player a second, the model half a one late."""
  folder = new_session_folder(root, name, wall_s=wall_s)
  recorder = SessionRecorder(
    folder, checkpoint="c", settings={}, clock_start_wall=wall_s
  )
  recorder.bars(0, Bars(90, 3, 0))
  for n in range(seconds):
    for send, status, late in (
      (recorder.player, 0x90, 0),
      (recorder.model, 0x91, 0.5),
    ):
      at = round((n + late) * SECOND)
      key = 60 + n % 12
      send(Message(at, bytes((status, key, 64))))
      send(Message(at + SECOND // 4, bytes((status - 16, key, 64))))
  for mark in marks:
    recorder.bookmark(mark * SECOND)
  if close:
    assert recorder.close(seconds * SECOND) is None
  else:  # as after a crash
    recorder.flush(seconds * SECOND)
    recorder._journal.close()
  return folder


@pytest.fixture
def root(tmp_path):
  folder = tmp_path / "sessions"
  folder.mkdir()
  return folder


def run(capsys, root, *args):
  return command_line.run(capsys, "sessions", "--sessions", root, *args)


def run_json(capsys, root, *args):
  return command_line.run_json(capsys, "sessions", "--sessions", root, *args)


def refused(capsys, root, *args):
  code, out, err = run(capsys, root, *args)
  assert code == 2, (out, err)
  assert len(err.strip().splitlines()) == 1, err
  return err


def test_list(capsys, root):
  assert run_json(capsys, root, "list")["sessions"] == []
  folder = record(root, "blues")
  record(root, wall_s=WALL_S + 60, seconds=5, marks=())
  first, second = run_json(capsys, root, "list")["sessions"]
  assert first["id"] == folder.name == "2026-11-21_14-03-22-blues"
  assert (first["seconds"], first["notes_player"], first["notes_ai"]) == (
    40.0,
    40,
    40,
  )
  assert first["state"] == "done" and len(first["bookmarks"]) == 1
  assert second["id"] == "2026-11-21_14-04-22"
  _, out, _ = run(capsys, root, "list")
  row = next(line for line in out.splitlines() if folder.name in line)
  assert row.split() == [folder.name, "0:40", "40", "40", "1"]


def test_list_says_which_adapters_played(capsys, root):
  plain = record(root)
  adapted = record(root, wall_s=WALL_S + 60)
  rows = [
    {"time_s": at_s, "adapter": name}
    for at_s, name in ((0.0, "me"), (9.0, "you:0.5"), (20.0, "me"))
  ]
  facts = read_facts(adapted) | {"adapters_played": rows}
  (adapted / FACTS).write_text(json.dumps(facts))
  _, out, _ = run(capsys, root, "list")
  assert "adapters" in out
  row, other = (
    next(line for line in out.splitlines() if folder.name in line)
    for folder in (adapted, plain)
  )
  assert row.rstrip().endswith("me, you:0.5")
  assert other.split() == [plain.name, "0:40", "40", "40", "1"]


def test_list_recovers_after_a_crash(capsys, root):
  folder = record(root, close=False)
  assert not (folder / FACTS).exists()
  code, out, err = run(capsys, root, "list")
  assert code == 0
  assert err == f"{folder.name}: recovered after a crash\n"
  assert "0:40" in out
  assert run(capsys, root, "list")[2] == ""


def test_list_shows_what_is_being_played_or_damaged(capsys, root):
  playing = new_session_folder(root, wall_s=WALL_S)
  recorder = SessionRecorder(
    playing, checkpoint="c", settings={}, clock_start_wall=WALL_S
  )
  damaged = record(root, "hurt")
  (damaged / FACTS).write_text("{")
  states = {
    recorder["id"]: recorder["state"]
    for recorder in run_json(capsys, root, "list")["sessions"]
  }
  assert states == {playing.name: "playing", damaged.name: "damaged"}
  said = refused(capsys, root, "rate", playing.name, 3)
  assert "still being played" in said
  recorder.close(0)


def test_ids(capsys, root):
  assert "Play one: magenta-midi jam" in refused(capsys, root, "path", "last")
  first = record(root, seconds=1)
  second = record(root, "b", wall_s=WALL_S + 3600, seconds=1)
  assert run(capsys, root, "path", "last")[1].strip() == str(second)
  assert run(capsys, root, "path", "2026-11-21_14")[1].strip() == str(first)
  assert run_json(capsys, root, "path")["path"] == str(root)
  said = refused(capsys, root, "path", "2026")
  assert "could be any of 2026-11-21_14-03-22, 2026-11-21_15" in said
  assert "no session '2025'" in refused(capsys, root, "path", "2025")
  # A whole ID may be the beginning of another.
  again = record(root, wall_s=WALL_S, seconds=1)
  assert again.name == first.name + "-2"
  assert run(capsys, root, "path", first.name)[1].strip() == str(first)


def test_keep_and_rate(capsys, root):
  folder = record(root, seconds=2)
  before = json.loads((folder / FACTS).read_text())
  assert run_json(capsys, root, "keep", "last") == {
    "id": folder.name,
    "keep": True,
  }
  assert run_json(capsys, root, "rate", "last", 4)["rating"] == 4
  after = json.loads((folder / FACTS).read_text())
  assert after == before | {"keep": True, "rating": 4}
  _, out, _ = run(capsys, root, "list")
  assert "****" in out and "kept" in out
  run_json(capsys, root, "keep", "last", "--not")
  assert read_facts(folder)["keep"] is False
  assert "a whole number from 1 to 5" in refused(
    capsys, root, "rate", "last", 6
  )


def test_prune_spares_what_is_kept(capsys, root):
  old = record(root, "old", seconds=1)
  kept = record(root, "kept", seconds=1)
  now = datetime.datetime.now().timestamp()
  new = record(root, "new", wall_s=now, seconds=1)
  year_ago = record(root, "year", wall_s=now - 365 * 86400, seconds=1)
  run(capsys, root, "keep", year_ago.name)
  for folder in (old, kept):  # dated ahead of some clocks
    facts = read_facts(folder)
    facts["started"] = "2020-01-01T00:00:00.000+00:00"
    whole = json.loads((folder / FACTS).read_text()) | facts
    (folder / FACTS).write_text(json.dumps(whole))
  run(capsys, root, "keep", kept.name)
  listed = run_json(capsys, root, "prune")
  assert listed == {"deleted": False, "sessions": [old.name]}
  assert old.is_dir()
  assert run_json(capsys, root, "prune", "--yes")["deleted"]
  assert sorted(session_folders(root)) == sorted([kept, new, year_ago])


def test_trim_makes_a_session_of_its_own(capsys, root):
  folder = record(root, "x")
  before = {p.name: p.read_bytes() for p in folder.iterdir()}
  facts = run_json(capsys, root, "trim", "last", "--from", 10, "--to", 20.6)
  assert facts["id"] == folder.name + "-trim"
  assert (facts["seconds"], facts["notes_player"], facts["notes_ai"]) == (
    10.6,
    11,
    11,
  )
  score = Score.from_file(root / facts["id"] / "session.mid")
  assert score.notes["onset_s"][:3] == pytest.approx([0, 0.5, 1], abs=0.002)
  assert score.end_s == pytest.approx(10.6, abs=0.002)  # cut off at the end
  assert score.tempo.bpm.tolist() == pytest.approx([90], abs=0.001)
  new = read_facts(root / facts["id"])
  assert new["started"].startswith("2026-11-21T14:03:32")
  assert new["bookmarks"] == [{"from_s": 0.0, "to_s": 10.6}]
  assert (root / facts["id"] / "session.png").is_file()
  assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
  again = run_json(capsys, root, "trim", facts["id"], "--from", 5)
  assert again["trimmed_from"]["id"] == facts["id"]
  said = refused(capsys, root, "trim", folder.name, "--from", 30, "--to", 20)
  assert "0 to 40 s" in said


def test_export_stems_tempo_and_bookmarks(capsys, root, tmp_path):
  record(root, marks=(35, 10))
  out = tmp_path / "stems"
  facts = run_json(capsys, root, "export", "last", out)
  names = ("player", "ai", "both", "tempo")
  folders = ("", "bookmark-1/", "bookmark-2/")
  assert facts["files"] == [
    str(out / f"{folder}{name}.mid") for folder in folders for name in names
  ]
  player, ai, both, tempo = (Score.from_file(out / f"{n}.mid") for n in names)
  assert (player.part_names, ai.part_names) == (("player",), ("ai",))
  assert both.part_names == ("player", "ai")
  assert len(player) + len(ai) == len(both) == 80
  assert len(tempo) == 0
  for score in (player, ai, both):
    assert score.tempo.equals(tempo.tempo, tolerance=0.001)
  events = list(mido.MidiFile(out / "tempo.mid").tracks[0])
  kinds = {event.type: event for event in events}
  assert mido.tempo2bpm(kinds["set_tempo"].tempo) == pytest.approx(90, abs=0.01)
  assert kinds["time_signature"].numerator == 3
  marked = Score.from_file(out / "bookmark-1" / "both.mid")
  assert len(marked) == 60  # of 30 s
  assert marked.notes["key"][0] == 60 + 5
  early = Score.from_file(out / "bookmark-2" / "player.mid")
  assert len(early) == 10  # there was no more


def test_export_of_one_who_never_played(capsys, root, tmp_path):
  folder = new_session_folder(root)
  recorder = SessionRecorder(
    folder, checkpoint="c", settings={}, clock_start_wall=0
  )
  recorder.model(Message(SECOND, b"\x91\x3c\x40"))
  recorder.model(Message(2 * SECOND, b"\x81\x3c\x40"))
  recorder.close(3 * SECOND)
  run_json(capsys, root, "export", "last", tmp_path)
  assert len(Score.from_file(tmp_path / "player.mid")) == 0
  assert len(Score.from_file(tmp_path / "ai.mid")) == 1


def test_export_to_where_a_file_is(capsys, root, tmp_path):
  record(root, seconds=1, marks=())
  (tmp_path / "file").write_text("")
  said = refused(capsys, root, "export", "last", tmp_path / "file")
  assert "cannot be written" in said


def test_play_to_a_wav(capsys, root, tmp_path, monkeypatch):
  monkeypatch.setenv("PATH", "")  # no FluidSynth: the built-in piano
  record(root, seconds=2, marks=())
  facts = run_json(capsys, root, "play", "last", "--wav", tmp_path / "o.wav")
  assert facts["engine"] == "numpy"
  with wave.open(str(tmp_path / "o.wav")) as file:
    samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
  assert np.abs(samples.astype(int)).max() > 1000


class FakePort:
  def __init__(self, lasts=10**9):
    self.sent, self.closed, self.lasts = [], False, lasts
    self.abandoned = self.stands_still = False

  def send(self, data):
    self.sent.append(data)
    return len(self.sent) <= self.lasts

  def close(self):
    self.closed = True

  def abandon(self):
    self.abandoned = True


@pytest.fixture
def port(monkeypatch):
  """A MIDI output `Synth`, and a clock that jumps to when it is asked."""
  fake = FakePort()

  class Backend:
    def __init__(self, api):
      assert api == "alsa"

    def open_output(self, name):
      assert name == "Synth 24:0"
      return fake

    def settle(self, timeout_s):
      assert 5 < timeout_s < 10
      return not fake.stands_still

  found = PortList((), ("Synth 24:0", "Other 28:0"), "alsa")
  monkeypatch.setattr(port_scan, "scan", lambda: found)
  monkeypatch.setattr(ports, "RtMidiBackend", Backend)
  monkeypatch.setattr(sessions_module, "_wait_until", lambda time_ns: None)
  return fake


def test_play_to_a_port(capsys, root, port):
  record(root, seconds=3, marks=())
  facts = run_json(capsys, root, "play", "last", "--out", "synth")
  assert facts["output"] == "Synth"
  assert port.closed
  ons = [data for data in port.sent if data[0] >> 4 == 9]
  assert [data[0] & 15 for data in ons] == [0, 1] * 3  # in turn
  assert [data[1] for data in ons] == [60, 60, 61, 61, 62, 62]
  assert port.sent[-2:] == [b"\xb0\x40\x00", b"\xb1\x40\x00"]


def test_an_output_that_stands_still_is_left(capsys, root, port):
  record(root, seconds=3, marks=())
  port.stands_still = True
  run_json(capsys, root, "play", "last", "--out", "synth")
  # Closing it could wait without end.
  assert port.abandoned and not port.closed


def test_an_interrupted_playback_leaves_nothing_sounding(
  capsys, root, port, monkeypatch
):
  record(root, seconds=3, marks=())

  def interrupt(time_ns):
    if len(port.sent) == 5:
      raise KeyboardInterrupt

  monkeypatch.setattr(sessions_module, "_wait_until", interrupt)
  code, _, err = run(capsys, root, "play", "last", "--out", "synth")
  assert (code, err.strip()) == (130, "magenta-midi: stopped.")
  down = set()
  for status, key, _ in port.sent:
    (down.add if status >> 4 == 9 else down.discard)((status & 15, key))
  assert down == set()
  assert port.closed


def test_an_output_that_goes(capsys, root, port):
  record(root, seconds=3, marks=())
  port.lasts = 3
  assert "the output is gone" in refused(
    capsys, root, "play", "last", "--out", "synth"
  )


def test_play_refuses(capsys, root, port):
  folder = record(root, seconds=1, marks=())
  said = refused(capsys, root, "play", "last", "--sound", "--out", "synth")
  assert "give one of" in said
  said = refused(capsys, root, "play", "last", "--out", "zzz")
  assert 'no output "zzz". There are: "Synth", "Other"' in said
  assert "no such folder" in refused(capsys, folder / "none", "list")
  (folder / "session.mid").write_bytes(b"junk")
  assert "session.mid" in refused(capsys, root, "play", "last", "--out", "syn")


def test_a_session_without_its_journal_is_still_one(capsys, root):
  folder = record(root, seconds=2)
  (folder / JOURNAL).unlink()
  assert len(run_json(capsys, root, "list")["sessions"]) == 1
  assert run_json(capsys, root, "trim", "last", "--to", 1)["seconds"] == 1
