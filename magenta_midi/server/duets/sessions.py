"""All sessions of a server: at most so many, found again by their keys."""

import hmac
import threading

from magenta_midi.server.duets.capacity import Capacity
from magenta_midi.server.duets.client_messages import StartOptions
from magenta_midi.server.duets.outbox import Outbox
from magenta_midi.server.duets.played_session import PlayedSession
from magenta_midi.server.names import ClientNames
from magenta_midi.server.settings import ServerSettings

__all__ = ["Full", "Sessions"]

# An engine needs so long to lift its notes and to end its processes.
CLOSE_S = 20.0
# So many may still be ending, or wait for their first player.
_ENDING = 2


class Full(Exception):
  """As many sessions are played as there may be."""


class Sessions:
  """Sessions of one server; its methods may be called from any thread.

  Attributes:
    capacity: The most at once.
  """

  def __init__(self, settings: ServerSettings, names: ClientNames):
    self._settings, self._names = settings, names
    self.capacity = Capacity(settings.sessions)
    self._lock = threading.Lock()
    self._sessions: list[PlayedSession] = []
    self._closing = False

  def prepare(self) -> None:
    """Starts a session for the first player, who then need not wait."""
    with self._lock:
      if self._settings.spare_s > 0 and not self._closing:
        self._sessions.append(self._new_session())

  def claim(
    self, outbox: Outbox, key: str | None, options: StartOptions | None
  ) -> PlayedSession:
    """The session of a client: its own, the prepared one, or a new one.

    Args:
      outbox: Of the client's socket; it is attached.
      key: Of the session to go on with; one that is unknown is ignored.
      options: How a new one is started.

    Raises:
      Full: There are as many sessions as there may be.
      ValueError: An option cannot be.
    """
    with self._lock:
      self._sessions = [s for s in self._sessions if not s.ended.is_set()]
      session = self._found(key)
      if session is not None and session.attach(outbox, resumed=True):
        return session
      spare = next((s for s in self._sessions if not s.claimed), None)
      wants_nothing = options is None or options == StartOptions()
      if spare is not None and wants_nothing:
        if spare.attach(outbox, resumed=False):
          return spare
        spare = None
      claimed = sum(s.claimed and not s.ending for s in self._sessions)
      most = self.capacity.sessions
      # One that ends has its processes for some seconds more.
      crowded = len(self._sessions) >= most + _ENDING
      if self._closing or claimed >= most or crowded:
        raise Full
      session = self._new_session(options)
      # Known before anything can go wrong: who is not known is never ended.
      self._sessions.append(session)
      try:
        session.attach(outbox, resumed=False)
      except BaseException:
        session.stop("failed")
        raise
      if spare is not None:
        # It was for somebody who asks for nothing.
        spare.stop("closing")
      return session

  def _new_session(self, options: StartOptions | None = None) -> PlayedSession:
    return PlayedSession(
      self._settings, self._names, options, measured=self.capacity.measured
    )

  def _found(self, key: str | None) -> PlayedSession | None:
    if key is None:
      return None
    wanted = key.encode()
    for session in self._sessions:
      if session.claimed and hmac.compare_digest(session.key.encode(), wanted):
        return session
    return None

  @property
  def playing(self) -> int:
    """How many sessions have a client, or wait for it."""
    with self._lock:
      return sum(s.claimed and not s.ending for s in self._sessions)

  def close(self) -> None:
    """Ends all of them, and waits until their takes are saved."""
    with self._lock:
      self._closing = True
      sessions = list(self._sessions)
    for session in sessions:
      session.stop("closing")
    for session in sessions:
      session.join(CLOSE_S)
