"""A prepared folder gives what the MIDI files give, each piece once."""

import csv
import hashlib
import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from magenta_midi.data import prepare as preparing
from magenta_midi.data.corpus import Corpus, join_corpora, read_corpus
from magenta_midi.data.examples.batches import BatchStream
from magenta_midi.data.examples.examples import Augmentation
from magenta_midi.data.pieces import pack_piece
from magenta_midi.data.prepare import prepare
from magenta_midi.data.prepare_folder import NothingUsableError
from magenta_midi.data.prepared import VERSION, prepared_splits
from magenta_midi.data.splits import music_hash, split_by_music
from magenta_midi.midi.score import Score
from magenta_midi.midi.score_files import write_score
from magenta_midi.style.text.facts import read_facts
from magenta_midi.tokens.note.codec import NoteCodec

SPLITS = ("train", "valid", "test", "player", "none")


def music(seed: int, *, names: tuple[str, ...] = ("piano", "piano")) -> Score:
  """Some seconds of two parts, drawn."""
  rng = np.random.default_rng(seed)
  count = 5 + seed % 40
  return Score.from_arrays(
    onset_s=np.sort(rng.uniform(0, count / 4, count)).round(3),
    duration_s=rng.uniform(0.05, 1.0, count).round(3),
    key=rng.integers(30, 90, count),
    velocity=rng.integers(20, 110, count),
    part=np.arange(count) % 2,
    pedal=[(t, i % 2 == 0) for i, t in enumerate(np.arange(0.5, count / 4))],
    part_names=names,
  )


def make(folder: Path, scores: dict[str, Score]) -> Path:
  for name, score in scores.items():
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write_score(score, path)
  return folder


def make_list(folder: Path, rows: list[dict]) -> None:
  with open(folder.with_name(folder.name + ".csv"), "w", newline="") as file:
    writer = csv.DictWriter(file, ["path", "split", "title", "composer"])
    writer.writeheader()
    writer.writerows(rows)


def some_files(folder: Path, count: int = 24) -> Path:
  """Pieces in two folders, a copy of each sixth, and a damaged file."""
  scores = {f"{'ab'[i % 2]}/{i:02}.mid": music(i) for i in range(count)}
  scores |= {f"c/copy {i:02}.mid": music(i) for i in range(0, count, 6)}
  make(folder, scores)
  (folder / "b" / "broken.mid").write_bytes(b"no MIDI at all")
  return folder


def same(direct: Corpus, prepared: Corpus) -> None:
  assert prepared.names == direct.names
  for index in range(len(direct)):
    np.testing.assert_array_equal(prepared.piece(index), direct.piece(index))
  assert prepared.lengths_ms.tolist() == direct.lengths_ms.tolist()
  assert prepared.has_melody.tolist() == direct.has_melody.tolist()
  assert prepared.notes == direct.notes
  np.testing.assert_array_equal(prepared.events, direct.events)
  assert prepared.offsets.tolist() == direct.offsets.tolist()


def contents(folder: Path) -> dict[str, bytes]:
  return {
    path.relative_to(folder).as_posix(): path.read_bytes()
    for path in folder.rglob("*")
    if path.is_file()
  }


def sounds(events: np.ndarray) -> tuple:
  """What is played, told independently of `music_hash`."""
  fields = ("time_ms", "duration_ms", "key", "velocity")
  return tuple(tuple(events[field].tolist()) for field in fields)


# Few seeds, so that copies are common.
@st.composite
def folders(draw):
  files = draw(
    st.lists(
      st.tuples(
        st.sampled_from(["", "x/", "x/y/", 'zu, "spät"/']),
        st.integers(0, 7),
        st.sampled_from(["piano", "MELODY", "Melody 2", ""]),
        st.sampled_from(SPLITS),
        st.sampled_from(["", "Waltz, op. 3", "Étude\nin C"]),
      ),
      min_size=1,
      max_size=12,
    )
  )
  return (
    files,
    draw(st.booleans()),
    draw(st.integers(1, 5)),
    draw(st.sampled_from([100, 400, 10_000])),
  )


@settings(max_examples=20)
@given(folders())
def test_prepared_equals_direct(drawn):
  files, listed, part_files, shard_midi_bytes = drawn
  with tempfile.TemporaryDirectory() as root:
    folder, out = Path(root) / "midi", Path(root) / "out"
    names = [f"{where}{i}.mid" for i, (where, *_) in enumerate(files)]
    make(
      folder,
      {
        name: music(seed, names=(track, "piano"))
        for name, (_, seed, track, _, _) in zip(names, files, strict=True)
      },
    )
    if listed:
      rows = [
        dict(path=name, split=split, title=title, composer="Chopin")
        for name, (*_, split, title) in zip(names, files, strict=True)
      ]
      make_list(folder, rows)
    manifest = prepare(
      folder, out, part_files=part_files, shard_midi_bytes=shard_midi_bytes
    )
    direct, _ = read_corpus(folder, SPLITS)
    prepared, bad = read_corpus(out, SPLITS)
    assert not bad
    copies = {copy["path"]: copy["of"] for copy in manifest["duplicates"]}
    kept = {}
    for split in SPLITS:
      once = [i for i, n in enumerate(direct[split].names) if n not in copies]
      found = direct[split]
      assert prepared[split].names == tuple(found.names[i] for i in once)
      for index, at in enumerate(once):
        piece = prepared[split].piece(index)
        np.testing.assert_array_equal(piece, found.piece(at))
        assert sounds(piece) not in kept
        kept[sounds(piece)] = found.names[at]
      if len(once) == len(found):
        same(found, prepared[split])
      assert read_facts(out, prepared[split].names) == read_facts(
        folder, prepared[split].names
      )
    assert set(prepared_splits(out)) == {s for s in SPLITS if prepared[s].names}
    # Every file is a piece, or a copy of the piece that sounds like it.
    everything = join_corpora([c for c in direct.values() if len(c)])
    assert everything is not None
    assert len(everything) == len(files) == len(kept) + len(copies)
    for index, name in enumerate(everything.names):
      assert kept[sounds(everything.piece(index))] == copies.get(name, name)


def test_examples_are_those_of_the_files(tmp_path):
  folder = make(
    tmp_path / "midi",
    {f"{i}.mid": music(i, names=("MELODY", "")) for i in range(9)},
  )
  prepare(folder, tmp_path / "out", shard_midi_bytes=300)

  def batches(source: Path) -> list:
    corpora, _ = read_corpus(source, ("train",))
    stream = BatchStream(
      codec=NoteCodec(),
      corpora=[corpora["train"]],
      shares=[1.0],
      augmentation=Augmentation(),
      frames_per_batch=600,
      target_steps=400,
      context_steps=1000,
      seed=3,
      partners=dict(solo=0.3, tracks=0.3, hands=0.2, turns=0.2),
    )
    return [stream.next() for _ in range(5)]

  for direct, prepared in zip(
    batches(folder), batches(tmp_path / "out"), strict=True
  ):
    for a, b in zip(direct, prepared, strict=True):
      np.testing.assert_array_equal(a, b)


def test_a_copy_never_leaves_the_held_out_split(tmp_path):
  same_music = ["a.mid", "b.mid", "c.mid", "d.mid"]
  folder = make(tmp_path / "midi", dict.fromkeys(same_music, music(3)))
  make(folder, {"e.mid": music(3, names=("MELODY", "left"))})
  rows = zip(same_music, ("none", "train", "test", "valid"), strict=True)
  make_list(folder, [dict(path=path, split=split) for path, split in rows])
  manifest = prepare(folder, tmp_path / "out")
  corpora, _ = read_corpus(tmp_path / "out", SPLITS)
  assert corpora["test"].names == ("c.mid",)
  assert sum(map(len, corpora.values())) == 1
  assert [
    (copy["path"], copy["of"], copy["identical"])
    for copy in manifest["duplicates"]
  ] == [
    ("a.mid", "c.mid", "bytes"),
    ("b.mid", "c.mid", "bytes"),
    ("d.mid", "c.mid", "bytes"),
    ("e.mid", "c.mid", "music"),
  ]


def test_of_copies_the_one_that_names_its_melody_is_kept(tmp_path):
  folder = make(
    tmp_path / "midi",
    {"a.mid": music(3), "b.mid": music(3, names=("MELODY", ""))},
  )
  prepare(folder, tmp_path / "out")
  split = split_by_music(music_hash(pack_piece(music(3))))
  corpus = read_corpus(tmp_path / "out", (split,))[0][split]
  assert corpus.names == ("b.mid",)
  assert corpus.has_melody.tolist() == [True]


def test_one_piece_in_twenty_is_held_out_by_its_music():
  hashes = [
    hashlib.sha256(bytes(divmod(i, 256))).hexdigest() for i in range(4000)
  ]
  held = sum(split_by_music(digest) == "valid" for digest in hashes)
  assert 160 <= held <= 240


def test_the_version_names_what_packing_makes():
  # Another hash means other events: raise VERSION, or prepared folders of
  # before would pass for those of now.
  events = pack_piece(music(7, names=("MELODY", "")))
  assert VERSION == 1
  assert music_hash(events)[:16] == "e975752fb31983cd"
  assert hashlib.sha256(events.tobytes()).hexdigest()[:16] == "37f49e503269b8e8"


def test_a_corpus_goes_to_other_processes_without_its_events(tmp_path):
  folder = some_files(tmp_path / "midi")
  prepare(folder, tmp_path / "out", shard_midi_bytes=500)
  corpus = read_corpus(tmp_path / "out", ("train",))[0]["train"]
  assert "events" not in vars(corpus)
  corpus.piece(0)
  sent = pickle.dumps(corpus)
  assert len(sent) < corpus.events.nbytes / 2
  same(corpus, pickle.loads(sent))
  assert not corpus.piece(0).flags.writeable


# Runs prepare and kills itself around the n-th renaming of a file.
SCRIPT = """
import os, signal, sys
from pathlib import Path
from magenta_midi.data.prepare import prepare
folder, out, kill_at, before = sys.argv[1:]
count, replace = 0, os.replace
def counted(source, target):
  global count
  count += 1
  if count == int(kill_at) and before == "before":
    os.kill(os.getpid(), signal.SIGKILL)
  replace(source, target)
  if count == int(kill_at):
    os.kill(os.getpid(), signal.SIGKILL)
os.replace = counted
prepare(Path(folder), Path(out), part_files=6, shard_midi_bytes=1500)
print("renamings", count)
"""


def run_and_kill(folder: Path, out: Path, kill_at: int, before: str):
  return subprocess.run(
    [sys.executable, "-c", SCRIPT, folder, out, str(kill_at), before],
    capture_output=True,
    text=True,
    timeout=120,
  )


@pytest.mark.parametrize("before", ["before", "after"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 1.0])
def test_killed_at_any_renaming_it_continues_to_the_same_bytes(
  tmp_path, share, before, monkeypatch
):
  folder = some_files(tmp_path / "midi")
  whole = run_and_kill(folder, tmp_path / "whole", -1, before)
  renamings = int(whole.stdout.split()[-1])
  assert renamings > 15
  out = tmp_path / "out"
  killed = run_and_kill(folder, out, 1 + round(share * (renamings - 1)), before)
  assert killed.returncode == -signal.SIGKILL
  manifest = out / "manifest.json"
  assert manifest.exists() == (share == 1.0 and before == "after")
  if not manifest.exists():
    with pytest.raises(ValueError, match=r"unfinished\. Repeat the"):
      read_corpus(out, ("train",))
  finished = len(list((out / ".unfinished").glob("parts-6/*.json")))
  read = []
  monkeypatch.setattr(
    preparing,
    "read_file",
    lambda *args, of=preparing.read_file: read.append(args) or of(*args),
  )
  prepare(folder, out, part_files=6, shard_midi_bytes=1500)
  assert contents(out) == contents(tmp_path / "whole")
  if share != 1.0:
    assert len(read) == max(0, 29 - 6 * finished)


@pytest.mark.parametrize("parts", [1, 10])
def test_killed_with_its_workers_it_continues(tmp_path, parts):
  folder = some_files(tmp_path / "midi", 90)
  prepare(folder, tmp_path / "whole", part_files=4, shard_midi_bytes=1500)
  command = (
    "import sys; from pathlib import Path;"
    "from magenta_midi.data.prepare import prepare;"
    "prepare(Path(sys.argv[1]), Path(sys.argv[2]), jobs=2, part_files=4,"
    " shard_midi_bytes=1500)"
  )
  out = tmp_path / "out"
  process = subprocess.Popen(
    [sys.executable, "-c", command, folder, out], start_new_session=True
  )
  while len(list(out.glob(".unfinished/parts-4/*.json"))) < parts:
    time.sleep(0.001)
    assert process.poll() is None
  process.kill()
  assert process.wait() == -signal.SIGKILL
  # Its workers, who hold nothing that matters, end by themselves.
  deadline = time.monotonic() + 30
  while time.monotonic() < deadline:
    try:
      os.killpg(process.pid, 0)
    except ProcessLookupError:
      break
    time.sleep(0.05)
  else:
    os.killpg(process.pid, signal.SIGKILL)
    pytest.fail("workers outlived the process that started them")
  prepare(folder, out, jobs=2, part_files=4, shard_midi_bytes=1500)
  assert contents(out) == contents(tmp_path / "whole")


def test_a_finished_preparation_is_left_alone(tmp_path):
  folder = some_files(tmp_path / "midi")
  first = prepare(folder, tmp_path / "out")
  before = contents(tmp_path / "out")
  assert prepare(folder, tmp_path / "out") == first
  assert contents(tmp_path / "out") == before


def test_bad_files_are_listed_with_their_reasons(tmp_path):
  folder = some_files(tmp_path / "midi")
  silent = Score.from_arrays(onset_s=[], duration_s=[], key=[], velocity=[])
  write_score(silent, folder / "silent.mid")
  manifest = prepare(folder, tmp_path / "out")
  assert [one["path"] for one in manifest["bad"]] == [
    "b/broken.mid",
    "silent.mid",
  ]
  assert manifest["bad"][1]["reason"] == "holds no note"
  assert str(tmp_path) not in json.dumps(manifest["bad"])
  assert json.loads((tmp_path / "out" / "manifest.json").read_bytes()) == (
    manifest
  )


@pytest.mark.parametrize("part_files", [1, 64])
def test_nothing_usable_leaves_nothing(tmp_path, part_files):
  folder = tmp_path / "midi"
  folder.mkdir()
  (folder / "a.mid").write_bytes(b"none")
  (folder / "b.mid").write_bytes(b"")
  with pytest.raises(NothingUsableError, match=r"among 2 files.*a\.mid: "):
    prepare(folder, tmp_path / "out", part_files=part_files)
  assert not (tmp_path / "out").exists()
  (tmp_path / "mine").mkdir()
  with pytest.raises(NothingUsableError):
    prepare(folder, tmp_path / "mine")
  assert not any((tmp_path / "mine").iterdir())


def _other_files(folder: Path, out: Path) -> None:
  prepare(make(folder.with_name("other"), {"a.mid": music(1)}), out)


def _other_version(folder: Path, out: Path) -> None:
  prepare(folder, out)
  manifest = json.loads((out / "manifest.json").read_bytes())
  (out / "manifest.json").write_text(json.dumps(manifest | dict(version=0)))


def _changed_since(folder: Path, out: Path) -> None:
  prepare(folder, out)
  write_score(music(77), folder / "a" / "00.mid")


def _listed_since(folder: Path, out: Path) -> None:
  prepare(folder, out)
  make_list(folder, [dict(path="a/00.mid", split="test")])


def _begun_for_others(folder: Path, out: Path) -> None:
  other = make(folder.with_name("other"), {"a.mid": music(1)})
  run_and_kill(other, out, 2, "after")


def _my_files(folder: Path, out: Path) -> None:
  out.mkdir()
  (out / "thesis.txt").write_text("mine")


def _my_manifest(folder: Path, out: Path) -> None:
  out.mkdir()
  (out / "manifest.json").write_text("{}")


@pytest.mark.parametrize(
  ("there", "match"),
  [
    (_other_files, "the preparation of another corpus"),
    (_other_version, "a preparation of version 0, this is version 1"),
    (_changed_since, "its files or their list have changed"),
    (_listed_since, "its files or their list have changed"),
    (_begun_for_others, "the preparation of another corpus"),
    (_my_files, "holds other files"),
    (_my_manifest, "not written by magenta-midi prepare"),
    (lambda folder, out: out.write_text("mine"), "is a file"),
  ],
)
def test_what_is_there_is_not_overwritten(tmp_path, there, match):
  folder, out = some_files(tmp_path / "midi"), tmp_path / "out"
  there(folder, out)
  before = contents(tmp_path)
  with pytest.raises(ValueError, match=match):
    prepare(folder, out)
  assert contents(tmp_path) == before


def test_two_at_once_are_refused(tmp_path, monkeypatch):
  folder, out = some_files(tmp_path / "midi"), tmp_path / "out"
  seen = []

  def meanwhile(what: str, done: int, total: int) -> None:
    if not seen:
      with pytest.raises(ValueError, match=r"process \d+ is at work there"):
        prepare(folder, out)
      seen.append(what)

  prepare(folder, out, part_files=3, on_progress=meanwhile)
  assert seen == ["reading"]


@pytest.mark.parametrize(
  ("folder", "match"),
  [
    ("absent", "no such folder"),
    ("empty", "holds no MIDI file"),
    ("prepared", "is prepared already"),
  ],
)
def test_sources_that_are_none(tmp_path, folder, match):
  (tmp_path / "empty").mkdir()
  prepare(make(tmp_path / "midi", {"a.mid": music(1)}), tmp_path / "prepared")
  with pytest.raises(ValueError, match=match):
    prepare(tmp_path / folder, tmp_path / "out")
  assert not (tmp_path / "out").exists()


def test_a_list_without_paths_is_refused(tmp_path):
  folder = make(tmp_path / "midi", {"a.mid": music(1)})
  (tmp_path / "midi.csv").write_text("file,split\na.mid,train\n")
  with pytest.raises(ValueError, match=r"expected columns path.*got file, sp"):
    prepare(folder, tmp_path / "out")
  with pytest.raises(ValueError, match="expected columns path"):
    read_corpus(folder, ("train",))


def _cut(path: Path) -> None:
  path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize(
  ("name", "damage", "match"),
  [
    ("shard-00000.npy", _cut, "damaged or cut short"),
    ("shard-00000.npy", Path.unlink, "missing"),
    ("pieces.csv", _cut, "damaged"),
    ("manifest.json", _cut, "not JSON"),
    (
      "shard-00000.npy",
      lambda path: np.save(path, np.zeros(3)),
      "does not hold what the manifest says",
    ),
  ],
)
def test_a_damaged_preparation_is_told(tmp_path, name, damage, match):
  out = tmp_path / "out"
  prepare(some_files(tmp_path / "midi"), out)
  damage(out / name)
  with pytest.raises(ValueError, match=f"{name}: .*{match}"):
    read_corpus(out, ("train",))


def test_a_full_disk_is_told_and_what_is_finished_kept(tmp_path):
  folder = some_files(tmp_path / "midi")
  prepare(folder, tmp_path / "whole")
  script = (
    "import resource, sys; from pathlib import Path;"
    "from magenta_midi.data.prepare import prepare;"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000));"
    "prepare(Path(sys.argv[1]), Path(sys.argv[2]), part_files=4)"
  )
  out = tmp_path / "out"
  full = subprocess.run(
    [sys.executable, "-c", script, folder, out], capture_output=True, text=True
  )
  last = full.stderr.strip().splitlines()[-1]
  assert last.startswith("OSError: [Errno 27] File too large: '"), last
  assert str(out) in last
  assert list((out / ".unfinished").glob("parts-4/*.json"))
  assert not list(out.rglob(".*.part"))
  prepare(folder, out, part_files=4)
  assert contents(out) == contents(tmp_path / "whole")
