"""What each axis of a parameter stands for, by its dotted name.

Sharding is told by these names, never by shapes: a kernel whose sides happen
to be equal is split on the side that is meant.
"""

import re

__all__ = ["NAMES", "logical_axes"]

# Every name there is. None marks an axis that is never split: levels,
# buckets, slots.
NAMES = ("embed", "heads", "mlp", "vocab")

_AXES: tuple[tuple[str, tuple[str | None, ...]], ...] = (
  (r"token_embedder\.embedding", ("vocab", "embed")),
  (r"(part|style)_embedder\.embedding", (None, "embed")),
  (r".*_?attention\.(query|key|value)\.kernel", ("embed", "heads")),
  (r".*_?attention\.out\.kernel", ("heads", "embed")),
  (r".*mlp\.wi_[01]\.kernel", ("embed", "mlp")),
  (r".*mlp\.wo\.kernel", ("mlp", "embed")),
  (r"logits_dense\.kernel", ("embed", "vocab")),
  # From width to width: split on one side.
  (r"(time|depth|style)_projection\.kernel", ("embed", None)),
  (r".*relpos_bias\.rel_embedding", ("heads", None)),
  (r".*norm\.scale", (None,)),
)


def logical_axes(name: str) -> tuple[str | None, ...]:
  """The names of a parameter's axes.

  Args:
    name: Dotted, as in checkpoints, such as
      `encoder_layers.0.attention.query.kernel`.

  Raises:
    KeyError: No such parameter is known.
  """
  for pattern, axes in _AXES:
    if re.fullmatch(pattern, name):
      return axes
  raise KeyError(name)
