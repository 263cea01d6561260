"""Beats and chords beside MIDI files."""

import numpy as np
import pytest

from magenta_midi.data.corpus import join_corpora, read_corpus
from magenta_midi.data.outline_files import OutlineFileError, read_outline
from magenta_midi.data.pieces import packed_times
from magenta_midi.midi.score import Score

BEATS = "".join(f"{1 + 0.5 * i}\t{1 + i % 3}\n" for i in range(9))
CHORDS = "0.0 1.0 N\n1.0 2.5 C:maj\n2.5 4.0 C:maj\n4 5.5 A:min7/b7\n"


def write(folder, name, **files):
  path = folder / f"{name}.mid"
  score = Score.from_arrays(
    onset_s=[1.0, 1.5, 7.0, 7.5],
    duration_s=[0.4] * 4,
    key=[60] * 4,
    velocity=[80] * 4,
  )
  score.to_file(path)
  for ending, text in files.items():
    (folder / f"{name}.{ending}").write_text(text)
  return path


def test_both_files_are_read(tmp_path):
  outline = read_outline(write(tmp_path, "a", beats=BEATS, lab=CHORDS))
  np.testing.assert_allclose(outline.beat_ms, 1000 + 500 * np.arange(9))
  assert outline.place.tolist() == [0, 1, 2] * 3
  assert set(outline.meter.tolist()) == {3}
  # A chord that is written twice begins once.
  assert outline.chord_ms.tolist() == [0, 1000, 4000]
  assert outline.root.tolist() == [-1, 0, 9]
  assert outline.bass.tolist() == [-1, 0, 7]
  assert np.flatnonzero(outline.classes[2]).tolist() == [0, 4, 7, 9]


def test_one_file_is_enough(tmp_path):
  only_beats = read_outline(write(tmp_path, "a", beats=BEATS))
  only_chords = read_outline(write(tmp_path, "b", lab=CHORDS))
  assert len(only_beats.beat_ms) == 9 and not len(only_beats.root)
  assert not len(only_chords.beat_ms) and len(only_chords.root) == 3
  assert read_outline(write(tmp_path, "c")) is None


def test_bars_cut_off_at_the_ends_are_whole(tmp_path):
  beats = "0 3\n1 1\n2 2\n3 3\n4 1\n5 2\n6 3\n7 1\n"
  outline = read_outline(write(tmp_path, "a", beats=beats))
  assert outline.meter.tolist() == [3] * 8


def test_a_corpus_has_them_on_the_clock_of_its_events(tmp_path):
  write(tmp_path, "a", beats=BEATS, lab=CHORDS)
  write(tmp_path, "b")
  found = read_corpus(tmp_path, ["train", "valid"], with_outlines=True)[0]
  corpus = join_corpora([c for c in found.values() if len(c)])
  outline = corpus.outline(corpus.names.index("a.mid"))
  # The first event is at 0; of 5.1 s of silence 3 s are kept.
  assert outline.beat_ms[0] == 0
  assert corpus.piece(0)["time_ms"].tolist() == [0, 500, 3900, 4400]
  assert corpus.outline(corpus.names.index("b.mid")) is None
  plain = read_corpus(tmp_path, ["train", "valid"])[0]
  assert not any(c.outlines for c in plain.values())


def test_times_of_a_file_move_with_its_piece():
  score = Score.from_arrays(
    onset_s=[2.0, 3.0, 13.0],
    duration_s=[0.2] * 3,
    key=[60] * 3,
    velocity=[80] * 3,
  )
  # The first note is at 0; a silence of 9.8 s has 3 s in a piece.
  times = packed_times(score, np.array([2.0, 2.5, 3.0, 13.0, 14.0]))
  np.testing.assert_allclose(times, [0, 500, 1000, 4200, 5200], atol=1)


@pytest.mark.parametrize(
  ("files", "words"),
  [
    (dict(beats="1.0\n"), "line 1: expected 2 columns, got 1"),
    (dict(beats="1.0 1\n\nx 2\n"), "line 3: expected a time"),
    (dict(beats="nan 1\n"), "expected a time"),
    (dict(beats="1.0 9\n"), r"must be in 1\.\.8, got 9"),
    (dict(beats="1.0 x\n"), r"got x"),
    (dict(beats="2 1\n1 2\n"), "order of time"),
    (dict(lab="1.0 2.0 H:foo\n"), "line 1"),
    (dict(lab="1.0 2.0\n"), "expected 3 columns"),
  ],
)
def test_a_bad_line_is_named(tmp_path, files, words):
  path = write(tmp_path, "a", **files)
  with pytest.raises(OutlineFileError, match=words) as error:
    read_outline(path)
  assert "\n" not in str(error.value)
  # And the others of a folder are read.
  write(tmp_path, "b", beats=BEATS)
  found, bad = read_corpus(tmp_path, ["train", "valid"], with_outlines=True)
  assert [p.name for p, _ in bad] == ["a.mid"]
  assert sum(len(c) for c in found.values()) == 1
