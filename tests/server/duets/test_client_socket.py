"""Sessions over the socket, with a tiny model that plays at random."""

import contextlib
import json
import struct
import time

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from magenta_midi.midi.score_files import read_score
from magenta_midi.server.duets import client_socket

RECORD = struct.Struct("<dB3s")
ON, OFF, PEDAL = b"\x90\x3c\x50", b"\x80\x3c\x40", b"\xb0\x40\x7f"


class Client:
  """A client that notes down all that comes."""

  def __init__(self, found, hello=None, **options):
    self.url = found.address.split("?")[0].replace("http", "ws")
    self._connection = connect(f"{self.url}api/socket", **options)
    self.socket = self._connection.__enter__()
    self.messages, self.notes = [], []
    self.code = None
    self.send("hello", **({"version": 1} if hello is None else hello))

  def close(self):
    self._connection.__exit__(None, None, None)

  def send(self, type, **fields):
    self.socket.send(json.dumps({"type": type, **fields}))

  def play(self, *datas, time_s=float("nan")):
    records = b"".join(RECORD.pack(time_s, 3, data) for data in datas)
    self.socket.send(struct.pack("<BBH", 1, 0, len(datas)) + records)

  def read(self, seconds):
    """Takes one message; None: none came, or the socket is closed."""
    try:
      found = self.socket.recv(seconds)
    except TimeoutError:
      return None
    except ConnectionClosed as error:
      self.code = error.rcvd.code if error.rcvd else 1006
      return None
    if isinstance(found, bytes):
      for time_s, length, data in RECORD.iter_unpack(found[4:]):
        self.notes.append((found[1], time_s, data[:length]))
    else:
      found = json.loads(found)
      self.messages.append(found)
    return found

  def wait(self, wanted, seconds=90):
    """Reads until a condition holds; returns what made it hold."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and self.code is None:
      if (found := self.read(0.5)) is not None and wanted(found):
        return found
    raise AssertionError(f"it did not come; the code is {self.code}")

  def of(self, type, seconds=90, **fields):
    return self.wait(
      lambda m: (
        isinstance(m, dict)
        and m["type"] == type
        and all(m.get(name) == value for name, value in fields.items())
      ),
      seconds,
    )

  def ready(self):
    return self.of("status", phase="ready", seconds=300)

  def closed(self, seconds=60):
    until = time.monotonic() + seconds
    while self.code is None and time.monotonic() < until:
      self.read(0.5)
    return self.code

  def model_notes(self):
    return [data for who, _, data in self.notes if who == 1]


@pytest.fixture
def open_client():
  with contextlib.ExitStack() as stack:

    def make(found, hello=None, **options):
      client = Client(found, hello, **options)
      stack.callback(client.close)
      return client

    yield make


@pytest.fixture
def playing(server, tiny_checkpoint):
  def start(**settings):
    return server(checkpoint=str(tiny_checkpoint), **settings)

  return start


def test_both_hands_of_a_session(playing, open_client, phrase, tmp_path):
  """One session from its first key to its take."""
  found = playing(phrases={"phrase": phrase})
  client = open_client(found)
  welcome = client.of("welcome")
  assert welcome["version"] == 1 and not welcome["resumed"]
  assert client.ready()["take"]
  client.send("ping", t=5.5)
  pong = client.of("pong")
  assert pong["t"] == 5.5 and pong["now_s"] > 0

  # A key comes back as the engine took it, at the time that was given.
  client.play(ON, time_s=pong["now_s"])
  client.wait(lambda m: bool(client.notes))
  who, time_s, data = client.notes[0]
  assert (who, data) == (0, ON)
  assert pong["now_s"] - 1e-6 <= time_s <= pong["now_s"] + 2
  client.play(OFF)

  # Controls: changed, refused, and found in the state that is told.
  client.send("change", name="mode", value="simultaneous")
  assert client.of("controls")["controls"]["mode"] == "simultaneous"
  client.of("state", mode="simultaneous")
  client.send("change", name="density", value=2)
  assert client.of("controls")["controls"]["density"] == 2.0
  for name, value in (
    ("density", 99),
    ("nothing", 1),
    ("register", [60, 61]),
    ("prompt", ["/etc/passwd.mid", 1]),
    ("adapters", ["x"]),
    ("prompts", [[1, 2, 3]]),
  ):
    client.send("change", name=name, value=value)
    assert client.of("error")["text"]

  # Music is played in, and the model answers while it is.
  client.send("play", phrase="phrase")
  assert client.of("playing", playing=True)["seconds"] == pytest.approx(
    3.55, abs=0.02
  )
  client.wait(lambda m: any(d[0] >> 4 == 9 for d in client.model_notes()))
  client.of("playing", playing=False)
  client.wait(lambda m: sum(who == 0 for who, *_ in client.notes) >= 26)
  state = client.of("state")
  assert {"plan", "turn", "chord", "key", "beat", "chart"} <= set(state)
  figures = client.of("figures")
  assert figures["notes_player"] == 13 and figures["compiles"] == 0

  # A chart and a metronome need another engine; the old take is saved.
  client.send("start", tempo=120, meter="3/4", name="second")
  restarted = client.of("restarted")
  assert restarted["meter"] == "3/4" and restarted["start"]["tempo"] == 120
  assert_all_ended(client)
  client.notes.clear()
  client.ready()
  client.send("change", name="chords", value="| C | F | G7 | C |")
  beat = client.wait(
    lambda m: isinstance(m, dict) and m["type"] == "state" and m["chart"]
  )
  assert beat["beat"]["bpm"] == 120 and beat["beat"]["beats_per_bar"] == 3
  client.play(ON)
  client.wait(lambda m: any(who == 0 for who, *_ in client.notes))
  client.send("bye")
  ended = client.of("ended")
  assert ended["reason"] == "bye" and "second" in ended["take"]
  assert client.closed() == 1000
  assert_all_ended(client)

  takes = httpx.get(f"{found.address}api/takes").json()["takes"]
  assert {take["state"] for take in takes} == {"done"} and len(takes) == 2
  first = takes[1]
  assert first["notes_player"] == 13 and first["notes_model"] > 0
  score = read_score(tmp_path / "takes" / first["id"] / "session.mid")
  assert len(score) == first["notes_player"] + first["notes_model"]


def assert_all_ended(client):
  """Every note-on of the model was followed by its note-off."""
  down = set()
  for data in client.model_notes():
    if data[0] >> 4 == 9 and data[2]:
      down.add(data[1])
    elif data[0] >> 4 in (8, 9):
      down.discard(data[1])
  assert not down


def test_a_client_comes_back_to_its_session(playing, open_client):
  found = playing(sessions=1)
  first = open_client(found)
  key = first.of("welcome")["key"]
  first.ready()
  first.play(ON, PEDAL)
  first.wait(lambda m: len(first.notes) == 2)
  first.close()

  # Its place is kept: another client is told that it is full.
  other = open_client(found)
  assert other.of("full") == {"type": "full", "sessions": 1}
  assert other.closed() == 4503

  second = open_client(found, {"version": 1, "key": key})
  welcome = second.of("welcome")
  assert welcome["resumed"] and welcome["phase"] == "ready"
  assert welcome["now_s"] > 0
  # The keys of the one who was gone came up.
  time.sleep(0.5)
  second.play(ON)
  second.wait(lambda m: bool(second.notes))

  # Whoever has the key takes over; what the other held comes up.
  third = open_client(found, {"version": 1, "key": key})
  assert third.of("welcome")["resumed"]
  assert second.closed() == 4409
  third.wait(lambda m: any(data[:2] == OFF[:2] for *_, data in third.notes))
  third.send("bye")
  assert third.of("ended")["take"]
  (take,) = httpx.get(f"{found.address}api/takes").json()["takes"]
  assert take["notes_player"] == 2


def test_a_session_that_nobody_comes_back_to_ends(
  playing, open_client, tmp_path
):
  found = playing(sessions=1, lost_s=0.5)
  client = open_client(found)
  client.ready()
  client.play(ON)
  client.wait(lambda m: bool(client.notes))
  client.close()
  until = time.monotonic() + 60
  while time.monotonic() < until and not list(tmp_path.glob("takes/*/*.mid")):
    time.sleep(0.2)
  (take,) = httpx.get(f"{found.address}api/takes").json()["takes"]
  assert take["notes_player"] == 1 and take["state"] == "done"
  assert open_client(found).of("welcome")["resumed"] is False


def test_an_idle_session_ends_and_an_empty_take_is_not_kept(
  playing, open_client
):
  found = playing(idle_s=1.0)
  client = open_client(found)
  ended = client.of("ended")
  assert (ended["reason"], ended["take"]) == ("idle", None)
  assert client.closed() == 1000
  assert httpx.get(f"{found.address}api/takes").json() == {"takes": []}


def test_the_server_says_goodbye(playing, open_client):
  found = playing()
  client = open_client(found)
  client.ready()
  client.play(ON)
  client.wait(lambda m: bool(client.notes))
  found.stop()
  ended = client.of("ended")
  assert ended["reason"] == "closing" and ended["take"]


@pytest.mark.parametrize(
  "hello", [{"version": 2}, {}, {"version": 1, "start": {"meter": "x"}}]
)
def test_a_wrong_hello_is_answered_and_closed(server, open_client, hello):
  client = open_client(server(), hello or {"x": 1})
  assert client.of("error")["text"]
  assert client.closed() == 4400


def test_who_says_nothing_is_not_waited_for(server):
  found = server(hello_s=0.3)
  url = found.address.replace("http", "ws") + "api/socket"
  with connect(url) as socket:
    assert json.loads(socket.recv(30))["type"] == "error"
    with pytest.raises(ConnectionClosed) as raised:
      socket.recv(30)
  assert raised.value.rcvd.code == 4400


@pytest.mark.parametrize("kind", ["MESSAGES", "NOTES"])
def test_a_flood_is_cut_off(playing, open_client, monkeypatch, kind):
  monkeypatch.setattr(client_socket, f"{kind}_A_SECOND", 1)
  monkeypatch.setattr(client_socket, f"{kind}_AT_ONCE", 20)
  client = open_client(playing())
  client.of("welcome")
  with contextlib.suppress(ConnectionClosed):
    for _ in range(60):
      if kind == "NOTES":
        client.play(ON)
      else:
        client.send("ping", t=0)
  assert client.closed() == 4429


def test_odd_messages_are_answered_and_the_session_goes_on(
  playing, open_client
):
  client = open_client(playing())
  client.of("welcome")
  for text in ("", "{", "[]", '{"type": "quit"}', '{"type": "hello"}'):
    client.socket.send(text)
    assert client.of("error")["text"]
  client.socket.send(b"\x02\x00\x00\x00")
  assert "frame" in client.of("error")["text"]
  for wanted in (
    {"phrase": "../x"},
    {"take": ".."},
    {"upload": "x"},
    {},
    {"phrase": "a", "take": "b"},
  ):
    client.send("play", **wanted)
    assert client.of("error")["text"]
  client.ready()
  client.send("ping", t=1)
  assert client.of("pong")
  client.socket.send("x" * 100_000)
  assert client.closed() == 1009
