"""Starting from a checkpoint: what is taken, what is refused, what resumes."""

import json
from pathlib import Path

import numpy as np
import pytest
from flax import nnx

from magenta_midi.cli.phrases import phrase_path
from magenta_midi.model.checkpoint import (
  StoredCheckpoint,
  flat_parameters,
  save_checkpoint,
)
from magenta_midi.model.config import PRESETS, DepthformerConfig, preset
from magenta_midi.model.depthformer import Depthformer
from magenta_midi.tokens.note.codec import NoteCodec
from magenta_midi.tokens.vocabulary import RESERVED
from magenta_midi.train.warm_start import check_widths, warm_start
from tests.support.command_line import run

CODEC = NoteCodec()
WIDTHS = {k: v for k, v in PRESETS["tiny"].items() if k != "style_slots"}
# As Magenta RealTime: flat audio tokens, no times, no parts.
AUDIO = DepthformerConfig(vocab_size=256, levels=16, **WIDTHS)


def midi_config(**changes):
  return preset(
    "tiny",
    level_sizes=CODEC.vocabulary.level_sizes,
    reserved=RESERVED,
    **changes,
  )


def stored(folder, config, codec=None, seed=1):
  model = Depthformer(config, rngs=nnx.Rngs(seed))
  save_checkpoint(
    folder,
    model,
    codec=codec or dict(name="spectrostream", settings={}),
    storage="float32",
  )
  return StoredCheckpoint(folder)


def test_blocks_of_audio_in_a_midi_model(tmp_path):
  checkpoint = stored(tmp_path, AUDIO)
  model = Depthformer(midi_config(), rngs=nnx.Rngs(0))
  before = flat_parameters(model)
  taken = warm_start(model, checkpoint, CODEC)
  assert taken.layers == {
    "encoder": (1, 1),
    "temporal": (2, 2),
    "depth": (1, 1),
  }
  assert not taken.vocabulary
  assert set(taken.fresh) == {
    "token_embedder.embedding",
    "logits_dense.kernel",
    "time_projection.kernel",
    "part_embedder.embedding",
    "style_embedder.embedding",
  }
  after = flat_parameters(model)
  arrays = 0
  for name, array in after.items():
    if name in taken.fresh:
      np.testing.assert_array_equal(array, before[name], err_msg=name)
      continue
    arrays += 1
    theirs = checkpoint.read(name)
    if name == "depth_relpos_bias.rel_embedding":
      # Distance by distance: the levels of a frame are never further apart.
      theirs = theirs[:, :4]
    np.testing.assert_array_equal(array, theirs, err_msg=name)
  assert arrays == taken.arrays
  assert "\n" not in taken.line()
  assert "2 of 2 temporal" in taken.line()


def test_layers_by_their_index(tmp_path):
  checkpoint = stored(tmp_path, AUDIO)
  deeper = midi_config(temporal_layers=3, encoder_layers=2)
  model = Depthformer(deeper, rngs=nnx.Rngs(0))
  taken = warm_start(model, checkpoint, CODEC)
  assert taken.layers["temporal"] == (2, 3)
  assert taken.layers["encoder"] == (1, 2)
  assert {"temporal layer 2", "encoder layer 1"} <= set(taken.fresh)
  np.testing.assert_array_equal(
    model.temporal_layers[1].mlp.wo.kernel[...],
    checkpoint.read("temporal_layers.1.mlp.wo.kernel"),
  )


def test_the_same_codec_brings_its_vocabulary(tmp_path):
  # Settings that are not named keep their defaults: the same codec.
  codec = dict(name="note", settings={})
  checkpoint = stored(tmp_path / "a", midi_config(), codec)
  model = Depthformer(midi_config(), rngs=nnx.Rngs(0))
  taken = warm_start(model, checkpoint, CODEC)
  assert taken.vocabulary
  assert taken.fresh == ()
  for name, array in flat_parameters(model).items():
    np.testing.assert_array_equal(array, checkpoint.read(name), err_msg=name)
  # The same shapes with another meaning are not the same.
  codec = dict(name="note", settings=dict(chunk_s=1.0))
  checkpoint = stored(tmp_path / "b", midi_config(), codec)
  taken = warm_start(model, checkpoint, CODEC)
  assert not taken.vocabulary
  assert set(taken.fresh) == {
    "token_embedder.embedding",
    "logits_dense.kernel",
  }


def test_partners_stand_beside_the_own_player(tmp_path):
  codec = dict(name="note", settings={})
  checkpoint = stored(tmp_path / "solo", midi_config(), codec)
  model = Depthformer(midi_config(parts=9), rngs=nnx.Rngs(0))
  taken = warm_start(model, checkpoint, CODEC)
  assert taken.fresh == ()
  name = "part_embedder.embedding"
  table = flat_parameters(model)[name]
  np.testing.assert_array_equal(table[0], checkpoint.read(name)[0])
  # Told apart from the own player, and in equal steps by delay.
  apart = np.linalg.norm(table[1:] - table[0], axis=1)
  assert (apart > 2 * np.linalg.norm(table[0])).all()
  steps = np.diff(table[1:], axis=0)
  np.testing.assert_allclose(steps, np.tile(steps[:1], (7, 1)), atol=1e-6)
  assert np.linalg.norm(steps[0]) > 0.01
  # Of a model that knows partners, they are taken as they are.
  duet = stored(tmp_path / "duet", midi_config(parts=9), codec)
  warm_start(model, duet, CODEC)
  np.testing.assert_array_equal(flat_parameters(model)[name], duet.read(name))


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({}, r"its widths are embed_dim 32.*model's are embed_dim 64.*tiny"),
    (
      dict(mlp_dim=48),
      r"mlp_dim 48.*--set embed_dim=32.*--set mlp_dim=48",
    ),
    (dict(depth_dim=16), r"depth_dim 16.*--set depth_dim=16"),
  ],
)
def test_other_widths_are_refused(tmp_path, changes, message):
  checkpoint = stored(tmp_path, midi_config(**changes))
  wide = midi_config(embed_dim=64, num_heads=4)
  with pytest.raises(ValueError, match=message) as caught:
    check_widths(checkpoint, wide)
  assert "\n" not in str(caught.value)


# Through the command line --------------------------------------------------


@pytest.fixture
def train(tmp_path):
  data = tmp_path / "data"
  data.mkdir()
  for name in ("prelude", "elise", "gymnopedie"):
    (data / f"{name}.mid").write_bytes(phrase_path(name).read_bytes())
  return (
    *("train", "--data", data, "--preset", "tiny", "--seed", 3),
    *("--steps", 2, "--set", "dropout_rate=0.0"),
  )


def test_train_starts_from_a_checkpoint_once(capsys, tmp_path, train):
  checkpoint = tmp_path / "audio"
  start = stored(checkpoint, AUDIO)
  out = tmp_path / "run"
  # A rate of nothing: what was taken is what comes out.
  command = (*train, "--init-from", checkpoint, "--out", out)
  command = (*command, "--learning-rate", 1e-12)
  code, text, err = run(capsys, *command, "--json")
  assert code == 0, err
  line = next(x for x in err.splitlines() if x.startswith("took "))
  assert "1 of 1 encoder, 2 of 2 temporal, 1 of 1 depth layers" in line
  facts = json.loads(text.splitlines()[-1])
  assert facts["warm_start"]["checkpoint"] == str(checkpoint)
  result = StoredCheckpoint(Path(facts["checkpoint"]))
  assert result.facts["notes"]["warm_start"] == facts["warm_start"]
  name = "temporal_layers.1.mlp.wo.kernel"
  np.testing.assert_allclose(
    result.read(name).astype(np.float32), start.read(name), rtol=2**-8
  )

  # The same command continues, and needs the checkpoint no more.
  weights = (out / "checkpoint" / "weights.safetensors").read_bytes()
  (checkpoint / "weights.safetensors").unlink()
  code, text, err = run(capsys, *command, "--json")
  assert code == 0, err
  assert "took " not in err
  again = json.loads(text.splitlines()[-1])
  assert again["warm_start"] == facts["warm_start"]
  assert (out / "checkpoint" / "weights.safetensors").read_bytes() == weights


def test_a_run_continued_remembers_its_start(tmp_path):
  from magenta_midi.data.corpus import pack_scores
  from magenta_midi.midi.score import Score
  from magenta_midi.train.train import TrainConfig
  from magenta_midi.train.train import train as train_model

  stored(tmp_path / "audio", AUDIO)
  corpus = pack_scores([("elise", Score.from_file(phrase_path("elise")))])
  config = TrainConfig(
    preset="tiny",
    steps=3,
    frames_per_batch=400,
    sample_s=0.0,
    init_from=str(tmp_path / "audio"),
  )
  out = tmp_path / "run"
  starts = []
  for stops in (1, 100):
    left = iter(range(stops + 1))
    train_model(
      config,
      CODEC,
      [corpus],
      [1.0],
      None,
      out,
      on_warm_start=starts.append,
      should_stop=lambda left=left: next(left, None) is None,
    )
  assert len(starts) == 1
  notes = StoredCheckpoint(out / "checkpoint").facts["notes"]
  assert notes["finished"]
  assert notes["step"] == 3
  assert notes["warm_start"]["arrays"] == starts[0].arrays


def test_runs_of_older_versions_continue(capsys, tmp_path, train):
  out = tmp_path / "run"
  assert run(capsys, *train, "--out", out)[0] == 0
  path = out / "run.json"
  older = json.loads(path.read_text())
  assert older.pop("init_from") is None
  path.write_text(json.dumps(older))
  assert run(capsys, *train, "--out", out)[0] == 0
  stored(tmp_path / "audio", AUDIO)
  code, _, err = run(
    capsys, *train, "--out", out, "--init-from", tmp_path / "audio"
  )
  assert code == 2
  assert "holds a run with other settings" in err
  assert f'init_from was null, now "{tmp_path / "audio"}".' in err
  code, _, err = run(
    capsys, *train, "--out", out, "--seed", 4, "--set", "encoder_layers=2"
  )
  assert code == 2
  assert len(err.strip().splitlines()) == 1
  # What did not change is not named.
  named = "model.encoder_layers was not set, now 2, seed was 3, now 4"
  assert f"(run.json): {named}. Give --out" in err


def test_mistakes_are_one_line(capsys, tmp_path, train):
  wide = DepthformerConfig(
    vocab_size=128, levels=2, **(WIDTHS | dict(mlp_dim=96))
  )
  stored(tmp_path / "wide", wide)
  cases = [
    (tmp_path / "wide", "Give --set mlp_dim=96 --set depth_mlp_dim=96"),
    (tmp_path / "absent", "no checkpoint there"),
  ]
  for checkpoint, message in cases:
    code, _, err = run(
      capsys, *train, "--init-from", checkpoint, "--out", tmp_path / "run"
    )
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()
