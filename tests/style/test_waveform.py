import os
import struct
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magenta_midi.audio.wav import write_wav
from magenta_midi.style.waveform import MAX_S, Waveform, read_waveform


def pcm(path: Path, data: bytes, width: int, channels=1, rate=16000) -> Path:
  with wave.open(str(path), "wb") as file:
    file.setparams((channels, width, rate, 0, "NONE", ""))
    file.writeframes(data)
  return path


@given(
  value=st.floats(-1, 1, width=32),
  width=st.sampled_from([1, 2, 3, 4]),
  channels=st.integers(1, 3),
)
def test_every_width(tmp_path_factory, value, width, channels):
  scale = 2 ** (8 * width - 1)
  number = int(np.clip(round(value * scale), -scale, scale - 1))
  if width == 1:
    sample = struct.pack("B", number + 128)
  else:
    sample = number.to_bytes(width, "little", signed=True)
  path = tmp_path_factory.mktemp("wav") / "a.wav"
  sound = read_waveform(pcm(path, sample * channels * 5, width, channels))
  assert sound.samples.shape == (5, channels)
  assert sound.samples.dtype == np.float32 and sound.sample_rate == 16000
  np.testing.assert_allclose(sound.samples, value, atol=1.01 / scale + 1e-7)


def test_reading_our_files(tmp_path):
  samples = np.random.default_rng(0).uniform(-1, 1, (4410, 2))
  write_wav(tmp_path / "a.wav", samples, 44100)
  sound = read_waveform(tmp_path / "a.wav")
  np.testing.assert_allclose(sound.samples, samples, atol=1e-4)
  assert sound.seconds == pytest.approx(0.1)


def test_cut_short(tmp_path):
  path = pcm(tmp_path / "a.wav", bytes(1000), 2, channels=2)
  path.write_bytes(path.read_bytes()[:-7])
  assert len(read_waveform(path).samples) == 248


@pytest.mark.parametrize(
  ("suffix", "subtype"),
  [("wav", "FLOAT"), ("flac", "PCM_24"), ("ogg", None), ("mp3", None)],
)
def test_formats_of_soundfile(tmp_path, suffix, subtype):
  soundfile = pytest.importorskip("soundfile", exc_type=ImportError)
  samples = np.sin(np.arange(44100) / 30)[:, None] * [0.5, 0.25]
  path = tmp_path / f"a.{suffix}"
  soundfile.write(path, samples, 44100, subtype=subtype)
  sound = read_waveform(path)
  assert sound.sample_rate == 44100 and sound.samples.shape[1] == 2
  assert abs(sound.seconds - 1) < 0.1  # MP3 is padded
  assert np.abs(sound.samples).max() == pytest.approx(0.5, abs=0.05)


def test_without_soundfile(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "soundfile", None)
  (tmp_path / "a.flac").write_bytes(b"fLaC")
  with pytest.raises(ValueError, match=r"a\.flac: .*pip install soundfile"):
    read_waveform(tmp_path / "a.flac")
  assert len(read_waveform(pcm(tmp_path / "a.wav", bytes(8), 2)).samples) == 4


@pytest.mark.parametrize(
  "data", [b"", b"RIFF", b"RIFF\0\0\0\0WAVE", b"?" * 999]
)
def test_damaged(tmp_path, data):
  pytest.importorskip("soundfile", exc_type=ImportError)
  (tmp_path / "a.wav").write_bytes(data)
  with pytest.raises(ValueError, match=r"a\.wav: not read as audio") as error:
    read_waveform(tmp_path / "a.wav")
  assert "\n" not in str(error.value)


def overlapping(tmp_path, size):
  """A WAV file whose outer chunk ends at a byte, within an inner one."""
  path = pcm(tmp_path / "a.wav", bytes(range(200)), 2)
  data = path.read_bytes()
  path.write_bytes(data[:4] + size.to_bytes(4, "little") + data[8:])
  return path


@pytest.mark.parametrize(
  ("size", "samples"), [(40, 2), (43, 3), (100, 32), (2**32 - 1, 100)]
)
def test_of_chunks_that_overlap_the_outer_one_counts(tmp_path, size, samples):
  found = read_waveform(overlapping(tmp_path, size)).samples
  values = np.frombuffer(bytes(range(200)), "<i2")[:samples] / 2**15
  np.testing.assert_array_equal(found[:, 0], values)


@pytest.mark.parametrize("size", [0, 4, 20, 30, 36])
def test_chunks_that_overlap_before_the_sound(tmp_path, monkeypatch, size):
  monkeypatch.setitem(sys.modules, "soundfile", None)
  with pytest.raises(ValueError, match=r"a\.wav: (not PCM|a sound)") as caught:
    read_waveform(overlapping(tmp_path, size))
  assert "\n" not in str(caught.value)


def test_a_chunk_longer_than_the_outer_one(tmp_path, monkeypatch):
  """`wave` leaves it with a RuntimeError."""
  monkeypatch.setitem(sys.modules, "soundfile", None)
  path = pcm(tmp_path / "a.wav", bytes(200), 2)
  data = path.read_bytes()
  inner = b"LIST" + (10**6).to_bytes(4, "little")
  path.write_bytes(data[:36] + inner + data[36:])
  with pytest.raises(ValueError, match=r"a\.wav: not PCM WAV"):
    read_waveform(path)


def test_only_regular_files_are_sound(tmp_path):
  os.mkfifo(tmp_path / "a.wav")
  with pytest.raises(ValueError, match=r"a\.wav: .*no regular file"):
    read_waveform(tmp_path / "a.wav")
  (tmp_path / "b.wav").symlink_to("/dev/zero")
  with pytest.raises(ValueError, match=r"b\.wav: .*no regular file"):
    read_waveform(tmp_path / "b.wav")


def test_a_size_that_a_header_says_takes_no_memory(tmp_path):
  path = pcm(tmp_path / "a.wav", bytes(8), 2)
  data = bytearray(path.read_bytes())
  data[4:8] = data[40:44] = (2**32 - 2).to_bytes(4, "little")
  path.write_bytes(data)
  with pytest.raises(ValueError, match=r"a\.wav: .*at most 600 s"):
    read_waveform(path)


def test_bad_files(tmp_path):
  with pytest.raises(ValueError, match=r"no\.wav: no such file"):
    read_waveform(tmp_path / "no.wav")
  with pytest.raises(ValueError, match="is a folder"):
    read_waveform(tmp_path)
  empty = pcm(tmp_path / "empty.wav", b"", 2)
  with pytest.raises(ValueError, match="must have samples, got"):
    read_waveform(empty)
  hours = bytes(2 * 4000 * (int(MAX_S) + 1))
  with pytest.raises(ValueError, match=r"long\.wav: .*at most 600 s.*got 601"):
    read_waveform(pcm(tmp_path / "long.wav", hours, 2, rate=4000))
  with pytest.raises(ValueError, match=r"4000\.\.384000 Hz, got 100\."):
    read_waveform(pcm(tmp_path / "low.wav", bytes(8), 2, rate=100))


@pytest.mark.parametrize(
  ("samples", "message"),
  [
    (np.zeros(10), r"\[n, c\], got float64 \[10\]"),
    (np.zeros((10, 1), np.int16), "int16.*full scale"),
    (np.zeros((0, 1)), "must have samples"),
    (np.zeros((10, 0)), "must have samples"),
    (np.full((10, 1), np.nan), "finite"),
  ],
)
def test_bad_arrays(samples, message):
  with pytest.raises(ValueError, match=message):
    Waveform(samples, 16000)
