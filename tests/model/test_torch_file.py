"""Files of PyTorch, read without it: arrays come back, nothing is run."""

import numpy as np
import pytest

from magenta_midi.model.torch_file import TorchFileError, read_torch_file
from tests.support.torch_files import (
  pickled_state,
  pickled_tensor,
  text,
  write_torch_file,
)

ARRAYS = {
  "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
  "b": np.array(2.5, np.float32),
  "c": np.zeros((0, 4), np.float32),
}


def test_arrays_come_back(tmp_path):
  found = read_torch_file(write_torch_file(tmp_path / "a.pt", ARRAYS))
  assert list(found) == list(ARRAYS)
  for name, array in ARRAYS.items():
    np.testing.assert_array_equal(found[name], array)


def test_tensors_may_share_their_numbers(tmp_path):
  pickled = pickled_state(
    {
      "all": pickled_tensor("0", (2, 3)),
      "second row": pickled_tensor("0", (3,), offset=3),
    }
  )
  path = write_torch_file(tmp_path / "a.pt", ARRAYS, pickled=pickled)
  found = read_torch_file(path)
  np.testing.assert_array_equal(found["second row"], [3, 4, 5])


def refusal(path):
  with pytest.raises(TorchFileError) as caught:
    read_torch_file(path)
  message = str(caught.value)
  assert message.startswith(str(path))
  assert "\n" not in message
  return message


def refused_pickle(tmp_path, pickled):
  return refusal(write_torch_file(tmp_path / "a.pt", ARRAYS, pickled=pickled))


@pytest.mark.parametrize(
  "name", ["os\nsystem", "builtins\neval", "posix\nsystem"]
)
def test_a_call_of_anything_is_refused_and_not_made(tmp_path, name):
  made = tmp_path / "made"
  call = b"c" + name.encode() + b"\n(" + text(f"touch {made}") + b"tR"
  said = refused_pickle(tmp_path, b"\x80\x02" + call + b".")
  assert name.replace("\n", ".") in said
  assert not made.exists()


def test_what_stands_for_pytorch_cannot_be_changed(tmp_path):
  for name in (b"torch._utils\n_rebuild_tensor_v2", b"torch\nFloatStorage"):
    build = b"\x80\x02c" + name + b"\n}" + text("x") + text("y") + b"sb."
    refused_pickle(tmp_path, build)
  path = write_torch_file(tmp_path / "b.pt", ARRAYS)
  assert list(read_torch_file(path)) == list(ARRAYS)


@pytest.mark.parametrize(
  "tensor",
  [
    pickled_tensor("0", (2, 4)),
    pickled_tensor("0", (2, 3), offset=1),
    pickled_tensor("0", (2, 3), offset=-3),
    pickled_tensor("0", (3, 2), strides=(1, 3)),
    pickled_tensor("0", (-2, -3)),
    pickled_tensor("0", (1,) * 40),
    pickled_tensor("7", (2, 3)),
    pickled_tensor("0", (2, 3), storage=b"ctorch\nDoubleStorage\n"),
    text("no tensor"),
  ],
)
def test_tensors_that_do_not_fit_are_refused(tmp_path, tensor):
  refused_pickle(tmp_path, pickled_state({"a": tensor}))


@pytest.mark.parametrize(
  "pickled", [b"", b"\x80\x02}.", b"\x80\x02N.", b"no pickle", b"\x80\x02}("]
)
def test_other_pickles_are_refused(tmp_path, pickled):
  refused_pickle(tmp_path, pickled)


def test_other_files_are_refused(tmp_path):
  (tmp_path / "a.pt").write_bytes(b"no archive" * 100)
  refusal(tmp_path / "a.pt")
  whole = write_torch_file(tmp_path / "b.pt", ARRAYS).read_bytes()
  (tmp_path / "b.pt").write_bytes(whole[: len(whole) // 2])
  refusal(tmp_path / "b.pt")
  refusal(write_torch_file(tmp_path / "c.pt", ARRAYS, compress=True))
