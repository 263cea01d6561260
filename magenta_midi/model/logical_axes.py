"""Logical names of a parameter's axes, by its dotted name.

Sharding uses these names, not shapes: a kernel with equal sides is still split
on the right side.
"""

import re

__all__ = ["NAMES", "logical_axes"]

# All names. None marks an axis that is never split: levels, buckets, slots.
NAMES = ("embed", "heads", "mlp", "vocab")

_AXES: tuple[tuple[str, tuple[str | None, ...]], ...] = (
  (r"token_embedder\.embedding", ("vocab", "embed")),
  (r"(part|style)_embedder\.embedding", (None, "embed")),
  (r".*_?attention\.(query|key|value)\.kernel", ("embed", "heads")),
  (r".*_?attention\.out\.kernel", ("heads", "embed")),
  (r".*mlp\.wi_[01]\.kernel", ("embed", "mlp")),
  (r".*mlp\.wo\.kernel", ("mlp", "embed")),
  (r"logits_dense\.kernel", ("embed", "vocab")),
  # Both sides are widths: only one is split.
  (r"(time|depth|style)_projection\.kernel", ("embed", None)),
  (r".*relpos_bias\.rel_embedding", ("heads", None)),
  (r".*norm\.scale", (None,)),
)


def logical_axes(name: str) -> tuple[str | None, ...]:
  """The names of a parameter's axes.

  Args:
    name: Dotted name as in checkpoints, such as
      `encoder_layers.0.attention.query.kernel`.

  Raises:
    KeyError: The name matches no parameter.
  """
  for pattern, axes in _AXES:
    if re.fullmatch(pattern, name):
      return axes
  raise KeyError(name)
