"""What is rehearsed, and that it is never what is judged."""

import numpy as np
import pytest

from magenta_midi.data.corpus import pack_scores
from magenta_midi.finetune.mixture import (
  ITSELF,
  choose_rehearsal,
  without_pieces,
)
from magenta_midi.midi.score import Score


def music(seconds, seed):
  rng = np.random.default_rng(seed)
  onset = np.arange(0, seconds, 0.25)
  return Score.from_arrays(
    onset_s=onset,
    duration_s=np.full(len(onset), 0.2),
    key=rng.integers(40, 80, len(onset)),
    velocity=rng.integers(30, 100, len(onset)),
  )


@pytest.mark.parametrize(
  ("given", "going_on", "learned"),
  [
    (None, False, None),
    (None, True, ITSELF),
    ("none", True, None),
    ("itself", False, ITSELF),
  ],
)
def test_an_adapter_that_goes_on_rehearses_itself(given, going_on, learned):
  found = choose_rehearsal(given, going_on=going_on)
  assert found == (learned, None)


def test_takes_are_split_by_title(tmp_path):
  for seed in range(10):
    music(20.0, seed).to_file(tmp_path / f"{chr(97 + seed)}.mid")
  found = choose_rehearsal(str(tmp_path), going_on=False)
  assert (len(found.learned), len(found.judged)) == (8, 2)
  assert not set(found.learned.names) & set(found.judged.names)


def test_a_corpus_is_split_by_its_list(tmp_path):
  folder = tmp_path / "corpus"
  folder.mkdir()
  rows = ["path,split"]
  for seed, split in enumerate(["train", "valid", "test", "train"]):
    music(20.0, seed).to_file(folder / f"{seed}.mid")
    rows.append(f"{seed}.mid,{split}")
  (tmp_path / "corpus.csv").write_text("\n".join(rows))
  found = choose_rehearsal(str(folder), going_on=False)
  assert found.learned.names == ("0.mid", "3.mid")
  assert found.judged.names == ("1.mid",)
  (tmp_path / "corpus.csv").write_text("path,split\n0.mid,valid\n")
  with pytest.raises(ValueError, match="no piece in the split train"):
    choose_rehearsal(str(folder), going_on=False)


def test_too_little_is_refused(tmp_path):
  with pytest.raises(
    ValueError, match=r"no such folder\. Give one of music to"
  ):
    choose_rehearsal(str(tmp_path / "x"), going_on=True)
  music(12.0, 0).to_file(tmp_path / "a.mid")
  with pytest.raises(
    ValueError, match="to be rehearsed: no usable recordings: 12 s"
  ):
    choose_rehearsal(str(tmp_path), going_on=True)


def test_what_is_held_out_is_not_rehearsed():
  corpus = pack_scores([(str(seed), music(12.0, seed)) for seed in range(4)])
  held_out = pack_scores([("again", music(12.0, 2)), ("x", music(12.0, 9))])
  assert without_pieces(corpus, held_out).names == ("0", "1", "3")
  assert without_pieces(corpus, pack_scores([])) is corpus
