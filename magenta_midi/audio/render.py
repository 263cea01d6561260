"""Rendering a score to WAV: FluidSynth if it is there, else the piano."""

import math
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from magenta_midi.audio.clicks import with_clicks
from magenta_midi.audio.piano import (
  SAMPLE_RATE,
  TAIL_S,
  sample_count,
  sounding_blocks,
  sounding_samples,
)
from magenta_midi.audio.wav import write_mix
from magenta_midi.midi.bar_map import BarMap
from magenta_midi.midi.clicks import CLICK_S, Click
from magenta_midi.midi.score import PEDAL_DTYPE, Score

ENGINES = ("auto", "numpy", "fluidsynth")

# Folders of soundfonts on Linux and macOS.
SOUNDFONT_FOLDERS = (
  "/usr/share/sounds/sf2",
  "/usr/share/sounds/sf3",
  "/usr/share/soundfonts",
  "/usr/local/share/soundfonts",
  "/opt/homebrew/share/soundfonts",
  "~/.local/share/soundfonts",
  "~/Library/Audio/Sounds/Banks",
)
# The distribution's or the user's choice first, then the better known.
_PREFERRED = ("default.sf2", "default-GM.sf2", "default.sf3", "FluidR3_GM.sf2")

_RAW_BLOCK = 1 << 19  # samples of FluidSynth that are in memory at once


class RenderError(ValueError):
  """The sound cannot be made; one line says what to do."""


def render(
  score: Score,
  out_wav: str | os.PathLike[str],
  *,
  engine: str = "auto",
  soundfont: str | os.PathLike[str] | None = None,
  clicks: Sequence[Click] = (),
) -> str:
  """Writes a score as 16-bit stereo at 44.1 kHz, in constant memory.

  Args:
    score: What to play; TAIL_S seconds follow its end.
    out_wav: Replaced only once all is rendered.
    engine: 'numpy' for the built-in piano, 'fluidsynth' for the program, or
      'auto': FluidSynth if it and a soundfont are found.
    soundfont: An .sf2 or .sf3 file for FluidSynth; by default the first one
      found in SOUNDFONT_FOLDERS.
    clicks: Of a count-in, in order of time.

  Returns:
    The engine that played: 'numpy' or 'fluidsynth'.

  Raises:
    RenderError: The engine, program or soundfont is not there, or failed.
    ValueError: The score is too long (see `sample_count`).
    OSError: The file cannot be written; too little free space is found before
      any work.
  """
  if engine not in ENGINES:
    raise RenderError(
      f"engine must be one of {', '.join(ENGINES)}, got {engine!r}."
    )
  if soundfont is not None:
    if engine == "numpy":
      raise RenderError(
        "the built-in piano takes no soundfont, got "
        f"{os.fspath(soundfont)!r}. Choose engine 'fluidsynth'."
      )
    if not Path(soundfont).is_file():
      raise RenderError(f"there is no soundfont {os.fspath(soundfont)!r}.")
  program, font = shutil.which("fluidsynth"), soundfont or find_soundfont()
  wanted = engine == "fluidsynth" or soundfont is not None
  if wanted and program is None:
    raise RenderError(
      "the program fluidsynth was not found. Install it (Debian: apt install "
      "fluidsynth; macOS: brew install fluid-synth) or choose engine 'numpy'."
    )
  if wanted and font is None:
    raise RenderError(
      "no soundfont was found. Install one (Debian: apt install "
      "fluid-soundfont-gm), name an .sf2 file, or choose engine 'numpy'."
    )
  samples = sample_count(score)
  if clicks:
    last_s = clicks[-1].time_s + CLICK_S
    samples = max(samples, math.ceil(last_s * SAMPLE_RATE))
  # FluidSynth needs a note to sound.
  if engine != "numpy" and program and font and (len(score) or not clicks):
    blocks = _fluidsynth(score, program, Path(font), clicks)
    write_mix(out_wav, blocks, samples, SAMPLE_RATE)
    return "fluidsynth"
  sounding = sounding_samples(score)
  sounding += len(clicks) * math.ceil(CLICK_S * SAMPLE_RATE)
  blocks = with_clicks(sounding_blocks(score), clicks, SAMPLE_RATE)
  write_mix(out_wav, blocks, samples, SAMPLE_RATE, sounding=sounding)
  return "numpy"


def find_soundfont() -> Path | None:
  """Finds a soundfont in the usual places; None where there is none.

  What the variable MAGENTA_MIDI_SOUNDFONT names comes first.
  """
  named = os.environ.get("MAGENTA_MIDI_SOUNDFONT")
  # Unlike Path.expanduser, this one does not fail where there is no home.
  if named and Path(os.path.expanduser(named)).is_file():
    return Path(os.path.expanduser(named))
  for folder in SOUNDFONT_FOLDERS:
    found = [
      path
      for path in sorted(Path(os.path.expanduser(folder)).glob("*.sf[23]"))
      if path.is_file()  # not a link to a package since removed
    ]
    for name in _PREFERRED:
      for path in found:
        if path.name == name:
          return path
    if found:
      return found[0]
  return None


def _fluidsynth(
  score: Score, program: str, soundfont: Path, clicks: Sequence[Click]
) -> Iterator[tuple[int, np.ndarray]]:
  """Plays a score through the FluidSynth program, in blocks for `write_mix`.

  It writes plain float samples, not WAV: those cannot clip, so that our own
  limiter decides.
  """
  if not len(score):
    return
  total = sample_count(score)
  with tempfile.TemporaryDirectory() as folder:
    midi, raw = Path(folder, "score.mid"), Path(folder, "score.raw")
    bars = BarMap(score.tempo, clicks=tuple(clicks))
    _with_tail(score).to_file(midi, bars=bars)
    command = [program, "-n", "-i", "-q", "-r", str(SAMPLE_RATE)]
    command += ["-g", "2.0", "-C", "0", "-T", "raw", "-O", "float"]
    command += ["-F", str(raw), str(soundfont), str(midi)]
    done = subprocess.run(
      command, capture_output=True, text=True, errors="replace", check=False
    )
    heard = False
    if done.returncode == 0 and raw.is_file():
      for start, block in _raw_blocks(raw, total):
        heard = heard or bool(block.any())
        yield start, block
    # A soundfont it cannot read is no error to FluidSynth: it plays silence.
    if not heard:
      said = [line for line in done.stderr.splitlines() if line.strip()]
      raise RenderError(
        f"fluidsynth made no sound with {soundfont} (exit "
        f"{done.returncode}{': ' + said[-1].strip() if said else ''}). "
        "Try another soundfont, or choose engine 'numpy'."
      )


def _raw_blocks(raw: Path, total: int) -> Iterator[tuple[int, np.ndarray]]:
  """The samples of a raw file, at most `total`, with the last 0.5 s faded."""
  fade = int(0.5 * SAMPLE_RATE)
  faded = np.linspace(1, 0, fade, dtype=np.float32)
  with open(raw, "rb") as file:
    for start in range(0, total, _RAW_BLOCK):
      count = min(_RAW_BLOCK, total - start)
      found = np.frombuffer(file.read(8 * count), "<f4")
      block = found[: len(found) // 2 * 2].reshape(-1, 2).T.copy()
      end = start + block.shape[1]
      late = max(total - fade, start)
      if late < end:
        block[:, late - start :] *= faded[late - total + fade :][: end - late]
      if block.shape[1]:
        yield start, block


def _with_tail(score: Score) -> Score:
  """Adds a last pedal release after the end: FluidSynth stops at the end."""
  part = int(score.notes["part"][0])
  pedals = score.pedals[score.pedals["part"] == part]
  late_s = score.end_s + TAIL_S
  more = [(late_s, False, part)]
  if not len(pedals) or not pedals["down"][-1]:
    more.insert(0, (late_s - 0.01, True, part))
  return replace(
    score,
    pedals=np.concatenate([score.pedals, np.array(more, PEDAL_DTYPE)]),
  )
