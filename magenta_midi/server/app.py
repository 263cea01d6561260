"""App: the routes of the server."""

import asyncio
import contextlib
import importlib.metadata
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

from magenta_midi.live.protocol.events import SECOND
from magenta_midi.live.recording.score_messages import messages_of
from magenta_midi.midi.score import Score
from magenta_midi.midi.score_files import read_score
from magenta_midi.model.checkpoint import embedded_path, read_config
from magenta_midi.model.lora.adapter_file import AdapterError
from magenta_midi.model.lora.adapter_library import (
  find_adapter,
  installed_adapters,
)
from magenta_midi.plain_text import line, nfc
from magenta_midi.server.access import Access
from magenta_midi.server.control_table import control_table
from magenta_midi.server.duets.client_messages import VERSION, Play
from magenta_midi.server.duets.client_socket import serve_socket
from magenta_midi.server.duets.played_session import Music
from magenta_midi.server.duets.sessions import Sessions
from magenta_midi.server.jobs import piano_samples
from magenta_midi.server.jobs.finetuning import Finetuning, RunExists
from magenta_midi.server.jobs.job_routes import MAX_GENERATED_S, job_routes
from magenta_midi.server.jobs.jobs import MAX_WAV_S, Busy, Jobs
from magenta_midi.server.jobs.piano_samples import piano_facts, sample_path
from magenta_midi.server.library.take_routes import take_routes
from magenta_midi.server.library.takes import NoTake, Takes
from magenta_midi.server.library.upload_routes import upload_routes
from magenta_midi.server.library.uploads import (
  MAX_UPLOAD_BYTES,
  MAX_UPLOADS,
  UploadError,
  Uploads,
)
from magenta_midi.server.names import ClientNames
from magenta_midi.server.settings import ServerSettings

__all__ = ["PAGE", "Parts", "make_app"]

PAGE = Path(__file__).parent / "page"
# What is played in without times: the beginning of a phrase, which is a call
# of a usual length, and the end of other music, which is the model's context.
_PHRASE_S, _CONTEXT_S, _MAX_PLAYED_S = 8.0, 10.0, 60.0


class Parts:
  """What the routes share.

  Attributes:
    settings: Of the server.
    uploads: Files of clients.
    names: Of prompts and adapters.
    sessions: Those that are played.
    takes: Those that were saved.
    jobs: Music without playing, and sound.
    finetuning: The run in the background.
  """

  def __init__(self, settings: ServerSettings):
    self.settings = settings
    self.uploads = Uploads()
    self.names = ClientNames(self.uploads)
    self.sessions = Sessions(settings, self.names)
    self.takes = Takes(settings.takes_folder)
    self.jobs = Jobs()
    self.finetuning = Finetuning()

  async def end_jobs(self) -> None:
    """Ends the children; a run in the background is saved."""
    await self.jobs.close()
    await self.finetuning.close()

  def close(self) -> None:
    """Ends the sessions and removes the uploads."""
    self.sessions.close()
    self.uploads.close()

  def music(self, wanted: Play) -> Music:
    """What a client asks to be played in.

    Raises:
      ValueError: It is not there, or its part is none.
    """
    given = (wanted.phrase, wanted.upload, wanted.take)
    if sum(name is not None for name in given) != 1:
      raise ValueError("play needs one of phrase, upload and take.")
    from_s, to_s = 0.0, _PHRASE_S
    if wanted.phrase is not None:
      path = self.settings.phrases.get(wanted.phrase)
      if path is None:
        raise ValueError("there is no such phrase.")
      score = read_score(path)
    else:
      score = self._other(wanted)
      from_s, to_s = max(0.0, score.end_s - _CONTEXT_S), score.end_s
    from_s = from_s if wanted.from_s is None else wanted.from_s
    to_s = to_s if wanted.to_s is None else wanted.to_s
    if not 0 <= from_s < to_s or to_s - from_s > _MAX_PLAYED_S:
      raise ValueError(
        f"the part must end after it begins, within {_MAX_PLAYED_S:g} s."
      )
    part = score.crop(from_s, to_s)
    messages = messages_of(part) if len(part) else []
    if not messages:
      raise ValueError("there are no notes in this part.")
    return Music(messages, messages[-1].time_ns / SECOND)

  def _other(self, wanted: Play) -> Score:
    if wanted.upload is not None:
      return self.uploads.score(self.uploads.find(wanted.upload)).merged()
    score = self.takes.score(str(wanted.take))
    return score.select([0 if wanted.part == "player" else 1])


def make_app(parts: Parts, *, port: int) -> FastAPI:
  """The app of a server.

  Args:
    parts: Closed by the caller.
    port: On which it listens.
  """

  @contextlib.asynccontextmanager
  async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    parts.sessions.prepare()
    piano = None
    if not piano_facts()["ready"]:
      piano = await asyncio.create_subprocess_exec(
        sys.executable, "-m", piano_samples.__name__
      )
    yield
    if piano is not None and piano.returncode is None:
      piano.kill()
      await piano.wait()
    await parts.end_jobs()

  app = FastAPI(
    title="magenta-midi serve",
    version=importlib.metadata.version("magenta-midi"),
    lifespan=lifespan,
    openapi_url="/api/openapi.json",
    # Their pages load scripts of other hosts.
    docs_url=None,
    redoc_url=None,
  )
  _add_errors(app)
  app.include_router(_general_routes(parts))
  app.include_router(
    job_routes(
      parts.settings,
      parts.jobs,
      parts.finetuning,
      parts.uploads,
      parts.takes,
      parts.names,
    )
  )
  app.include_router(take_routes(parts.takes))
  app.include_router(upload_routes(parts.uploads))

  @app.websocket("/api/socket")
  async def socket(websocket: WebSocket) -> None:
    await serve_socket(websocket, parts.settings, parts.sessions, parts.music)

  if PAGE.is_dir():
    app.mount("/", StaticFiles(directory=PAGE, html=True), name="page")
  app.add_middleware(
    Access,
    settings=parts.settings,
    port=port,
    max_upload=MAX_UPLOAD_BYTES,
  )
  return app


def _add_errors(app: FastAPI) -> None:
  """Every error is one line of JSON; none shows where it was raised."""

  @app.exception_handler(HTTPException)
  def _http(request: Request, error: HTTPException) -> Response:
    return _problem(error.status_code, str(error.detail))

  @app.exception_handler(RequestValidationError)
  def _shape(request: Request, error: RequestValidationError) -> Response:
    first = error.errors()[0] if error.errors() else {}
    where = ".".join(str(part) for part in first.get("loc", ()))
    return _problem(422, f"{where}: {first.get('msg', 'wrong')}")

  @app.exception_handler(NoTake)
  def _no_take(request: Request, error: NoTake) -> Response:
    return _problem(404, str(error))

  @app.exception_handler(UploadError)
  def _upload(request: Request, error: UploadError) -> Response:
    return _problem(error.status, str(error))

  @app.exception_handler(Busy)
  def _busy(request: Request, error: Busy) -> Response:
    return _problem(503, str(error))

  @app.exception_handler(RunExists)
  def _run_exists(request: Request, error: RunExists) -> Response:
    return _problem(409, str(error))

  @app.exception_handler(ValueError)
  def _value(request: Request, error: ValueError) -> Response:
    return _problem(400, str(error))

  @app.exception_handler(Exception)
  def _any(request: Request, error: Exception) -> Response:
    return _problem(500, "something went wrong; the server's log says what.")


def _problem(status: int, text: str) -> Response:
  return JSONResponse({"error": line(text, longest=500)}, status)


def _general_routes(parts: Parts) -> APIRouter:
  router = APIRouter()

  @router.get("/healthz", tags=["server"])
  async def health() -> dict[str, str]:
    """Whether the server answers."""
    return {"status": "ok"}

  @router.get("/api/info", tags=["server"])
  def info() -> dict[str, Any]:
    """Versions, checkpoint, and how many play."""
    settings = parts.settings
    config = read_config(
      embedded_path()
      if settings.checkpoint is None
      else Path(settings.checkpoint)
    )
    name = "embedded"
    if settings.checkpoint is not None:
      name = Path(settings.checkpoint).name
    return {
      "version": importlib.metadata.version("magenta-midi"),
      "protocol": VERSION,
      "checkpoint": name,
      "sessions": parts.sessions.capacity.sessions,
      "playing": parts.sessions.playing,
      "style": bool(config.get("style")),
      "phrases": list(settings.phrases),
      "limits": {
        "upload_bytes": MAX_UPLOAD_BYTES,
        "uploads": MAX_UPLOADS,
        "play_s": _MAX_PLAYED_S,
        "generate_s": MAX_GENERATED_S,
        "wav_s": MAX_WAV_S,
        "idle_s": settings.idle_s,
        "lost_s": settings.lost_s,
      },
    }

  @router.get("/api/controls", tags=["server"])
  def controls() -> dict[str, Any]:
    """All controls with their ranges."""
    return {"controls": control_table()}

  @router.get("/api/adapters", tags=["server"])
  def adapters() -> dict[str, Any]:
    """Installed adapters, and the choices that a session starts with."""
    checkpoint = parts.settings.checkpoint
    folder = embedded_path() if checkpoint is None else Path(checkpoint)
    sha256 = read_config(folder).get("sha256", "")
    rows = [_adapter_facts(path, sha256) for path in installed_adapters()]
    return {
      "adapters": [row for row in rows if row is not None],
      "choices": list(parts.settings.controls.adapters),
    }

  @router.get("/api/prompts", tags=["server"])
  def prompts() -> dict[str, Any]:
    """Players that prompts can name, and examples of texts."""
    players = []
    for path in installed_adapters():
      row = _adapter_facts(path, "")
      if row is not None and row["has_style"]:
        players.append(f"@{row['name']}")
    return {"players": players, "examples": list(_EXAMPLES)}

  @router.get("/api/piano", tags=["server"])
  def piano() -> dict[str, Any]:
    """The samples of the piano."""
    return piano_facts()

  @router.get("/api/piano/{key}.flac", tags=["server"])
  def sample(key: int) -> FileResponse:
    """One of them."""
    path = sample_path(key)
    if path is None:
      raise HTTPException(404, "there is no such sample, or not yet.")
    return FileResponse(
      path,
      media_type="audio/flac",
      headers={"cache-control": "private, max-age=31536000, immutable"},
    )

  return router


_EXAMPLES = (
  "slow, sparse ballad",
  "busy loud stride piano",
  "gentle lullaby",
  "bright fast étude",
  "dark minor nocturne",
  "bluesy swing",
)


def _adapter_facts(path: Path, sha256: str) -> dict[str, Any] | None:
  """What clients are told of an adapter; None: it cannot be read."""
  try:
    adapter = find_adapter(nfc(path.stem))
    size = path.stat().st_size
  except (AdapterError, OSError):
    return None
  return {
    "name": adapter.name,
    "base_fits": adapter.base_sha256 == sha256,
    "has_style": adapter.style is not None,
    "has_groove": getattr(adapter, "groove", None) is not None,
    "rank": adapter.config.rank,
    "megabytes": round(size / 1e6, 2),
  }
