"""Continuations by a checkpoint, with or without an adapter, kept as files."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from magenta_midi.api import DEFAULT_SAMPLING, MagentaMidi
from magenta_midi.finetune.finetune import factors_digest
from magenta_midi.midi.score import Score
from magenta_midi.midi.score_files import MidiFileError, read_score, write_score
from magenta_midi.model.checkpoint import read_config
from magenta_midi.model.lora.adapter_library import load_adapters
from tools.music.continuations import Passage, play

__all__ = ["Continuer", "Source"]


class Source(NamedTuple):
  """Source of notes: a checkpoint (None: the loaded one) and an adapter."""

  adapter: str | None = None
  checkpoint: Path | None = None


class Continuer:
  """Plays on from passages; what was played before is read.

  A file's name is that of weights, context and sampling, so that one folder
  serves any adapters and players. Of the code that plays it knows nothing: when
  that changes, a new folder is needed.

  Args:
    mm: Without adapters.
    folder: Of the files; made if it is not there.
  """

  def __init__(self, mm: MagentaMidi, folder: Path):
    self.mm = mm
    self.folder = folder
    self._loaded: tuple[Path, MagentaMidi] | None = None
    folder.mkdir(parents=True, exist_ok=True)

  def __call__(
    self,
    source: Source,
    passages: Sequence[Passage],
    on_done: Callable[[], None] = lambda: None,
  ) -> list[Score]:
    """How each passage goes on; the seed is its number.

    Raises:
      ValueError: The adapter or the checkpoint cannot be used.
      OSError: A file cannot be written; what was played stays.
    """
    name = self._name(source)
    found = []
    for seed, passage in enumerate(passages):
      path = self.folder / f"{_digest(name, passage, seed)}.mid"
      if _read(path) is None:
        write_score(self._played(source, passage, seed), path)
      # Always from the file, so that a second run has the same figures.
      score = _read(path)
      assert score is not None
      found.append(score)
      on_done()
    return found

  def _name(self, source: Source) -> str:
    """Of the weights, whatever they are called, and of the sampling."""
    name = f"{DEFAULT_SAMPLING} "
    if source.checkpoint is not None:
      config = read_config(source.checkpoint)
      return name + (config.get("sha256") or str(source.checkpoint))
    name += self.mm.config.get("sha256") or self.mm.checkpoint
    if source.adapter is not None:
      for adapter, scale in load_adapters([source.adapter]):
        name += f" {factors_digest(adapter.factors)} {adapter.scale} {scale}"
    return name

  def _played(self, source: Source, passage: Passage, seed: int) -> Score:
    mm = self._model(source)
    (take,) = play(
      mm.generator, [passage], seed=seed, sampling=mm.default_sampling
    )
    return take.music

  def _model(self, source: Source) -> MagentaMidi:
    if source.checkpoint is not None:
      # One beside the base's at most: of many players only theirs is needed.
      if self._loaded is None or self._loaded[0] != source.checkpoint:
        self._loaded = (source.checkpoint, MagentaMidi.load(source.checkpoint))
      return self._loaded[1]
    wanted = () if source.adapter is None else (source.adapter,)
    if self.mm.wanted_adapters != wanted:
      self.mm.use_adapters(wanted)
    return self.mm


def _digest(name: str, passage: Passage, seed: int) -> str:
  digest = hashlib.sha256(f"{name} {passage.seconds:g} {seed}".encode())
  digest.update(f"{passage.now_s:.3f}".encode())
  digest.update(passage.history.notes.tobytes())
  digest.update(passage.history.pedals.tobytes())
  return digest.hexdigest()[:24]


def _read(path: Path) -> Score | None:
  """Saved continuation; None: not there yet, or the file is damaged."""
  try:
    return read_score(path).merged() if path.is_file() else None
  except MidiFileError:
    return None
