"""How exact is a transcription of a recording, and how fast?

Plays 30 s of held-out performances through FluidSynth and a room, transcribes
the sound, and compares the notes with those that were played. Prints for each
piece and in the mean: F1 of notes whose onset is within 50 ms, of those whose
offset is right too (within 50 ms or a fifth of the note; a note that the pedal
holds ends with it), and of those whose onset and velocity are right (within 0.1
after one scaling for the piece); F1 of pedal-downs within 100 ms; how late
onsets are; and seconds of processor time for a second of sound.
"""

import csv
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from magenta_midi.audio.audio_file import AudioFile
from magenta_midi.audio.render import render
from magenta_midi.audio.room import add_room
from magenta_midi.audio.wav import write_wav
from magenta_midi.cli.terminal.bounded_number import bounded, seed_option
from magenta_midi.limits import COUNT
from magenta_midi.midi import read_score
from magenta_midi.midi.score import Score
from magenta_midi.transcribe.transcribe import load_transcriber, transcribe_file

# The part of each piece that is played, s; shorter pieces are left out.
BEGIN_S, END_S = 40.0, 70.0
ONSET_S = 0.05
PEDAL_S = 0.1
# Its annotations do not know what its documentation says.
NO_OFFSET: Any = None
COLUMNS = (
  "onset F1",
  "with offset",
  "with velocity",
  "pedal F1",
  "late, ms",
  "CPU s a second",
)


class Notes(NamedTuple):
  """Notes as mir_eval takes them.

  Attributes:
    spans_s: [n, 2] onset and offset.
    hz: [n] pitch.
    velocity: [n].
  """

  spans_s: np.ndarray
  hz: np.ndarray
  velocity: np.ndarray


def notes_of(score: Score) -> Notes:
  """A score's notes, held by the pedal to the next note of their key."""
  notes, pedals = score.notes, score.pedals
  onset_s = notes["onset_s"].astype(float)
  offset_s = onset_s + notes["duration_s"]
  up_s = pedals["time_s"][~pedals["down"]]
  for down_s in pedals["time_s"][pedals["down"]]:
    later = up_s[up_s > down_s]
    end_s = float(later.min()) if len(later) else score.end_s
    offset_s[(offset_s > down_s) & (offset_s < end_s)] = end_s
  for key in np.unique(notes["key"]):
    (own,) = np.nonzero(notes["key"] == key)
    offset_s[own[:-1]] = np.minimum(offset_s[own[:-1]], onset_s[own[1:]])
  return Notes(
    np.stack([onset_s, np.maximum(offset_s, onset_s + 0.01)], axis=1),
    440.0 * 2.0 ** ((notes["key"].astype(float) - 69) / 12),
    notes["velocity"].astype(float),
  )


def scores(played: Score, found: Score) -> list[float]:
  """The columns but the last of `COLUMNS`; no pedal on either side: nan."""
  from mir_eval import onset, transcription, transcription_velocity

  one, other = notes_of(played), notes_of(found)
  four = (one.spans_s, one.hz, other.spans_s, other.hz)
  pairs = transcription.match_notes(*four, offset_ratio=NO_OFFSET)
  late_s = [other.spans_s[b, 0] - one.spans_s[a, 0] for a, b in pairs]
  both = transcription.precision_recall_f1_overlap
  velocity = transcription_velocity.precision_recall_f1_overlap
  down_s = [s.pedals["time_s"][s.pedals["down"]] for s in (played, found)]
  pedal = float("nan")
  if len(down_s[0]):
    pedal = onset.f_measure(*down_s, window=PEDAL_S)[0]
  return [
    both(*four, onset_tolerance=ONSET_S, offset_ratio=NO_OFFSET)[2],
    both(*four, onset_tolerance=ONSET_S)[2],
    velocity(*one, *other, offset_ratio=NO_OFFSET)[2],
    pedal,
    1000 * float(np.median(late_s)) if late_s else float("nan"),
  ]


def play(score: Score, path: Path) -> None:
  """Renders a score through FluidSynth and a room."""
  render(score, path, engine="fluidsynth")
  with AudioFile(path) as file:
    samples = np.concatenate(list(file.blocks(44_100))).T.copy()
  add_room(samples, 44_100)
  write_wav(path, 0.5 * samples.T, 44_100)


def held_out(corpus: Path, split: str, pieces: int, seed: int) -> list[Path]:
  """Files of a split in a drawn order, that are long enough and not empty."""
  with open(f"{corpus}.csv", encoding="utf-8") as file:
    names = [r["path"] for r in csv.DictReader(file) if r["split"] == split]
  np.random.default_rng(seed).shuffle(names)
  found = []
  for name in names:
    score = read_score(corpus / name)
    if score.end_s > END_S + 10 and len(score.crop(BEGIN_S, END_S)) >= 60:
      found.append(corpus / name)
    if len(found) == pieces:
      break
  return found


@click.command(help=__doc__)
@click.argument("corpus", type=click.Path(path_type=Path, exists=True))
@click.option("--split", default="test", show_default=True)
@click.option("--pieces", type=bounded(COUNT), default=6, show_default=True)
@click.option("--fast", is_flag=True, help="basic-pitch in place of Transkun.")
@seed_option("Which pieces.")
def main(corpus: Path, split: str, pieces: int, fast: bool, seed: int) -> None:
  """Prints a row for each piece, and the mean."""
  transcriber = load_transcriber(fast=fast)
  rows = []
  print("piece:", *COLUMNS, sep="\t")
  with tempfile.TemporaryDirectory() as folder:
    for path in held_out(corpus, split, pieces, seed):
      played = read_score(path).merged().crop(BEGIN_S, END_S)
      sound = Path(folder) / "sound.wav"
      play(played, sound)
      started = time.process_time()
      found = transcribe_file(sound, transcriber).score
      spent_s = time.process_time() - started
      with AudioFile(sound) as file:
        row = [*scores(played, found), spent_s / file.seconds]
      rows.append(row)
      # The first one compiles, too.
      print(f"{len(rows)}:", *(f"{value:.3f}" for value in row), sep="\t")
  print("mean:", *(f"{v:.3f}" for v in np.nanmean(rows, axis=0)), sep="\t")


if __name__ == "__main__":
  main()
