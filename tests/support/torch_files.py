"""Files as PyTorch saves them, written without it, for the tests."""

import struct
import zipfile

import numpy as np

__all__ = ["pickled_state", "pickled_tensor", "text", "write_torch_file"]


def text(value):
  """Opcodes of a string."""
  data = value.encode()
  return b"X" + struct.pack("<I", len(data)) + data


def whole(value):
  """Opcodes of an integer."""
  return b"J" + struct.pack("<i", value)


def row(values):
  """Opcodes of a tuple of integers."""
  return b"(" + b"".join(map(whole, values)) + b"t"


def pickled_tensor(
  key, shape, *, offset=0, strides=None, storage=b"ctorch\nFloatStorage\n"
):
  """Opcodes of a tensor whose numbers lie under a key."""
  if strides is None:
    strides = [int(np.prod(shape[place + 1 :])) for place in range(len(shape))]
  return (
    b"ctorch._utils\n_rebuild_tensor_v2\n(("
    + text("storage")
    + storage
    + text(key)
    + text("cpu")
    + whole(int(np.prod(shape)))
    + b"tQ"
    + whole(offset)
    + row(shape)
    + row(strides)
    + b"\x89ccollections\nOrderedDict\n)RtR"
  )


def pickled_state(tensors):
  """A whole pickle: names and opcodes under `state_dict`."""
  items = b"".join(text(name) + tensor for name, tensor in tensors.items())
  return b"\x80\x02}" + text("state_dict") + b"}(" + items + b"us."


def write_torch_file(path, arrays, *, pickled=None, compress=False):
  """Writes float32 arrays, or another pickle with their numbers."""
  if pickled is None:
    pickled = pickled_state(
      {
        name: pickled_tensor(str(number), array.shape)
        for number, (name, array) in enumerate(arrays.items())
      }
    )
  kind = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
  with zipfile.ZipFile(path, "w", kind) as archive:
    archive.writestr("model/data.pkl", pickled)
    for number, array in enumerate(arrays.values()):
      archive.writestr(
        f"model/data/{number}", np.asarray(array, "<f4").tobytes()
      )
  return path
