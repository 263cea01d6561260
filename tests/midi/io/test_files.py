import io
import os
import stat

import mido
import numpy as np
import pytest
from hypothesis import given

from magenta_midi.midi import (
  MidiFileError,
  Score,
  TempoMap,
  read_folder,
  read_score,
  write_score,
)
from tests.support.other_readers import notes_of_others

NOTE = "00 90 3c 50 60 80 3c 00"


def by_voice(score):
  n = score.notes
  return n[np.lexsort((n["onset_s"], n["key"], n["part"]))]


def assert_close(score, back, *, tolerance_s=0.00053):
  assert len(back) == len(score)
  a, b = by_voice(score), by_voice(back)
  for name in ("key", "velocity", "part"):
    np.testing.assert_array_equal(a[name], b[name])
  np.testing.assert_allclose(a["onset_s"], b["onset_s"], 0, tolerance_s)
  np.testing.assert_allclose(
    a["duration_s"], b["duration_s"], 0, 2 * tolerance_s
  )
  np.testing.assert_array_equal(score.pedals["down"], back.pedals["down"])
  np.testing.assert_allclose(
    score.pedals["time_s"], back.pedals["time_s"], 0, tolerance_s
  )


def only_parts_with_notes(score):
  used = np.unique(score.notes["part"])
  return score.select([int(part) for part in used])


def test_round_trip(scores):
  @given(scores(gap_s=0.05))
  def run(arguments):
    score = only_parts_with_notes(Score.from_arrays(**arguments))
    if len(score):
      back = Score.from_bytes(score.to_bytes())
      assert back.part_names == score.part_names
      # A part that never uses the pedal shares no channel with one that does.
      assert_close(score, back)
      assert back.repairs.messages() == []

  run()


@pytest.mark.parametrize(
  "bpm", [[120.0], [33.3, 180.1, 96.7], [5.0, 1999.0], [0.01, 1e6, 60.0]]
)
def test_round_trip_at_any_tempo(bpm):
  rng = np.random.default_rng(0)
  tempo = TempoMap(np.arange(len(bpm)) * 7.77, np.array(bpm))
  onset_s = np.sort(rng.uniform(0, 600, 2000))
  score = Score.from_arrays(
    onset_s=onset_s,
    duration_s=rng.uniform(0.02, 0.05, 2000),
    key=np.arange(2000) % 128,
    velocity=rng.integers(1, 128, 2000),
    tempo=tempo,
  )
  back = Score.from_bytes(score.to_bytes())
  assert_close(score, back)
  if min(bpm) > 4:
    np.testing.assert_allclose(back.tempo.bpm, tempo.bpm, rtol=1e-4)
    np.testing.assert_allclose(back.tempo.time_s, tempo.time_s, atol=2e-3)


@pytest.mark.parametrize(
  ("seconds", "division", "error_s"),
  # Half a tick. Ten million ticks are the most that pretty_midi reads.
  [(60, 4800, 0.5 / 9600), (1000, 4800, 0.5 / 9600), (2000, 2400, 0.5 / 4800)],
)
def test_onsets_are_written_finely(seconds, division, error_s):
  rng = np.random.default_rng(1)
  onset_s = np.sort(rng.uniform(0, seconds - 1, 500))
  # And on the codec's grid, where nothing is rounded.
  onset_s[:100] = np.arange(100) * 0.01
  onset_s = np.sort(onset_s)
  score = Score.from_arrays(
    onset_s=onset_s,
    duration_s=np.full(500, 0.02),
    key=np.arange(500) % 128,
    velocity=np.full(500, 64),
  )
  data = score.to_bytes()
  assert int.from_bytes(data[12:14]) == division
  back = Score.from_bytes(data).notes["onset_s"]
  errors_s = np.abs(np.sort(back) - onset_s)
  assert errors_s.max() <= error_s * 1.001
  assert errors_s[np.isin(onset_s, np.arange(100) * 0.01)].max() < 1e-9
  ticks = onset_s.max() * 2 * division
  assert ticks < 10**7


def test_a_whole_day_fits():
  score = Score.from_arrays(
    onset_s=[0, 86000], duration_s=[1, 1], key=[60, 60], velocity=[64, 64]
  )
  for bpm in (120.0, 1999.0):
    tempo = TempoMap(np.array([0.0, 1.0]), np.array([4.1, bpm]))
    fast = score.joined(Score.empty()).select(0)
    fast = Score(notes=fast.notes, tempo=tempo)
    assert_close(fast, Score.from_bytes(fast.to_bytes()))
  with pytest.raises(ValueError, match="at most 24 hours"):
    score.shifted(86400).to_bytes()


def test_other_programs_read_what_is_written():
  """Their notes are ours: mido and symusic, and pretty_midi if it is there."""
  rng = np.random.default_rng(2)
  tempo = TempoMap(np.array([0.0, 100.0]), np.array([61.3, 140.0]))
  for seconds in (20, 900):
    score = Score.from_arrays(
      onset_s=np.sort(rng.uniform(0, seconds, 300)),
      duration_s=np.full(300, 0.05),
      key=np.arange(300) % 128,
      velocity=np.arange(300) % 127 + 1,
      part_names=["피아노"],
      tempo=tempo,
    )
    data = score.to_bytes()
    ours = score.notes[["onset_s", "key", "velocity"]].tolist()
    for theirs in notes_of_others(data).values():
      assert theirs is not None
      assert len(theirs) == 300
      for (onset_s, *rest), (their_s, *their_rest) in zip(
        ours, theirs, strict=True
      ):
        assert abs(onset_s - their_s) < 0.0002
        assert rest == their_rest
    file = mido.MidiFile(file=io.BytesIO(data))
    assert "피아노".encode() in data
    assert file.ticks_per_beat <= 19200


def test_a_tempo_days_after_the_end_is_left_out():
  tempo = TempoMap(np.array([0.0, 1.0, 1e7]), np.array([100.0, 90.0, 80.0]))
  score = Score.from_arrays(
    onset_s=[0.0], duration_s=[2.0], key=[60], velocity=[64], tempo=tempo
  )
  back = Score.from_bytes(score.to_bytes())
  assert_close(score, back)
  np.testing.assert_allclose(back.tempo.bpm, [100, 90], rtol=1e-4)


def test_an_empty_score_is_a_file(tmp_path):
  write_score(Score.empty(), tmp_path / "a.mid")
  assert len(read_score(tmp_path / "a.mid")) == 0


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
  path = tmp_path / "a.mid"
  score = Score.from_arrays(
    onset_s=[0], duration_s=[1], key=[60], velocity=[64]
  )
  score.to_file(path)
  before = path.read_bytes()
  mask = os.umask(0)
  os.umask(mask)
  assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask

  def full(*_):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(os, "replace", full)
  with pytest.raises(OSError, match=r"No space left.*a\.mid"):
    Score.empty().to_file(path)
  assert path.read_bytes() == before
  assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"nowhere/a\.mid"):
    Score.empty().to_file(tmp_path / "nowhere" / "a.mid")


def test_errors_name_the_file_and_the_reason(tmp_path):
  path = tmp_path / "a.mid"
  with pytest.raises(MidiFileError, match=r"a\.mid: no such file"):
    read_score(path)
  with pytest.raises(MidiFileError, match="is a folder"):
    Score.from_file(tmp_path)
  path.write_bytes(b"")
  with pytest.raises(MidiFileError, match=r"a\.mid: the file is empty$"):
    read_score(path)
  with open(path, "wb") as file:
    file.truncate(17 * 2**20)
  with pytest.raises(MidiFileError, match=r"has 17.0 MiB, at most 16 are read"):
    read_score(path)


def test_a_pipe_and_a_device_are_refused_at_once(tmp_path):
  os.mkfifo(tmp_path / "pipe.mid")
  for path in (tmp_path / "pipe.mid", "/dev/zero"):
    with pytest.raises(MidiFileError, match="is a pipe or device"):
      Score.from_file(path)


def test_a_folder_is_read_and_its_bad_files_are_listed(tmp_path, midi):
  (tmp_path / "deep").mkdir()
  (tmp_path / "b.MID").write_bytes(midi(NOTE))
  (tmp_path / "deep" / "a.midi").write_bytes(midi(NOTE, NOTE))
  (tmp_path / "c.mid").write_bytes(b"no music")
  (tmp_path / "d.txt").write_bytes(b"not even called so")
  (tmp_path / "e.mid").mkdir()
  scores, refused = read_folder(tmp_path)
  assert [(path.name, score.parts) for path, score in scores] == [
    ("b.MID", 1),
    ("a.midi", 2),
  ]
  assert [path.name for path, _ in refused] == ["c.mid"]
  assert refused[0][1].startswith("not a MIDI file")
  with pytest.raises(MidiFileError, match="no such folder"):
    read_folder(tmp_path / "nowhere")


def test_pedal_changes_of_one_tick_all_come_back(tmp_path):
  """A player's half pedal flutters within a millisecond."""
  times = [1.0, 1.0000001, 1.0000002, 1.0005, 2.0, 2.0000001]
  score = Score.from_arrays(
    onset_s=[0.0],
    duration_s=[3.0],
    key=[60],
    velocity=[64],
    pedal=[(t, i % 2 == 0) for i, t in enumerate(times)],
  )
  path = tmp_path / "flutter.mid"
  score.to_file(path)
  back = Score.from_file(path).pedals
  assert back["down"].tolist() == [i % 2 == 0 for i in range(6)]
  assert np.abs(back["time_s"] - np.array(times)).max() <= 0.005
