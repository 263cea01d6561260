"""First values of a style table: similar rows begin similar.

Of each style token only so many examples come by. Rows drawn one by one would
have to be learned one by one; so a token's row is its code, and a control's
moves along a line from its lowest bucket to its highest, each through a drawn
matrix. What is learned of one is then learned of its neighbours.
"""

import numpy as np

from magenta_midi.style.controls import CONTROLS, control_positions
from magenta_midi.style.model import StyleModel
from magenta_midi.typing import Float

__all__ = ["style_table"]

# Root mean square of a row. The encoder's states, which are attended beside
# them, have about 0.75; drawn embeddings of 1/sqrt(width) had little effect.
SCALE = 0.5
# Shares of it: the mark of a slot, and the part of a single row.
_MARK, _OWN = 0.5, 0.3


def style_table(
  model: StyleModel, width: int, seed: int
) -> Float[np.ndarray, "rows {width}"]:
  """All rows but the mask's, float32.

  Args:
    model: The style model, whose rows come before those of the controls.
    width: Width of the model.
    seed: Of the matrices.
  """
  rng = np.random.default_rng((seed, 2))
  quantizer = getattr(model, "quantizer", None)
  if quantizer is None:
    tokens = _drawn(rng, model.table_rows - 1, width)
  else:
    codes = np.asarray(quantizer.codes, np.float32)
    levels, size, dims = codes.shape
    # Levels keep their sizes: the first has the most information.
    codes = codes / np.sqrt(np.mean(np.sum(codes[0] ** 2, axis=-1)))
    tokens = codes.reshape(-1, dims) @ _drawn(rng, dims, width)
    tokens += _MARK * np.repeat(_drawn(rng, levels, width), size, axis=0)
    tokens += _OWN * _drawn(rng, levels * size, width)
  control, position = control_positions()
  controls = position @ _drawn(rng, position.shape[1], width)
  controls += _MARK * _drawn(rng, len(CONTROLS), width)[control]
  controls += _OWN * _drawn(rng, len(control), width)
  return (SCALE * np.concatenate([tokens, controls])).astype(np.float32)


def _drawn(rng: np.random.Generator, rows: int, width: int) -> np.ndarray:
  return rng.standard_normal((rows, width), np.float32)
