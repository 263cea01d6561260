"""How well does the piano codec describe held-out pieces, and how fast?

    python -m tools.audio.codec_quality --data piano_rolls --data pop909

Plays 10 s of pieces of the test split through FluidSynth, with its own
reverberation and chorus, which the codec was not trained on, and encodes and
decodes them. Prints for each number of levels the log-mel distance (mean of 128
bands, dB) and SI-SDR (dB); how many codes are used; the same distances for Opus
at 6 and 12 kbit/s, where opusenc and opusdec are installed; and the processor
time of a second of sound, frame by frame as live.
"""

import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np

from magenta_midi.audio.audio_file import AudioFile
from magenta_midi.audio.codec.distances import log_mel_distance_db, si_sdr_db
from magenta_midi.audio.codec.piano.piano_codec import PianoCodec, piano_codec
from magenta_midi.audio.render import find_soundfont
from magenta_midi.audio.wav import write_wav
from magenta_midi.cli.terminal.bounded_number import bounded, seed_option
from magenta_midi.limits import COUNT
from magenta_midi.midi.score_files import read_score
from magenta_midi.train.codec.clips import (
  CLIP_S,
  SAMPLE_RATE,
  Fluid,
  corpus_files,
  play_fluid,
)
from tools.help_text import help_of

# Where the clips begin, s; shorter pieces are left out.
BEGIN_S = 20.0
OPUS_KBITS = (6, 12)


def held_out_clips(
  corpora: tuple[Path, ...], soundfont: Path, count: int, seed: int
) -> list[np.ndarray]:
  """Mono clips of the test splits in turn, with a peak of -3 dB."""
  rng = np.random.default_rng(seed)
  files = [corpus_files(corpus, "test") for corpus in corpora]
  for paths in files:
    order = rng.permutation(len(paths))
    paths[:] = [paths[place] for place in order]
  fluid = Fluid(soundfont=soundfont, effects=True)
  clips: list[np.ndarray] = []
  while len(clips) < count and any(files):
    for paths in files:
      if not paths or len(clips) == count:
        continue
      score = read_score(paths.pop()).merged()
      if score.end_s < BEGIN_S + CLIP_S:
        continue
      score = score.crop(BEGIN_S, BEGIN_S + CLIP_S)
      if not len(score):
        continue
      sound = play_fluid(score, fluid, CLIP_S).mean(axis=1)
      clips.append((sound * 0.7 / np.abs(sound).max()).astype(np.float32))
  return clips


def opus(sound: np.ndarray, kbits: int) -> np.ndarray:
  """A clip through Opus, as long as before."""
  with tempfile.TemporaryDirectory() as folder:
    wav, packed = Path(folder, "a.wav"), Path(folder, "a.opus")
    write_wav(wav, sound[:, None], SAMPLE_RATE)
    rate = ["--rate", str(SAMPLE_RATE)]
    for command in (
      ["opusenc", "--bitrate", str(kbits), "--music", str(wav), str(packed)],
      ["opusdec", *rate, str(packed), str(wav)],
    ):
      subprocess.run(command, check=True, capture_output=True)
    with AudioFile(wav) as file:
      found = np.concatenate(list(file.blocks(SAMPLE_RATE)))[:, 0]
  return np.pad(found, (0, max(0, len(sound) - len(found))))[: len(sound)]


def distances(
  clips: list[np.ndarray], decoded: list[np.ndarray]
) -> dict[str, float]:
  """Means over clips."""
  pairs = list(zip(clips, decoded, strict=True))
  mel = [log_mel_distance_db(a, b, SAMPLE_RATE) for a, b in pairs]
  sdr = [si_sdr_db(a, b) for a, b in pairs]
  return dict(
    log_mel_db=round(float(np.mean(mel)), 2),
    si_sdr_db=round(float(np.mean(sdr)), 2),
  )


def uses(codes: np.ndarray, size: int) -> dict[str, Any]:
  """Perplexity of each level's codes [f, l], and codes that never came."""
  perplexity, unused = [], []
  for level in codes.T:
    share = np.bincount(level, minlength=size) / len(level)
    some = share[share > 0]
    perplexity.append(round(float(np.exp(-(some * np.log(some)).sum())), 1))
    unused.append(int(size - len(some)))
  return dict(frames=len(codes), perplexity=perplexity, unused=unused)


def speed(codec: PianoCodec, sound: np.ndarray) -> dict[str, float]:
  """Processor seconds of a second of sound, frame by frame."""
  hop = codec.facts.hop
  frames = sound[: len(sound) // hop * hop].reshape(-1, hop, 1)
  encoder, decoder = codec.encoder(), codec.decoder()
  seconds = len(frames) / codec.facts.frame_rate
  began, began_s = time.process_time(), time.perf_counter()
  codes = [encoder.push(frame) for frame in frames]
  middle, middle_s = time.process_time(), time.perf_counter()
  slowest = 0.0
  for frame in codes:
    start_s = time.perf_counter()
    decoder.push(frame)
    slowest = max(slowest, time.perf_counter() - start_s)
  end, end_s = time.process_time(), time.perf_counter()
  return dict(
    encode_cpu_s=round((middle - began) / seconds, 4),
    encode_wall_s=round((middle_s - began_s) / seconds, 4),
    decode_cpu_s=round((end - middle) / seconds, 4),
    decode_wall_s=round((end_s - middle_s) / seconds, 4),
    slowest_decode_ms=round(1000 * slowest, 2),
  )


@click.command(help=help_of(__doc__))
@click.option(
  "--data",
  "corpora",
  type=click.Path(exists=True, file_okay=False, path_type=Path),
  multiple=True,
  required=True,
  help="Corpus with its list FOLDER.csv; repeatable.",
)
@click.option(
  "--codec",
  "folder",
  type=click.Path(exists=True, file_okay=False, path_type=Path),
  help="Codec of a training; the embedded one if not given.",
)
@click.option(
  "--clips",
  type=bounded(COUNT),
  default=12,
  show_default=True,
  help="Clips of 10 s.",
)
@click.option(
  "--wav",
  type=click.Path(file_okay=False, path_type=Path),
  help="Folder for what is heard.",
)
@seed_option("Of the pieces.")
def main(
  corpora: tuple[Path, ...],
  folder: Path | None,
  clips: int,
  wav: Path | None,
  seed: int,
) -> None:
  """Measures and prints one JSON object a line."""
  soundfont = find_soundfont()
  if soundfont is None:
    raise click.UsageError(
      "no soundfont was found. Install one (Debian: apt install fluidsynth"
      " fluid-soundfont-gm), or name it in MAGENTA_MIDI_SOUNDFONT."
    )
  codec = piano_codec() if folder is None else PianoCodec.load(folder)
  sounds = held_out_clips(corpora, soundfont, clips, seed)
  codes = [codec.encode(sound[:, None]) for sound in sounds]

  def show(name: str, decoded: list[np.ndarray]) -> None:
    print(json.dumps(dict(sound=name) | distances(sounds, decoded)), flush=True)
    if wav is not None:
      wav.mkdir(parents=True, exist_ok=True)
      for number, sound in enumerate(decoded[:4]):
        path = wav / f"{number}-{name.replace(' ', '-').replace('/', '')}.wav"
        write_wav(path, sound[:, None], SAMPLE_RATE)

  show("original", sounds)
  facts = codec.facts
  for levels in range(1, facts.levels + 1):
    decoded = [
      codec.decode(code[:, :levels])[: len(sound), 0]
      for code, sound in zip(codes, sounds, strict=True)
    ]
    kbits = facts.bits_per_second * levels / facts.levels / 1000
    show(f"piano {kbits:.2f} kbit/s", decoded)
  if shutil.which("opusenc") and shutil.which("opusdec"):
    for kbits in OPUS_KBITS:
      show(f"opus {kbits} kbit/s", [opus(sound, kbits) for sound in sounds])
  print(json.dumps(uses(np.concatenate(codes), facts.codebook_size)))
  print(json.dumps(speed(codec, sounds[0])))
  print(json.dumps(dict(latency_samples=facts.latency_samples)))


if __name__ == "__main__":
  main()
