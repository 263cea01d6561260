"""The fast transcriber: basic-pitch's network, and our own decoding.

The network hears a window of 2 s and gives, for each of 88 keys and each 256
samples, the posterior that a note begins and that it sounds. Velocities come
from the levels of the keys' first partials; the pedal is not heard.

Source: Bittner et al. 2022, https://arxiv.org/abs/2203.09893
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from magenta_midi.midi.score import Score
from magenta_midi.transcribe.installed_file import installed_file
from magenta_midi.transcribe.note_tracker import NoteTracker, TrackedNote
from magenta_midi.transcribe.windows import overlapping_windows

__all__ = ["BasicPitch"]

PACKAGE = "basic-pitch==0.4.0"
_FILE = "basic_pitch/saved_models/icassp_2022/nmp.onnx"
_RATE_HZ = 22_050
_HOP = 256  # samples of a frame
_WINDOW = 43_844  # samples that the network takes
_LOWEST_KEY = 21
_KEYS = 88
# Frames at each end of a window that lack what is beside it; their windows'
# neighbours have them. So a window's frames begin a whole number of frames
# after those of the one before: frame n lies at sample 256 n everywhere.
_EDGE = 15
_KEPT = 142
# By so much its onsets come late, median of 1000 notes with a spread of 4 ms.
_LATE_S = 0.004
# Levels of keys: the power of the first partials in a spectrum around a frame.
_SPECTRUM = 2048
_PARTIALS = 4
# The level of an instrument grows with the square of the velocity, as in
# soundfonts; the median note has this velocity, whatever the recording's level.
_MEDIAN_VELOCITY = 64
_DB_PER_DECADE = 40.0
# Names in the ONNX file.
_INPUT = "serving_default_input_2:0"
_OUTPUTS = ["StatefulPartitionedCall:2", "StatefulPartitionedCall:1"]


class BasicPitch:
  """Transcribes with basic-pitch's network, which its package carries.

  Attributes:
    name: For reports and caches.
    rate_hz: Rate of the audio it takes.

  Raises:
    MissingModelError: The package is not installed.
    ModuleNotFoundError: onnxruntime is not.
  """

  name = "basic-pitch-0.4.0"
  rate_hz = _RATE_HZ

  def __init__(self) -> None:
    path = installed_file(PACKAGE, _FILE, "transcription with --fast")
    import onnxruntime

    self._session: Any = _session(onnxruntime, path)
    self._hann = np.hanning(_SPECTRUM).astype(np.float32)
    self._bins = _partial_bins()

  def transcribe(
    self,
    blocks: Iterable[np.ndarray],
    on_seconds: Callable[[float], None] = lambda seconds: None,
  ) -> Score:
    """Transcribes audio of any length.

    Args:
      blocks: float32 [n, c] each, full scale 1, at `rate_hz`.
      on_seconds: Receives how much is done, in seconds of the audio.

    Returns:
      The notes; empty where none were heard.
    """
    tracker = NoteTracker(_KEYS)
    notes: list[TrackedNote] = []
    windows = overlapping_windows(
      blocks,
      length=_WINDOW,
      hop=_KEPT * _HOP,
      lead=_EDGE * _HOP,
      trail=-_EDGE * _HOP,
    )
    for start, window in windows:
      mono = window.mean(axis=1, dtype=np.float32)
      onset, sounding = self._posteriors(mono)
      notes += tracker.feed(onset, sounding, self._levels(mono))
      on_seconds((start + (_EDGE + _KEPT) * _HOP) / _RATE_HZ)
    notes += tracker.finish()
    return _score(notes)

  def _posteriors(self, mono: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of onsets and of sounding keys, [142, 88] each."""
    given = {_INPUT: mono[None, :, None]}
    onset, sounding = self._session.run(_OUTPUTS, given)
    kept = slice(_EDGE, _EDGE + _KEPT)
    return onset[0, kept], sounding[0, kept]

  def _levels(self, mono: np.ndarray) -> np.ndarray:
    """Power of the keys' first partials in the same frames, [142, 88]."""
    frames = np.lib.stride_tricks.sliding_window_view(mono, _SPECTRUM)
    first = _EDGE * _HOP - _SPECTRUM // 2
    frames = frames[first : first + _KEPT * _HOP : _HOP]
    power = np.abs(np.fft.rfft(frames * self._hann, axis=1)) ** 2
    power[:, -1] = 0.0  # stands for partials above the band
    return power[:, self._bins].sum(axis=2)


def _partial_bins() -> np.ndarray:
  """Bins of the spectrum that hold the partials of each key, [88, 4]."""
  keys = _LOWEST_KEY + np.arange(_KEYS)
  hz = 440.0 * 2.0 ** ((keys - 69) / 12)
  partials_hz = hz[:, None] * np.arange(1, _PARTIALS + 1)
  bins = np.rint(partials_hz * _SPECTRUM / _RATE_HZ).astype(int)
  return np.minimum(bins, _SPECTRUM // 2)


def _session(onnxruntime: Any, path: Path) -> Any:
  options = onnxruntime.SessionOptions()
  options.log_severity_level = 3  # errors alone
  # Its threads wait for each other in busy loops: two are slower than one where
  # something else runs.
  options.intra_op_num_threads = 1
  return onnxruntime.InferenceSession(
    str(path), options, providers=["CPUExecutionProvider"]
  )


def _score(notes: list[TrackedNote]) -> Score:
  frame_s = _HOP / _RATE_HZ
  onset_s = np.array([note.onset for note in notes]) * frame_s - _LATE_S
  offset_s = np.array([note.offset for note in notes]) * frame_s
  onset_s = np.maximum(onset_s, 0.0)
  return Score.from_arrays(
    onset_s=onset_s,
    duration_s=np.maximum(offset_s - onset_s, 0.01),
    key=[_LOWEST_KEY + note.row for note in notes],
    velocity=_velocities(np.array([note.level for note in notes])),
  )


def _velocities(power: np.ndarray) -> np.ndarray:
  """Velocities 1..127 [n] of the power [n] of notes."""
  if not len(power):
    return np.zeros(0, int)
  level_db = 10.0 * np.log10(np.maximum(power, 1e-12))
  louder = (level_db - np.median(level_db)) / _DB_PER_DECADE
  return np.clip(np.rint(_MEDIAN_VELOCITY * 10.0**louder), 1, 127).astype(int)
