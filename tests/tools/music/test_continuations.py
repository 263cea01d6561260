"""Passages of held-out pieces, and their continuation by a tiny model."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from magenta_midi.data.corpus import pack_piece
from magenta_midi.data.pieces import unpack_piece
from magenta_midi.generate.generator import Generator
from magenta_midi.generate.sampling import Sampling
from magenta_midi.midi.score import Score
from magenta_midi.model.config import preset
from magenta_midi.model.depthformer import Depthformer
from magenta_midi.tokens.note.codec import NoteCodec
from magenta_midi.tokens.vocabulary import RESERVED
from tools.music.continuations import (
  Piece,
  choose_passages,
  play,
  read_pieces,
)
from tools.music.likeness import compare
from tools.music.two_sample import two_sample_figures

CODEC = NoteCodec()


@pytest.fixture(scope="module")
def generator() -> Generator:
  config = preset(
    "tiny", level_sizes=CODEC.vocabulary.level_sizes, reserved=RESERVED
  )
  model = Depthformer(config, rngs=nnx.Rngs(0))
  model.eval()
  return Generator(model, CODEC)


def music(seed: int, seconds: float = 60.0) -> Score:
  rng = np.random.default_rng(seed)
  onset = np.sort(rng.uniform(0, seconds, int(6 * seconds)))
  onset -= onset[0]
  times = np.sort(rng.uniform(0, seconds, 20))
  return Score.from_arrays(
    onset_s=onset,
    duration_s=rng.uniform(0.05, 1.0, len(onset)),
    key=rng.integers(30, 90, len(onset)),
    velocity=rng.integers(20, 110, len(onset)),
    pedal=[(time, index % 2 == 0) for index, time in enumerate(times)],
  )


def piece(seed: int, corpus: str = "a", seconds: float = 60.0) -> Piece:
  score = CODEC.decode(CODEC.encode(music(seed, seconds)))
  return Piece(corpus=corpus, name=f"{seed}.mid", score=score)


PIECES = [piece(i, "ab"[i > 3]) for i in range(6)]


@settings(max_examples=25)
@given(st.integers(0, 1000), st.sampled_from([10.0, 12.34, 20.0]))
def test_contexts_end_before_now_and_leave_enough_music(seed, seconds):
  for passage in choose_passages(PIECES, 7, seconds, codec=CODEC, seed=seed):
    whole = PIECES[passage.piece].score.notes
    assert len(passage.context) >= 1
    assert passage.history.notes["onset_s"].max() < passage.now_s
    step = CODEC.config.time_to_step(passage.history.notes["onset_s"])
    assert step.max() < round(passage.now_s * 100)
    assert passage.at_s >= 10.0
    assert whole["onset_s"][-1] >= passage.at_s + seconds - 1e-9
    # What follows begins where the history ends: no note twice, none lost.
    upto = np.searchsorted(whole["onset_s"], passage.at_s)
    after = whole[upto : upto + len(passage.real)]
    np.testing.assert_allclose(
      passage.real.notes["onset_s"], after["onset_s"] - passage.at_s, atol=1e-9
    )
    assert (passage.real.notes["key"] == after["key"]).all()
    assert passage.real.notes["onset_s"].max(initial=0) < seconds


def test_the_model_hears_the_true_context(generator):
  for passage in choose_passages(PIECES, 6, 10.0, codec=CODEC):
    state = generator.at(generator.init_state(passage.history), passage.now_s)
    request = generator.request(state)
    true = CODEC.encode_context(PIECES[passage.piece].score, passage.at_s)
    count = len(true.step)
    assert (request.context_time[0, :count] == true.step).all()
    assert (request.context_ids[0, count:] == 0).all()
    ids = CODEC.vocabulary.to_ids(true.codes)
    assert (request.context_ids[0, :count] == ids).all()


def test_corpora_take_turns_and_pieces_come_evenly():
  passages = choose_passages(PIECES, 12, 10.0, codec=CODEC)
  pieces = [passage.piece for passage in passages]
  assert sorted(pieces) == sorted(list(range(6)) * 2)
  assert [PIECES[i].corpus for i in pieces[:4]] == ["a", "b", "a", "b"]


def test_the_seed_decides_the_passages():
  def places(seed: int) -> list:
    passages = choose_passages(PIECES, 5, 10.0, codec=CODEC, seed=seed)
    return [(passage.piece, passage.at_s) for passage in passages]

  assert places(3) == places(3)
  assert places(3) != places(4)


def test_short_pieces_are_left_out():
  pieces = [piece(0, seconds=15.0), piece(1, seconds=40.0)]
  passages = choose_passages(pieces, 3, 20.0, codec=CODEC)
  assert {passage.piece for passage in passages} == {1}
  with pytest.raises(ValueError, match=r"no piece lasts 70 s\. Give longer"):
    choose_passages(pieces, 3, 60.0, codec=CODEC)


def test_unpacking_a_packed_piece_gives_it_back():
  score = music(0)
  assert unpack_piece(pack_piece(score)).equals(score, tolerance_s=0.0011)


def test_the_same_seed_plays_the_same(generator):
  passages = choose_passages(PIECES, 2, 10.0, codec=CODEC)
  bold = Sampling(temperature=1.5)
  calls = []
  takes = play(
    generator, passages, seed=1, sampling=bold, on_chunk=lambda: calls.append(1)
  )
  assert len(calls) == 10
  assert [take.chunks for take in takes] == [5, 5]
  again = play(generator, passages, seed=1, sampling=bold)
  other = play(generator, passages, seed=2, sampling=bold)
  assert all(a.music.equals(b.music) for a, b in zip(takes, again, strict=True))
  assert not takes[0].music.equals(other[0].music)
  for take in takes:
    assert take.music.notes["onset_s"].max(initial=0) < 10.0


def test_figures_of_the_real_music_itself(generator):
  passages = choose_passages(PIECES, 6, 20.0, codec=CODEC)
  takes = play(generator, [dataclasses.replace(passages[0], seconds=2.0)])
  takes = [
    dataclasses.replace(takes[0], passage=passage, music=passage.real)
    for passage in passages
  ]
  figures = compare(takes)
  assert figures["mean_overlap"] == pytest.approx(1.0)
  assert figures["generated"] == figures["real"]
  assert figures["generated"]["silent_chunks"] == 0
  found = two_sample_figures(takes)
  # Every window has its double on the other side: ties count half.
  assert found["auc"] == pytest.approx(0.5)
  assert found["windows"] == 12
  assert found == two_sample_figures(takes)


def test_reading_a_split(tmp_path: Path):
  folder = tmp_path / "corpus"
  folder.mkdir()
  for seed in range(3):
    music(seed, 30.0).to_file(folder / f"{seed}.mid")
  (folder / "2.mid").write_bytes(b"not MIDI")
  (tmp_path / "corpus.csv").write_text(
    "path,split\n0.mid,test\n1.mid,train\n2.mid,test\n", encoding="utf-8"
  )
  pieces, bad = read_pieces(folder, "test", CODEC)
  assert [found.name for found in pieces] == ["0.mid"]
  assert [path.name for path, _ in bad] == ["2.mid"]
  onset = pieces[0].score.notes["onset_s"] * 100
  np.testing.assert_allclose(onset, np.round(onset), atol=1e-6)
  with pytest.raises(ValueError, match=r"no piece in the split 'valid'"):
    read_pieces(folder, "valid", CODEC)
