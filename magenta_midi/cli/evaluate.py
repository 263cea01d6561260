"""`magenta-midi evaluate`: nats a note on held-out music."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from magenta_midi.cli.gin.options import GinDefaultsCommand, run_as_module
from magenta_midi.cli.terminal.errors import UserError, writable
from magenta_midi.cli.terminal.file_paths import FilePath
from magenta_midi.cli.terminal.options import (
  adapter_option,
  checkpoint_option,
  load_model,
)
from magenta_midi.cli.terminal.output import (
  json_option,
  print_json,
  print_line,
  progress_bar,
  remark,
)

if TYPE_CHECKING:
  from magenta_midi.api import MagentaMidi
  from magenta_midi.data.corpus import Corpus
  from magenta_midi.evaluation.evaluate import Evaluation

__all__ = ["command"]


@click.command("evaluate", cls=GinDefaultsCommand)
@click.argument(
  "paths",
  metavar="PATH...",
  nargs=-1,
  required=True,
  type=FilePath(),
)
@click.option(
  "--split",
  help="Score only this split, for example test. Splits come from DIR.csv"
  " beside the folder DIR, or from a prepared corpus [default: all files].",
)
@adapter_option
@click.option(
  "--no-context",
  is_flag=True,
  help="Score without context, to measure how much it helps.",
)
@click.option(
  "--style-prompted",
  is_flag=True,
  help="Score a second time with the style and controls of the music itself as"
  " prompt.",
)
@click.option(
  "--against",
  metavar="NAME|DIR",
  help="Score the same windows with this checkpoint too (embedded, or a folder"
  " that train wrote) and report the difference.",
)
@click.option(
  "--plot",
  type=FilePath(),
  help="Also write a plot of nats a note by piece and by level (PNG).",
)
@checkpoint_option
@json_option
def command(
  paths: tuple[Path, ...],
  split: str | None,
  adapters: tuple[str, ...],
  no_context: bool,
  style_prompted: bool,
  against: str | None,
  plot: Path | None,
  checkpoint: Path | None,
  as_json: bool,
) -> None:
  """Score MIDI files or folders in nats a note; lower is better.

  Each 2 s of each piece are scored once, after their 10 s of context and
  without augmentation. Notes, pedal and the ends of chunks all count.
  """
  if plot is not None:
    writable(plot)
  other_folder = None if against is None else _folder_of(against)
  corpus = _read(paths, split)
  from magenta_midi.evaluation.comparison import Comparison, check_comparable

  scorers = [
    _Scorer(load_model(checkpoint, adapters), not no_context, style_prompted)
  ]
  if against is not None:
    try:
      other = load_model(other_folder)
      check_comparable(scorers[0].mm.codec, other.codec)
      scorers.append(_Scorer(other, not no_context, style_prompted))
    except ValueError as error:
      raise UserError(f"--against: {error}") from None

  plain = [scorer.score(corpus) for scorer in scorers]
  prompted = [scorer.score_prompted(corpus) for scorer in scorers]
  figures, *others = (
    _figures(*found)
    for found in zip((s.name for s in scorers), plain, prompted, strict=True)
  )
  _say(figures)
  for theirs in others:
    print_line(f"against {theirs['checkpoint']}:")
    _say(theirs)
    figures["against"] = theirs
    figures["difference"] = Comparison(*plain).figures()
    _say_difference(figures["difference"])
    if style_prompted:
      with_style = Comparison(*filter(None, prompted)).figures()
      figures["difference"]["style_prompted"] = with_style
      _say_difference(with_style, ", with style")
    if scorers[0].mm.codec.name != scorers[1].mm.codec.name:
      print_line(
        "  The codecs differ in the precision of durations and in the number of"
        f" notes ({figures['notes']} and {theirs['notes']}); levels are not"
        " compared."
      )
  if plot is not None:
    from magenta_midi.train.plots import plot_evaluation

    plot_evaluation(figures, plot)
    print_line(f"wrote {plot}")
  if as_json:
    print_json(figures)


class _Scorer:
  """A checkpoint and the way it is scored.

  Raises:
    ValueError: `style` is set and the checkpoint has no style.
  """

  def __init__(self, mm: "MagentaMidi", context: bool, style_prompted: bool):
    from magenta_midi.data.examples.conditioning import stored_style

    self.mm = mm
    self.name = mm.name
    self.context = context
    self.style = stored_style(mm.config) if style_prompted else None

  def score(self, corpus: "Corpus", style: Any = None) -> "Evaluation":
    """Nats by piece, with a progress bar."""
    from magenta_midi.evaluation.evaluate import evaluate

    with progress_bar() as bar:
      name = f"scoring, {self.name}"
      task = bar.add_task(
        name if style is None else f"{name}, with style", note=""
      )
      return evaluate(
        self.mm.generator.model,
        self.mm.codec,
        corpus,
        context=self.context,
        style=style,
        on_window=lambda done, total: bar.update(
          task, completed=done, total=total
        ),
      )

  def score_prompted(self, corpus: "Corpus") -> "Evaluation | None":
    """The same with style and controls of the music itself, if requested."""
    return None if self.style is None else self.score(corpus, self.style)


def _folder_of(name: str) -> Path | None:
  """Folder of a checkpoint; None: the embedded one.

  Raises:
    UserError: There is no such folder.
  """
  if name == "embedded":
    return None
  from magenta_midi.plain_text import existing_path

  folder = existing_path(name)
  if not folder.exists():
    raise UserError(
      f"--against {name}: no checkpoint of that name. Give embedded, or a"
      " folder that `magenta-midi train` wrote."
    )
  return folder


def _figures(
  name: str, evaluation: "Evaluation", prompted: "Evaluation | None"
) -> dict[str, Any]:
  """Figures of one checkpoint for JSON."""
  figures = evaluation.figures()
  if prompted is not None:
    figures["style_prompted"] = prompted.figures()
  return {**figures, "checkpoint": name, "by_piece": evaluation.by_piece()}


def _say(figures: dict[str, Any]) -> None:
  """Prints one checkpoint's figures."""
  low, high = figures["ci95"]
  print_line(
    f"{figures['nats_per_note']:.3f} nats a note (95 % {low:.3f} to"
    f" {high:.3f}), {figures['nats_per_second']:.1f} a second, over"
    f" {figures['notes']} notes in {figures['pieces']} pieces"
  )
  print_line(_parts_line(figures, ".3f"))
  if "style_prompted" in figures:
    print_line(
      f"  {figures['style_prompted']['nats_per_note']:.3f} with style and"
      " controls of the music itself"
    )


def _say_difference(difference: dict[str, Any], how: str = "") -> None:
  """Prints the difference of two checkpoints and its significance."""
  nats, (low, high) = difference["nats_per_note"], difference["ci95"]
  better = "better" if nats < 0 else "worse"
  interval = f" (95 % {low:+.3f} to {high:+.3f} over pieces)"
  if not (nats or low or high):
    verdict = "no difference"
  elif difference["beyond"] is None:
    interval = ""
    verdict = f"{better}; one piece alone gives no interval"
  elif difference["beyond"]:
    verdict = f"{better} by more than the variation between pieces"
  else:
    verdict = "not more than the variation between pieces"
  print_line(
    f"difference{how}: {nats:+.3f} nats a note{interval},"
    f" {difference['nats_per_second']:+.1f} a second: {verdict}"
  )
  if "levels" in difference:
    print_line(_parts_line(difference, "+.3f"))


def _parts_line(figures: dict[str, Any], form: str) -> str:
  """Levels, pedal and end in one line."""
  parts = {**figures["levels"], **{p: figures[p] for p in ("pedal", "end")}}
  return "  " + "  ".join(f"{n} {value:{form}}" for n, value in parts.items())


def _read(paths: tuple[Path, ...], split: str | None) -> Any:
  """Reads and packs the files; bad ones are listed and left out."""
  from magenta_midi.data.corpus import (
    join_corpora,
    midi_files,
    pack_scores,
    read_corpus,
  )
  from magenta_midi.data.prepared import is_prepared, prepared_splits
  from magenta_midi.midi.score_files import MidiFileError, read_score

  corpora, bad = [], []
  for path in paths:
    if not path.exists():
      raise UserError(f"{path}: no such file or folder.")
    prepared = path.is_dir() and is_prepared(path)
    if split is not None or prepared:
      splits = (split,) if split is not None else prepared_splits(path)
      read, failed = read_corpus(path, splits)
      corpora += read.values()
      bad += [reason for _, reason in failed]
      continue
    files = midi_files(path)
    if not files and path.is_dir():
      raise UserError(f"{path}: holds no MIDI file (.mid, .midi, .kar, .rmi).")
    named = []
    for file in files:
      try:
        named.append((str(file), read_score(file)))
      except MidiFileError as error:
        bad.append(str(error))
    corpora.append(pack_scores(named))
  for reason in bad:
    remark(f"left out: {reason}")
  corpus = join_corpora([corpus for corpus in corpora if len(corpus)])
  if corpus is None:
    if len(bad) == 1 and len(paths) == 1 and paths[0].is_file():
      raise UserError(bad[0])
    raise UserError(
      f"{', '.join(map(str, paths))}: no music to score"
      + (f" in split {split!r}" if split else "")
      + "."
    )
  return corpus


if __name__ == "__main__":
  run_as_module("evaluate")
