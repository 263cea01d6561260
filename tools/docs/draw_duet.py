"""Piano roll of a duet, the picture of the README.

    python -m tools.docs.draw_duet [--out docs/duet.png] [--seed 5]

Cuts a bundled phrase into pieces with silence between, lets the model reply to
each (`magenta-midi replay`, on a virtual clock), and draws the player's and the
model's part, each in its own color.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from magenta_midi.cli.phrases import phrase_path
from magenta_midi.midi.piano_roll import plot_piano_roll
from magenta_midi.midi.score import Score


def phrases(name: str, cuts_s: list[float], silence_s: float) -> Score:
  """A bundled phrase, cut at these times, with silence after each piece."""
  whole = Score.from_file(phrase_path(name)).merged()
  found = Score.empty()
  at_s = 0.0
  for start_s, end_s in zip([0.0, *cuts_s], cuts_s, strict=False):
    piece = whole.crop(start_s, end_s)
    found = found.joined(piece.shifted(at_s)).merged()
    at_s += end_s - start_s + silence_s
  return found


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--out", type=Path, default=Path("docs/duet.png"))
  parser.add_argument("--phrase", default="elise")
  parser.add_argument("--cuts", type=float, nargs="+", default=[4.6, 9.0, 13.6])
  parser.add_argument("--silence", type=float, default=6.0, help="Seconds.")
  parser.add_argument("--seed", type=int, default=5)
  asked = parser.parse_args()
  recording = phrases(asked.phrase, asked.cuts, asked.silence)
  with tempfile.TemporaryDirectory() as folder:
    played, duet = Path(folder) / "played.mid", Path(folder) / "duet.mid"
    recording.to_file(played)
    seconds = asked.cuts[-1] + len(asked.cuts) * asked.silence
    command = [sys.executable, "-m", "magenta_midi.cli.main", "replay", played]
    command += ["--mode", "call-response", "--seed", asked.seed]
    command += ["--seconds", seconds, "--out", duet]
    subprocess.run([str(word) for word in command], check=True)
    score = Score.from_file(duet).crop(0.0, seconds)
  plot_piano_roll(
    score,
    asked.out,
    title="A duet: the player's phrases, the model's replies",
    names=("player", "model"),
    chunk_s=None,
  )


if __name__ == "__main__":
  main()
