"""Standard output and error, through which only text goes.

Warnings, logs and other packages' `print` write to them too, so what our own
functions escape is escaped here again. A letter that the terminal's encoding
lacks, or a reader that has gone (`| head -1`), is no error of the command.
"""

import contextlib
import errno
import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from magenta_midi.plain_text import line, printable

__all__ = ["plain_streams"]

# Windows reports a closed pipe as an invalid argument.
_GONE = (errno.EPIPE, errno.EINVAL) if os.name == "nt" else (errno.EPIPE,)


class _Stream:
  """A text stream whose reader may go away: the rest is dropped."""

  def __init__(self, stream: Any):
    self._stream = stream

  def __getattr__(self, name: str) -> Any:
    return getattr(self._stream, name)

  def write(self, text: str) -> int:
    try:
      return self._stream.write(text)
    except OSError as error:
      self._drop(error)
      return len(text)

  def flush(self) -> None:
    try:
      self._stream.flush()
    except OSError as error:
      self._drop(error)

  def _drop(self, error: OSError) -> None:
    """Sends what is still to come nowhere, also at Python's end."""
    if error.errno not in _GONE:
      raise error
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
      os.dup2(nowhere, self._stream.fileno())
    finally:
      os.close(nowhere)


class _PlainStream(_Stream):
  """Writes everything invisible as escapes, except ends of lines and tabs."""

  @property
  def rich_proxied_file(self) -> _Stream:
    """Where rich writes: its colours and cursor movements are escapes."""
    return _Stream(self._stream)

  def write(self, text: str) -> int:
    # Click writes bytes to find out whether a stream takes them.
    if not isinstance(text, str):
      raise TypeError(f"a text stream takes text, got {type(text).__name__}.")
    super().write(printable(text))
    return len(text)

  def writelines(self, lines: Any) -> None:
    for text in lines:
      self.write(text)


@contextlib.contextmanager
def plain_streams() -> Iterator[None]:
  r"""Only text goes to stdout and stderr meanwhile, and no letter is refused.

  Letters that their encodings lack become escapes such as `\uc624`.
  """
  before = sys.stdout, sys.stderr
  errors = [getattr(stream, "errors", None) for stream in before]
  format_before = warnings.formatwarning
  _set_errors(before, ["backslashreplace"] * 2)
  # None where the command was started without one.
  plain = [
    None if stream is None else _PlainStream(stream) for stream in before
  ]
  sys.stdout, sys.stderr = plain  # type: ignore[assignment]
  warnings.formatwarning = _one_line
  # Called when this is over: a traceback is text too.
  sys.excepthook = _print_exception
  try:
    yield
  finally:
    for stream in plain:
      if stream is not None:
        stream.flush()
    # Code that replaced a stream in the meantime must restore it itself.
    sys.stdout, sys.stderr = before
    warnings.formatwarning = format_before
    _set_errors(before, errors)


def _set_errors(streams: Any, errors: Any) -> None:
  for stream, handling in zip(streams, errors, strict=True):
    # Streams in memory hold any letter.
    if handling is not None and hasattr(stream, "reconfigure"):
      stream.reconfigure(errors=handling)


def _one_line(
  message: Warning | str,
  category: type[Warning],
  filename: str,
  lineno: int,
  source: str | None = None,
) -> str:
  del source
  if category.__module__.startswith("magenta_midi."):
    return f"note: {line(message)}\n"
  return f"{filename}:{lineno}: {category.__name__}: {line(message)}\n"


def _print_exception(
  kind: type[BaseException],
  error: BaseException,
  trace: TracebackType | None,
) -> None:
  shown = "".join(traceback.format_exception(kind, error, trace))
  if sys.stderr is not None:
    sys.stderr.write(printable(shown))
