"""JAX's own cache on disk, after a full disk."""

import os
import time

import jax
import jax.numpy as jnp
import pytest

from magenta_midi.generate.compilation import compilation_cache
from magenta_midi.generate.compilation.compilation_cache import (
  enable_compilation_cache,
  remove_damaged,
)


@pytest.fixture
def cache(tmp_path, monkeypatch):
  """JAX's cache in a folder of its own, which keeps everything."""
  from jax.experimental.compilation_cache import compilation_cache as of_jax

  names = (
    "jax_compilation_cache_dir",
    "jax_persistent_cache_min_compile_time_secs",
  )
  before = {name: jax.config.values[name] for name in names}
  monkeypatch.setenv("MAGENTA_MIDI_CACHE", str(tmp_path))
  monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
  monkeypatch.setattr(compilation_cache, "_MIN_COMPILE_S", 0.0)
  of_jax.reset_cache()
  yield tmp_path / "jax"
  for name, value in before.items():
    jax.config.update(name, value)
  of_jax.reset_cache()


def entries(folder, age_s=3600.0):
  """The functions that JAX keeps, made older."""
  found = sorted(folder.glob("*-cache"))
  for path in found:
    os.utime(path, (time.time() - age_s,) * 2)
  return found


def compile_one():
  jax.clear_caches()
  return jax.jit(lambda x: jnp.sin(x) + 0.125)(jnp.float32(1))


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_half_written_function_is_removed_and_made_again(
  cache, caplog, share
):
  enable_compilation_cache()
  compile_one()
  path, *others = entries(cache)
  whole = path.read_bytes()
  path.write_bytes(whole[: int(share * len(whole))])
  entries(cache)
  # As in the next process.
  compilation_cache._prepared.cache_clear()
  (cache / ".checked").unlink()
  enable_compilation_cache()
  enable_compilation_cache()
  said = [record.getMessage() for record in caplog.records]
  assert said == [
    f"{cache}: 1 damaged of the compiled functions removed; they are made anew."
  ]
  assert not path.exists()
  compile_one()
  assert entries(cache) == [path, *others]
  assert remove_damaged(cache) == 0
  assert path.exists()


def test_what_was_looked_at_is_not_read_again(cache, monkeypatch):
  cache.mkdir()
  whole = cache / "a-cache"
  whole.write_bytes(compilation_cache.zlib.compress(b"function"))
  entries(cache)
  assert remove_damaged(cache) == 0
  read = []
  monkeypatch.setattr(
    compilation_cache, "_is_whole", lambda data: bool(read.append(data)) or True
  )
  assert remove_damaged(cache) == 0
  assert not read


def test_an_entry_in_the_writing_is_left_alone(cache):
  cache.mkdir()
  young = cache / "a-cache"
  young.write_bytes(b"half")
  assert remove_damaged(cache) == 0
  assert young.exists()
  # The next look still sees it.
  for path in (young, cache / ".checked"):
    earlier = path.stat().st_mtime - 61
    os.utime(path, (earlier, earlier))
  assert remove_damaged(cache) == 1


def test_a_full_disk_keeps_nothing_new_and_says_so(cache, monkeypatch, caplog):
  monkeypatch.setattr(compilation_cache, "_MIN_FREE_BYTES", float("inf"))
  enable_compilation_cache()
  assert compile_one() > 0.9
  assert not entries(cache)
  (line,) = [record.getMessage() for record in caplog.records]
  assert line.startswith(f"{cache}: the disk is full: new compiled functions")
  assert jax.config.values["jax_compilation_cache_dir"] == str(cache)


@pytest.mark.skipif(os.name == "nt", reason="no such path")
def test_a_home_that_cannot_be_written_is_no_error(monkeypatch):
  before = jax.config.values["jax_compilation_cache_dir"]
  monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
  monkeypatch.setenv("MAGENTA_MIDI_CACHE", os.devnull)
  enable_compilation_cache()
  assert jax.config.values["jax_compilation_cache_dir"] == before
