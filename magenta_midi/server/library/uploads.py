"""Uploads: MIDI files of clients, kept by id until the server ends."""

import dataclasses
import secrets
import shutil
import tempfile
import threading
from pathlib import Path
from typing import Any

from magenta_midi.midi.atomic import write_atomically
from magenta_midi.midi.io.files import MidiFileError
from magenta_midi.midi.score import Score
from magenta_midi.midi.score_files import read_score
from magenta_midi.plain_text import line

__all__ = [
  "MAX_UPLOADS",
  "MAX_UPLOAD_BYTES",
  "Upload",
  "UploadError",
  "Uploads",
]

MAX_UPLOAD_BYTES = 2**20
# The oldest goes for the next one.
MAX_UPLOADS = 256
MAX_SECONDS = 3600.0
_NAME_LETTERS = 80


class UploadError(ValueError):
  """The upload is refused; one line says why.

  Attributes:
    status: Of the answer.
  """

  def __init__(self, text: str, status: int = 400):
    super().__init__(text)
    self.status = status


@dataclasses.dataclass(frozen=True)
class Upload:
  """One file.

  Attributes:
    id: By which clients name it.
    name: As the client called it; for display alone.
    path: Where it lies.
    seconds: Of its music.
    notes: In it.
  """

  id: str
  name: str
  path: Path
  seconds: float
  notes: int

  def facts(self) -> dict[str, Any]:
    """What clients are told."""
    return {
      "id": self.id,
      "name": self.name,
      "seconds": round(self.seconds, 3),
      "notes": self.notes,
    }


class Uploads:
  """Files of one server, in a folder of its own; a context manager."""

  def __init__(self) -> None:
    self._folder = Path(tempfile.mkdtemp(prefix="magenta-midi-"))
    self._lock = threading.Lock()
    self._known: dict[str, Upload] = {}

  def close(self) -> None:
    """Removes them all."""
    shutil.rmtree(self._folder, ignore_errors=True)

  def add(self, data: bytes, name: str) -> Upload:
    """Keeps a file, if it is one of music.

    Args:
      data: Its bytes.
      name: As the client calls it.

    Raises:
      UploadError: It is too large or long, no MIDI file or without notes.
    """
    if len(data) > MAX_UPLOAD_BYTES:
      raise UploadError(
        f"a file must have at most {MAX_UPLOAD_BYTES} bytes.", 413
      )
    if data[:4] not in (b"MThd", b"RIFF"):
      raise UploadError("this is no MIDI file.", 415)
    try:
      score = Score.from_bytes(data)
    except MidiFileError as error:
      raise UploadError(line(error, longest=200), 415) from None
    except ValueError as error:
      raise UploadError(line(error, longest=200), 415) from None
    if not len(score):
      raise UploadError("this file holds no notes.")
    if score.end_s > MAX_SECONDS:
      raise UploadError("a file must hold at most an hour of music.", 413)
    id = secrets.token_hex(8)
    path = self._folder / f"{id}.mid"
    write_atomically(path, data)
    shown = line(name, longest=_NAME_LETTERS) or "upload"
    upload = Upload(id, shown, path, score.end_s, len(score))
    with self._lock:
      self._known[id] = upload
      oldest = list(self._known.values())[:-MAX_UPLOADS]
    for one in oldest:
      self.remove(one.id)
    return upload

  def find(self, id: str) -> Upload:
    """The upload of an id.

    Raises:
      UploadError: There is none.
    """
    with self._lock:
      upload = self._known.get(id)
    if upload is None:
      raise UploadError("there is no such upload.", 404)
    return upload

  def by_path(self, text: str) -> Upload | None:
    """The upload that lies at a path; None: none does."""
    with self._lock:
      known = list(self._known.values())
    return next((u for u in known if str(u.path) == text), None)

  def all(self) -> list[Upload]:
    """Every upload, in order of arrival."""
    with self._lock:
      return list(self._known.values())

  def remove(self, id: str) -> None:
    """Forgets an upload; a prompt that names it keeps its style.

    Raises:
      UploadError: There is none.
    """
    upload = self.find(id)
    with self._lock:
      self._known.pop(id, None)
    upload.path.unlink(missing_ok=True)

  @staticmethod
  def score(upload: Upload) -> Score:
    """Its music."""
    return read_score(upload.path)
