"""Jitted function with a cache of its compiled forms on disk."""

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
  """Calls the compiled `run`, from the store or compiled and stored now.

  Without a store, and after any error, it works as plain `jax.jit`.

  Args:
    run: The function to compile.
    name: Name of the function, unique in the store.
    sizes: Gives the variable shapes of the arguments; runs at every call.
    store: Store of compiled functions; None: no cache.
    donated: Index of the argument that is donated.
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
      # The compiled form does not fit these arguments; none was donated yet.
      return self._jit(*args)

  def _first_call(
    self, store: CompiledStore, sizes: Sizes, args: tuple[Any, ...]
  ) -> Any:
    name = "-".join((self._name, *map(str, sizes)))
    loaded = store.get(name)
    if loaded is not None:
      spare = self._with_copies(args)
      # A complete file may still fail; this is seen only when it runs.
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
