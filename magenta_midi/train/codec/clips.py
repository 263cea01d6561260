"""Clips that the piano codec learns from: rendered once, kept as int16.

Music of corpora and drawn notes is played by FluidSynth and by the package's
own piano, a little out of tune, in rooms of several sizes, and heard by
microphones of several colors. All is mixed to mono.
"""

from __future__ import annotations

import csv
import dataclasses
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from magenta_midi.audio.piano import synthesize
from magenta_midi.audio.room import add_room
from magenta_midi.midi.atomic import open_atomically, write_atomically
from magenta_midi.midi.score import Score
from magenta_midi.midi.score_files import read_score
from magenta_midi.typing import Float, Int

__all__ = [
  "CLIP_S",
  "SAMPLE_RATE",
  "Clips",
  "Fluid",
  "corpus_files",
  "make_clips",
  "play_fluid",
]

SAMPLE_RATE = 48_000
CLIP_S = 10.0
# Clips of a file.
SHARD = 25
# Shares of what is played, and of who plays it.
_NOTES_SHARE = 0.15
_OWN_PIANO_SHARE = 0.25


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fluid:
  """How FluidSynth plays."""

  soundfont: Path
  # Of General MIDI, from 0: 0 is a grand piano, 1 a bright one.
  program: int = 0
  # Its own reverberation and chorus.
  effects: bool = False
  # Out of tune, cents.
  cents: float = 0.0


def corpus_files(corpus: Path, split: str) -> list[Path]:
  """Files of one split of a corpus with a list `CORPUS.csv` beside it.

  Raises:
    OSError: The list cannot be read.
    ValueError: It has no file of the split.
  """
  with open(f"{corpus}.csv", encoding="utf-8", newline="") as file:
    rows = list(csv.DictReader(file))
  found = [corpus / row["path"] for row in rows if row.get("split") == split]
  if not found:
    raise ValueError(f"{corpus}.csv: lists no files of the split {split!r}.")
  return found


def play_fluid(
  score: Score, fluid: Fluid, seconds: float
) -> Float[np.ndarray, "n 2"]:
  """Plays a score through FluidSynth, as it comes; its limiter is not used.

  Raises:
    ValueError: FluidSynth failed.
    OSError: It is not installed.
  """
  # What it calls 48 kHz is played back a little faster or slower.
  rate = round(SAMPLE_RATE * 2 ** (-fluid.cents / 1200))
  with tempfile.TemporaryDirectory() as folder:
    midi, raw = Path(folder, "a.mid"), Path(folder, "a.raw")
    setup = Path(folder, "setup")
    score.to_file(midi)
    # The file asks for program 0.
    rule = ("router_clear", "router_begin note", "router_end")
    rule += ("router_begin cc", "router_end", "router_begin prog")
    rule += (f"router_par1 0 127 0 {fluid.program}", "router_end", "")
    write_atomically(setup, "\n".join(rule))
    effects = "1" if fluid.effects else "0"
    command = ["fluidsynth", "-n", "-i", "-q", "-r", str(rate), "-g", "1.0"]
    command += ["-R", effects, "-C", effects, "-f", str(setup)]
    command += ["-o", "synth.dynamic-sample-loading=1"]
    command += ["-T", "raw", "-O", "float", "-F", str(raw)]
    command += [str(fluid.soundfont), str(midi)]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode or not raw.is_file():
      raise ValueError(f"fluidsynth failed (exit {done.returncode}).")
    sound = np.fromfile(raw, "<f4").reshape(-1, 2)
  samples = round(seconds * SAMPLE_RATE)
  sound = sound[:samples]
  return np.pad(sound, ((0, samples - len(sound)), (0, 0)))


def make_clips(
  folder: Path,
  corpora: Sequence[tuple[Path, float]],
  soundfont: Path,
  *,
  clips: int,
  split: str = "train",
  seed: int = 0,
  on_shard: Callable[[int], None] = lambda done: None,
) -> None:
  """Renders clips into files of `SHARD` each; those that are there stay.

  Args:
    folder: Made if absent.
    corpora: Folders of MIDI files with their lists, and shares.
    soundfont: For FluidSynth.
    clips: How many, at least.
    split: Of the corpora; no other is read.
    seed: Of all that is drawn.
    on_shard: Told the number of clips after each file.

  Raises:
    ValueError: A corpus has no files of the split, or FluidSynth failed.
    OSError: Something cannot be read or written.
  """
  folder.mkdir(parents=True, exist_ok=True)
  files = [corpus_files(corpus, split) for corpus, _ in corpora]
  shares = np.array([share for _, share in corpora], float)
  for shard in range(-(-clips // SHARD)):
    path = folder / f"clips-{shard:03d}.npy"
    if not path.is_file():
      rng = np.random.default_rng((seed, shard))
      sounds = [
        _clip(files, shares / shares.sum(), soundfont, rng)
        for _ in range(SHARD)
      ]
      with open_atomically(path) as file:
        np.lib.format.write_array(file, np.stack(sounds))
    on_shard((shard + 1) * SHARD)


class Clips:
  """Rendered clips, from which crops are drawn.

  Args:
    folder: Of `make_clips`.

  Raises:
    ValueError: There are no clips.
  """

  def __init__(self, folder: Path):
    paths = sorted(folder.glob("clips-*.npy"))
    self._shards = [np.load(path, mmap_mode="r") for path in paths]
    if not self._shards:
      raise ValueError(f"{folder}: holds no clips. Render some first.")

  def crops(
    self, count: int, samples: int, rng: np.random.Generator
  ) -> Float[np.ndarray, "b n"]:
    """Draws crops at levels from full scale down to -36 dB; some are silence.

    Args:
      count: Of crops.
      samples: Of each.
      rng: Draws them.
    """
    out = np.zeros((count, samples), np.float32)
    for row in out:
      shard = self._shards[rng.integers(len(self._shards))]
      clip = shard[rng.integers(len(shard))]
      start = rng.integers(len(clip) - samples + 1)
      level = 10 ** (-rng.triangular(0, 3, 36) / 20) / 32768
      if rng.random() < 0.02:
        level = 0.0
      row[:] = np.float32(level) * clip[start : start + samples]
    return out


def _clip(
  files: list[list[Path]],
  shares: np.ndarray,
  soundfont: Path,
  rng: np.random.Generator,
) -> Int[np.ndarray, " n"]:
  """One clip, with a peak of -1 to -8 dB."""
  if rng.random() < _NOTES_SHARE:
    score = _drawn_notes(rng)
  else:
    corpus = files[rng.choice(len(files), p=shares)]
    score = _excerpt(corpus, rng)
  cents = float(rng.normal(0, 15))
  samples = round(CLIP_S * SAMPLE_RATE)
  if rng.random() < _OWN_PIANO_SHARE:
    rate = round(SAMPLE_RATE * 2 ** (-cents / 1200))
    sound = synthesize(score, rate)[:samples]
    sound = np.pad(sound, ((0, samples - len(sound)), (0, 0)))
  else:
    program = int(rng.random() < 0.3)
    fluid = Fluid(soundfont=soundfont, program=program, cents=cents)
    sound = play_fluid(score, fluid, CLIP_S)
  heard = _in_a_room(sound, rng).mean(axis=1)
  heard = _colored(heard, rng)
  peak = np.abs(heard).max()
  heard *= 10 ** (-rng.uniform(1, 8) / 20) / max(peak, 1e-4)
  if rng.random() < 0.3:
    noise = rng.standard_normal(samples) * 10 ** (-rng.uniform(60, 90) / 20)
    heard = heard + noise
  return np.rint(np.clip(heard, -1, 1) * 32767).astype(np.int16)


def _excerpt(files: list[Path], rng: np.random.Generator) -> Score:
  """Music of a clip's length, with at least four notes."""
  while True:
    score = read_score(files[rng.integers(len(files))])
    if score.end_s < CLIP_S:
      continue
    start = float(rng.uniform(0, score.end_s - CLIP_S))
    found = score.merged().crop(start, start + CLIP_S)
    if len(found) >= 4:
      return found


def _drawn_notes(rng: np.random.Generator) -> Score:
  """Single notes and chords of all keys and velocities, some with pedal."""
  notes, at = [], 0.0
  while at < CLIP_S - 0.5:
    length = float(rng.choice([0.15, 0.5, 1.5, 4.0]) * rng.uniform(0.5, 1.5))
    for key in rng.integers(21, 109, rng.choice([1, 1, 1, 2, 4])):
      notes.append((at, length, int(key), int(rng.integers(10, 128))))
    at += length * float(rng.choice([0.5, 1.0, 1.3]))
  onset_s, duration_s, key, velocity = zip(*notes, strict=True)
  return Score.from_arrays(
    onset_s=onset_s,
    duration_s=duration_s,
    key=key,
    velocity=velocity,
    pedal=[(0.0, True)] if rng.random() < 0.3 else None,
  )


def _in_a_room(sound: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """Adds the package's room, more or less of it, or noise that decays."""
  kind = rng.random()
  if kind < 0.3:
    return sound
  if kind < 0.65:
    wet = np.ascontiguousarray(sound.T, np.float32)
    add_room(wet, SAMPLE_RATE)
    return sound + rng.uniform(0.3, 4.0) * (wet.T - sound)
  decay_s = rng.uniform(0.15, 1.6)
  samples = int(decay_s * SAMPLE_RATE)
  answer = rng.standard_normal((samples, 2))
  answer *= 10 ** (-3 * np.arange(samples) / samples)[:, None]
  answer = _filtered(answer, -(np.arange(9) ** 2) * rng.uniform(0.1, 0.8))
  answer /= np.sqrt(np.square(answer).sum(0))
  size = len(sound) + samples
  spectrum = np.fft.rfft(sound, size, axis=0) * np.fft.rfft(
    answer, size, axis=0
  )
  wet = np.fft.irfft(spectrum, size, axis=0)[: len(sound)]
  return sound + 10 ** (-rng.uniform(6, 24) / 20) * wet


def _colored(sound: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """What a microphone makes of it: 3 dB more or less, here and there."""
  gains = rng.normal(0, 2.5, 9)
  if rng.random() < 0.3:
    gains[-1] -= rng.uniform(6, 40)
  return _filtered(sound[:, None], gains)[:, 0]


def _filtered(sound: np.ndarray, gains_db: np.ndarray) -> np.ndarray:
  """Filters [n, c] with gains at 60 Hz, 120 Hz ... and what lies between."""
  size = 1 << (len(sound) - 1).bit_length()
  hertz = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
  octaves = np.log2(np.maximum(hertz, 1.0) / 60)
  gain = 10 ** (np.interp(octaves, np.arange(len(gains_db)), gains_db) / 20)
  spectrum = np.fft.rfft(sound, size, axis=0) * gain[:, None]
  return np.fft.irfft(spectrum, size, axis=0)[: len(sound)]
