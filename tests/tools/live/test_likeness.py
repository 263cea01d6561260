"""tools/live/likeness.py: known answers, and one run."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from magenta_midi.midi.score import Score
from magenta_midi.model.checkpoint import save_checkpoint
from magenta_midi.testing import tiny_generator
from tools.live import likeness as tool


def notes(onset_s, key, gap_s=0.3):
  count = len(onset_s)
  return Score.from_arrays(
    onset_s=np.array(onset_s, float),
    duration_s=np.full(count, gap_s),
    key=np.broadcast_to(key, count),
    velocity=np.full(count, 70),
  )


def scale(tonic, gap_s, seconds=8.0):
  onset_s = np.arange(0, seconds, gap_s)
  degrees = np.array([0, 2, 4, 5, 7, 9, 11])
  key = 60 + tonic + degrees[np.arange(len(onset_s)) % 7]
  return notes(onset_s, key, 0.9 * gap_s)


def test_auc_counts_how_often_the_own_call_is_more_alike():
  piece = np.arange(4)
  assert tool.auc(np.eye(4), piece) == 1
  assert tool.auc(-np.eye(4), piece) == 0
  assert tool.auc(np.ones((4, 4)), piece) == 0.5
  # Another phrase of one's own piece is no stranger.
  alike = np.eye(4)
  alike[0, 1] = 2
  assert tool.auc(alike, piece) == pytest.approx(11 / 12)
  assert tool.auc(alike, np.array([0, 0, 1, 2])) == 1
  # One drawn twice is not compared with itself.
  assert tool.auc(np.eye(4), piece, np.array([1, 1])) == 0.5


def test_a_reply_in_its_calls_key_and_tempo_is_alike():
  calls = [scale(tonic, 0.2 + 0.1 * tonic) for tonic in range(6)]
  same = tool.judged(calls, calls, range(6))
  assert {row["auc"] for row in same.values()} == {1}
  assert same["key"]["ci95"] == [1, 1]
  turned = tool.judged(calls[::-1], calls, range(6))
  assert turned["tempo"]["auc"] < 0.5


def test_agreement_of_single_notes():
  partner = notes([0.0, 1.0, 2.0], 60, gap_s=0.8)
  assert tool.agreement(notes([0, 1, 2], 67), partner) == (1, 1)
  assert tool.agreement(notes([0, 1, 2], 73), partner) == (0, 1)
  # A semitone off, but between the partner's notes, and half way into one.
  assert tool.agreement(notes([0.9, 1.4], [61, 64]), partner) == (1, 0)
  consonant, together = tool.agreement(notes([], 60), partner)
  assert np.isnan(consonant) and np.isnan(together)


def test_the_true_partner_is_told_from_others():
  partners = [
    notes(np.arange(0, 10, 0.5) + 0.1 * i, 60 + i, 0.4) for i in range(4)
  ]
  found = tool.agreements(partners, partners, range(4))
  for row in found.values():
    assert row["partner"] == 1 > row["others"]
    assert 0 < row["gain_ci95"][0] <= row["gain"] <= row["gain_ci95"][1]


@pytest.fixture
def pieces(tmp_path):
  for tonic in range(3):
    scale(tonic, 0.3, 70.0).to_file(tmp_path / f"{tonic}.mid")
  return tmp_path


@pytest.mark.parametrize("count", [2, 3, 7])
def test_phrases_come_from_all_pieces_and_do_not_overlap(pieces, count):
  found = tool.find_phrases([pieces], count, 8.0)
  assert len(found) == count
  assert len({phrase.piece for phrase in found}) == min(count, 3)
  assert all(
    len(p.score) > 20 and p.score.notes["onset_s"][-1] < 8 for p in found
  )
  again = tool.find_phrases([pieces], count, 8.0)
  assert all(a.score.equals(b.score) for a, b in zip(found, again, strict=True))


def test_too_little_music_is_named(tmp_path):
  scale(0, 0.3, 70.0).to_file(tmp_path / "one.mid")
  with pytest.raises(tool.UserError, match="two pieces or more of 16 s"):
    tool.find_phrases([tmp_path], 5, 8.0)


def test_one_run(pieces, tmp_path_factory):
  folder = tmp_path_factory.mktemp("likeness")
  model = tiny_generator(parts=9).model
  save_checkpoint(folder / "duet", model, codec={"name": "note"})
  args = [str(pieces), "--phrases", "3", "--stretches", "2"]
  args += ["--checkpoint", str(folder / "duet")]
  result = CliRunner().invoke(tool.command, args, catch_exceptions=False)
  report = json.loads(result.output)
  assert report["call_response"]["phrases"] == 3
  assert report["simultaneous"]["stretches"] == 2
  assert report["checkpoint"] == str(folder / "duet")
