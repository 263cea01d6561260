"""Speed of the `note` codec on one core: encoding, decoding, contexts.

  python -m tools.speed.tokens [FILE.mid ...] [--notes 1000000]

Files are encoded as they are, end to end in one score; without files, dense
synthetic music with pedal. Prints the best of several runs.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np

from magenta_midi.midi.score import Score
from magenta_midi.tokens.note.codec import NoteCodec

RUNS = 5


def synthetic(count: int) -> Score:
  """Piano-like music of so many notes: 12 a second, chords, pedal."""
  rng = np.random.default_rng(0)
  length_s = count / 12
  pedal_s = np.sort(rng.uniform(0, length_s, count // 5))
  # Chords: several notes share an onset up to a few milliseconds.
  chord_s = np.sort(rng.uniform(0, length_s, count // 2))
  onset_s = rng.choice(chord_s, count) + rng.exponential(0.004, count)
  return Score.from_arrays(
    onset_s=onset_s,
    duration_s=rng.exponential(0.4, count) + 0.01,
    key=np.clip(np.rint(rng.normal(62, 14, count)), 0, 127),
    velocity=rng.integers(20, 110, count),
    pedal=pedal_rows(pedal_s),
  )


def pedal_rows(times_s: np.ndarray) -> np.ndarray:
  """Down and up in turn, as rows of (seconds, down)."""
  return np.stack([times_s, np.arange(len(times_s)) % 2 == 0], axis=1)


def best_s(call: Callable[[], object]) -> float:
  """The shortest of several runs, in seconds."""
  seconds = []
  for _ in range(RUNS):
    start = time.perf_counter()
    call()
    seconds.append(time.perf_counter() - start)
  return min(seconds)


def end_to_end(paths: list[str]) -> Score:
  """The files' scores one after the other, each one's parts merged."""
  notes, pedals, at_s = [], [], 0.0
  for path in paths:
    score = Score.from_file(path).merged().shifted(at_s)
    at_s = score.end_s + 1.0
    notes.append(score.notes)
    pedals.append(score.pedals)
  return Score(notes=np.concatenate(notes), pedals=np.concatenate(pedals))


def main() -> None:
  """Runs the measurements of the command line."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("files", nargs="*", help="MIDI files")
  parser.add_argument(
    "--notes", type=int, default=1_000_000, help="synthetic notes"
  )
  options = parser.parse_args()
  codec = NoteCodec()
  score = (
    end_to_end(options.files) if options.files else synthetic(options.notes)
  )
  encoded = codec.encode(score)
  print(
    f"{len(score)} notes, {len(score.pedals)} pedal changes, "
    f"{score.end_s:.0f} s; merged {encoded.merged}, "
    f"saturated {encoded.saturated}"
  )
  encode_s = best_s(lambda: codec.encode(score))
  decode_s = best_s(lambda: codec.decode(encoded))
  print(f"encode {len(score) / encode_s / 1e6:.1f} million notes a second")
  print(f"decode {len(score) / decode_s / 1e6:.1f} million notes a second")
  piece = score.crop(0, min(600.0, score.end_s))
  nows = np.linspace(0, piece.end_s, 200).tolist()
  context_s = best_s(lambda: [codec.encode_context(piece, t) for t in nows])
  print(
    f"context {1000 * context_s / len(nows):.2f} ms each, in a piece of "
    f"{piece.end_s:.0f} s and {len(piece)} notes"
  )


if __name__ == "__main__":
  main()
