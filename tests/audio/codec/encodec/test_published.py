"""EnCodec's published files, without PyTorch: read, converted, refused."""

import json

import numpy as np
import pytest

from magenta_midi.audio.codec.encodec.config import EncodecConfig
from magenta_midi.audio.codec.encodec.published import read_published
from magenta_midi.audio.codec.encodec.weights import (
  load_encodec,
  parameter_shapes,
  save_encodec,
)
from magenta_midi.model.torch_file import TorchFileError
from magenta_midi.model.weights_file import CheckpointError
from tests.support.encodec_files import (
  CONFIG,
  published_arrays,
  write_published,
)


def refusal(path, kind=CheckpointError):
  with pytest.raises(kind) as caught:
    read_published(path)
  message = str(caught.value)
  assert "\n" not in message
  assert len(message) < 400
  return message


@pytest.mark.parametrize("torch", [False, True])
def test_both_formats_give_the_same_arrays(tmp_path, torch):
  theirs = published_arrays()
  folder = write_published(tmp_path / "a", torch=torch)
  config, arrays = read_published(folder)
  assert (config.levels, config.hop, config.causal) == (2, 6, True)
  shapes = {name: array.shape for name, array in arrays.items()}
  assert shapes == parameter_shapes(config)
  # Weight norm: the direction of one array, the length of the other.
  kernel = arrays["encoder.layers.2.layer.kernel"]
  length = np.sqrt(np.sum(kernel**2, axis=(0, 1)))
  given = theirs["encoder.layers.3.conv.weight_g"].ravel()
  np.testing.assert_allclose(length, given, rtol=1e-5)
  direction = theirs["encoder.layers.3.conv.weight_v"].transpose(2, 1, 0)
  ratio = kernel / direction
  same = np.broadcast_to(ratio[:1, :1], ratio.shape)
  np.testing.assert_allclose(ratio, same, rtol=1e-4)
  # Of a transposed one, lengths belong to its inputs.
  kernel = arrays["decoder.layers.2.layer.kernel"]
  length = np.sqrt(np.sum(kernel**2, axis=(0, 2)))
  given = theirs["decoder.layers.3.conv.weight_g"].ravel()
  np.testing.assert_allclose(length, given, rtol=1e-5)
  bias = arrays["encoder.layers.6.layer.bias"]
  np.testing.assert_array_equal(bias, theirs["encoder.layers.9.conv.bias"])


def test_a_file_of_the_folder_will_do(tmp_path):
  folder = write_published(tmp_path / "a")
  _, expected = read_published(folder)
  for name in ("model.safetensors", "config.json"):
    _, found = read_published(folder / name)
    for array in expected:
      np.testing.assert_array_equal(found[array], expected[array])


def test_what_is_written_is_read_again(tmp_path):
  config, arrays = read_published(write_published(tmp_path / "a"))
  facts = save_encodec(tmp_path / "b", config, arrays)
  assert facts["arrays"] == len(arrays)
  codec, quick = (
    load_encodec(tmp_path / "b", mirrored=mirrored)
    for mirrored in (None, False)
  )
  assert codec.config == config
  assert codec.facts.latency_samples > quick.facts.latency_samples == 6
  samples = np.zeros((600, 1), np.float32)
  assert codec.encode(samples).shape == (100, 2)
  # The first frames only differ by what lies before the sound.
  assert quick.decode(codec.encode(samples)).shape == (600, 1)


@pytest.mark.parametrize(
  ("field", "value", "words"),
  [
    ("model_type", "musicgen", "model_type"),
    ("num_filters", 10**12, "filters"),
    ("num_filters", 4096, "filters must be at most 1024"),
    ("num_filters", "x", "num_filters must be an integer"),
    ("upsampling_ratios", [3] * 9, "ratios"),
    ("upsampling_ratios", [-3, -2], "ratios"),
    ("upsampling_ratios", [], "ratios"),
    ("sampling_rate", 10**400, "rate"),
    ("sampling_rate", 0, "rate"),
    ("codebook_size", 10**300, "codebook_size"),
    ("target_bandwidths", [], "target_bandwidths"),
    ("target_bandwidths", [float("nan")], "target_bandwidths"),
    ("target_bandwidths", [1e5], "levels"),
    ("norm_type", "layer_norm", "norm_type"),
    ("norm_type", "time_group_norm", "group_norm"),
    ("use_causal_conv", False, "window"),
    ("chunk_length_s", 1e300, "chunk_length_s"),
    ("trim_right_ratio", 0.5, "trim_right_ratio"),
    ("codebook_dim", 3, "codebook_dim"),
    ("num_residual_layers", 17, "residual_layers"),
    ("num_lstm_layers", 5, "lstm_layers"),
    ("num_residual_layers", 2, "lacks the array"),
    ("use_conv_shortcut", False, "does not explain"),
    ("num_filters", 8, "by its config"),
    ("hidden_size", 7, "by its config"),
    ("pad_mode", "circular", "pad_mode"),
  ],
)
def test_configs_that_do_not_fit(tmp_path, field, value, words):
  folder = write_published(tmp_path, config=CONFIG | {field: value})
  assert words in refusal(folder)


def test_no_config_asks_for_thousands_of_layers():
  with pytest.raises(ValueError, match="residual_layers must be at most 2"):
    EncodecConfig(ratios=(1,) * 8, filters=8, residual_layers=3)


def test_files_that_are_none(tmp_path):
  assert "config.json" in refusal(tmp_path / "absent.safetensors")
  (tmp_path / "empty").mkdir()
  assert "holds no model.safetensors" in refusal(tmp_path / "empty")
  folder = write_published(tmp_path / "a")
  whole = (folder / "model.safetensors").read_bytes()
  for damaged in (b"", whole[:100], whole[:-4], b"\xff" * 200):
    (folder / "model.safetensors").write_bytes(damaged)
    assert "model.safetensors" in refusal(folder)
  (folder / "model.safetensors").unlink()
  (folder / "pytorch_model.bin").write_bytes(whole)
  refusal(folder, TorchFileError)
  for text in ("", "[]", "{", "[" * 100_000):
    (folder / "config.json").write_text(text)
    assert "config.json" in refusal(folder)
  (folder / "config.json").unlink()
  assert "beside" in refusal(folder)


@pytest.mark.parametrize(
  ("name", "change", "words"),
  [
    ("encoder.layers.0.conv.weight_v", lambda a: a[..., :3], "by its config"),
    ("encoder.layers.0.conv.weight_v", lambda a: a[0], "weight norm"),
    ("encoder.layers.0.conv.weight_g", lambda a: a[:1], "weight norm"),
    ("encoder.layers.0.conv.bias", lambda a: a * np.nan, "not finite"),
    ("encoder.layers.0.conv.bias", None, "lacks the array"),
    ("decoder.layers.1.lstm.weight_hh_l1", lambda a: a[:3], "by its config"),
    ("quantizer.layers.1.codebook.embed", lambda a: a[:3], "several shapes"),
  ],
)
def test_arrays_that_do_not_fit(tmp_path, name, change, words):
  arrays = published_arrays()
  if change is None:
    del arrays[name]
  else:
    arrays[name] = np.ascontiguousarray(change(arrays[name]))
  assert words in refusal(write_published(tmp_path, arrays=arrays))


def test_ours_damaged(tmp_path):
  config, arrays = read_published(write_published(tmp_path / "a"))
  save_encodec(tmp_path / "b", config, arrays)
  path, facts = tmp_path / "b/config.json", None
  for change, words in (
    (dict(codec="other"), "another codec"),
    (dict(format=2), "format"),
    (dict(sha256="0" * 64), "SHA-256"),
    (dict(model={"filters": "x"}), "filters"),
    (dict(model={"filters": 8}), "is not as config.json says"),
    (dict(model=[]), "model"),
  ):
    facts = facts or json.loads(path.read_text())
    path.write_text(json.dumps(facts | change))
    with pytest.raises(CheckpointError, match=words) as caught:
      load_encodec(tmp_path / "b")
    assert len(str(caught.value).splitlines()) == 1
  with pytest.raises(CheckpointError, match="import-encodec"):
    load_encodec(tmp_path / "absent")
