"""Every real file at hand, where they are."""

import csv
import tarfile

import numpy as np
import pytest

from magenta_midi.midi import Score, read_folder

pytestmark = pytest.mark.corpus


def members(shared, corpus, every):
  """Every so-manieth file of a packed corpus: its row and its bytes."""
  folder = shared / "data"
  with open(folder / f"{corpus}.csv", newline="") as file:
    table = {row["path"]: row for row in csv.DictReader(file)}
  chosen = set(sorted(table)[::every])
  with tarfile.open(folder / f"{corpus}.tar.xz") as archive:
    for member in archive:
      path = member.name.split("/", 1)[-1].removeprefix(f"{corpus}/")
      if path in chosen:
        yield table[path], archive.extractfile(member).read()


@pytest.mark.parametrize(
  ("corpus", "every"),
  [
    ("piano_rolls", 8),
    ("pop909", 8),
    ("giantmidi", 4),
    ("jazz_players_nc", 16),
  ],
)
def test_notes_are_those_of_the_list(shared, corpus, every):
  seen = 0
  for row, data in members(shared, corpus, every):
    score = Score.from_bytes(data)
    seen += 1
    found = len(score) + score.repairs.duplicates
    start_s = score.notes["onset_s"].min()
    ends_s = score.notes["onset_s"] + score.notes["duration_s"]
    seconds = ends_s.max() - start_s
    if corpus == "piano_rolls":
      # The list stopped at the first end-of-track; a quarter of the rolls
      # ends a track before its last note-offs.
      assert 0 <= found - int(row["notes"]) < 20
      assert -0.02 < seconds - float(row["seconds"]) < 30
    else:
      assert found == int(row["notes"])
      assert abs(seconds - float(row["seconds"])) < 0.02
    assert not score.repairs.unreleased
    if len(score.pedals):
      assert row["has_pedal"] == "1"
    back = Score.from_bytes(score.to_bytes())
    for name in ("key", "velocity", "part", "onset_s"):
      a, b = (
        s.notes[
          np.lexsort((s.notes["onset_s"], s.notes["key"], s.notes["part"]))
        ]
        for s in (score, back)
      )
      np.testing.assert_allclose(a[name], b[name], rtol=0, atol=0.0006)
  assert seen > 10


def test_it_agrees_with_symusic(shared):
  """Where symusic can read a file, the notes are the same."""
  from symusic.core import ScoreTick

  for _, data in members(shared, "pop909", 40):
    theirs = ScoreTick.from_midi(data).to("second")
    ours = Score.from_bytes(data)
    for part, track in enumerate(theirs.tracks):
      notes = track.notes.numpy()
      mine = ours.notes[ours.notes["part"] == part]
      onsets = np.unique(np.round(notes["time"], 3))
      np.testing.assert_allclose(
        np.unique(np.round(mine["onset_s"], 3)), onsets, atol=0.0021
      )


def test_every_odd_file_is_read(shared):
  with open(shared / "data" / "odd" / "manifest.csv", newline="") as file:
    listed = {row["path"]: row for row in csv.DictReader(file)}
  scores, refused = read_folder(shared / "data" / "odd")
  assert refused == []
  assert {path.name for path, _ in scores} == set(listed)
  for path, score in scores:
    notes = int(listed[path.name]["symusic_notes"])
    if path.name[:2] in ("14", "16", "18"):
      notes = 8  # a C-major scale, as their texts say; symusic loses notes
    assert len(score) + score.repairs.drums_left_out == notes


@pytest.mark.parametrize("seed", range(4))
def test_damaged_real_files_are_read_or_refused(shared, seed):
  from magenta_midi.midi.io.chunks import BadMidiError

  rng = np.random.default_rng(seed)
  read = 0
  for path in sorted((shared / "data" / "odd").glob("*.mid")) * 10:
    data = bytearray(path.read_bytes()[:4000])
    for at in rng.integers(0, len(data), rng.integers(1, 10)):
      data[at] = rng.integers(256)
    if rng.random() < 0.5:
      del data[rng.integers(len(data)) :]
    try:
      score = Score.from_bytes(bytes(data))
    except BadMidiError as error:
      assert len(str(error).splitlines()) == 1
    else:
      read += 1
      assert len(score) < 5000
  assert read > 20
