"""EnCodec beside Hugging Face's, with the same random weights (both shapes)."""

import json
from functools import partial

import jax
import numpy as np
import pytest
from flax import nnx

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
# Its threads and those of XLA would wait for each other.
torch.set_num_threads(1)

from magenta_midi.audio.codec.encodec.published import read_published  # noqa: E402
from magenta_midi.audio.codec.encodec.weights import (  # noqa: E402
  load_encodec,
  save_encodec,
)
from tests.support.codecs import sound  # noqa: E402

SMALL = dict(
  num_filters=4, hidden_size=16, codebook_size=64, upsampling_ratios=[4, 3, 2]
)
STEREO = dict(
  audio_channels=2,
  sampling_rate=48_000,
  norm_type="time_group_norm",
  use_causal_conv=False,
  normalize=True,
  chunk_length_s=1.0,
  overlap=0.01,
  target_bandwidths=[3.0, 6.0, 12.0, 24.0],
)
# A window of 0.01 s is 20 frames.
SHORT = dict(chunk_length_s=0.01, overlap=0.05, target_bandwidths=[80.0])
CASES = {
  "small mono": dict(SMALL, target_bandwidths=[48.0]),
  "small mono, silence before": dict(
    SMALL, target_bandwidths=[48.0], pad_mode="constant"
  ),
  "small mono, other blocks": dict(
    SMALL,
    target_bandwidths=[48.0],
    num_residual_layers=2,
    use_conv_shortcut=False,
    num_lstm_layers=1,
  ),
  "small stereo": STEREO | SMALL | SHORT,
}
LARGE = {"24 kHz mono": {}, "48 kHz stereo": STEREO}


def published(folder, settings, *, binary=False):
  """A model of random weights, and ours as imported from its files."""
  torch.manual_seed(0)
  config = transformers.EncodecConfig(**settings)
  model = transformers.EncodecModel(config).eval()
  with torch.no_grad():
    for name, array in model.named_parameters():
      if "norm" in name or name.endswith("original0"):
        array.mul_(torch.rand_like(array) + 0.5)
    for level, layer in enumerate(model.quantizer.layers):
      embed = layer.codebook.embed
      embed.copy_(torch.randn_like(embed) / (1 + level))
  model.save_pretrained(folder)
  if binary:
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
  found, arrays = read_published(folder)
  save_encodec(folder / "ours", found, arrays)
  return model, load_encodec(folder / "ours")


@partial(jax.jit, static_argnums=0)
def vectors_of(graph, weights, samples, count):
  """Vectors of frames before they are quantized."""
  return nnx.merge(graph, weights).encoder.begin(samples, count)[0]


def theirs(samples):
  return torch.from_numpy(samples.T[None].copy())


def check_mono(model, codec, samples):
  """Vectors and samples within 1e-4, all codes the same."""
  bandwidth = model.config.target_bandwidths[-1]
  with torch.no_grad():
    coded = model.encode(theirs(samples), None, bandwidth)
    expected = coded.audio_codes[0, 0].numpy().T
    vectors = model.encoder(theirs(samples))[0].numpy().T
    heard = model.decode(coded.audio_codes, coded.audio_scales).audio_values
    some = model.decode(coded.audio_codes[:, :, :2], [None]).audio_values
  hop = codec.facts.hop
  # One shape for all short sounds.
  size = max(len(samples), 40 * hop)
  padded = np.pad(samples, [(0, size - len(samples)), (0, 0)])
  found = vectors_of(codec._graph, codec._weights, padded, len(samples))
  assert np.abs(found[: len(vectors)] - vectors).max() < 1e-4
  codes = codec.encode(samples)
  assert codes.shape == expected.shape
  np.testing.assert_array_equal(codes, expected)
  assert np.abs(codec.decode(codes) - heard[0].numpy().T).max() < 1e-4
  first = codec.decode(codes[:, :2])
  assert np.abs(first - some[0].numpy().T).max() < 1e-4


def check_stereo(model, codec, samples):
  """Loudness, codes and samples of every window."""
  bandwidth = model.config.target_bandwidths[-1]
  with torch.no_grad():
    coded = model.encode(theirs(samples), None, bandwidth)
    rest = coded.last_frame_pad_length
    heard = model.decode(
      coded.audio_codes, coded.audio_scales, last_frame_pad_length=rest
    ).audio_values[0]
  windows = codec.encode(samples)
  assert len(windows) == len(coded.audio_codes)
  for number, window in enumerate(windows):
    expected = coded.audio_codes[number, 0].numpy().T[: len(window.codes)]
    np.testing.assert_array_equal(window.codes, expected)
    scale = float(coded.audio_scales[number])
    assert abs(window.loudness - scale) < 1e-6
  assert rest == len(windows[0].codes) - len(windows[-1].codes)
  found = codec.decode(windows)
  assert found.shape == heard.numpy().T.shape
  assert np.abs(found - heard.numpy().T).max() < 1e-4


@pytest.mark.parametrize("case", CASES)
def test_small_shapes(tmp_path, case):
  settings = CASES[case]
  model, codec = published(tmp_path, settings)
  if settings.get("chunk_length_s"):
    check_stereo(model, codec, sound(codec.facts, 83.4))
    check_stereo(model, codec, sound(codec.facts, 7.5))
    return
  for frames in (40, 37.3, 8.9, 7, 6.5, 2.2, 0.2):
    check_mono(model, codec, sound(codec.facts, frames))


def test_the_older_layout(tmp_path):
  """PyTorch's own format, and its older names of weight norm."""
  model, codec = published(tmp_path, CASES["small mono"], binary=True)
  check_mono(model, codec, sound(codec.facts, 9.5))
  arrays = {
    name.replace("parametrizations.weight.original0", "weight_g").replace(
      "parametrizations.weight.original1", "weight_v"
    ): array
    for name, array in model.state_dict().items()
  }
  assert any(name.endswith("weight_g") for name in arrays)
  (tmp_path / "old").mkdir()
  torch.save(arrays, tmp_path / "old/pytorch_model.bin")
  config = json.loads((tmp_path / "config.json").read_text())
  (tmp_path / "old/config.json").write_text(json.dumps(config))
  _, old = read_published(tmp_path / "old")
  _, new = read_published(tmp_path)
  assert old.keys() == new.keys()
  for name, array in old.items():
    np.testing.assert_array_equal(array, new[name])


@pytest.mark.slow
@pytest.mark.parametrize("case", LARGE)
def test_published_shapes(tmp_path, case):
  model, codec = published(tmp_path, LARGE[case])
  check = check_stereo if LARGE[case] else check_mono
  check(model, codec, sound(codec.facts, 330.7))
