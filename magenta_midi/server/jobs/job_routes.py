"""Routes of generating, of sound, and of fine-tuning."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, StreamingResponse

from magenta_midi.limits import (
  DENSITY,
  GUIDANCE,
  KEY,
  LOUDNESS,
  PROMPT_WEIGHT,
  SEED,
  SHARE,
  TEMPERATURE,
  TEMPO,
)
from magenta_midi.live.protocol.controls import MAX_PROMPT_BYTES, MAX_PROMPTS
from magenta_midi.server.jobs.finetuning import Finetuning
from magenta_midi.server.jobs.jobs import Jobs
from magenta_midi.server.library.takes import Takes
from magenta_midi.server.library.uploads import Uploads
from magenta_midi.server.names import ClientNames
from magenta_midi.server.settings import ServerSettings

__all__ = ["MAX_GENERATED_S", "job_routes"]

MAX_GENERATED_S = 120
_MAX_RECORDINGS = 500


class Wanted(BaseModel):
  """Music that is to be generated."""

  model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

  seconds: float = Field(gt=0, le=MAX_GENERATED_S)
  upload: str | None = None
  take: str | None = None
  prompts: list[tuple[str, float]] = Field([], max_length=MAX_PROMPTS)
  adapters: list[str] = Field([], max_length=4)
  density: float | None = Field(None, ge=DENSITY.low, le=DENSITY.high)
  loudness: float | None = Field(None, ge=LOUDNESS.low, le=LOUDNESS.high)
  register_: tuple[int, int] | None = Field(None, alias="register")
  pedal: float | None = Field(None, ge=SHARE.low, le=SHARE.high)
  guidance: float | None = Field(None, ge=GUIDANCE.low, le=GUIDANCE.high)
  temperature: float | None = Field(
    None, ge=TEMPERATURE.low, le=TEMPERATURE.high
  )
  tempo: float | None = Field(None, ge=TEMPO.low, le=TEMPO.high)
  seed: int = Field(0, ge=SEED.low, le=SEED.high)


class Run(BaseModel):
  """A fine-tuning that is to be begun."""

  model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

  name: str = Field(min_length=1, max_length=60)
  takes: list[str] = Field([], max_length=_MAX_RECORDINGS)
  uploads: list[str] = Field([], max_length=_MAX_RECORDINGS)
  minutes: float | None = Field(None, ge=0.1, le=240)
  steps: int | None = Field(None, ge=1, le=100_000)
  rank: int | None = Field(None, ge=1, le=64)
  continuations_s: float | None = Field(None, ge=0, le=480)
  replace: bool = False


def job_routes(
  settings: ServerSettings,
  jobs: Jobs,
  finetuning: Finetuning,
  uploads: Uploads,
  takes: Takes,
  names: ClientNames,
) -> APIRouter:
  """The routes of all jobs."""
  router = APIRouter(prefix="/api")

  @router.post("/generate", tags=["generate"])
  async def generate(body: Wanted) -> StreamingResponse:
    """Generates music: a stream of JSON lines, one for each 2 s."""
    if body.upload is not None and body.take is not None:
      raise ValueError("give either an upload or a take.")
    context = None
    if body.upload is not None:
      context = uploads.find(body.upload).path
    elif body.take is not None:
      context = takes.file(body.take, "mid")
    register = body.register_
    if register is not None and not (
      KEY.low <= register[0] < register[1] <= KEY.high
    ):
      raise ValueError("register must be two keys, the lower one first.")
    jobs.check_room()
    wanted = body.model_dump(exclude={"upload", "take", "register_"}) | {
      "checkpoint": settings.checkpoint,
      "context": None if context is None else str(context),
      "register": register,
      "prompts": _prompts(names, body.prompts),
      "adapters": [names.adapter(name) for name in body.adapters],
    }
    return StreamingResponse(
      _lines(jobs, wanted), media_type="application/x-ndjson"
    )

  @router.get("/generated/{id}/music.mid", tags=["generate"])
  def generated_midi(id: str) -> FileResponse:
    """Context and music as a MIDI file."""
    return _file(_generated(jobs, id), "audio/midi", "music.mid")

  @router.get("/generated/{id}/music.wav", tags=["generate"])
  async def generated_wav(id: str) -> FileResponse:
    """The same as sound."""
    sound = await jobs.render(_generated(jobs, id), id)
    return _file(sound, "audio/wav", "music.wav")

  @router.get("/takes/{id}/take.wav", tags=["takes"])
  async def take_wav(id: str) -> FileResponse:
    """A take as sound, of at most 20 minutes."""
    midi = takes.file(id, "mid")
    sound = await jobs.render(midi, f"take-{midi.parent.name}")
    return _file(sound, "audio/wav", f"{id}.wav")

  @router.get("/finetune", tags=["finetune"])
  async def run() -> dict[str, Any]:
    """The run."""
    return finetuning.facts

  @router.post("/finetune", status_code=202, tags=["finetune"])
  async def begin(body: Run) -> dict[str, Any]:
    """Begins a run."""
    # Both read folders: notes of players pass meanwhile.
    paths = await asyncio.to_thread(takes.find_all, body.takes)
    paths += [uploads.find(id).path for id in body.uploads]
    if not paths:
      raise ValueError("give takes or uploads to learn from.")
    if body.minutes is not None and body.steps is not None:
      raise ValueError("give either minutes or steps.")
    given = {
      name: value
      for name in ("minutes", "steps", "rank", "continuations_s")
      if (value := getattr(body, name)) is not None
    }
    return await finetuning.start(
      name=body.name,
      paths=paths,
      settings=given,
      replace=body.replace,
      checkpoint=settings.checkpoint,
    )

  @router.post("/finetune/stop", tags=["finetune"])
  async def stop() -> dict[str, Any]:
    """Saves and stops the run."""
    return await finetuning.stop()

  @router.post("/finetune/resume", tags=["finetune"])
  async def resume() -> dict[str, Any]:
    """Goes on with it."""
    return await finetuning.resume()

  return router


def _prompts(
  names: ClientNames, prompts: list[tuple[str, float]]
) -> list[tuple[str, float]]:
  """Prompts as the engine takes them.

  Raises:
    ValueError: One cannot be.
  """
  found = []
  for text, weight in prompts:
    if not text.strip() or len(text.encode()) > MAX_PROMPT_BYTES:
      raise ValueError(
        f"a prompt must be a text of at most {MAX_PROMPT_BYTES} bytes."
      )
    weight = PROMPT_WEIGHT.check("a prompt's weight", weight)
    found.append((names.prompt(text), weight))
  return found


async def _lines(jobs: Jobs, wanted: dict[str, Any]) -> AsyncIterator[bytes]:
  async with contextlib.aclosing(jobs.generate(wanted)) as messages:
    async for message in messages:
      yield json.dumps(message).encode() + b"\n"


def _generated(jobs: Jobs, id: str) -> Path:
  try:
    return jobs.find(id).path
  except KeyError:
    raise HTTPException(404, "there is no such music any more.") from None


def _file(path: Path, media: str, name: str) -> FileResponse:
  return FileResponse(
    path,
    media_type=media,
    filename=name,
    content_disposition_type="attachment",
  )
