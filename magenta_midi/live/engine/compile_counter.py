"""Counter of what JAX traces and compiles; while playing it stays at 0."""

from types import TracebackType

import jax

__all__ = ["CompilationCounter"]

_EVENTS = (
  "/jax/core/compile/jaxpr_trace_duration",
  "/jax/core/compile/jaxpr_to_mlir_module_duration",
  "/jax/core/compile/backend_compile_duration",
)


class CompilationCounter:
  """Counts traces and compilations while it is entered.

  Attributes:
    count: How many so far.
  """

  def __init__(self) -> None:
    self.count = 0
    self._active = False
    # JAX offers no way to take a listener off again by its function.
    jax.monitoring.register_event_duration_secs_listener(self._listen)

  def _listen(
    self, event: str, duration_secs: float, **kwargs: str | int
  ) -> None:
    del duration_secs, kwargs
    if self._active and event in _EVENTS:
      self.count += 1

  def __enter__(self) -> "CompilationCounter":
    self._active = True
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    traceback: TracebackType | None,
  ) -> None:
    self._active = False
