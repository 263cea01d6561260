"""Settings of the server."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from magenta_midi.limits import AMOUNT, COUNT, POSITIVE, SEED, Bounds
from magenta_midi.live.protocol.controls import Controls
from magenta_midi.live.recording.recorder import sessions_folder
from magenta_midi.settings import check_bounds

__all__ = ["LOCAL_HOSTS", "ServerSettings"]

# Names of this machine for itself.
LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
_TCP_PORT = Bounds(0, 65535, "TCP port; 0: any free one", whole=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServerSettings:
  """All that a server is started with.

  Attributes:
    host: Address that it listens on.
    port: Likewise; 0: any free one.
    token: What a visitor must know; None: nothing, on this machine alone.
    names: Other names under which it is reached.
    sessions: Most sessions at once; None: as many as the machine can play.
    checkpoint: A folder; None: the embedded one.
    controls: Of a session at its start.
    seed: Of the model's draws.
    takes: Folder of the takes; None: the folder of the sessions.
    phrases: Bundled phrases by name.
    idle_s: After so long without input a session ends.
    lost_s: So long a session waits for a client whose socket is gone.
    spare_s: So long the session that is started with the server waits for its
      first player; 0: none is.
    hello_s: A client's first message must come within that time.
  """

  host: str = "127.0.0.1"
  port: int = 8765
  token: str | None = None
  names: tuple[str, ...] = ()
  sessions: int | None = None
  checkpoint: str | None = None
  controls: Controls = dataclasses.field(default_factory=Controls)
  seed: int = 0
  takes: Path | None = None
  phrases: Mapping[str, Path] = dataclasses.field(default_factory=dict)
  idle_s: float | int = 600.0
  lost_s: float | int = 30.0
  spare_s: float | int = 120.0
  hello_s: float | int = 5.0

  def __post_init__(self) -> None:
    """Refuses numbers that no server can have, and open doors."""
    check_bounds(self, _TCP_PORT, "port")
    check_bounds(self, COUNT, "sessions")
    check_bounds(self, SEED, "seed")
    check_bounds(self, POSITIVE, "idle_s", "lost_s", "hello_s")
    check_bounds(self, AMOUNT, "spare_s")
    if self.host not in LOCAL_HOSTS and not self.token:
      raise ValueError(
        f"a server on {self.host} must have a token: others can reach it."
      )

  @property
  def takes_folder(self) -> Path:
    """Folder of the takes."""
    return self.takes or sessions_folder()
