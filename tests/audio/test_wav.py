import itertools
import os
import struct
import wave

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.audio.limiter import limit
from magenta_midi.audio.wav import wav_header, write_mix, write_wav

HOUR = 3600 * 44_100
PIECE = 1 << 17


def read_pcm(path):
  with wave.open(str(path), "rb") as file:
    frames = file.readframes(file.getnframes())
  return np.frombuffer(frames, "<i2").reshape(-1, 2)


def noise(samples, loudness=1.0, seed=0):
  random = np.random.default_rng(seed)
  return (loudness * random.standard_normal((2, samples))).astype(np.float32)


def test_samples_come_back(tmp_path):
  path = tmp_path / "a.wav"
  samples = np.array([[0, 0.5], [-0.5, 1], [2, -3]], np.float32)
  write_wav(path, samples, 22_050)
  with wave.open(str(path), "rb") as file:
    assert file.getframerate() == 22_050
    assert file.getnchannels() == 2
    assert file.getsampwidth() == 2
    pcm = np.frombuffer(file.readframes(10), "<i2").reshape(-1, 2)
  np.testing.assert_array_equal(
    pcm, [[0, 16384], [-16384, 32767], [32767, -32767]]
  )
  assert list(tmp_path.iterdir()) == [path]


def test_no_samples_are_a_file_too(tmp_path):
  write_wav(tmp_path / "a.wav", np.zeros((0, 2), np.float32), 44_100)
  with wave.open(str(tmp_path / "a.wav"), "rb") as file:
    assert file.getnframes() == 0


def test_nan_is_refused(tmp_path):
  samples = np.array([[0.0, np.nan]])
  with pytest.raises(ValueError, match="must be finite"):
    write_wav(tmp_path / "a.wav", samples, 44_100)
  assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_an_error_of_the_system(tmp_path):
  with pytest.raises(FileNotFoundError):
    write_wav(tmp_path / "no" / "a.wav", np.zeros((1, 2)), 44_100)


@given(
  cuts=st.lists(st.integers(0, 5 * PIECE), max_size=6),
  silent=st.sets(st.integers(0, 6)),
  loudness=st.sampled_from([0.1, 1.0, 5.0]),
)
def test_a_mix_in_blocks_is_the_limited_whole(
  tmp_path_factory, cuts, silent, loudness
):
  # Blocks that are left out are silence, wherever they lie.
  folder = tmp_path_factory.mktemp("mix")
  total = 5 * PIECE + 77
  whole = noise(total, loudness)
  edges = sorted({0, total, *cuts})
  blocks = []
  for number, (begin, end) in enumerate(itertools.pairwise(edges)):
    if number in silent:
      whole[:, begin:end] = 0
    else:
      blocks.append((begin, whole[:, begin:end].copy()))
  write_mix(folder / "blocks.wav", blocks, total, 44_100)
  write_wav(folder / "whole.wav", limit(whole.T), 44_100)
  found = (folder / "blocks.wav").read_bytes()
  assert found == (folder / "whole.wav").read_bytes()
  assert len(list(folder.iterdir())) == 2


def test_the_header_is_that_of_the_standard_library(tmp_path):
  write_wav(tmp_path / "a.wav", np.zeros((5, 2), np.float32), 44_100)
  with wave.open(str(tmp_path / "b.wav"), "wb") as file:
    file.setnchannels(2)
    file.setsampwidth(2)
    file.setframerate(44_100)
    file.writeframes(bytes(20))
  assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


def test_beyond_4_gb_the_sizes_have_64_bits():
  longest = ((1 << 32) - 1 - 36) // 4
  assert wav_header(longest, 2, 44_100)[:4] == b"RIFF"
  header = wav_header(longest + 1, 2, 44_100)
  size = 4 * (longest + 1)
  assert header[:16] == b"RF64\xff\xff\xff\xffWAVEds64"
  # Of the chunk, of the file behind its first 8 bytes, of the data; samples.
  assert struct.unpack("<IQQQI", header[16:48]) == (
    *(28, len(header) + size - 8, size),
    *(longest + 1, 0),
  )
  assert header[48:52] == b"fmt "
  assert header[-8:] == b"data\xff\xff\xff\xff"


def test_ten_hours_of_silence_with_two_sounds_are_quick_and_small(tmp_path):
  path, total = tmp_path / "a.wav", 10 * HOUR
  if os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize < 8 * total:
    pytest.skip("too little disk space for the check of the free space")
  sounds = [(HOUR, noise(1000, 0.1)), (9 * HOUR, noise(1000, 0.1, seed=1))]
  write_mix(path, sounds, total, 44_100, sounding=2000)
  assert path.stat().st_size == 80 + 4 * total
  assert path.stat().st_blocks * 512 < 8 * 2**20
  with path.open("rb") as file:
    for start, sound in sounds:
      file.seek(80 + 4 * (start - 1))
      found = np.frombuffer(file.read(4 * 1002), "<i2").reshape(-1, 2)
      expected = np.rint(limit(sound.T) * 32767)
      np.testing.assert_array_equal(found[1:-1], expected)
      assert not found[[0, -1]].any()


def test_too_little_space_is_found_before_the_work(tmp_path, monkeypatch):
  (tmp_path / "a.wav").write_text("old")
  free = os.statvfs(tmp_path)
  monkeypatch.setattr(
    "shutil.disk_usage",
    lambda path: type(
      "Usage", (), dict(free=1_000_000, total=free.f_blocks, used=0)
    ),
  )

  def blocks():
    raise AssertionError("asked for a block")
    yield

  with pytest.raises(
    OSError, match=r"0\.0028 GB are needed, 0\.001 GB"
  ) as found:
    write_mix(tmp_path / "a.wav", blocks(), 350_000, 44_100)
  assert found.value.filename == str(tmp_path / "a.wav")
  # What sounds needs no more: half of it is silence.
  write_mix(tmp_path / "b.wav", [], 240_000, 44_100, sounding=2000)
  assert not read_pcm(tmp_path / "b.wav").any()
  assert (tmp_path / "a.wav").read_text() == "old"
  assert sorted(p.name for p in tmp_path.iterdir()) == ["a.wav", "b.wav"]


def test_nan_in_a_mix_is_refused(tmp_path):
  bad = np.full((2, 10), np.nan, np.float32)
  with pytest.raises(ValueError, match="must be finite"):
    write_mix(tmp_path / "a.wav", [(0, bad)], 100, 44_100)
  assert not list(tmp_path.iterdir())
