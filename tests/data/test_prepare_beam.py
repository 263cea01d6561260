"""Beam's pipeline makes the folder that processes on one machine make."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from magenta_midi.midi.score import Score
from magenta_midi.midi.score_files import write_score

pytest.importorskip("apache_beam")

from magenta_midi.data.prepare import prepare
from magenta_midi.data.prepare_beam import prepare_with_beam

# Beam's and its own dependencies' remarks at import and on pickling.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def folder(tmp_path) -> Path:
  folder = tmp_path / "midi"
  (folder / "deep").mkdir(parents=True)
  for index in range(12):
    rng = np.random.default_rng(index % 9)  # three of them are copies
    count = 20
    score = Score.from_arrays(
      onset_s=np.sort(rng.uniform(0, 9, count)).round(3),
      duration_s=np.full(count, 0.4),
      key=rng.integers(30, 90, count),
      velocity=rng.integers(20, 110, count),
      part_names=(f"take {index}",),
    )
    write_score(score, folder / ("deep" if index % 2 else "") / f"{index}.mid")
  (folder / "broken.mid").write_bytes(b"no MIDI at all")
  (tmp_path / "midi.csv").write_text(
    "path,split,title,composer\n"
    + "".join(f"{i}.mid,valid,Waltz {i},Chopin\n" for i in range(0, 12, 2))
    + "".join(f"deep/{i}.mid,train,,\n" for i in range(1, 12, 2))
  )
  return folder


def hashes(folder: Path) -> dict[str, str]:
  return {
    path.relative_to(folder).as_posix(): hashlib.sha256(
      path.read_bytes()
    ).hexdigest()
    for path in folder.rglob("*")
    if path.is_file()
  }


# 1: all in one shard. 300: also shards without a piece.
@pytest.mark.parametrize("shard_midi_bytes", [1 << 20, 300, 20])
def test_same_bytes_as_the_local_way(tmp_path, folder, shard_midi_bytes):
  local = prepare(folder, tmp_path / "a", shard_midi_bytes=shard_midi_bytes)
  beam = prepare_with_beam(
    folder, tmp_path / "b", shard_midi_bytes=shard_midi_bytes
  )
  assert beam == local
  assert len(beam["duplicates"]) == 3
  assert [one["path"] for one in beam["bad"]] == ["broken.mid"]
  assert hashes(tmp_path / "b") == hashes(tmp_path / "a")


@pytest.mark.slow
def test_several_processes(tmp_path, folder):
  prepare(folder, tmp_path / "a", shard_midi_bytes=300)
  prepare_with_beam(
    folder,
    tmp_path / "b",
    options=[
      "--direct_num_workers=2",
      "--direct_running_mode=multi_processing",
    ],
    shard_midi_bytes=300,
  )
  assert hashes(tmp_path / "b") == hashes(tmp_path / "a")


def test_what_was_begun_locally_is_finished(tmp_path, folder):
  def stop(what: str, done: int, total: int) -> None:
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    prepare(folder, tmp_path / "b", part_files=4, on_progress=stop)
  assert (tmp_path / "b" / ".unfinished").is_dir()
  prepare_with_beam(folder, tmp_path / "b")
  prepare(folder, tmp_path / "a")
  assert hashes(tmp_path / "b") == hashes(tmp_path / "a")


def test_a_finished_preparation_is_left_alone(tmp_path, folder):
  first = prepare(folder, tmp_path / "a")
  before = hashes(tmp_path / "a")
  assert prepare_with_beam(folder, tmp_path / "a") == first
  assert hashes(tmp_path / "a") == before


def test_a_worker_s_error_is_one_that_the_command_tells(tmp_path, folder):
  out = tmp_path / "out"

  def broken(*_):
    raise OSError(28, "No space left on device", str(out / "shard-00000.npy"))

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr("magenta_midi.data.prepare_beam.write_shard", broken)
    with pytest.raises(
      ValueError,
      match=r"the pipeline failed: OSError: .*No space left on device",
    ):
      prepare_with_beam(folder, out)
  assert not (out / "manifest.json").exists()
  prepare_with_beam(folder, out)
  prepare(folder, tmp_path / "a")
  assert hashes(out) == hashes(tmp_path / "a")
