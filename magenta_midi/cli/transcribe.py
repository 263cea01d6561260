"""`magenta-midi transcribe`: recordings of sound to MIDI files."""

import time
from pathlib import Path
from typing import Any

import click

from magenta_midi.cli.terminal.errors import UserError, writable
from magenta_midi.cli.terminal.file_paths import FilePath
from magenta_midi.cli.terminal.output import (
  console,
  json_option,
  print_json,
  print_line,
  progress_bar,
  remark,
)

__all__ = ["command"]


@click.command("transcribe")
@click.argument(
  "sources",
  metavar="AUDIO|FOLDER...",
  nargs=-1,
  required=True,
  type=FilePath(),
)
@click.option(
  "--out",
  "folder",
  type=FilePath(),
  required=True,
  metavar="DIR",
  help="Folder of the MIDI files: NAME.wav becomes NAME.mid, and folders within"
  " a FOLDER are kept.",
)
@click.option(
  "--fast",
  is_flag=True,
  help="A small network: about 15 times faster, less exact, no pedal.",
)
@click.option(
  "--replace",
  is_flag=True,
  help="Write over MIDI files that are there already; without it their"
  " recordings are left out.",
)
@json_option
def command(
  sources: tuple[Path, ...],
  folder: Path,
  fast: bool,
  replace: bool,
  as_json: bool,
) -> None:
  """Turn recordings of a piano into MIDI files.

  AUDIO is WAV, FLAC, Ogg, MP3 or AIFF, of any rate and up to 24 hours. A file
  that cannot be used is named and left out; the exit status is then 2.
  """
  pairs = _targets(sources, folder)
  if not replace:
    pairs = _without_written(pairs)
  for _, target in pairs:
    writable(target)
  from magenta_midi.audio.audio_file import AudioFileError
  from magenta_midi.generate.compilation.compilation_cache import (
    enable_compilation_cache,
  )
  from magenta_midi.transcribe.transcribe import (
    load_transcriber,
    transcribe_file,
  )

  enable_compilation_cache()
  with console().status("loading the transcriber"):
    transcriber = load_transcriber(fast=fast)
  if not fast and transcriber.name.startswith("basic-pitch"):
    remark(
      "by basic-pitch, as with --fast: the better transcriber is not installed."
      " Get it with: pip install --no-deps transkun==2.0.1"
    )
  written: list[dict[str, Any]] = []
  refused: list[str] = []
  with progress_bar() as bar:
    for number, (source, target) in enumerate(pairs, 1):
      place = f"{number} of {len(pairs)}" if len(pairs) > 1 else ""
      task = bar.add_task("transcribing", total=None, note=place)

      def show(done_s: float, total_s: float, task: Any = task) -> None:
        bar.update(task, completed=done_s, total=total_s or None)

      started = time.perf_counter()
      try:
        score, damage = transcribe_file(source, transcriber, show)
      except AudioFileError as error:
        refused.append(str(error))
        if len(pairs) > 1:
          remark(f"{error} Left out.")
        continue
      finally:
        bar.remove_task(task)
      if damage:
        remark(f"{source}: {damage}")
      score.to_file(target)
      print_line(
        f"wrote {target}: {len(score)} notes in {score.end_s:.0f} s of music"
      )
      written.append(
        dict(
          source=str(source),
          out=str(target),
          notes=len(score),
          pedals=len(score.pedals),
          seconds=score.end_s,
          wall_s=time.perf_counter() - started,
          damage=damage,
        )
      )
  if as_json and (written or len(pairs) > 1):
    print_json(
      dict(transcriber=transcriber.name, files=written, refused=refused)
    )
  if refused:
    raise UserError(
      refused[0]
      if len(pairs) == 1
      else f"{len(refused)} of {len(pairs)} files could not be transcribed."
    )


def _without_written(pairs: list[tuple[Path, Path]]) -> list[tuple[Path, Path]]:
  """The recordings whose MIDI files are not there yet.

  Raises:
    UserError: There is none.
  """
  there = [target for _, target in pairs if target.exists()]
  if there and len(there) == len(pairs):
    raise UserError(
      f"{there[0]} is there already. Give another --out, or --replace."
    )
  for target in there:
    remark(f"{target} is there already: left out. --replace writes over it.")
  return [pair for pair in pairs if pair[1] not in there]


def _targets(
  sources: tuple[Path, ...], folder: Path
) -> list[tuple[Path, Path]]:
  """Each audio file and the MIDI file that it becomes.

  Raises:
    UserError: A path is missing, a folder holds no audio, or two files would
      become one.
  """
  from magenta_midi.transcribe.transcribe import audio_files

  pairs: list[tuple[Path, Path]] = []
  for source in sources:
    if not source.exists():
      raise UserError(f"{source}: no such file or folder. Give audio files.")
    if source.is_dir():
      files = audio_files(source)
      if not files:
        raise UserError(f"{source}: holds no audio file.")
      pairs += [
        (file, folder / file.relative_to(source).with_suffix(".mid"))
        for file in files
      ]
    else:
      pairs.append((source, folder / f"{source.stem}.mid"))
  seen: dict[Path, Path] = {}
  for file, target in pairs:
    if target in seen:
      raise UserError(
        f"{seen[target]} and {file} would both become {target}. Rename one, or"
        " give another --out."
      )
    seen[target] = file
  return pairs
