"""Teacher: a larger model whose predictions a smaller one learns from.

Hinton et al. 2015 (arXiv 1503.02531), at temperature 1: beside the true code,
the student learns the teacher's probabilities of all codes, level by level, on
the same augmented music.
"""

from pathlib import Path
from typing import Any

import jax
from flax import nnx

from magenta_midi.data.examples.examples import Batch
from magenta_midi.data.examples.partners import PARTS
from magenta_midi.evaluation.losses import level_logits
from magenta_midi.model.checkpoint import StoredCheckpoint, load_checkpoint
from magenta_midi.model.depthformer import Depthformer
from magenta_midi.style.slots import same_style
from magenta_midi.tokens.codec import Codec
from magenta_midi.train.warm_start import same_vocabulary
from magenta_midi.typing import Float

__all__ = ["Teacher", "check_teacher"]


def check_teacher(
  folder: Path,
  codec: Codec,
  *,
  duet: bool,
  style: dict[str, Any] | None = None,
) -> bool:
  """Refuses a teacher that cannot read the student's batches.

  Args:
    folder: The teacher's checkpoint.
    codec: The run's.
    duet: Whether the run has another part.
    style: Meaning of the run's style slots, as in config.json; None: no style.

  Returns:
    Whether it reads the style too.

  Raises:
    ValueError: It has another codec, or no other part.
    CheckpointError: It is absent or damaged.
  """
  stored = StoredCheckpoint(folder)
  if not same_vocabulary(stored, codec):
    raise ValueError(
      f"{folder}: a teacher must have the run's codec, {codec.name} with its"
      f" settings; it has {(stored.facts.get('codec') or {}).get('name')}."
    )
  if duet and stored.config.parts < PARTS:
    raise ValueError(
      f"{folder}: this teacher knows no partner. Train with --partners solo:1,"
      " or give a teacher that was trained with partners."
    )
  return style is not None and same_style(style, stored.facts.get("style"))


class Teacher:
  """Teacher model; it is not trained.

  Args:
    folder: Its checkpoint.
    codec: The run's.
    duet: Whether the run has another part.
    style: Meaning of the run's style slots; None: no style.

  Attributes:
    params: Its parameters, to be given to the compiled step.
  """

  def __init__(
    self,
    folder: Path,
    codec: Codec,
    *,
    duet: bool,
    style: dict[str, Any] | None = None,
  ):
    self._reads_style = check_teacher(folder, codec, duet=duet, style=style)
    model, _ = load_checkpoint(folder)
    self._graph, self.params, self._rest = nnx.split(model, nnx.Param, ...)

  def logits(
    self, params: Any, batch: Batch
  ) -> tuple[Float[jax.Array, "b t _"], ...]:
    """Logits of each level, without gradients.

    Args:
      params: Its `params`, as the step has them.
      batch: The student's batch; its style is used if the teacher knows it.
    """
    model: Depthformer = nnx.merge(self._graph, params, self._rest)
    readable = batch if self._reads_style else batch._replace(style=None)
    return jax.lax.stop_gradient(level_logits(model, readable))
