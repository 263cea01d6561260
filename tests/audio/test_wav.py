import wave

import numpy as np
import pytest

from magenta_midi.audio.wav import write_wav


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
