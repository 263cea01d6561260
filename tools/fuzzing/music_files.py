"""Music and sound as fuzzed: MIDI files, prepared corpora, WAV files."""

import io
import json
import os
import random
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np

from tools.fuzzing.kind import Kind, mutated, written
from tools.fuzzing.mutations import (
  mutated_bytes,
  mutated_json,
  mutated_text,
)

__all__ = ["KINDS"]


def _score(seed: int = 0, notes: int = 40) -> Any:
  from magenta_midi.midi.score import Score

  rng = np.random.default_rng(seed)
  return Score.from_arrays(
    onset_s=np.cumsum(rng.uniform(0.05, 0.4, notes)),
    duration_s=rng.uniform(0.05, 1.0, notes),
    key=rng.integers(30, 100, notes),
    velocity=rng.integers(20, 110, notes),
  )


def _make_midi(folder: Path) -> list[bytes]:
  del folder
  plain = _score().to_bytes()
  body = bytes.fromhex(
    "00ff58040402180800ff510307a12000ff0306eab080ec9598"
    "00b0407f00903c4060803c0000903e4060 3e0000f00443124000f7"
    "00e0004000c00500903c4081408000903c40 00b07b0000b04000"
    "00ff2f00".replace(" ", "")
  )
  track = b"MTrk" + struct.pack(">I", len(body)) + body
  heads = [
    b"MThd" + struct.pack(">IHHH", 6, form, 2, division)
    for form, division in ((1, 480), (0, 96), (2, 0xE728))
  ]
  return [plain, *(head + track + track for head in heads)]


def _write_midi(folder: Path, seeds: list[bytes], rng: random.Random) -> Path:
  data = rng.choice(seeds)
  if rng.random() < 0.3:  # within the events, lengths mended
    start = data.find(b"MTrk") + 8
    body = mutated_bytes(data[start:], rng)
    data = data[: start - 4] + struct.pack(">I", len(body)) + body
  else:
    data = mutated_bytes(data, rng)
  if rng.random() < 0.02:  # long files show what is quadratic
    data += rng.choice((b"MTrk\0\0\0\0", data[-64:])) * 20_000
  return written(folder / "x.mid", data)


def _read_midi(folder: Path) -> None:
  from magenta_midi.midi.score import Score

  score = Score.from_file(folder / "x.mid")
  score.repairs.messages()


def _make_manifest(folder: Path) -> dict[str, bytes]:
  from magenta_midi.data.prepare import prepare

  music = folder.with_name(f"{folder.name}-music")
  music.mkdir()
  for seed in range(3):
    path = music / f"{seed}.mid"
    _score(seed).to_file(path)
    os.utime(path, (0, 0))  # the manifest depends on it
  shutil.rmtree(folder)
  prepare(music, folder)
  shutil.rmtree(music)
  return {path.name: path.read_bytes() for path in folder.iterdir()}


def _write_manifest(
  folder: Path, made: dict[str, bytes], rng: random.Random
) -> Path:
  import hashlib

  for name, data in made.items():
    (folder / name).write_bytes(data)
  facts = json.loads(made["manifest.json"])
  part = rng.random()
  if part < 0.6:
    return written(folder / "manifest.json", mutated_json(facts, rng))
  if part < 0.8:
    pieces = mutated_text(
      made["pieces.csv"].decode().replace(",", " , "), rng, _csv_word
    ).replace(b" , ", b",")
    facts["list"]["sha256"] = hashlib.sha256(pieces).hexdigest()
    (folder / "manifest.json").write_bytes(json.dumps(facts).encode())
    return written(folder / "pieces.csv", pieces)
  name = rng.choice(sorted(made))
  return written(folder / name, mutated_bytes(made[name], rng))


def _csv_word(rng: random.Random) -> str:
  return rng.choice(
    ("-1", "9" * 30, "1e9", "", '"', "x\0", "\n", "valid", "9" * 5000, "nan")
  )


def _read_manifest(folder: Path) -> None:
  from magenta_midi.data.prepared import prepared_splits, read_prepared

  prepared_splits(folder)
  for corpus in read_prepared(folder, ("train", "valid")).values():
    _ = corpus.notes
    for index in range(min(len(corpus), 3)):
      corpus.piece(index)


def _make_wav(folder: Path) -> bytes:
  del folder
  import wave

  buffer = io.BytesIO()
  with wave.open(buffer, "wb") as file:
    file.setnchannels(2)
    file.setsampwidth(3)
    file.setframerate(16_000)
    file.writeframes(bytes(6 * 500))
  return buffer.getvalue()


def _read_wav(folder: Path) -> None:
  from magenta_midi.style.waveform import read_waveform

  read_waveform(folder / "x.wav")


KINDS: dict[str, Kind] = {
  "midi": Kind(
    "MIDI files",
    _make_midi,
    _write_midi,
    _read_midi,
    ("magenta_midi.midi.score_files:MidiFileError",),
  ),
  "manifest": Kind(
    "prepared corpora",
    _make_manifest,
    _write_manifest,
    _read_manifest,
    ("builtins:ValueError", "builtins:OSError"),
  ),
  "wav": Kind(
    "WAV files",
    _make_wav,
    mutated("x.wav", mutated_bytes),
    _read_wav,
    ("builtins:ValueError",),
  ),
}
