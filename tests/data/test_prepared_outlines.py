"""A prepared folder keeps beats and chords, and refuses changed ones."""

import dataclasses
import hashlib
import io
import json
import pickle
import zipfile

import numpy as np
import pytest

from magenta_midi.cli.main import main
from magenta_midi.data.corpus import read_corpus
from magenta_midi.data.prepare import prepare
from magenta_midi.data.prepared import MANIFEST
from magenta_midi.data.prepared_outlines import OUTLINES
from magenta_midi.midi.score import Score

SPLITS = ("train", "valid")
BEATS = "".join(f"{1 + 0.5 * i}\t{1 + i % 3}\n" for i in range(9))
CHORDS = "0.0 1.0 N\n1.0 2.5 C:maj\n4 5.5 A:min7/b7\n"


@pytest.fixture
def music(tmp_path):
  """Pieces with beats, chords, both, neither, and bad beats."""
  folder = tmp_path / "music"
  folder.mkdir()
  beside = dict(
    beats=dict(beats=BEATS),
    chords=dict(lab=CHORDS),
    both=dict(beats=BEATS, lab=CHORDS),
    none={},
    wrong=dict(beats="1.0\t99\n"),
  )
  rows = ["path,split"]
  for number, (name, files) in enumerate(beside.items()):
    Score.from_arrays(
      onset_s=[1.0, 1.5, 7.0, 7.5],
      duration_s=[0.4] * 4,
      key=[60 + number] * 4,
      velocity=[80] * 4,
    ).to_file(folder / f"{name}.mid")
    for ending, text in files.items():
      (folder / f"{name}.{ending}").write_text(text)
    rows.append(f"{name}.mid,{'valid' if name == 'both' else 'train'}")
  (tmp_path / "music.csv").write_text("\n".join(rows) + "\n")
  return folder


def outlines(folder):
  """Name -> the fields of its outline."""
  found, _ = read_corpus(folder, SPLITS, with_outlines=True)
  return {
    name: None
    if (outline := corpus.outline(index)) is None
    else {k: v.tolist() for k, v in dataclasses.asdict(outline).items()}
    for corpus in found.values()
    for index, name in enumerate(corpus.names)
  }


def test_it_gives_what_the_files_give(music, tmp_path, capsys):
  out = tmp_path / "out"
  main(["prepare", str(music), "--out", str(out)])
  said = capsys.readouterr()
  assert "3 with beats or chords" in said.out
  assert "wrong.beats, line 1: a beat's place" in said.err
  from_files = outlines(music)
  # There the piece is left out, here its outline.
  assert "wrong.mid" not in from_files
  assert outlines(out) == from_files | {"wrong.mid": None}
  corpus = read_corpus(out, SPLITS, with_outlines=True)[0]["train"]
  again = pickle.loads(pickle.dumps(corpus))
  index = corpus.names.index("beats.mid")
  before, after = corpus.outline(index), again.outline(index)
  assert before is not None and after is not None
  assert before.beat_ms.tolist() == after.beat_ms.tolist()
  plain, _ = read_corpus(out, SPLITS)
  assert not any(corpus.outlines for corpus in plain.values())


def test_the_same_files_give_the_same_bytes(music, tmp_path):
  for out in ("a", "b"):
    prepare(music, tmp_path / out)
  a, b = ((tmp_path / out / OUTLINES).read_bytes() for out in ("a", "b"))
  assert a == b


def test_other_beats_are_another_corpus(music, tmp_path):
  prepare(music, tmp_path / "out")
  (music / "none.beats").write_text(BEATS)
  with pytest.raises(ValueError, match="another folder"):
    prepare(music, tmp_path / "out")


def test_without_any_there_is_no_file(music, tmp_path):
  for path in music.iterdir():
    if path.suffix != ".mid":
      path.unlink()
  manifest = prepare(music, tmp_path / "out")
  assert "outlines" not in manifest
  assert not (tmp_path / "out" / OUTLINES).exists()


def change(out, **arrays):
  """Other arrays, with the digest that the manifest then says."""
  with np.load(out / OUTLINES) as file:
    data = dict(file) | arrays
  content = io.BytesIO()
  np.savez(content, **data)
  put(out, content.getvalue())


def put(out, data):
  (out / OUTLINES).write_bytes(data)
  manifest = json.loads((out / MANIFEST).read_text())
  manifest["outlines"]["sha256"] = hashlib.sha256(data).hexdigest()
  (out / MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize(
  "arrays",
  [
    dict(row=np.array([0, 1, 9])),
    dict(row=np.array([0, 1])),
    dict(beats=np.array([-9, 9, 18])),
    dict(beats=np.array([2**62, 2**62, 18])),
    dict(beats=np.array([9.0, 0.0, 9.0])),
    dict(beat_ms=np.full(18, np.nan)),
    dict(place=np.full(18, 3, "i1")),
    dict(root=np.full(6, 12, "i1")),
    dict(classes=np.full((6, 12), 2, "i1")),
    dict(classes=np.zeros(6, "i1")),
    dict(beat_ms=np.array([None] * 18)),
  ],
)
def test_arrays_of_strangers_are_refused(music, tmp_path, arrays):
  out = tmp_path / "out"
  prepare(music, out)
  change(out)
  outlines(out)
  change(out, **arrays)
  with pytest.raises(ValueError, match=r"outlines\.npz: missing, damaged or"):
    outlines(out)


def test_a_damaged_file_is_refused(music, tmp_path):
  out = tmp_path / "out"
  prepare(music, out)
  data = (out / OUTLINES).read_bytes()
  for wrong in (b"", b"no zip", data[:100], data[:-30]):
    put(out, wrong)
    with pytest.raises(ValueError, match=r"outlines\.npz: missing, damaged"):
      outlines(out)
  bomb = io.BytesIO()
  with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as packed:
    packed.writestr("row.npy", bytes(2**30 + 1))
  put(out, bomb.getvalue())
  with pytest.raises(ValueError, match=r"outlines\.npz: missing, damaged"):
    outlines(out)
  (out / OUTLINES).write_bytes(data[::-1])
  with pytest.raises(ValueError, match=r"outlines\.npz: missing, damaged"):
    outlines(out)
  (out / OUTLINES).unlink()
  with pytest.raises(ValueError, match=r"outlines\.npz: missing, damaged"):
    outlines(out)
