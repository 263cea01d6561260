"""Store of compiled functions, between processes."""

import errno
import os
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from magenta_midi.generate.compilation import compiled_store
from magenta_midi.generate.compilation.cached_jit import CachedFunction
from magenta_midi.generate.compilation.compiled_store import (
  CompiledStore,
  open_store,
)


@pytest.fixture
def cache(tmp_path):
  """JAX's compilation cache, in a temporary folder."""
  before = jax.config.values["jax_compilation_cache_dir"]
  jax.config.update("jax_compilation_cache_dir", str(tmp_path))
  yield tmp_path
  jax.config.update("jax_compilation_cache_dir", before)


class Counted:
  """A function that counts how often it is traced."""

  def __init__(self):
    self.traces = 0

  def __call__(self, state, x):
    self.traces += 1

    def step(carry):
      index, total = carry
      return index + 1, total + x.sum() * index

    _, total = jax.lax.while_loop(
      lambda carry: carry[0] < 5, step, (jnp.float32(0), jnp.float32(0))
    )
    return {"state": state["state"] + total}


def keep(run, store, name="f"):
  return CachedFunction(
    run,
    name=name,
    sizes=lambda state, x: x.shape,
    store=store,
    donated=0,
  )


def a_state():
  return {"state": jnp.arange(4, dtype=jnp.float32)}


def the_files(cache):
  return sorted((cache / "executables").iterdir())


def test_a_second_process_traces_nothing(cache):
  for traces in (2, 0):
    counted = Counted()
    function = keep(counted, open_store("model"))
    for size in (2, 3):
      # Later calls take this path.
      for _ in range(2):
        result = function(a_state(), np.ones(size, np.float32))
        np.testing.assert_array_equal(result["state"], np.arange(4) + 10 * size)
    assert counted.traces == traces
  assert len(the_files(cache)) == 2
  # Others may read the files but not write them.
  assert (cache / "executables").stat().st_mode & 0o022 == 0


def test_all_dependencies_are_in_the_name(cache):
  for depends_on in ("model", "another"):
    keep(Counted(), open_store(depends_on))(a_state(), np.ones(2, np.float32))
  names = [path.name for path in the_files(cache)]
  assert len({name.split("-")[0] for name in names}) == 2
  # The repr of a function contains its address, which changes.
  for _ in range(2):
    store = open_store(lambda: None)
    keep(Counted(), store)(a_state(), np.ones(2, np.float32))
  assert len(the_files(cache)) == 3


@pytest.mark.parametrize(
  "harm", ["empty", "cut", "no pickle", "of others", "another"]
)
def test_a_file_that_cannot_be_used_is_replaced(cache, harm, caplog):
  x = np.ones(2, np.float32)
  keep(Counted(), open_store("model"))(a_state(), x)
  (path,) = the_files(cache)
  if harm == "empty":
    path.write_bytes(b"")
  elif harm == "cut":
    path.write_bytes(path.read_bytes()[:-100])
  elif harm == "no pickle":
    path.write_bytes(b"hello")
  elif harm == "of others":
    path.chmod(0o666)
  else:  # readable, but for other arguments
    keep(lambda state, x: x * 2, open_store("model"), "g")(x, x)
    os.replace(path.with_name(path.name.replace("-f-", "-g-")), path)
  counted = Counted()
  result = keep(counted, open_store("model"))(a_state(), x)
  np.testing.assert_array_equal(result["state"], np.arange(4) + 20)
  assert counted.traces == 1
  assert path.stat().st_mode & 0o002 == 0
  said = [record.getMessage() for record in caplog.records]
  damaged = f"{path.parent}: damaged compiled functions are deleted"
  assert sum(line.startswith(damaged) for line in said) == (harm != "of others")
  counted = Counted()
  keep(counted, open_store("model"))(a_state(), x)
  assert counted.traces == 0


def test_files_of_other_users_are_not_run(cache, monkeypatch):
  class Harmful:
    def __reduce__(self):
      return os.mkdir, (str(cache / "harm"),)

  x = np.ones(2, np.float32)
  keep(Counted(), open_store("model"))(a_state(), x)
  (path,) = the_files(cache)
  path.write_bytes(pickle.dumps(Harmful()))
  mine = os.getuid()
  monkeypatch.setattr(os, "getuid", lambda: mine + 1)
  keep(Counted(), open_store("model"))(a_state(), x)
  assert not (cache / "harm").exists()


def test_other_arguments_are_accepted(cache):
  function = keep(Counted(), open_store("model"))
  x = np.ones(2, np.float32)
  function(a_state(), x)
  result = function(a_state(), x.astype(np.int32))
  np.testing.assert_array_equal(result["state"], np.arange(4) + 20)


def test_without_a_folder_it_compiles_as_before(cache):
  x = np.ones(2, np.float32)
  (cache / "executables").write_text("a file")
  for store in (None, open_store("model")):
    counted = Counted()
    function = keep(counted, store)
    for _ in range(2):
      np.testing.assert_array_equal(
        function(a_state(), x)["state"], np.arange(4) + 20
      )
    assert counted.traces == 1


def test_there_is_no_store_without_a_cache(cache):
  jax.config.update("jax_compilation_cache_dir", None)
  assert open_store("model") is None
  jax.config.update("jax_compilation_cache_dir", "gs://bucket/cache")
  assert open_store("model") is None
  jax.config.update("jax_compilation_cache_dir", str(cache))
  jax.config.update("jax_enable_compilation_cache", False)
  try:
    assert open_store("model") is None
  finally:
    jax.config.update("jax_enable_compilation_cache", True)


def test_unused_files_are_deleted(cache):
  folder = cache / "executables"
  store = CompiledStore(folder, "digest")
  compiled = jax.jit(jnp.sin).lower(np.float32(1)).compile()
  store.put("sin", compiled)
  old = folder / "old-sin"
  old.write_bytes(b"")
  os.utime(old, (0, 0))
  store.put("sin", compiled)
  assert [path.name for path in the_files(cache)] == ["digest-sin"]


def test_a_full_disk_is_said_once_and_leaves_nothing(
  cache, monkeypatch, caplog
):
  def full(path, data):
    raise OSError(errno.ENOSPC, "No space left on device", str(path))

  monkeypatch.setattr(compiled_store, "write_atomically", full)
  x = np.ones(2, np.float32)
  for name in ("f", "g"):
    result = keep(Counted(), open_store("model"), name)(a_state(), x)
    np.testing.assert_array_equal(result["state"], np.arange(4) + 20)
  said = [record.getMessage() for record in caplog.records]
  assert (
    len([line for line in said if "(No space left on device)" in line]) == 1
  )
  assert not the_files(cache)
