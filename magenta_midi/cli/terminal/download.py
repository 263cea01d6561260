"""Downloads: resumed where they broke off, and checked."""

import errno
import hashlib
import http.client
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import rich.progress

from magenta_midi.cli.terminal.errors import UserError
from magenta_midi.cli.terminal.output import remark
from magenta_midi.midi.folder_lock import file_lock

__all__ = ["fetch_file", "hugging_face_url"]

_BLOCK = 1 << 20
_TIMEOUT_S = 30.0
# A broken connection is taken up again this often in a row without progress.
_RETRIES = 4
_SHA256 = re.compile(r'(?:W/)?"?([0-9a-f]{64})"?')
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


def hugging_face_url(repository: str, file: str) -> str:
  """The address of a file of a repository; HF_ENDPOINT names a mirror."""
  endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
  return f"{endpoint.rstrip('/')}/{repository}/resolve/main/{file}"


def fetch_file(
  url: str,
  path: Path,
  bar: rich.progress.Progress,
  *,
  name: str,
  by_hand: str,
) -> Path:
  """Downloads a file, or finds it already there.

  Args:
    url: Its address.
    path: Where it goes.
    bar: Shows the progress.
    name: What the progress calls it.
    by_hand: The command that uses it once it was got in another way.

  Returns:
    The path. The file is there under its name only when whole and checked.

  Raises:
    UserError: The server cannot be reached, or the file is damaged.
    FolderInUseError: Another process is downloading it.
  """
  if path.is_dir():
    raise UserError(f"{path}: is a folder. Give a file name to download to.")
  path.parent.mkdir(parents=True, exist_ok=True)
  with file_lock(path):
    if not path.exists():
      _download(url, path, bar, name, by_hand)
  return path


def _download(
  url: str, path: Path, bar: rich.progress.Progress, name: str, by_hand: str
) -> None:
  """Downloads and checks; what came of a broken download is continued."""
  task = bar.add_task(f"downloading {name}", total=None, note="")

  def show(done: int, total: int | None) -> None:
    note = f"{done / 1e6:.0f} MB"
    if total is not None:
      note += f" of {total / 1e6:.0f}"
    bar.update(task, completed=done, total=total, note=note)

  part = path.with_name(path.name + ".part")
  try:
    server = _fetch(url, part, show)
  except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
    reason = getattr(error, "reason", None) or str(error) or repr(error)
    if isinstance(error, urllib.error.HTTPError):
      reason = f"{error.code} {error.reason}"
    elif isinstance(error, OSError) and error.filename is not None:
      raise  # an error of the disk, not of the server
    kept = (
      " What came is kept: the same command continues."
      if (part.exists() and part.stat().st_size)
      else ""
    )
    raise UserError(
      f"{url} cannot be fetched: {reason}.{kept} To get it by hand, load it in"
      f" a browser, then: {by_hand}"
    ) from None
  found = _sha256(part)
  if server.sha256 is not None and found != server.sha256:
    part.unlink()
    raise UserError(
      f"{url}: the file is damaged (SHA-256 {found}, the server's is"
      f" {server.sha256}) and was deleted. Run the same command again."
    )
  if server.sha256 is None:
    remark("note: the server gave no checksum; only the size was checked.")
  os.replace(part, path)
  bar.remove_task(task)


class _Served(NamedTuple):
  """The server's facts about a file."""

  size: int | None  # bytes
  sha256: str | None


class _Redirects(urllib.request.HTTPRedirectHandler):
  """Keeps the headers of the answers on the way to the file.

  The repository's answer has the checksum and redirects to a store.
  """

  def __init__(self) -> None:
    self.headers: list[Any] = []

  def redirect_request(self, req, fp, code, msg, headers, newurl):
    self.headers.append(headers)
    return super().redirect_request(req, fp, code, msg, headers, newurl)


def _fetch(
  url: str, part: Path, show: Callable[[int, int | None], None]
) -> _Served:
  """Completes `part` from its end; continues after broken connections."""
  failures = 0
  while True:
    before = _size(part)
    try:
      return _continue(url, part, show)
    except urllib.error.URLError:
      raise  # refused or unreachable: it will not be otherwise in a second
    except (http.client.HTTPException, OSError) as error:
      if isinstance(error, OSError) and error.filename is not None:
        raise
      failures = 0 if _size(part) > before else failures + 1
      if failures > _RETRIES:
        raise
      time.sleep(0.1 * 2**failures)


def _size(path: Path) -> int:
  return path.stat().st_size if path.exists() else 0


def _continue(
  url: str, part: Path, show: Callable[[int, int | None], None]
) -> _Served:
  """Asks for the rest of `part` once."""
  redirects = _Redirects()
  start = _size(part)
  request = urllib.request.Request(
    url, headers={"User-Agent": "magenta-midi", "Accept-Encoding": "identity"}
  )
  if start:
    request.add_header("Range", f"bytes={start}-")
  try:
    response = urllib.request.build_opener(redirects).open(
      request, timeout=_TIMEOUT_S
    )
  except urllib.error.HTTPError as error:
    if error.code != 416 or not start:
      raise
    # Nothing follows what is there: it is the whole file, or another one.
    size = error.headers.get("Content-Range", "").rpartition("/")[2]
    if size == str(start):
      checksum = _checksum([*redirects.headers, error.headers])
      return _Served(start, checksum)
    part.unlink()
    return _continue(url, part, show)
  with response:
    checksum = _checksum([*redirects.headers, response.headers])
    length = response.headers.get("Content-Length")
    total = int(length) if length is not None else None
    if response.status == 206:
      asked = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
      if asked is None or int(asked[1]) != start:
        raise http.client.HTTPException(
          f"asked for the bytes from {start}, the server sent"
          f" {response.headers.get('Content-Range')}"
        )
      total = int(asked[2])
    else:
      start = 0  # the server sends the whole file
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - start > free:
      raise OSError(
        errno.ENOSPC,
        f"{(total - start) / 1e9:.1f} GB to come, {free / 1e9:.1f} GB free",
        str(part),
      )
    done = start
    with open(part, "ab" if start else "wb") as file:
      while block := response.read(_BLOCK):
        file.write(block)
        done += len(block)
        show(done, total)
  if total is not None and done < total:
    raise ConnectionError(f"the connection broke at {done} of {total} bytes")
  return _Served(total, checksum)


def _checksum(answers: list[Any]) -> str | None:
  """SHA-256 as the first answer names it that does."""
  for name in ("X-Linked-ETag", "ETag"):
    for headers in answers:
      if match := _SHA256.fullmatch(headers.get(name) or ""):
        return match[1]
  return None


def _sha256(path: Path) -> str:
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()
