"""Routes of the uploads."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from magenta_midi.server.library.takes import notes_of
from magenta_midi.server.library.uploads import UploadError, Uploads

__all__ = ["upload_routes"]

_KINDS = (
  "audio/midi",
  "audio/x-midi",
  "audio/mid",
  "audio/sp-midi",
  "application/x-midi",
)


def upload_routes(uploads: Uploads) -> APIRouter:
  """The routes under `/api/uploads`."""
  router = APIRouter(prefix="/api/uploads", tags=["uploads"])

  @router.post("", status_code=201)
  async def add(request: Request, name: str = "upload") -> Response:
    """Keeps a MIDI file; the body is the file."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if kind.lower() not in _KINDS:
      raise UploadError("an upload must be of type audio/midi.", 415)
    data = await request.body()
    upload = await asyncio.to_thread(uploads.add, data, name)
    return JSONResponse(upload.facts(), 201)

  @router.get("")
  def every() -> dict[str, Any]:
    """All uploads."""
    return {"uploads": [upload.facts() for upload in uploads.all()]}

  @router.get("/{id}/notes")
  def notes(id: str) -> dict[str, Any]:
    """Its notes, as one part."""
    score = uploads.score(uploads.find(id)).merged()
    return notes_of(score, ("player",))

  @router.delete("/{id}", status_code=204)
  def remove(id: str) -> Response:
    """Removes it."""
    uploads.remove(id)
    return Response(status_code=204)

  return router
