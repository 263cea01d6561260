"""Recordings of a player: what is used, cut into pieces, and held out."""

import numpy as np
import pytest

from magenta_midi.audio.audio_file import AudioFileError
from magenta_midi.data.corpus import pack_scores
from magenta_midi.data.recordings import (
  cut_at_silences,
  join_split,
  read_recordings,
  recordings_of_scores,
  split_recordings,
)
from magenta_midi.data.titles import title_of
from magenta_midi.finetune.mixture import at_tempo
from magenta_midi.midi.score import Score
from magenta_midi.transcribe.installed_file import MissingModelError
from magenta_midi.transcribe.transcribe import Transcription


def music(seconds=20.0, seed=0, start_s=0.0):
  """Drawn notes, four a second."""
  rng = np.random.default_rng(seed)
  onset = start_s + np.arange(0, seconds, 0.25)
  return Score.from_arrays(
    onset_s=onset,
    duration_s=np.full(len(onset), 0.2),
    key=rng.integers(40, 80, len(onset)),
    velocity=rng.integers(30, 100, len(onset)),
  )


def recordings_named(*names, seconds=20.0):
  recordings, refused = recordings_of_scores(
    (name, music(seconds, seed)) for seed, name in enumerate(names)
  )
  assert not refused
  return recordings


@pytest.mark.parametrize(
  "names",
  [
    (
      "Blue Ballade.mid",
      "blue_ballade_2.MID",
      "x/Blue-Ballade (3).mid",
      "Blue Ballade take 4.mid",
      "blue.ballade.take.mid",
    ),
    ("Étude no 3.mid", "étude_no_3.mid"),
  ],
)
def test_takes_of_one_title(names):
  assert len({title_of(name) for name in names}) == 1


@pytest.mark.parametrize(
  ("one", "other"),
  [
    ("01.mid", "02.mid"),
    ("take 1.mid", "ballade 1.mid"),
    ("mazurka.mid", "mazurka in a.mid"),
    ("opus2.mid", "opus3.mid"),
    ("Etude no. 3.mid", "Etude no. 4.mid"),
    ("Nocturne Op. 9.mid", "nocturne op_27.mid"),
  ],
)
def test_other_titles(one, other):
  assert title_of(one) != title_of(other)


def test_long_silences_part_pieces():
  first, second = music(12.0, 1), music(15.0, 2, start_s=60.0)
  whole = first.joined(second).joined(music(1.0, 3, start_s=140.0))
  parts = cut_at_silences(whole)
  assert [len(part) for part in parts] == [48, 60, 4]
  assert all(part.notes["onset_s"][0] == 0 for part in parts)
  # A silence in which a note sounds on is none.
  held = Score.from_arrays(
    onset_s=[11.9], duration_s=[45.0], key=[30], velocity=[60]
  )
  assert len(cut_at_silences(whole.joined(held))) == 2
  ((recording,), refused) = recordings_of_scores([("a.mid", whole)])
  assert not refused
  # The last has too few notes to be a piece.
  assert [len(piece) for piece in recording.pieces] == [48, 60]
  assert cut_at_silences(Score.empty()) == []


def test_whole_titles_are_held_out_whatever_else_there_is():
  names = [
    f"piece {chr(97 + i)} {take}.mid" for i in range(10) for take in "12"
  ]
  split = split_recordings(recordings_named(*names))
  assert len(split.held_out_titles) == 2 and len(split.train_titles) == 8
  assert not set(split.held_out_titles) & set(split.train_titles)
  assert not split.by_time
  assert len(split.held_out) == 4 and len(split.train) == 16
  assert {title_of(n) for n in split.held_out.names} == set(
    split.held_out_titles
  )
  again = split_recordings(recordings_named(*names[::-1]))
  assert again.held_out_titles == split.held_out_titles
  assert (
    len(split_recordings(recordings_named("a.mid", "b.mid", "c.mid")).held_out)
    == 1
  )


def test_numbers_are_titles_where_there_would_be_too_few():
  split = split_recordings(
    recordings_named("etude 1.mid", "etude 2.mid", "etude 3.mid")
  )
  assert not split.by_time
  assert len(split.train_titles) == 2 and len(split.held_out_titles) == 1


@pytest.mark.parametrize("names", [("a.mid",), ("a.mid", "b.mid")])
def test_few_takes_are_cut_in_time(names):
  recordings = recordings_named(*names, seconds=40.0)
  split = split_recordings(recordings)
  assert split.by_time
  assert len(split.train) == len(split.held_out) == len(names)
  notes = sum(len(recording.pieces[0]) for recording in recordings)
  assert split.train.notes + split.held_out.notes == notes
  assert split.held_out.notes == pytest.approx(0.2 * notes, abs=2)
  for index, recording in enumerate(recordings):
    end = split.held_out.piece(index)
    begin = split.train.piece(index)
    assert begin["time_ms"].max() < recording.pieces[0]["time_ms"][len(begin)]
    assert end["time_ms"][0] == 0
    assert (
      end["key"].tolist() == recording.pieces[0]["key"][len(begin) :].tolist()
    )


def test_what_cannot_be_used_is_told(tmp_path):
  music(5.0).to_file(tmp_path / "short.mid")
  music(20.0).to_file(tmp_path / "good.mid")
  music(20.0).to_file(tmp_path / "copy.mid")
  Score.empty().to_file(tmp_path / "empty.mid")
  (tmp_path / "bad.mid").write_bytes(b"not MIDI")
  recordings, refused = read_recordings([tmp_path])
  assert [recording.name for recording in recordings] == ["copy.mid"]
  reasons = dict(refused)
  assert reasons.keys() == {"short.mid", "good.mid", "empty.mid", "bad.mid"}
  assert reasons["good.mid"] == "the same music as copy.mid"
  assert "4.8 s and 20 notes" in reasons["short.mid"]
  assert reasons["empty.mid"] == "holds no notes"
  with pytest.raises(
    ValueError, match=r"no usable recordings: 20 s of music in 1"
  ):
    split_recordings(recordings)
  with pytest.raises(ValueError, match="no such file or folder"):
    read_recordings([tmp_path / "none"])
  recordings, refused = read_recordings([tmp_path / "good.mid"])
  assert len(recordings) == 1 and not refused


def test_what_is_lost_of_a_damaged_file_is_told(tmp_path):
  music(60.0).to_file(tmp_path / "cut.mid")
  whole = (tmp_path / "cut.mid").read_bytes()
  music(70.0).to_file(tmp_path / "whole.mid")
  (tmp_path / "cut.mid").write_bytes(whole[: len(whole) * 2 // 3])
  (cut, recording), refused = read_recordings([tmp_path])
  assert cut.damage == "tracks damaged or missing, read as far as possible: 1"
  assert cut.seconds < 50 and not recording.damage and not refused


def test_what_the_model_played_is_not_learned_from():
  duet = music(20.0, 1).joined(music(20.0, 2))
  named = Score.from_arrays(
    **{
      field: duet.notes[field]
      for field in ("onset_s", "duration_s", "key", "velocity", "part")
    },
    part_names=("player", "ai"),
  )
  ((recording,), _) = recordings_of_scores([("session.mid", named)])
  (alone,) = recordings_named("alone.mid")
  expected = pack_scores([("x", music(20.0, 1))])
  np.testing.assert_array_equal(
    recording.pieces[0]["key"], expected.events["key"]
  )
  assert len(recording.pieces[0]) == len(alone.pieces[0])


def test_a_split_by_others_may_not_share_music():
  train, held = (
    recordings_named("a.mid", "b.mid", "c.mid"),
    recordings_named("d.mid"),
  )
  with pytest.raises(
    ValueError, match=r"d\.mid is held out, but a\.mid is the"
  ):
    join_split(train, held)
  split = join_split(train[1:], held)
  assert (len(split.train), len(split.held_out)) == (2, 1)
  with pytest.raises(ValueError, match="no usable recordings to evaluate on"):
    join_split(train, [])


def test_digests_tell_takes_apart():
  names = ("a.mid", "b.mid", "c.mid")
  one = split_recordings(recordings_named(*names)).digest
  assert one == split_recordings(recordings_named(*names)).digest
  assert one != split_recordings(recordings_named(*names, seconds=21.0)).digest


def test_tempo_scales_all_times():
  corpus = pack_scores([("a", music(10.0)), ("b", music(12.0, 1))])
  assert at_tempo(corpus, 1.0) is corpus
  slow = at_tempo(corpus, 0.5)
  np.testing.assert_array_equal(
    slow.events["time_ms"], 2 * corpus.events["time_ms"]
  )
  np.testing.assert_array_equal(
    slow.events["duration_ms"], 2 * corpus.events["duration_ms"]
  )
  fast = at_tempo(corpus, 1000.0)
  assert fast.events["duration_ms"].min() == 1
  np.testing.assert_array_equal(fast.events["key"], corpus.events["key"])


def test_sound_is_transcribed_where_no_midi_file_is_beside(tmp_path):
  music().to_file(tmp_path / "a.mid")
  for name in ("a.wav", "b.wav", "c.flac", "d.mp3", "notes.txt"):
    (tmp_path / name).write_bytes(b"sound")
  other = music(seed=1)

  def hear(path):
    if path.name == "c.flac":
      raise AudioFileError(f"{path}: holds no sound.")
    if path.name == "d.mp3":
      raise MissingModelError("no weights")
    return Transcription(other, "damaged: a part could be read")

  recordings, refused = read_recordings([tmp_path], hear)
  assert [recording.name for recording in recordings] == ["a.mid", "b.wav"]
  assert [bool(recording.damage) for recording in recordings] == [False, True]
  assert refused == [("c.flac", "holds no sound."), ("d.mp3", "no weights")]
  (recording,), _ = read_recordings([tmp_path / "a.wav"], hear)
  assert recording.name == str(tmp_path / "a.wav")
  # Without a transcriber only MIDI counts.
  recordings, _ = read_recordings([tmp_path])
  assert [recording.name for recording in recordings] == ["a.mid"]
