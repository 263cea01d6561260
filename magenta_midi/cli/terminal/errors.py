"""Errors of input: one line on stderr and exit code 2."""

import contextlib
import signal
import tempfile
import threading
import types
from collections.abc import Iterator
from pathlib import Path

import click

__all__ = [
  "UserError",
  "interrupt_between_imports",
  "interrupt_on_sigterm",
  "one_line_errors",
  "writable",
]


# Package -> the extra that installs it.
EXTRAS = {
  "apache_beam": "beam",
  "fastapi": "server",
  "gin": "train",
  "grain": "train",
  "miditok": "baseline",
  "onnxruntime": "transcribe",
  "optax": "train",
  "orbax": "train",
  "seqio": "seqio",
  "soundfile": "transcribe",
  "soxr": "transcribe",
  "starlette": "server",
  "tensorboardX": "train",
  "uvicorn": "server",
  "websockets": "server",
}


# Functions of JAX in which an interrupt is lost.
_UNSAFE = ("_xla_gc_callback", "tpu_client_timer_callback")


class UserError(click.ClickException):
  """A mistake in the input; the message explains how to correct it."""

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
def interrupt_between_imports() -> Iterator[None]:
  """Delays Ctrl-C, by a second at most, while modules are imported.

  A KeyboardInterrupt during the imports of a native module crashes it. In
  JAX's hook on garbage collection it is lost, and where JAX looks for a TPU it
  leaves a timer that delays the exit by a minute. Does nothing if Ctrl-C is
  ignored or has another handler.
  """
  if threading.current_thread() is not threading.main_thread() or (
    signal.getsignal(signal.SIGINT) is not signal.default_int_handler
  ):
    yield
    return

  def interrupt(number: int, frame: types.FrameType | None) -> None:
    del number
    while frame is not None:
      code = frame.f_code
      if (
        code.co_filename.startswith("<frozen importlib")
        or code.co_name in _UNSAFE
      ):
        again = threading.Timer(0.02, signal.raise_signal, [signal.SIGINT])
        again.daemon = True
        again.start()
        return
      frame = frame.f_back
    raise KeyboardInterrupt

  signal.signal(signal.SIGINT, interrupt)
  try:
    yield
  finally:
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
    # Without a name, where the system can: a kill leaves nothing.
    with tempfile.TemporaryFile(dir=folder):
      pass
  except OSError as error:
    raise UserError(
      f"{path}: cannot be written ({error.strerror}). Give a folder that you"
      " may write to."
    ) from None
  if path.is_dir():
    raise UserError(f"{path}: is a folder. Give a file name.")
  return path
