"""Axis legend: the letters of all shape annotations and einsum strings.

  b  batch            t  time (decoder frames)   s  cache or encoder slots
  l  levels           d  width                   h  heads
  k  head size        v  vocabulary              f  MLP width
  n  samples/events   c  channels

A one-axis shape is written `' t'` (Ruff's F722 wants the space).
"""

from jaxtyping import Bool, Float, Int, Shaped

__all__ = ["Bool", "Float", "Int", "Shaped"]
