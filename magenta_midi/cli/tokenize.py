"""`magenta-midi tokenize`: a MIDI file as tokens and back."""

from pathlib import Path
from typing import Any

import click

from magenta_midi.cli.terminal.errors import writable
from magenta_midi.cli.terminal.file_paths import FilePath
from magenta_midi.cli.terminal.options import read_music
from magenta_midi.cli.terminal.output import json_option, print_json, print_line

__all__ = ["command"]


@click.command("tokenize")
@click.argument("source", metavar="IN.mid", type=FilePath())
@click.option(
  "--codec",
  default="note",
  show_default=True,
  help="Codec: note (four levels a frame) or event (one level).",
)
@click.option(
  "--out",
  type=FilePath(),
  help="MIDI file to write: the music decoded from the tokens.",
)
@json_option
def command(source: Path, codec: str, out: Path | None, as_json: bool) -> None:
  """Turn a MIDI file into tokens and back; report the differences."""
  from magenta_midi.tokens.codec import get_codec

  chosen = get_codec(codec)
  if out is not None:
    writable(out)
  score = read_music(source, "IN.mid")
  encoded = chosen.encode(score)
  decoded = chosen.decode(encoded)
  if out is not None:
    decoded.to_file(out)
  frames = len(encoded.frames.step)
  tokens = frames * chosen.levels
  seconds = encoded.chunks * chosen.config.chunk_s
  facts = dict(
    codec=codec,
    chunks=encoded.chunks,
    frames=frames,
    tokens=tokens,
    tokens_per_2s=tokens / max(1e-9, seconds / 2),
    vocab_size=chosen.vocabulary.size,
    notes_in=len(score),
    notes_out=len(decoded),
    onset_error_ms_max=_worst_onset_ms(score, decoded),
    # In the file, as a switch at 64 has them, and after the hysteresis of
    # half-pedalling, which is what the tokens hold.
    pedal_in_file=len(score.pedals) + score.repairs.half_pedal,
    pedal_in=len(score.pedals),
    pedal_out=len(decoded.pedals),
    merged=encoded.merged,
  )
  half = ""
  if score.repairs.half_pedal:
    half = f" ({facts['pedal_in_file']} in the file, with half-pedalling)"
  print_line(
    f"{facts['notes_in']} notes and {facts['pedal_in']} pedal events{half}"
    " became"
    f" {tokens} tokens in {facts['chunks']} chunks"
    f" ({facts['tokens_per_2s']:.0f} each 2 s); back came"
    f" {facts['notes_out']} notes, at most"
    f" {facts['onset_error_ms_max']:.1f} ms off"
    + (f", {encoded.merged} duplicates merged" if encoded.merged else "")
    + "."
  )
  if as_json:
    print_json(facts)


def _worst_onset_ms(score: Any, decoded: Any) -> float:
  """Distance to the nearest decoded note of the same key and part, ms."""
  import numpy as np

  worst = 0.0
  place = [score.notes["part"] * 128 + score.notes["key"]]
  place.append(decoded.notes["part"] * 128 + decoded.notes["key"])
  for one in np.unique(place[0]):
    ours = score.notes["onset_s"][place[0] == one]
    theirs = decoded.notes["onset_s"][place[1] == one]
    if not len(theirs):
      return float("inf")
    right = np.searchsorted(theirs, ours).clip(0, len(theirs) - 1)
    left = (right - 1).clip(0)
    distance = np.minimum(
      np.abs(theirs[right] - ours), np.abs(theirs[left] - ours)
    )
    worst = max(worst, float(distance.max()))
  return worst * 1000
