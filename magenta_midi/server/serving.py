"""Serving: listens, tells when it does, and ends in order."""

import asyncio
import contextlib
import secrets
import socket
from collections.abc import Callable

import uvicorn

from magenta_midi.server.app import Parts, make_app
from magenta_midi.server.duets.client_messages import MAX_MESSAGE_BYTES
from magenta_midi.server.settings import LOCAL_HOSTS, ServerSettings

__all__ = ["Server", "address", "listening_socket", "new_token"]

# Streams that are still sent when the server ends.
_GRACE_S = 3
_BACKLOG = 128
_CONNECTIONS = 200
# In which the last messages leave.
_LAST_WORDS_S = 0.1


def new_token() -> str:
  """A token that nobody guesses."""
  return secrets.token_urlsafe(18)


def listening_socket(settings: ServerSettings) -> socket.socket:
  """A socket that listens on the host and port of the settings.

  Raises:
    OSError: The port is in use, or the host is not this machine's.
  """
  family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
  listener = socket.socket(family, socket.SOCK_STREAM)
  try:
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((settings.host, settings.port))
  except OSError as error:
    listener.close()
    raise OSError(
      error.errno,
      f"cannot listen there ({error.strerror}). Give another --port or --host",
      f"{settings.host}:{settings.port}",
    ) from None
  return listener


def address(settings: ServerSettings, port: int) -> str:
  """What is opened in a browser; with the token, if there is one."""
  host = settings.host
  if host in ("0.0.0.0", "::"):
    host = _own_address()
  host = f"[{host}]" if ":" in host else host
  query = f"?token={settings.token}" if settings.token else ""
  return f"http://{host}:{port}/{query}"


def _own_address() -> str:
  """This machine's address for others, as far as it can be known."""
  with (
    contextlib.suppress(OSError),
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe,
  ):
    # Nothing is sent: it only chooses the way out.
    probe.connect(("192.0.2.1", 9))
    return probe.getsockname()[0]
  return LOCAL_HOSTS[0]


class _Uvicorn(uvicorn.Server):
  """Ends the sessions before their sockets."""

  def __init__(
    self, config: uvicorn.Config, parts: Parts, on_ready: Callable[[], None]
  ):
    super().__init__(config)
    self._parts, self._on_ready = parts, on_ready

  async def startup(self, sockets: list[socket.socket] | None = None) -> None:
    await super().startup(sockets)
    if self.started:
      self._on_ready()

  async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
    # Each player gets the last note-offs and the name of the take.
    await asyncio.to_thread(self._parts.sessions.close)
    await asyncio.sleep(_LAST_WORDS_S)
    await super().shutdown(sockets)


class Server:
  """A server that listens from its making on.

  Attributes:
    address: What is opened in a browser.
    parts: What its routes share.
  """

  def __init__(
    self,
    settings: ServerSettings,
    on_ready: Callable[[str], None] = lambda address: None,
  ):
    """Listens; nothing is answered before `run`.

    Args:
      settings: Of the server.
      on_ready: Called with the address once requests are answered.

    Raises:
      OSError: It cannot listen.
    """
    self._listener = listening_socket(settings)
    port = self._listener.getsockname()[1]
    self.address = address(settings, port)
    self.parts = Parts(settings)
    config = uvicorn.Config(
      make_app(self.parts, port=port),
      # A line of a request would hold the token.
      access_log=False,
      # uvloop starts children by a fork, which JAX's threads do not survive.
      loop="asyncio",
      log_level="warning",
      server_header=False,
      date_header=False,
      proxy_headers=False,
      timeout_graceful_shutdown=_GRACE_S,
      backlog=_BACKLOG,
      limit_concurrency=_CONNECTIONS,
      ws_max_size=MAX_MESSAGE_BYTES,
      ws_per_message_deflate=False,
      # A client that does not read answers none of them.
      ws_ping_interval=10.0,
      ws_ping_timeout=20.0,
    )
    self._server = _Uvicorn(config, self.parts, lambda: on_ready(self.address))

  def run(self) -> None:
    """Serves until `stop`, SIGINT or SIGTERM; then all takes are saved."""
    try:
      with contextlib.suppress(KeyboardInterrupt):
        self._server.run(sockets=[self._listener])
    finally:
      self.parts.close()
      self._listener.close()

  def stop(self) -> None:
    """Asks for the end; from any thread."""
    self._server.should_exit = True
