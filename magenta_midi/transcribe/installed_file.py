"""Files of other packages that are read without importing these packages."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

__all__ = ["MissingModelError", "installed_file"]


class MissingModelError(ValueError):
  """A package with a model's weights is absent; one line says how to get it."""


def installed_file(package: str, file: str, what: str) -> Path:
  """Finds a file of an installed package.

  The packages that carry the models ask for TensorFlow or PyTorch, which
  nothing here needs; so they are installed without what they ask for.

  Args:
    package: Its name and version for pip, as `name==1.2.3`.
    file: Path of the file within the installed packages.
    what: What needs it, for the error.

  Raises:
    MissingModelError: The package or the file is not there.
  """
  name = package.partition("==")[0]
  try:
    path = Path(str(metadata.distribution(name).locate_file(file)))
  except metadata.PackageNotFoundError:
    path = None
  if path is None or not path.is_file():
    raise MissingModelError(
      f"{what} needs the weights in the package {name}, which are not"
      f" installed. Get them with: pip install --no-deps {package}"
    )
  return path
