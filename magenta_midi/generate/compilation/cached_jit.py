"""A jitted function whose compiled forms outlive the process."""

import contextlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from magenta_midi.generate.compilation.compiled_store import (
  CompiledStore,
  without_persistent_cache,
)

__all__ = ["CachedFunction"]

Sizes = tuple[int, ...]


class CachedFunction:
  """Calls `run` compiled: from the store, or compiled and put there.

  Without a store, and wherever anything goes wrong, it is plain `jax.jit`.

  Args:
    run: What is traced.
    name: Its own among those of the store.
    sizes: What of its arguments' shapes varies; costs time at every call.
    store: None: nothing is kept.
    donated: Argument that is used up.
  """

  def __init__(
    self,
    run: Callable[..., Any],
    *,
    name: str,
    sizes: Callable[..., Sizes],
    store: CompiledStore | None,
    donated: int | None = None,
  ):
    self._donated = donated
    self._jit = jax.jit(run, donate_argnums=donated)
    self._name = name
    self._sizes = sizes
    self._store = store
    self._compiled: dict[Sizes, Callable[..., Any]] = {}

  def __call__(self, *args: Any) -> Any:
    if self._store is None:
      return self._jit(*args)
    sizes = self._sizes(*args)
    run = self._compiled.get(sizes)
    if run is None:
      return self._first_call(self._store, sizes, args)
    try:
      return run(*args)
    except TypeError:
      # Arguments of another kind, refused before anything was used up.
      return self._jit(*args)

  def _first_call(
    self, store: CompiledStore, sizes: Sizes, args: tuple[Any, ...]
  ) -> Any:
    name = "-".join((self._name, *map(str, sizes)))
    loaded = store.get(name)
    if loaded is not None:
      spare = self._with_copies(args)
      # A file may be whole and yet not work: seen only when it runs.
      with contextlib.suppress(Exception):
        result = jax.block_until_ready(loaded(*args))
        self._compiled[sizes] = loaded
        return result
      store.discard(name)
      args = spare
    with without_persistent_cache:
      compiled = self._jit.lower(*args).compile()
    store.put(name, compiled)
    self._compiled[sizes] = compiled
    return compiled(*args)

  def _with_copies(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(
      jax.tree.map(np.array, arg) if index == self._donated else arg
      for index, arg in enumerate(args)
    )
