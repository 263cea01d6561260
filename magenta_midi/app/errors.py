"""A user's mistake is one line on stderr and exit code 2."""

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import click

__all__ = [
  "UserError",
  "interrupt_on_sigterm",
  "one_line_errors",
  "writable",
]


# Package -> the extra that brings it.
EXTRAS = {"optax": "train"}


class UserError(click.ClickException):
  """Something the user can mend; the message says how."""

  exit_code = 2


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
  """Turns the library's errors about input and files into `UserError`."""
  try:
    yield
  except click.ClickException:
    raise
  except ModuleNotFoundError as error:
    if error.name not in EXTRAS:
      raise
    raise UserError(
      f"{error.name} is not installed. Get it with: pip install"
      f" 'magenta-midi[{EXTRAS[error.name]}]'"
    ) from None
  except OSError as error:
    where = f"{error.filename}: " if error.filename else ""
    reason = error.strerror or str(error)
    raise UserError(f"{where}{reason}") from None
  except ValueError as error:
    raise UserError(" ".join(str(error).split())) from None


@contextlib.contextmanager
def interrupt_on_sigterm() -> Iterator[None]:
  """Ends on SIGTERM as on Ctrl-C, so that temporary files are removed."""

  def interrupt(number: int, frame: object) -> None:
    del number, frame
    raise KeyboardInterrupt

  before = signal.signal(signal.SIGTERM, interrupt)
  try:
    yield
  finally:
    signal.signal(signal.SIGTERM, before)


def writable(path: Path) -> Path:
  """Checks that a file can be written there, before any work is done.

  Raises:
    UserError: Its folder cannot be made or written to.
  """
  folder = path.parent
  try:
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / f".{path.name}.probe"
    probe.touch()
    probe.unlink()
  except OSError as error:
    raise UserError(
      f"{path}: cannot be written ({error.strerror}). Give a folder that you"
      " may write to."
    ) from None
  if path.is_dir():
    raise UserError(f"{path}: is a folder. Give a file name.")
  return path
