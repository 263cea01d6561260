"""Files as EnCodec is published, of random weights, written without PyTorch."""

import json

import numpy as np
from safetensors.numpy import save_file

from tests.support.torch_files import pickled_tensor, text, write_torch_file

__all__ = ["CONFIG", "published_arrays", "write_published"]

# Two strides, so that each kind of layer is there twice.
CONFIG = dict(
  model_type="encodec",
  sampling_rate=24_000,
  audio_channels=1,
  hidden_size=6,
  num_filters=4,
  upsampling_ratios=[3, 2],
  codebook_size=8,
  target_bandwidths=[24.0],
  num_lstm_layers=2,
  # Of no account here, as in the published files.
  architectures=["EncodecModel"],
  torch_dtype="float32",
)
LEVELS = 2  # 24 kbit/s, 4000 frames a second, 3 bits
# Name of a convolution -> its kernel's shape: out, in, time.
CONVS = {
  "encoder.layers.0": (4, 1, 7),
  "encoder.layers.1.block.1": (2, 4, 3),
  "encoder.layers.1.block.3": (4, 2, 1),
  "encoder.layers.1.shortcut": (4, 4, 1),
  "encoder.layers.3": (8, 4, 4),
  "encoder.layers.4.block.1": (4, 8, 3),
  "encoder.layers.4.block.3": (8, 4, 1),
  "encoder.layers.4.shortcut": (8, 8, 1),
  "encoder.layers.6": (16, 8, 6),
  "encoder.layers.9": (6, 16, 7),
  "decoder.layers.0": (16, 6, 7),
  "decoder.layers.4.block.1": (4, 8, 3),
  "decoder.layers.4.block.3": (8, 4, 1),
  "decoder.layers.4.shortcut": (8, 8, 1),
  "decoder.layers.7.block.1": (2, 4, 3),
  "decoder.layers.7.block.3": (4, 2, 1),
  "decoder.layers.7.shortcut": (4, 4, 1),
  "decoder.layers.9": (1, 4, 7),
}
# Transposed ones: in, out, time.
TRANSPOSED = {"decoder.layers.3": (16, 8, 6), "decoder.layers.6": (8, 4, 4)}
LSTMS = {"encoder.layers.7": 16, "decoder.layers.1": 16}


def published_arrays(seed=0):
  """Arrays by the published names, in weight norm."""
  rng = np.random.default_rng(seed)

  def random(*shape):
    return rng.standard_normal(shape).astype(np.float32)

  arrays = {}
  for name, shape in (CONVS | TRANSPOSED).items():
    arrays[f"{name}.conv.weight_g"] = np.abs(random(shape[0], 1, 1)) + 0.1
    arrays[f"{name}.conv.weight_v"] = random(*shape)
    outputs = shape[1] if name in TRANSPOSED else shape[0]
    arrays[f"{name}.conv.bias"] = random(outputs)
  for name, width in LSTMS.items():
    for layer in range(2):
      for part in ("ih", "hh"):
        arrays[f"{name}.lstm.weight_{part}_l{layer}"] = random(4 * width, width)
        arrays[f"{name}.lstm.bias_{part}_l{layer}"] = random(4 * width)
  for level in range(LEVELS):
    book = f"quantizer.layers.{level}.codebook"
    arrays[f"{book}.embed"] = random(8, 6)
    arrays[f"{book}.embed_avg"] = random(8, 6)
    arrays[f"{book}.cluster_size"] = random(8)
    arrays[f"{book}.inited"] = np.ones(1, np.float32)
  return arrays


def write_published(folder, *, config=None, arrays=None, torch=False):
  """Writes a published folder; returns it."""
  folder.mkdir(parents=True, exist_ok=True)
  config = CONFIG if config is None else config
  (folder / "config.json").write_text(json.dumps(config))
  arrays = published_arrays() if arrays is None else arrays
  if not torch:
    save_file(arrays, folder / "model.safetensors")
    return folder
  items = b"".join(
    text(name) + pickled_tensor(str(number), array.shape)
    for number, (name, array) in enumerate(arrays.items())
  )
  write_torch_file(
    folder / "pytorch_model.bin", arrays, pickled=b"\x80\x02}(" + items + b"u."
  )
  return folder
