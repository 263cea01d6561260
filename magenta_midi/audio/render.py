"""Rendering a score to WAV: FluidSynth if it is there, else the piano."""

import os
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from magenta_midi.audio.limiter import limit
from magenta_midi.audio.piano import MAX_S, SAMPLE_RATE, TAIL_S, synthesize
from magenta_midi.audio.wav import write_wav
from magenta_midi.midi.score import PEDAL_DTYPE, Score
from magenta_midi.typing import Float

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


class RenderError(ValueError):
  """The sound cannot be made; one line says what to do."""


def render(
  score: Score,
  out_wav: str | os.PathLike[str],
  *,
  engine: str = "auto",
  soundfont: str | os.PathLike[str] | None = None,
) -> str:
  """Writes a score as 16-bit stereo at 44.1 kHz.

  Args:
    score: What to play; TAIL_S seconds follow its end.
    out_wav: Replaced only once all is rendered.
    engine: 'numpy' for the built-in piano, 'fluidsynth' for the program, or
      'auto': FluidSynth if it and a soundfont are found.
    soundfont: An .sf2 or .sf3 file for FluidSynth; by default the first one
      found in SOUNDFONT_FOLDERS.

  Returns:
    The engine that played: 'numpy' or 'fluidsynth'.

  Raises:
    RenderError: The engine, program or soundfont is not there, or failed.
    ValueError: The score is too long (see `synthesize`).
    OSError: The file cannot be written.
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
  if engine != "numpy" and program and font:
    samples, used = _fluidsynth(score, program, Path(font)), "fluidsynth"
  else:
    samples, used = synthesize(score, SAMPLE_RATE), "numpy"
  write_wav(out_wav, samples, SAMPLE_RATE)
  return used


def find_soundfont() -> Path | None:
  """Finds a soundfont in the usual places; None where there is none.

  What the variable MAGENTA_MIDI_SOUNDFONT names comes first.
  """
  named = os.environ.get("MAGENTA_MIDI_SOUNDFONT")
  if named and Path(named).expanduser().is_file():
    return Path(named).expanduser()
  for folder in SOUNDFONT_FOLDERS:
    found = [
      path
      for path in sorted(Path(folder).expanduser().glob("*.sf[23]"))
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
  score: Score, program: str, soundfont: Path
) -> Float[np.ndarray, "n 2"]:
  """Plays a score through the FluidSynth program.

  It writes plain float samples, not WAV: those cannot clip, so that our own
  limiter decides.
  """
  if score.end_s > MAX_S:
    raise RenderError(
      f"the score must be at most {MAX_S:.0f} s long to be played, got "
      f"{score.end_s:.0f} s. Crop it first."
    )
  total = int(np.ceil((score.end_s + TAIL_S) * SAMPLE_RATE))
  samples = np.zeros((total, 2), np.float32)
  if not len(score):
    return samples
  with tempfile.TemporaryDirectory() as folder:
    midi, raw = Path(folder, "score.mid"), Path(folder, "score.raw")
    _with_tail(score).to_file(midi)
    command = [program, "-n", "-i", "-q", "-r", str(SAMPLE_RATE)]
    command += ["-g", "2.0", "-C", "0", "-T", "raw", "-O", "float"]
    command += ["-F", str(raw), str(soundfont), str(midi)]
    done = subprocess.run(
      command, capture_output=True, text=True, errors="replace", check=False
    )
    # A soundfont it cannot read is no error to FluidSynth: it plays silence.
    heard = np.zeros(0, np.float32)
    if done.returncode == 0 and raw.is_file():
      heard = np.fromfile(raw, "<f4")
    if not heard.any():
      said = [line for line in done.stderr.splitlines() if line.strip()]
      raise RenderError(
        f"fluidsynth made no sound with {soundfont} (exit "
        f"{done.returncode}{': ' + said[-1].strip() if said else ''}). "
        "Try another soundfont, or choose engine 'numpy'."
      )
  heard = heard[: len(heard) // 2 * 2].reshape(-1, 2)[:total]
  samples[: len(heard)] = heard
  fade = int(0.5 * SAMPLE_RATE)
  samples[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)[:, None]
  return limit(samples)


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
