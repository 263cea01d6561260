"""Prepared corpora and lists that a stranger made: refused in one line."""

import hashlib
import json
import os

import numpy as np
import pytest

from magenta_midi.data.corpus import read_corpus
from magenta_midi.data.prepare import prepare
from magenta_midi.data.prepared import MANIFEST, PIECES, read_prepared
from magenta_midi.data.splits import listed_splits
from magenta_midi.midi.score import Score
from magenta_midi.style.text.facts import read_facts

DEEP = "[" * 100_000 + "]" * 100_000


@pytest.fixture
def folder(tmp_path):
  """A prepared corpus of three pieces of 20 notes, all of split train."""
  music = tmp_path / "music"
  music.mkdir()
  rows = ["path,split"]
  for number in range(3):
    Score.from_arrays(
      onset_s=np.arange(20) * 0.25,
      duration_s=np.full(20, 0.2),
      key=np.arange(20) + 40 + number,
      velocity=np.full(20, 64),
    ).to_file(music / f"{number}.mid")
    rows.append(f"{number}.mid,train")
  (tmp_path / "music.csv").write_text("\n".join(rows) + "\n")
  prepare(music, tmp_path / "out")
  return tmp_path / "out"


def with_pieces(folder, change):
  """Changes the cells of the first piece; the manifest says their digest."""
  columns, first, *rest = (folder / PIECES).read_text().splitlines()
  cells = dict(zip(columns.split(","), first.split(","), strict=True))
  change(cells)
  text = "\n".join([columns, ",".join(cells.values()), *rest]) + "\n"
  with_list(folder, text.encode())


def with_list(folder, data):
  (folder / PIECES).write_bytes(data)
  facts = json.loads((folder / MANIFEST).read_text())
  facts["list"]["sha256"] = hashlib.sha256(data).hexdigest()
  (folder / MANIFEST).write_text(json.dumps(facts))


def refused(folder, name):
  with pytest.raises(ValueError) as caught:
    read_corpus(folder, ("train",))
  assert str(caught.value).startswith(f"{folder / name}: ")
  assert "\n" not in str(caught.value)
  assert len(str(caught.value)) < 500
  return str(caught.value)


def test_the_list_is_read_as_its_digest_is_said(folder):
  with_pieces(folder, lambda cells: None)
  corpus = read_prepared(folder, ("train",))["train"]
  assert corpus.notes == 60
  assert corpus.piece(1)["key"].tolist() == list(range(41, 61))


@pytest.mark.parametrize(
  ("key", "value"),
  [
    (key, value)
    for key in ("plan", "splits", "shards", "list")
    for value in (None, "absent", 3, "x", [["x"]], [{"file": 3}])
  ],
)
def test_a_manifest_of_other_types_is_refused(folder, key, value):
  facts = json.loads((folder / MANIFEST).read_text())
  facts[key] = value
  if value == "absent":
    del facts[key]
  (folder / MANIFEST).write_text(json.dumps(facts))
  assert "damaged or changed" in refused(folder, MANIFEST)


@pytest.mark.parametrize(
  "text",
  [
    '{"format":' + DEEP + "}",
    DEEP,
    "[" * 100_000,
    '{"version":' + "9" * 5000 + "}",
    '{"format": "magenta-midi corpus", "version": "' + "x" * 9999 + '"}',
    "[1]",
    "",
    "\ud800".encode("utf-16", "surrogatepass"),
  ],
)
def test_a_manifest_of_hostile_json_is_refused(folder, text):
  data = text if isinstance(text, bytes) else text.encode()
  (folder / MANIFEST).write_bytes(data)
  refused(folder, MANIFEST)


@pytest.mark.parametrize(
  "name", ["../shard-00000.npy", "/etc/passwd", "shard-00000.npy\0", 3]
)
def test_a_manifest_names_nothing_outside_of_its_folder(folder, name):
  facts = json.loads((folder / MANIFEST).read_text())
  facts["shards"][0]["file"] = name
  (folder / MANIFEST).write_text(json.dumps(facts))
  assert "damaged or changed" in refused(folder, MANIFEST)


@pytest.mark.parametrize(
  ("column", "value"),
  [
    ("shard", "-1"),
    ("shard", "1"),
    ("shard", "9" * 30),
    ("start", "-1"),
    ("start", "1000000"),
    ("events", str(2**62)),
    ("events", "9" * 5000),
    ("events", "nan"),
    ("events", ""),
    ("notes", "-1"),
    ("last_ms", str(2**64)),
    ("melody", "2"),
  ],
)
def test_a_piece_out_of_its_shard_is_refused(folder, column, value):
  with_pieces(folder, lambda cells: cells.update({column: value}))
  assert "damaged or changed" in refused(folder, PIECES)


def test_a_list_with_a_column_too_few_is_refused(folder):
  lines = (folder / PIECES).read_text().splitlines()
  cut = "\n".join(line.rpartition(",")[0] for line in lines[1:])
  with_list(folder, f"{lines[0].replace(',melody', '')}\n{cut}\n".encode())
  assert "damaged or changed" in refused(folder, PIECES)


@pytest.mark.parametrize("name", [PIECES, "shard-00000.npy"])
def test_a_pipe_of_a_prepared_folder_is_refused(folder, name):
  (folder / name).unlink()
  os.mkfifo(folder / name)
  with pytest.raises(OSError, match="no regular file"):
    read_prepared(folder, ("train",))


# Lists beside a folder.


def beside(tmp_path, data):
  folder = tmp_path / "music"
  folder.mkdir()
  (tmp_path / "music.csv").write_bytes(data)
  return folder


def test_a_list_of_any_rows_is_read(tmp_path):
  folder = beside(
    tmp_path,
    b"\xef\xbb\xbfpath,split,title\r\n"  # as Excel writes it
    b"a.mid,train,A\r\n"
    b"b.mid\r\n"  # cut short
    b"\r\n"
    b"c.mid,valid,C,more,and more\r\n"
    b"d\xff.mid,test,D\r\n" + "오.mid,train,오\r\n".encode(),
  )
  assert listed_splits(folder) == {
    "a.mid": "train",
    "b.mid": "none",
    "c.mid": "valid",
    "d\udcff.mid": "test",
    "오.mid": "train",
  }
  names = ["a.mid", "b.mid", "c.mid"]
  assert [facts.title for facts in read_facts(folder, names)] == ["A", "b", "C"]


@pytest.mark.parametrize(
  "data",
  [
    b"",
    b"\n\n",
    b"a,b\n1,2\n",
    b"path\r\n" + b"x" * 200_000,  # a cell beyond the reader's limit
    b'path\n"' + b"x," * 200_000,
    b"\0" * 1000,
    b"\x1b[2J,x\n1,2\n",
  ],
)
def test_what_is_no_list_is_refused(tmp_path, data):
  folder = beside(tmp_path, data)
  with pytest.raises(ValueError) as caught:
    listed_splits(folder)
  assert str(caught.value).startswith(f"{tmp_path / 'music.csv'}: ")
  assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)
  assert len(str(caught.value)) < 500
