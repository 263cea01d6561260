"""T5 shapes of as many parameters as our models have."""

import dataclasses

__all__ = ["T5Shape", "fitted"]

MULTIPLE = 8  # widths that matrix kernels like
BUCKETS = 32  # relative positions


@dataclasses.dataclass(frozen=True, kw_only=True)
class T5Shape:
  """A T5 v1.1 as `transformers` builds it: gated, head tied to embedding."""

  vocab: int
  embed: int
  heads: int
  head_dim: int
  mlp: int
  # Of the encoder, and again of the decoder: where they differ, `generate`
  # makes a cache of too few layers and fails (transformers 5.23).
  layers: int

  @property
  def parameters(self) -> int:
    """Each array counted once."""
    attention = 4 * self.embed * self.heads * self.head_dim + self.embed
    mlp = 3 * self.embed * self.mlp + self.embed
    layers = self.layers * (3 * attention + 2 * mlp)
    biases = 2 * BUCKETS * self.heads
    return self.vocab * self.embed + layers + biases + 2 * self.embed

  def arguments(self) -> list[str]:
    """Flags of peers/hf_t5.py."""
    fields = dataclasses.asdict(self).items()
    return [
      part
      for name, value in fields
      for part in (f"--{name.replace('_', '-')}", str(value))
    ]


def fitted(shape: T5Shape, parameters: int) -> T5Shape:
  """The shape with the MLP width that comes nearest to so many parameters.

  Raises:
    ValueError: Everything but the MLPs is larger already.
  """

  def of_width(mlp: int) -> T5Shape:
    return dataclasses.replace(shape, mlp=mlp)

  least = of_width(0).parameters
  each = of_width(MULTIPLE).parameters - least
  steps = round((parameters - least) / each)
  if steps < 1:
    raise ValueError(
      f"parameters must be over {least}, got {parameters}. Take fewer layers"
      " or a smaller width."
    )
  return of_width(steps * MULTIPLE)
