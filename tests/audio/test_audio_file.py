"""Audio files in blocks: kinds, rates, clocks and damage."""

import os
import struct

import numpy as np
import pytest

from magenta_midi.audio.audio_file import AudioFile, AudioFileError

soundfile = pytest.importorskip("soundfile")
pytest.importorskip("soxr")

RATE = 22_050


def tone(seconds, rate, hz=440.0):
  time_s = np.arange(int(seconds * rate)) / rate
  return (0.5 * np.sin(2 * np.pi * hz * time_s)).astype(np.float32)


def read(path, rate=RATE):
  with AudioFile(path) as file:
    blocks = list(file.blocks(rate))
    return np.concatenate(blocks), file


@pytest.mark.parametrize(
  ("suffix", "subtype", "error"),
  [
    ("wav", "PCM_U8", 0.02),
    ("wav", "PCM_16", 1e-3),
    ("wav", "PCM_24", 1e-3),
    ("wav", "FLOAT", 1e-3),
    ("aiff", "PCM_16", 1e-3),
    ("flac", "PCM_24", 1e-3),
    ("ogg", "VORBIS", 0.05),
    ("mp3", "MPEG_LAYER_III", 0.05),
  ],
)
@pytest.mark.parametrize("rate", [RATE, 44_100])
def test_every_kind_gives_the_same_sound(
  tmp_path, suffix, subtype, error, rate
):
  path = tmp_path / f"a.{suffix}"
  soundfile.write(path, tone(1.5, rate), rate, subtype=subtype)
  samples, file = read(path)
  assert samples.dtype == np.float32
  assert samples.shape[1] == 1
  # MP3 pads to whole frames.
  assert abs(len(samples) - 1.5 * RATE) <= 2400
  assert file.seconds == pytest.approx(1.5, abs=0.1)
  assert not file.damage
  inner = slice(3000, 30_000)
  difference = samples[inner, 0] - tone(1.5, RATE)[inner]
  assert np.abs(difference).max() < error


@pytest.mark.parametrize("suffix", ["mp3", "ogg", "flac"])
def test_a_file_of_many_blocks_is_read_without_a_seam(tmp_path, suffix):
  path = tmp_path / f"a.{suffix}"
  soundfile.write(path, tone(30, 44_100), 44_100)
  samples, _ = read(path, 44_100)
  inner = slice(4000, 29 * 44_100)
  difference = samples[inner, 0] - tone(30, 44_100)[inner]
  assert np.abs(difference).max() < 0.05


@pytest.mark.parametrize("rate", [8000, 44_100, 48_000, 96_000])
def test_resampling_keeps_the_time_of_a_click(tmp_path, rate):
  samples = np.zeros(20 * rate, np.float32)
  samples[13 * rate] = 0.9
  soundfile.write(tmp_path / "a.wav", samples, rate)
  found, _ = read(tmp_path / "a.wav")
  assert len(found) == 20 * RATE
  assert abs(int(np.abs(found[:, 0]).argmax()) - 13 * RATE) <= 1


def test_stereo_stays_and_more_channels_become_their_mean(tmp_path):
  left, right = tone(1, RATE), tone(1, RATE, 660.0)
  soundfile.write(tmp_path / "2.wav", np.stack([left, right], 1), RATE)
  two, _ = read(tmp_path / "2.wav")
  np.testing.assert_allclose(two, np.stack([left, right], 1), atol=1e-4)
  many = np.stack([left, right, 0 * left, 0 * left], 1)
  soundfile.write(tmp_path / "4.wav", many, RATE)
  one, _ = read(tmp_path / "4.wav")
  np.testing.assert_allclose(one[:, 0], (left + right) / 4, atol=1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_sample_that_is_no_number_is_refused_with_its_time(tmp_path, value):
  samples = tone(2, RATE)
  samples[RATE] = value
  soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
  with pytest.raises(AudioFileError, match=r"a\.wav: has a sample .* 1\.000 s"):
    read(tmp_path / "a.wav")


@pytest.mark.parametrize(
  ("data", "reason"),
  [
    (b"", "not read as audio"),
    (b"no audio at all" * 100, "not read as audio"),
    (b"MThd\0\0\0\6\0\0\0\1\1\xe0", "not read as audio"),
  ],
)
def test_what_is_no_audio_is_refused(tmp_path, data, reason):
  (tmp_path / "a.wav").write_bytes(data)
  with pytest.raises(AudioFileError, match=reason) as caught:
    read(tmp_path / "a.wav")
  assert "\n" not in str(caught.value)


def test_no_samples_are_refused(tmp_path):
  soundfile.write(tmp_path / "a.wav", np.zeros(0, np.float32), RATE)
  with pytest.raises(AudioFileError, match="holds no sound"):
    read(tmp_path / "a.wav")


def test_a_missing_file_a_folder_and_a_pipe_are_refused(tmp_path):
  os.mkfifo(tmp_path / "pipe.wav")
  for name, reason in (
    ("no.wav", "no such file"),
    (".", "is a folder"),
    ("pipe.wav", "pipe"),
  ):
    with pytest.raises(AudioFileError, match=reason):
      read(tmp_path / name)


def wav_of_zeros(path, seconds, rate):
  """A sparse file: the hours take no space."""
  size = seconds * rate
  head = struct.pack("<4sI4s4sI", b"RIFF", 36 + size, b"WAVE", b"fmt ", 16)
  head += struct.pack("<HHIIHH4sI", 1, 1, rate, rate, 1, 8, b"data", size)
  with open(path, "wb") as file:
    file.write(head)
    file.truncate(len(head) + size)


def test_more_than_a_day_is_refused_before_it_is_read(tmp_path):
  wav_of_zeros(tmp_path / "a.wav", 25 * 3600, 8000)
  with pytest.raises(AudioFileError, match="longer than 24 hours"):
    AudioFile(tmp_path / "a.wav")


def test_a_rate_out_of_range_is_refused(tmp_path):
  wav_of_zeros(tmp_path / "a.wav", 10, 100)
  with pytest.raises(AudioFileError, match="sample rate must be"):
    AudioFile(tmp_path / "a.wav")


def test_what_a_cut_file_still_holds_is_read_and_the_rest_reported(tmp_path):
  path = tmp_path / "a.flac"
  random = np.random.default_rng(0)
  samples = 0.1 * random.standard_normal(20 * RATE)
  soundfile.write(path, samples, RATE)
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
  found, file = read(path)
  assert 8 * RATE < len(found) < 11 * RATE
  np.testing.assert_allclose(found[:RATE, 0], samples[:RATE], atol=1e-3)
  assert "of 20.0 s could be read" in file.damage


def test_blocks_are_small_however_long_the_file_is(tmp_path):
  wav_of_zeros(tmp_path / "a.wav", 3600, 48_000)
  with AudioFile(tmp_path / "a.wav") as file:
    sizes = [len(block) for block in file.blocks(RATE)]
  assert sum(sizes) == 3600 * RATE
  assert max(sizes) < 300_000
