"""Reading of files that anybody may have made: regular, and of bounded size.

A named pipe never ends to be opened, a device never ends, and JSON that is
nested deeply enough ends the parser. The functions here refuse all that with
an `OSError` or a `ValueError` of one line. All limits on what is read stand
here.
"""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import re
import stat
from collections.abc import Iterator
from io import BufferedReader
from os import PathLike
from typing import Any

import numpy as np

__all__ = [
  "ADAPTER_BYTES",
  "ARCHIVE_BYTES",
  "ARCHIVE_RATIO",
  "CODEC_BYTES",
  "GIN_BYTES",
  "HEADER_BYTES",
  "INDEX_BYTES",
  "JOURNAL_BYTES",
  "JSON_BYTES",
  "JSON_DEPTH",
  "LINE_BYTES",
  "MAX_ARRAYS",
  "MAX_DIMS",
  "MAX_GIN_FILES",
  "MAX_MEMBERS",
  "MAX_ROWS",
  "MIDI_BYTES",
  "MIDI_HOURS",
  "MIDI_MESSAGES",
  "MIDI_PARTS",
  "MIDI_PEDALS",
  "MIDI_TRACKS",
  "SESSION_BYTES",
  "TABLE_BYTES",
  "TEXT_BYTES",
  "WEIGHTS_BYTES",
  "XML_BYTES",
  "XML_DEPTH",
  "open_regular",
  "parse_json",
  "read_bytes",
  "read_json",
  "read_lines",
  "read_table",
  "read_text",
]

# Far more than music needs: the largest file of the corpora has 0.5 MB.
MIDI_BYTES = 16 * 2**20
# Of all tracks together: a day of playing has less.
MIDI_MESSAGES = 2**21
MIDI_TRACKS = 4096
# Channels of tracks that hold notes.
MIDI_PARTS = 256
# Changes of the pedal, of all parts together: one pedal may serve all parts.
MIDI_PEDALS = 2**21
# Nobody plays longer; a damaged delta time easily adds up to more.
MIDI_HOURS = 24
# Settings, facts of sessions, manifests. As Python objects they may take thirty
# times as much.
JSON_BYTES = 8 * 2**20
# The JSON header of a safetensors file, its arrays and their axes: the largest
# published model has 900 arrays of 2 axes.
HEADER_BYTES = 8 * 2**20
MAX_ARRAYS = 50_000
MAX_DIMS = 8
# The weights of a model: five times the largest published one in float32.
WEIGHTS_BYTES = 16 * 2**30
# The weights of an audio codec: ten times the largest published one.
CODEC_BYTES = 2**30
# An adapter, which is read whole: rank 256 on the largest model has 0.6 GB.
ADAPTER_BYTES = 2**30
# One gin file, and all that are read with its includes.
GIN_BYTES = 256 * 2**10
MAX_GIN_FILES = 200
# A T5X checkpoint's index, and an archive of one: its unpacked bytes, also as a
# multiple of its size, and its members.
INDEX_BYTES = 8 * 2**20
ARCHIVE_BYTES = 64 * 2**30
ARCHIVE_RATIO = 100
MAX_MEMBERS = 200_000
# Lists of a corpus, and the manifest of a prepared one: 200 bytes a piece.
TABLE_BYTES = 128 * 2**20
MAX_ROWS = 2_000_000
# Maps of controls, lists of titles.
TEXT_BYTES = 4 * 2**20
# A lead sheet in MusicXML, of which one of 32 bars has 200 KB; nested as deeply
# as the format asks, with room.
XML_BYTES = 8 * 2**20
XML_DEPTH = 64
# A journal holds each message of a session, about 20 bytes a message: this is
# a day of play at 80 messages a second.
JOURNAL_BYTES = 128 * 2**20
# A saved session: its facts, decisions and trace, of a day too.
SESSION_BYTES = 128 * 2**20
# One line of a journal or log; a decision has about 300 bytes.
LINE_BYTES = 2**20
# Nothing that this package writes is nested deeper than 8.
JSON_DEPTH = 64

# A string of JSON, closed or not.
_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)


def open_regular(path: str | PathLike[str]) -> BufferedReader:
  """Opens a file to be read in binary.

  Args:
    path: A regular file, or a link to one.

  Raises:
    OSError: It is not there, cannot be read, or is a folder, a pipe or a
      device; names `path`.
  """
  # A named pipe would wait for a writer.
  flags = (
    os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
  )
  fd = os.open(path, flags)
  try:
    mode = os.fstat(fd).st_mode
    if not stat.S_ISREG(mode):
      if stat.S_ISDIR(mode):
        raise OSError(errno.EISDIR, "is a folder", os.fspath(path))
      raise OSError(
        errno.EINVAL, "is a pipe or device, no regular file", os.fspath(path)
      )
    return os.fdopen(fd, "rb")
  except BaseException:
    os.close(fd)
    raise


def read_bytes(path: str | PathLike[str], limit: int) -> bytes:
  """Reads a regular file whole.

  Args:
    path: The file.
    limit: Bytes that are read at most.

  Raises:
    OSError: As `open_regular`, or the file is larger.
  """
  with open_regular(path) as file:
    data = file.read(limit + 1)
    if len(data) > limit:
      size = max(os.fstat(file.fileno()).st_size, len(data))
      raise _too_large(path, size, limit)
  return data


def _too_large(path: str | PathLike[str], size: int, limit: int) -> OSError:
  return OSError(
    errno.EFBIG,
    f"has {size / 2**20:.1f} MiB, at most {limit / 2**20:g} are read",
    os.fspath(path),
  )


def read_text(path: str | PathLike[str], limit: int = TEXT_BYTES) -> str:
  """Reads a regular file as UTF-8, with or without a byte order mark.

  Raises:
    OSError: As `read_bytes`.
    ValueError: It is not UTF-8.
  """
  return _decoded(read_bytes(path, limit))


def read_json(path: str | PathLike[str], limit: int = JSON_BYTES) -> Any:
  """Reads a regular file as JSON.

  Raises:
    OSError: As `read_bytes`.
    ValueError: It is no JSON, or is nested too deeply; without the file's name.
  """
  return parse_json(read_bytes(path, limit))


def read_lines(
  path: str | PathLike[str], limit: int = JOURNAL_BYTES
) -> Iterator[bytes | None]:
  """Reads the lines of a regular file, one in memory at a time.

  Args:
    path: The file.
    limit: Bytes of the file at most.

  Yields:
    Each line without its end; None for one of more than `LINE_BYTES`.

  Raises:
    OSError: As `read_bytes`.
  """
  with open_regular(path) as file:
    size = os.fstat(file.fileno()).st_size
    if size > limit:
      raise _too_large(path, size, limit)
    # A journal that grows while it is read is read to its length of now.
    left = size
    while left > 0 and (line := file.readline(min(left, LINE_BYTES + 1))):
      left -= len(line)
      if line.endswith(b"\n") or len(line) <= LINE_BYTES:
        yield line.rstrip(b"\r\n")
        continue
      while left > 0 and not line.endswith(b"\n"):
        line = file.readline(min(left, LINE_BYTES))
        left -= len(line) or left
      yield None


def read_table(
  path: str | PathLike[str], limit: int = TABLE_BYTES
) -> tuple[list[str], list[dict[str, str]]]:
  """Reads a regular file as comma-separated values with a line of names.

  Bytes that are not UTF-8 are kept as `surrogateescape` does: names of files
  may have them.

  Args:
    path: The file.
    limit: Bytes at most.

  Returns:
    The names of the columns, and the rows; a row has no more than its cells.

  Raises:
    OSError: As `read_bytes`.
    ValueError: It is no such table, or has more than `MAX_ROWS` rows.
  """
  data = read_bytes(path, limit)
  text = data.decode("utf-8-sig", "surrogateescape")
  reader = csv.reader(io.StringIO(text, newline=""))
  try:
    columns = next(reader, [])
    rows = []
    for row in reader:
      if len(rows) >= MAX_ROWS:
        raise ValueError(f"it has more than {MAX_ROWS:,} rows")
      if row:
        rows.append(dict(zip(columns, row, strict=False)))
  except csv.Error as error:
    raise ValueError(str(error)) from None
  return columns, rows


def parse_json(data: bytes | str) -> Any:
  """Parses JSON whose size the caller has bounded.

  NaN and infinities, which Python writes and JSON does not know, are read as
  Python reads them: earlier versions wrote them. Who uses a number checks it.

  Args:
    data: UTF-8 if bytes.

  Raises:
    ValueError: It is no JSON, has a number of thousands of digits, or is nested
      deeper than `JSON_DEPTH`.
  """
  text = data if isinstance(data, str) else _decoded(data)
  if _depth(text) > JSON_DEPTH:
    raise ValueError(f"its JSON is nested deeper than {JSON_DEPTH} levels")
  return json.loads(text)


def _depth(text: str) -> int:
  """How deeply brackets are nested outside strings, or something larger."""
  count = text.count("[") + text.count("{")
  if count <= JSON_DEPTH:
    return count
  # The parser itself stops at Python's limit only, far deeper.
  bare = _JSON_STRING.sub("", text).encode("ascii", "replace")
  byte = np.frombuffer(bare, np.uint8)
  opened = np.isin(byte, np.frombuffer(b"[{", np.uint8))
  closed = np.isin(byte, np.frombuffer(b"]}", np.uint8))
  return int(np.cumsum(opened.astype(np.int32) - closed).max(initial=0))


def _decoded(data: bytes) -> str:
  try:
    return data.decode("utf-8-sig")
  except UnicodeDecodeError as error:
    raise ValueError(f"is no text in UTF-8 (byte {error.start})") from None
