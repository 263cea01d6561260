"""Routes of the takes."""

import asyncio
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import FileResponse, Response

from magenta_midi.limits import RATING, TIME_S
from magenta_midi.server.library.takes import PARTS, Takes, notes_of

__all__ = ["take_routes"]

_ATTACHED = "attachment"


class TakeChange(BaseModel):
  """A new rating, or whether a take is kept."""

  rating: int | None = Field(None, ge=RATING.low, le=RATING.high)
  keep: bool | None = None


class Trim(BaseModel):
  """The part of a take that becomes a new one."""

  from_s: float = Field(0.0, ge=0, le=TIME_S.high)
  to_s: float | None = Field(None, gt=0, le=TIME_S.high)


def take_routes(takes: Takes) -> APIRouter:
  """The routes under `/api/takes`."""
  router = APIRouter(prefix="/api/takes", tags=["takes"])
  # Two changes at once would lose one.
  changing = asyncio.Lock()

  @router.get("")
  def every() -> dict[str, Any]:
    """All takes, the newest first."""
    return {"takes": takes.all()}

  @router.get("/{id}")
  def one(id: str) -> dict[str, Any]:
    """Facts of a take."""
    return takes.facts(id)

  @router.get("/{id}/notes")
  def notes(id: str) -> dict[str, Any]:
    """Its notes, to play it back."""
    return notes_of(takes.score(id), PARTS)

  @router.get("/{id}/thumbnail.svg")
  def thumbnail(id: str) -> Response:
    """A small picture."""
    return Response(takes.thumbnail(id), media_type="image/svg+xml")

  @router.get("/{id}/take.mid")
  def midi(id: str) -> FileResponse:
    """Its MIDI file."""
    return _download(takes, id, "mid", "audio/midi")

  @router.get("/{id}/take.png")
  def picture(id: str) -> FileResponse:
    """Its piano roll."""
    return _download(takes, id, "png", "image/png")

  @router.patch("/{id}")
  async def change(id: str, body: TakeChange) -> dict[str, Any]:
    """Rates or keeps it."""
    async with changing:
      return await asyncio.to_thread(
        takes.change, id, rating=body.rating, keep=body.keep
      )

  @router.post("/{id}/trim", status_code=201)
  async def trim(id: str, body: Trim) -> dict[str, Any]:
    """Makes a new take of a part."""
    async with changing:
      return await asyncio.to_thread(takes.trim, id, body.from_s, body.to_s)

  return router


def _download(takes: Takes, id: str, kind: str, media: str) -> FileResponse:
  return FileResponse(
    takes.file(id, kind),
    media_type=media,
    filename=f"{id}.{kind}",
    content_disposition_type=_ATTACHED,
  )
