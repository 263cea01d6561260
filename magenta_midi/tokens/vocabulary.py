"""Vocabulary of global ids: the codes of all levels, level after level.

Codes are local to a level: 0 up to its size, or -1 where a frame does not use
the level. Ids are global: first the reserved ids, then the codes of each level.
"""

import dataclasses
import itertools
from typing import Any

import numpy as np

from magenta_midi.typing import Int

__all__ = ["MASK", "NONE", "PAD", "RESERVED", "UNUSED", "Vocabulary"]

PAD = 0  # padding, and the start of a sequence
MASK = 1  # an input that was left out on purpose (no style, infilling)
NONE = 2  # a level this frame does not use
RESERVED = 8  # smaller ids belong to no level; 3..7 are free

UNUSED = -1  # the level-local code that becomes NONE

_PADDED_MULTIPLE = 128  # a width that matrix units use well


@dataclasses.dataclass(frozen=True, kw_only=True)
class Vocabulary:
  """Names and sizes of a codec's levels; converts codes and ids.

  Attributes:
    level_names: The name of each level, in frame order.
    level_sizes: Number of codes of each level.
  """

  level_names: tuple[str, ...]
  level_sizes: tuple[int, ...]

  def __post_init__(self):
    if len(self.level_names) != len(self.level_sizes):
      raise ValueError(
        f"level_names and level_sizes must be of one length, got "
        f"{len(self.level_names)} and {len(self.level_sizes)}."
      )
    if not self.level_sizes or min(self.level_sizes) < 1:
      raise ValueError(
        f"level_sizes must be one or more positive integers, got "
        f"{self.level_sizes}."
      )

  @property
  def levels(self) -> int:
    """Number of levels of a frame."""
    return len(self.level_sizes)

  @property
  def offsets(self) -> tuple[int, ...]:
    """Start of each level, counted from RESERVED."""
    return (0, *itertools.accumulate(self.level_sizes[:-1]))

  @property
  def size(self) -> int:
    """Number of ids in use, with the reserved ones."""
    return RESERVED + sum(self.level_sizes)

  @property
  def padded_size(self) -> int:
    """`size` rounded up to the next multiple of 128."""
    return -(-self.size // _PADDED_MULTIPLE) * _PADDED_MULTIPLE

  def level_slice(self, level: int) -> slice:
    """The global ids of one level, as a slice."""
    start = RESERVED + self.offsets[level]
    return slice(start, start + self.level_sizes[level])

  def to_ids(self, codes: Int[Any, "*b l"], *, xp=np) -> Int[Any, "*b l"]:
    """Converts level-local codes to global ids; -1 becomes NONE.

    Args:
      codes: Level-local codes, -1 where a level is unused.
      xp: `numpy`, or `jax.numpy` inside a compiled function (unchecked).

    Raises:
      ValueError: A code lies outside its level (NumPy only).
    """
    if xp is np:
      self._check(codes, low=UNUSED, what="codes", offset=0)
    offsets = self._row(self.offsets, codes, xp)
    return xp.where(codes == UNUSED, NONE, codes + offsets + RESERVED)

  def to_codes(self, ids: Int[Any, "*b l"], *, xp=np) -> Int[Any, "*b l"]:
    """Converts global ids to level-local codes; NONE becomes -1.

    PAD, MASK and the free reserved ids also become -1: they have no code.

    Args:
      ids: Global ids, one column for each level.
      xp: `numpy`, or `jax.numpy` inside a compiled function (unchecked).

    Raises:
      ValueError: An id belongs to another level (NumPy only).
    """
    offsets = self._row(self.offsets, ids, xp)
    reserved = ids < RESERVED
    codes = xp.where(reserved, UNUSED, ids - offsets - RESERVED)
    if xp is np:
      if np.size(ids) and np.min(ids) < 0:
        raise ValueError(f"ids must be 0 or more, got {np.min(ids)}.")
      if np.any((codes < 0) & ~reserved):
        self._check(np.where(reserved, 0, codes), low=0, what="ids", offset=1)
      self._check(codes, low=UNUSED, what="ids", offset=1)
    return codes

  @staticmethod
  def _row(values, like, xp):
    """One value for each level, with as many axes as `like`."""
    shape = (1,) * (like.ndim - 1) + (-1,)
    return xp.asarray(values, dtype=like.dtype).reshape(shape)

  def _check(self, codes, *, low: int, what: str, offset: int):
    if codes.shape[-1] != self.levels:
      raise ValueError(
        f"{what} must have {self.levels} levels in the last axis, got shape "
        f"{codes.shape}."
      )
    bad = (codes < low) | (codes >= np.asarray(self.level_sizes))
    if not np.any(bad):
      return
    where = tuple(int(i) for i in np.argwhere(bad)[0])
    level = where[-1]
    shift = offset * (RESERVED + self.offsets[level])
    first = shift if offset else low
    raise ValueError(
      f"{what} of level {self.level_names[level]!r} must be in "
      f"{first}..{shift + self.level_sizes[level] - 1}, got "
      f"{int(codes[where]) + shift} at {where[:-1]}."
    )
