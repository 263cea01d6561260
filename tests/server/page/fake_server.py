"""A server for tests of the page alone: answers in the browser's own process.

It knows the protocol of docs/guides/server.md from the other end: it keeps
what the page sends, and sends what a test wants.
"""

from __future__ import annotations

import io
import json
import mimetypes
import struct
import time
import wave
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
  from playwright.sync_api import Page, Route, WebSocketRoute

PAGE = Path(__file__).resolve().parents[3] / "magenta_midi/server/page"
ADDRESS = "http://localhost:8765"
SAMPLE_RATE = 16_000
PIANO = (36, 48, 60, 72, 84)

CSP = (
  "default-src 'self'; img-src 'self' blob: data:; connect-src 'self'"
  " ws://localhost:8765; base-uri 'none'; form-action 'none';"
  " frame-ancestors 'none'"
)

TABLE: list[dict[str, Any]] = [
  {
    "name": "mode",
    "kind": "choice",
    "choices": ["call-response", "simultaneous", "listen"],
    "default": "call-response",
  },
  *(
    {
      "name": name,
      "kind": "number",
      "low": low,
      "high": high,
      "top": top,
      "step": step,
      "whole": whole,
      "unit": "",
      "default": default,
    }
    for name, low, high, top, step, whole, default in (
      ("guidance", 0, 10, 10, 0.25, False, 1.0),
      ("temperature", 0, 4, 2, 0.05, False, 1.0),
      ("density", 0.25, 4, 4, 1.19, False, 1.0),
      ("loudness", -30, 30, 30, 2, True, 0),
      ("style_s", 0, 30, 30, 1, False, 2.0),
      ("mix_ratio", 0, 1, 1, 0.05, False, 0.5),
      ("tightness", 0, 4, 4, 0.25, False, 1.0),
      ("chord_weight", 0, 4, 4, 0.25, False, 0.75),
      ("tempo", 20, 400, 240, 1, False, 0.0),
    )
  ),
  {
    "name": "register",
    "kind": "register",
    "low": 21,
    "high": 108,
    "least": 12,
    "default": [21, 108],
  },
  {
    "name": "injection",
    "kind": "choice",
    "choices": ["both", "interleave", "harmonic"],
    "default": "both",
  },
  *(
    {"name": name, "kind": "toggle", "default": False}
    for name in ("solo", "release_clashes", "muted", "free")
  ),
  {
    "name": "groove",
    "kind": "groove",
    "choices": ["auto", "straight", "swing", "triplet", "rubato"],
    "default": "auto",
  },
  {"name": "chords", "kind": "text", "default": ""},
  {
    "name": "prompts",
    "kind": "prompts",
    "most": 8,
    "bytes": 200,
    "weight_high": 10,
    "default": [],
  },
  {"name": "adapter", "kind": "adapter", "default": 1},
]


def sample(key: int) -> bytes:
  """A decaying tone, as a WAV file."""
  t = np.arange(SAMPLE_RATE) / SAMPLE_RATE
  hertz = 440 * 2 ** ((key - 69) / 12)
  tone = np.sin(2 * np.pi * hertz * t) * np.exp(-3 * t) * 12_000
  file = io.BytesIO()
  with wave.open(file, "wb") as out:
    out.setnchannels(1)
    out.setsampwidth(2)
    out.setframerate(SAMPLE_RATE)
    out.writeframes(tone.astype("<i2").tobytes())
  return file.getvalue()


def note_frame(part: int, records: list[tuple[float, bytes]]) -> bytes:
  """A binary frame of notes: times and MIDI messages."""
  frame = struct.pack("<BBH", 1, part, len(records))
  for at, data in records:
    frame += struct.pack("<dB3s", at, len(data), data.ljust(3, b"\0"))
  return frame


# What the list of takes says of one.
TAKE = {
  "id": "2026-11-29_12-00-00",
  "state": "done",
  "started": "2026-11-29T12:00:00",
  "seconds": 12.0,
  "notes_player": 20,
  "notes_model": 30,
  "rating": None,
  "keep": False,
  "adapters": [],
}


class FakeServer:
  """Answers one page.

  Attributes:
    sent: JSON messages of the page.
    notes: MIDI messages of the page, each with its time.
    requests: Method, path and body of requests that change something.
    answers: (method, path) -> status and JSON, in place of the usual ones.
    full: Whether nobody else may enter.
  """

  def __init__(self, page: Page, **welcome: Any):
    self.page = page
    self.sent: list[dict[str, Any]] = []
    self.notes: list[tuple[float, bytes]] = []
    self.requests: list[tuple[str, str, str | None]] = []
    self.answers: dict[tuple[str, str], tuple[int, Any]] = {}
    self.socket: WebSocketRoute | None = None
    self.full = False
    self.samples = 0
    self.welcome = welcome
    self.controls = {one["name"]: one["default"] for one in TABLE}
    self.controls["adapters"] = []
    self.started = time.monotonic()
    page.route(f"{ADDRESS}/**", self._answer)
    page.route_web_socket(f"{ADDRESS.replace('http', 'ws')}/**", self._open)

  def open(self) -> None:
    """Loads the page; the session is ready."""
    self.page.goto(ADDRESS + "/")
    self.page.wait_for_selector("#modes input", state="attached")
    self.wait_for("hello")
    self._wait(lambda: self.samples == len(PIANO))
    self.page.wait_for_timeout(300)  # until they are decoded

  def wait_for(self, kind: str, **fields: Any) -> dict[str, Any]:
    """The first message of the page of a type with these fields."""
    wanted = {"type": kind, **fields}
    self._wait(lambda: any(wanted.items() <= m.items() for m in self.sent))
    return next(m for m in self.sent if wanted.items() <= m.items())

  def wait_for_notes(self, *data: bytes) -> None:
    """Waits until the page has sent these messages, in this order."""
    self._wait(lambda: [note for _, note in self.notes] == list(data))

  def wait_for_request(self, method: str, path: str) -> str | None:
    """Body of a request of the page."""
    found = lambda: [b for m, p, b in self.requests if (m, p) == (method, path)]
    self._wait(lambda: bool(found()))
    return found()[0]

  def _wait(self, is_so: Callable[[], bool]) -> None:
    for _ in range(200):
      if is_so():
        return
      # Lets the browser's messages in.
      self.page.wait_for_timeout(50)
    raise AssertionError((self.sent, self.notes, self.requests))

  # The socket.

  @property
  def now_s(self) -> float:
    return time.monotonic() - self.started

  def send(self, kind: str, **fields: Any) -> None:
    assert self.socket is not None
    self.socket.send(json.dumps({"type": kind, **fields}))

  def send_notes(self, part: int, *records: tuple[float, bytes]) -> None:
    assert self.socket is not None
    self.socket.send(note_frame(part, list(records)))

  def sound(self, part: int, key: int) -> None:
    """Sends a note-on until it is heard: the samples may still load."""
    for _ in range(30):
      self.send_notes(part, (self.now_s, bytes((0x90, key, 100))))
      for _ in range(10):
        if self.page.evaluate("() => window.heard?.() > 1e-3"):
          return
        self.page.wait_for_timeout(50)
    raise AssertionError("nothing sounds")

  def send_state(self, **fields: Any) -> None:
    state = {
      "now_s": self.now_s,
      "mode": self.controls["mode"],
      "turn": "player",
      "busy": 0.2,
      "horizon_ms": 60,
      "plan_age_ms": 100,
      "plan": [],
      "chord": "",
      "key": "",
      "pedal_player": False,
      "pedal_model": False,
      "beat": {"bpm": None, "beats_per_bar": 4, "start_s": 0, "source": ""},
      "chart": None,
    }
    self.send("state", **{**state, **fields})

  def lose(self) -> None:
    assert self.socket is not None
    self.socket.close(code=1011, reason="lost")

  def _open(self, socket: WebSocketRoute) -> None:
    self.socket = socket
    socket.on_message(self._receive)

  def _receive(self, message: str | bytes) -> None:
    if isinstance(message, bytes):
      _, part, count = struct.unpack_from("<BBH", message)
      assert part == 0
      for i in range(count):
        at, size, data = struct.unpack_from("<dB3s", message, 4 + 12 * i)
        self.notes.append((at, data[:size]))
        # As the real one does: the player's notes come back.
        self.send_notes(0, (self.now_s if at != at else at, data[:size]))
      return
    fields = json.loads(message)
    if fields["type"] == "ping":
      self.send("pong", t=fields["t"], now_s=self.now_s)
      return
    self.sent.append(fields)
    if fields["type"] == "hello":
      self._hello(fields)
    if fields["type"] == "change":
      self.controls[fields["name"]] = fields["value"]
      self.send("controls", controls=self.controls)

  def _hello(self, hello: dict[str, Any]) -> None:
    assert self.socket is not None
    if self.full:
      self.send("full", sessions=2)
      self.socket.close(code=4503, reason="full")
      return
    self.send(
      "welcome",
      **{
        "version": 1,
        "session": "s1",
        "key": "secret",
        "resumed": "key" in hello,
        "now_s": self.now_s,
        "phase": "ready",
        "controls": self.controls,
        "start": {},
        "meter": "4/4",
        **self.welcome,
      },
    )

  # Requests.

  def _answer(self, route: Route) -> None:
    request = route.request
    path = request.url.removeprefix(ADDRESS)
    if request.method != "GET":
      self.requests.append((request.method, path, request.post_data))
    if (request.method, path) in self.answers:
      status, body = self.answers[request.method, path]
      if isinstance(body, bytes):
        route.fulfill(status=status, body=body)
      else:
        route.fulfill(status=status, json=body)
    elif path.startswith("/api/piano/"):
      self.samples += 1
      route.fulfill(body=sample(int(path.split("/")[-1].split(".")[0])))
    elif path.startswith("/api/"):
      route.fulfill(json=self._table(path))
    else:
      self._file(route, path)

  def _file(self, route: Route, path: str) -> None:
    name = "index.html" if path == "/" else path.removeprefix("/")
    file = PAGE / name
    if not file.is_file():
      route.fulfill(status=404)
      return
    kind = mimetypes.guess_type(file.name)[0] or "text/plain"
    route.fulfill(
      body=file.read_bytes(),
      headers={
        "Content-Type": f"{kind}; charset=utf-8",
        "Content-Security-Policy": CSP,
      },
    )

  def _table(self, path: str) -> Any:
    match path:
      case "/api/info":
        return {"version": "0", "phrases": ["prelude"], "style": True}
      case "/api/controls":
        return {"controls": TABLE}
      case "/api/piano":
        return {
          "ready": True,
          "rate": SAMPLE_RATE,
          "velocity": 90,
          "samples": [
            {"key": key, "url": f"/api/piano/{key}.flac", "seconds": 1}
            for key in PIANO
          ],
        }
      case "/api/prompts":
        return {"players": ["@me"], "examples": ["slow, sparse ballad"]}
      case "/api/uploads":
        return {"uploads": []}
      case "/api/adapters":
        return {"adapters": [], "choices": []}
      case "/api/takes":
        return {"takes": []}
      case "/api/finetune":
        return {"state": "none"}
    return {}
