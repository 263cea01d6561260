"""Piano samples: the project's own voice as sounds for a browser.

Made once, in a process of its own (`python -m
magenta_midi.server.jobs.piano_samples FOLDER`), and kept in the user's cache.
"""

import contextlib
import hashlib
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from magenta_midi.audio import piano, strings
from magenta_midi.audio.piano import synthesize
from magenta_midi.midi.atomic import open_atomically
from magenta_midi.midi.score import Score
from magenta_midi.user_folders import cache_home

__all__ = ["KEYS", "RATE", "VELOCITY", "piano_facts", "sample_path"]

# A browser plays the nearest one faster or slower, by two semitones at most.
KEYS = tuple(range(21, 109, 4))
RATE, VELOCITY = 22_050, 90
# Longer ones are heard less than they weigh.
_LENGTHS_S = ((21, 3.5), (60, 2.6), (108, 1.2))
_FADE_S = 0.4
_FORMAT = 1


def _folder() -> Path:
  """Of these samples: another voice has another folder."""
  digest = hashlib.sha256(repr((_FORMAT, KEYS, RATE, VELOCITY)).encode())
  for module in (piano, strings):
    assert module.__file__ is not None
    digest.update(Path(module.__file__).read_bytes())
  name = f"piano-{digest.hexdigest()[:12]}"
  return cache_home() / "magenta_midi" / name


def _length_s(key: int) -> float:
  keys, lengths = zip(*_LENGTHS_S, strict=True)
  return float(np.interp(key, keys, lengths))


def sample_path(key: int) -> Path | None:
  """The file of a key; None: it is no key of ours, or not made yet."""
  path = _folder() / f"{key}.flac"
  return path if key in KEYS and path.is_file() else None


def piano_facts() -> dict[str, Any]:
  """What a browser needs to load the samples; see the guide."""
  folder = _folder()
  ready = all((folder / f"{key}.flac").is_file() for key in KEYS)
  return {
    "ready": ready,
    "rate": RATE,
    "velocity": VELOCITY,
    "samples": [
      {
        "key": key,
        "url": f"/api/piano/{key}.flac?v={folder.name[-12:]}",
        "seconds": round(_length_s(key), 2),
      }
      for key in KEYS
    ],
  }


def _make() -> None:
  """Makes those that are missing."""
  import soundfile

  folder = _folder()
  folder.mkdir(parents=True, exist_ok=True)
  for key in KEYS:
    path = folder / f"{key}.flac"
    if path.is_file():
      continue
    seconds = _length_s(key)
    note = Score.from_arrays(
      onset_s=np.zeros(1),
      duration_s=np.array([seconds]),
      key=np.array([key]),
      velocity=np.array([VELOCITY]),
    )
    sound = synthesize(note, RATE).mean(1)[: round(seconds * RATE)]
    fade = round(_FADE_S * RATE)
    sound[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32) ** 2
    with open_atomically(path) as file:
      soundfile.write(file, sound, RATE, format="FLAC", subtype="PCM_16")


def main() -> None:
  """Makes them, without getting in the way of music."""
  with contextlib.suppress(OSError):
    os.nice(10)
  _make()


if __name__ == "__main__":
  sys.exit(main())
