"""Recorder of a live session: writes what happens as it happens."""

import datetime
import errno
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from magenta_midi.live.protocol.events import SECOND, Message
from magenta_midi.live.recording.files import (
  JOURNAL,
  PRODUCTS,
  finish,
)
from magenta_midi.live.recording.journal import STOPPED, Journal, in_use
from magenta_midi.live.timing.bars import Bars
from magenta_midi.midi.meter import Meter
from magenta_midi.midi.session_facts import FORMAT
from magenta_midi.plain_text import line
from magenta_midi.user_folders import data_home

__all__ = [
  "SessionRecorder",
  "make_new_folder",
  "new_session_folder",
  "recover",
  "recover_all",
  "sessions_folder",
]

# Data in the system's cache survives a crash of this process; data on the disk
# survives a crash of the machine.
_TO_DISK_NS = 3 * SECOND
# Entries written out per flush: 0.5 ms. More wait for the next.
_MAX_ENTRIES = 500
_MIN_FREE_BYTES = 10 * 2**20  # a long session, its files and its picture
_NAME_LENGTH = 40


def sessions_folder() -> Path:
  """Folder of sessions, under `data_home()`."""
  return data_home() / "magenta_midi" / "sessions"


def new_session_folder(
  sessions: Path | None = None,
  name: str | None = None,
  *,
  wall_s: float | int | None = None,
) -> Path:
  """Makes a folder for a session, named by date and time.

  Args:
    sessions: Where it shall lie; by default in `sessions_folder()`.
    name: Added to the date; characters that file names cannot have are left
      out.
    wall_s: When the session begins, as of `time.time`; by default now.

  Raises:
    OSError: It cannot be made; one line says what to do.
  """
  sessions = sessions or sessions_folder()
  started = datetime.datetime.fromtimestamp(
    time.time() if wall_s is None else wall_s
  )
  stem = started.strftime("%Y-%m-%d_%H-%M-%S")
  words = re.sub(r"[^\w]+", "-", name or "").strip("-")[:_NAME_LENGTH]
  stem += f"-{words}" if words else ""
  return make_new_folder(sessions / stem)


def make_new_folder(folder: Path) -> Path:
  """Makes a folder of that name, or of that name and a number.

  Raises:
    OSError: It cannot be made or written to; one line says what to do.
  """
  stem, number = folder.name, 1
  while True:
    try:
      folder.mkdir(parents=True)
      break
    except FileExistsError as error:
      if not folder.parent.is_dir():  # a file stands in the way
        raise _unwritable(error, folder) from None
      number += 1
      folder = folder.with_name(f"{stem}-{number}")
    except OSError as error:
      raise _unwritable(error, folder) from None
  return folder


def _unwritable(error: OSError, folder: Path) -> OSError:
  return OSError(
    error.errno,
    f"the session cannot be saved here ({error.strerror}). Make room, or"
    " choose another folder",
    str(folder),
  )


class SessionRecorder:
  """Writes a session down while it is played.

  A message costs an append to a list; `flush`, a few times a
  second, makes text of it and hands it to a thread.

  Attributes:
    folder: Of the session.
    recording: Whether it still is; not after a full disk.
  """

  def __init__(
    self,
    folder: Path,
    *,
    checkpoint: Mapping[str, Any] | str,
    settings: Mapping[str, Any],
    clock_start_wall: float | int,
    controls: Mapping[str, Any] | None = None,
  ):
    """Makes the folder and the journal in it.

    Args:
      folder: Of this session; made, with those above it.
      checkpoint: What plays: its path and hash.
      settings: JSON-able.
      clock_start_wall: `time.time()` when the session's clock was 0.
      controls: JSON-able, as they are at the start.

    Raises:
      OSError: It cannot be written there; one line says what to do.
    """
    self.folder = folder
    self.recording = True
    self._pending: list[tuple[Any, ...]] = []
    self._last_ns = 0
    self._on_disk_ns = 0
    started = datetime.datetime.fromtimestamp(clock_start_wall).astimezone()
    header = {
      "format": FORMAT,
      "started": started.isoformat(timespec="milliseconds"),
      "checkpoint": (
        checkpoint if isinstance(checkpoint, str) else dict(checkpoint)
      ),
      "settings": dict(settings),
      "controls": dict(controls or {}),
    }
    first = json.dumps(header, default=str) + "\n"
    try:
      folder.mkdir(parents=True, exist_ok=True)
      if shutil.disk_usage(folder).free < _MIN_FREE_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
      self._journal = Journal(folder / JOURNAL, first.encode())
    except OSError as error:
      raise _unwritable(error, folder) from None

  def player(self, message: Message) -> None:
    """A message of the player, at its time."""
    self._pending.append(("p", message))

  def model(self, message: Message) -> None:
    """A message of the model was sent, at its time."""
    self._pending.append(("o", message))

  def comp(self, message: Message) -> None:
    """A message of the comp was sent, at its time."""
    self._pending.append(("a", message))

  def decision(self, entry: dict[str, Any]) -> None:
    """The engine decided something: why, JSON-able; not changed later."""
    self._pending.append(("d", entry))

  def describe(self, **facts: Any) -> None:
    """Adds facts to those of the start: `checkpoint`, `settings`..."""
    self._pending.append(("h", facts))

  def bars(self, now_ns: int, bars: Bars, meter: Meter | None = None) -> None:
    """The bars from now on.

    Args:
      now_ns: The time.
      bars: In beats of the meter.
      meter: As written; None: beats are quarter notes.
    """
    self._pending.append(("t", now_ns, bars, meter))

  def bookmark(self, now_ns: int) -> None:
    """A bookmark at this time."""
    self._pending.append(("b", now_ns))

  def flush(self, now_ns: int) -> str | None:
    """Hands what came to the system; call it a few times a second.

    Returns:
      Why recording has stopped, one line, once; None while all is well. The
      music goes on either way.
    """
    if not self.recording:
      self._pending.clear()
      return None
    batch = self._pending[:_MAX_ENTRIES]
    del self._pending[: len(batch)]
    self._last_ns = max(self._last_ns, now_ns)
    to_disk = now_ns - self._on_disk_ns >= _TO_DISK_NS
    if batch or to_disk:
      text = "".join(map(_line, batch))
      self._journal.write(text.encode(), to_disk=to_disk)
    if to_disk:
      self._on_disk_ns = now_ns
    return self._stopped()

  def close(
    self, now_ns: int, report: Mapping[str, Any] | None = None
  ) -> str | None:
    """Writes the rest, and the session's files; takes a second or more.

    Args:
      now_ns: The end of the session.
      report: Figures of it, JSON-able.

    Returns:
      What went wrong, one line; None if all is written.
    """
    while self.recording and self._pending:
      problem = self.flush(now_ns)
      if problem is not None:
        break
    if self.recording:
      last = _json(["z", now_ns, dict(report or {})])
      self._journal.write(last.encode(), to_disk=True)
    self._journal.close()
    problem = self._stopped()
    try:
      finish(self.folder)
    except OSError as error:
      return problem or (
        f"{self.folder}: the session's files cannot be written"
        f" ({error.strerror}); the journal is there, and the next session"
        " tries again."
      )
    return problem

  def _stopped(self) -> str | None:
    error = self._journal.error
    if error is None or not self.recording:
      return None
    self.recording = False
    self._pending.clear()
    return (
      f"{STOPPED} at {self._last_ns / SECOND:.0f} s"
      f" ({error.strerror}); what came before is kept in {self.folder}"
    )


def _json(value: Any) -> str:
  # Values without a JSON type are descriptions for people: written as text.
  return json.dumps(value, separators=(",", ":"), default=str) + "\n"


def _line(entry: tuple[Any, ...]) -> str:
  match entry:
    case (("p" | "o" | "a") as who, (time_ns, data)):
      return f'["{who}",{time_ns},"{data.hex()}"]\n'
    case ("t", now_ns, bars, meter):
      fields = [bars.bpm, bars.beats_per_bar, bars.start_ns]
      named = [] if meter is None else [f"{meter.count}/{meter.unit}"]
      return _json(["t", now_ns, *fields, *named])
  return _json(entry)


def recover(folder: Path) -> bool:
  """Finishes a session that was not: its program crashed.

  Args:
    folder: Of one session.

  Returns:
    Whether there was anything to do. A session that is being played is left
    alone.

  Raises:
    OSError: Its files cannot be written.
  """
  journal = folder / JOURNAL
  if not os.path.isfile(journal) or in_use(journal):
    return False
  if all((folder / name).is_file() for name in PRODUCTS):
    return False
  finish(folder, recovered=True)
  return True


def recover_all(sessions: Path) -> list[Path]:
  """Finishes every session of a folder that was not.

  Returns:
    Those that were recovered. One that cannot be is named on stderr, and is
    tried again the next time.
  """
  if not sessions.is_dir():
    return []
  done = []
  for folder in sorted(sessions.iterdir()):
    try:
      if os.path.isdir(folder) and recover(folder):
        done.append(folder)
    except (OSError, ValueError) as error:
      reason = getattr(error, "strerror", None) or error
      print(line(f"{folder}: not recovered ({reason})"), file=sys.stderr)
  return done
