"""The socket: one client's messages to its session, and back."""

import asyncio
import contextlib
from collections.abc import Callable

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect

from magenta_midi.server.duets.client_messages import (
  VERSION,
  Bye,
  Hello,
  Ping,
  Play,
  parse_message,
)
from magenta_midi.server.duets.note_frames import unpack_notes
from magenta_midi.server.duets.outbox import Outbox, OutboxFull
from magenta_midi.server.duets.played_session import Music, PlayedSession
from magenta_midi.server.duets.sessions import Full, Sessions
from magenta_midi.server.rates import Bucket
from magenta_midi.server.settings import ServerSettings

__all__ = ["serve_socket"]

# A hand plays some 20 notes a second; a pedal with many values sends more.
NOTES_A_SECOND, NOTES_AT_ONCE = 400.0, 1200.0
# A slider that is dragged sends 60 a second.
MESSAGES_A_SECOND, MESSAGES_AT_ONCE = 120.0, 400.0
# A client that takes nothing for so long does not read.
SEND_S = 10.0
CLOSE_S = 2.0


class _TooMany(Exception):
  """More messages than may come."""


async def serve_socket(
  socket: WebSocket,
  settings: ServerSettings,
  sessions: Sessions,
  music: Callable[[Play], Music],
) -> None:
  """Serves a client from its first message to its last.

  Args:
    socket: Not accepted yet.
    settings: Of the server.
    sessions: Of the server.
    music: The music that a message asks to be played in; raises ValueError.
  """
  await socket.accept()
  outbox = Outbox(asyncio.get_running_loop())
  session = None
  code = 1000
  try:
    session = await _greet(socket, settings, sessions, outbox)
    if session is None:
      return
    code = await _talk(socket, session, outbox, music)
  except WebSocketDisconnect:
    pass
  finally:
    outbox.closed = True
    if session is not None:
      # It lifts keys: ring writes of some microseconds.
      session.detach(outbox)
    await _close(socket, code)


async def _greet(
  socket: WebSocket,
  settings: ServerSettings,
  sessions: Sessions,
  outbox: Outbox,
) -> PlayedSession | None:
  """Takes the first message; None: there is no session for this client."""
  try:
    async with asyncio.timeout(settings.hello_s):
      text = await socket.receive_text()
    hello = parse_message(text)
    if not isinstance(hello, Hello) or hello.version != VERSION:
      raise ValueError(f"the first message must be a hello of {VERSION}.")
  except (ValueError, KeyError, TimeoutError) as error:
    problem = str(error) or "no hello came."
    await _send(socket, {"type": "error", "text": problem})
    await _close(socket, 4400)
    return None
  try:
    return await asyncio.to_thread(
      sessions.claim, outbox, hello.key, hello.start
    )
  except Full:
    await _send(
      socket, {"type": "full", "sessions": sessions.capacity.sessions}
    )
    await _close(socket, 4503)
  except ValueError as error:
    await _send(socket, {"type": "error", "text": str(error)})
    await _close(socket, 4400)
  return None


async def _talk(
  socket: WebSocket,
  session: PlayedSession,
  outbox: Outbox,
  music: Callable[[Play], Music],
) -> int:
  """Sends and receives until one side ends; returns the code to close with."""
  sender = asyncio.create_task(_send_all(socket, outbox))
  reader = asyncio.create_task(_receive_all(socket, session, outbox, music))
  try:
    done, _ = await asyncio.wait(
      (sender, reader), return_when=asyncio.FIRST_COMPLETED
    )
    if sender in done:
      return sender.result()
    return reader.result()
  except OutboxFull:
    return 4408
  except _TooMany:
    return 4429
  finally:
    for task in (sender, reader):
      task.cancel()
    await asyncio.gather(sender, reader, return_exceptions=True)


async def _send_all(socket: WebSocket, outbox: Outbox) -> int:
  """Sends what comes, until the code to close the socket with."""
  while True:
    item = await outbox.get()
    if isinstance(item, int):
      return item
    try:
      # Not wait_for: before Python 3.12 it may swallow a cancellation.
      async with asyncio.timeout(SEND_S):
        if isinstance(item, bytes):
          await socket.send_bytes(item)
        else:
          await socket.send_text(item)
    except TimeoutError:
      raise OutboxFull from None


async def _receive_all(
  socket: WebSocket,
  session: PlayedSession,
  outbox: Outbox,
  music: Callable[[Play], Music],
) -> int:
  """Hands what comes to the session, until the client goes."""
  notes = Bucket(NOTES_A_SECOND, NOTES_AT_ONCE)
  messages = Bucket(MESSAGES_A_SECOND, MESSAGES_AT_ONCE)
  while True:
    found = await socket.receive()
    if found["type"] == "websocket.disconnect":
      return 1000
    if not messages.take(0.25 if found.get("bytes") is not None else 1.0):
      raise _TooMany
    try:
      if (frame := found.get("bytes")) is not None:
        played = unpack_notes(frame)
        if not notes.take(max(len(played), 1)):
          raise _TooMany
        session.play(played)
      else:
        await _handle_text(found.get("text") or "", session, music)
    except (ValueError, RecursionError) as error:
      text = " ".join(str(error).split())
      outbox.put(_encoded({"type": "error", "text": text[:500]}))


async def _handle_text(
  text: str, session: PlayedSession, music: Callable[[Play], Music]
) -> None:
  message = parse_message(text)
  match message:
    case Hello():
      raise ValueError("hello comes once.")
    case Play():
      # Reading a file may take a while.
      session.submit(await asyncio.to_thread(music, message))
    case Ping() | Bye() | _:
      session.submit(message)


def _encoded(message: dict) -> str:
  return msgspec.json.encode(message).decode()


async def _send(socket: WebSocket, message: dict) -> None:
  with contextlib.suppress(WebSocketDisconnect, RuntimeError, TimeoutError):
    async with asyncio.timeout(CLOSE_S):
      await socket.send_text(_encoded(message))


async def _close(socket: WebSocket, code: int) -> None:
  """Closes it; a client that reads nothing is not waited for."""
  with contextlib.suppress(WebSocketDisconnect, RuntimeError, TimeoutError):
    async with asyncio.timeout(CLOSE_S):
      await socket.close(code)
