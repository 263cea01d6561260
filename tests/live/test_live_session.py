"""`LiveSession`: events, controls, recording and end, without processes."""

import errno
import json
import os
import time

import msgspec
import pytest

from magenta_midi.live import session as session_module
from magenta_midi.live.io.control_map import Binding, ControlMap
from magenta_midi.live.processes.host import Host, HostError, News
from magenta_midi.live.protocol.controls import Action, Change, Controls
from magenta_midi.live.protocol.events import Message
from magenta_midi.live.protocol.messages import (
  BeatState,
  ModelProblem,
  ModelReady,
  ModelState,
  PlanReceived,
  PortChanged,
  PortsReady,
  PortsState,
)
from magenta_midi.live.recording import journal
from magenta_midi.live.session import LiveSession
from magenta_midi.live.session_events import (
  ControlsChanged,
  MessageReceived,
  MessageSent,
  Notice,
)
from magenta_midi.live.session_settings import (
  PortSettings,
  RecordingSettings,
  SessionSettings,
)
from magenta_midi.live.timing.bars import Bars
from magenta_midi.midi.io.messages import control_change, note_off, note_on
from magenta_midi.midi.score import Score
from magenta_midi.midi.session_facts import read_facts

SECOND = 1_000_000_000
SILENT = PortSettings(no_input=True, no_output=True)


def news(*reports, received=(), sent=(), control=(), comp=()):
  model = [r for r in reports if type(r).__name__.startswith("Model")]
  ports = [r for r in reports if r not in model]
  return News(
    list(received), list(sent), list(control), model, ports, list(comp)
  )


class FakeHost(Host):
  """A host without processes: what it polls is laid in `waiting`."""

  # In the place of properties.
  model_pid = ports_pid = 7

  def __init__(self, ports, model):
    self.ports, self.model = ports, model
    self.waiting: list[News | Exception] = []
    self.sent, self.bars, self.timed, self.time_ns = [], [], [], 0
    self.comps = []
    self.model_ready = self.ports_ready = self.closed = False
    self.restarts = 0
    self.last_news = None

  def __enter__(self):
    return self

  def now_ns(self):
    return self.time_ns

  def poll(self):
    found = self.waiting.pop(0) if self.waiting else news()
    if isinstance(found, Exception):
      raise found
    for report in (*found.model, *found.ports):
      self.model_ready |= isinstance(report, ModelReady)
      self.ports_ready |= isinstance(report, PortsReady)
    return found

  def send(self, event):
    self.sent.append(event)

  def set_bars(self, bars, *, follows=False):
    self.bars.append((bars, follows))

  def time_ports(self, bars):
    self.timed.append(bars)

  def set_comp(self, chords, *, on, loudness):
    self.comps.append((chords, on, loudness))

  def close(self):
    self.closed = True


@pytest.fixture
def hosts(monkeypatch):
  made = []

  def make(ports, model):
    made.append(FakeHost(ports, model))
    return made[-1]

  monkeypatch.setattr(session_module, "Host", make)
  return made


def a_state(now_ns, controls):
  return ModelState(
    now_ns=now_ns,
    mode=controls.mode,
    replying=False,
    busy=0.0,
    horizon_ms=12.0,
    plan_age_ms=None,
    chord="",
    key="",
    plan=[],
    compiles=0,
    switches=0,
    slowest_switch_ms=None,
    controls=controls,
  )


READY = (
  ModelReady(checkpoint="embedded", sha256="ab"),
  PortsReady(inputs=[], output=""),
)


@pytest.mark.parametrize(("wall_s", "said"), [(0.3, 0), (1.84, 1)])
def test_a_machine_that_is_too_slow_is_named(hosts, wall_s, said):
  events = []
  settings = SessionSettings(ports=SILENT)
  ready = msgspec.structs.replace(READY[0], wall_s=wall_s)
  with LiveSession(settings, on_event=events.append) as session:
    hosts[0].waiting = [news(ready)]
    session.poll()
  notices = [event.text for event in events if isinstance(event, Notice)]
  assert len(notices) == said
  assert all("takes 1.8 s for a second" in text for text in notices)


def test_a_client_receives_typed_events(hosts):
  events = []
  settings = SessionSettings(ports=SILENT)
  struck, lifted = (
    Message(SECOND, note_on(1, 60, 70)),
    Message(2 * SECOND, note_off(1, 60)),
  )
  answer = Message(SECOND + 1, note_on(2, 64, 60))
  plan = PlanReceived(compute_ns=2_000_000, now_ns=SECOND, why="react")
  with LiveSession(settings, on_event=events.append) as session:
    (host,) = hosts
    host.waiting = [
      news(*READY),
      news(plan, received=[struck, lifted], sent=[answer]),
      news(PortChanged(port="keys", state="lost", role="player")),
    ]
    assert session.ready_ns is None
    for _ in range(3):
      session.poll()
    assert session.ready and session.ready_ns == 0
  assert host.closed
  assert events == [
    *READY,
    plan,
    MessageReceived(message=struck),
    MessageReceived(message=lifted),
    MessageSent(message=answer),
    Notice(text="keys is gone; waiting for it", is_warning=True),
    PortChanged(port="keys", state="lost", role="player"),
  ]
  report = session.report
  assert (report["notes_in"], report["notes_out"]) == (1, 1)
  assert report["compute_ms"]["p50"] == 2.0
  assert report["stuck_notes"] == 1  # the model's, never lifted
  assert report["session"] is None and report["problem"] is None
  # A web page gets each as one JSON object with its code.
  plain = [json.loads(msgspec.json.encode(event)) for event in events]
  assert {each["type"] for each in plain} >= {"plan_received", "message_sent"}


class Source:
  def __init__(self, *events):
    self.events = list(events)

  def poll(self):
    events, self.events = self.events, []
    return events


def test_sources_move_controls_once_it_is_ready(hosts):
  events = []
  source = Source(
    *(Change("density", 2.0), None, Change("density", 40.0)),
    *(Action.HAND_OVER, Change("adapter_step", 1), Action.QUIT),
  )
  controls = Controls(adapters=("a", "b", ""))
  settings = SessionSettings(ports=SILENT, controls=controls)
  with LiveSession(
    settings, on_event=events.append, sources=[source]
  ) as session:
    (host,) = hosts
    session.poll()
    assert host.sent == [] and session.running
    host.waiting = [news(*READY)]
    session.poll()
    assert host.sent == [
      *(Change("density", 2.0), Action.HAND_OVER, Change("adapter", 2)),
    ]
    assert not session.running
    assert session.controls == controls._replace(density=2.0, adapter=2)
    notices = [event for event in events if isinstance(event, Notice)]
    assert [notice.is_warning for notice in notices] == [True, False]
    assert "got 40." in notices[0].text and notices[1].text == "plays with b"
    with pytest.raises(ValueError, match="cannot change while playing"):
      session.change("adapters", ())


def test_what_the_model_refused_is_refused_here_too(hosts):
  events = []
  settings = SessionSettings(ports=SILENT)
  with LiveSession(settings, on_event=events.append) as session:
    (host,) = hosts
    host.time_ns = SECOND
    session.change("density", 2.0)
    # A report from before the change does not undo it.
    host.waiting = [news(a_state(SECOND - 1, Controls()))]
    session.poll()
    assert session.controls.density == 2.0
    host.waiting = [
      news(ModelProblem(problem="no"), a_state(2 * SECOND, Controls()))
    ]
    session.poll()
    assert session.controls == Controls()
  assert Notice(text="no", is_warning=True) in events
  changes = [e for e in events if isinstance(e, ControlsChanged)]
  assert [e.controls.density for e in changes] == [2.0, 1.0]


def test_a_full_disk_is_said_once_for_both_files(hosts, tmp_path, monkeypatch):
  def full(fd, data):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  events = []
  settings = SessionSettings(
    ports=SILENT, recording=RecordingSettings(sessions=tmp_path)
  )
  with LiveSession(settings, on_event=events.append) as session:
    (host,) = hosts
    monkeypatch.setattr(journal, "write_all", full)
    until = time.monotonic() + 10
    while not events and time.monotonic() < until:
      host.time_ns += SECOND
      session.poll()
      time.sleep(0.005)
    host.waiting = [
      news(ModelProblem(problem=f"{journal.STOPPED} for the model")),
      news(ModelProblem(problem="another")),
    ]
    for _ in range(3):
      session.poll()
    assert session.running
    monkeypatch.undo()
  notices = [event.text for event in events if isinstance(event, Notice)]
  assert [text[:17] for text in notices] == ["recording stopped", "another"]
  assert "No space left" in notices[0]


def test_a_controller_moves_what_it_is_bound_to(hosts):
  bound = ControlMap((Binding(1, 20, "solo"),))
  settings = SessionSettings(
    ports=SILENT, controls=Controls(adapters=("a", ""))
  )
  with LiveSession(settings, control_map=bound) as session:
    (host,) = hosts
    host.waiting = [
      news(
        *READY,
        received=[Message(1, control_change(1, 20, 127))],
        control=[Message(2, b"\xc0\x01")],
      )
    ]
    session.poll()
  assert host.sent == [Change("solo", True), Change("adapter", 2)]


def test_what_was_played_is_recorded(hosts, tmp_path):
  recording = RecordingSettings(
    sessions=tmp_path, name="blues", facts={"mode": "listen"}
  )
  settings = SessionSettings(ports=SILENT, recording=recording, tempo=120.0)
  with LiveSession(settings) as session:
    (host,) = hosts
    folder = session.folder
    assert host.model.journal == str(folder / "trace.jsonl")
    host.waiting = [
      news(*READY, received=[Message(1, note_on(1, 60, 70))]),
      news(received=[Message(SECOND, note_off(1, 60))]),
    ]
    session.poll()
    session.poll()
    session.send(Action.BOOKMARK)
  # A bar of count-in, one second after it was ready.
  assert host.bars == [(Bars(120, 4, 3 * SECOND), False)]
  assert host.timed == [Bars(120, 4, 3 * SECOND)]
  assert folder.name.endswith("blues")
  facts = read_facts(folder)
  assert facts["notes_player"] == 1 and facts["report"]["notes_in"] == 1
  assert facts["settings"]["mode"] == "listen"
  assert facts["checkpoint"] == {"path": "embedded", "sha256": "ab"}
  assert session.report["session"] == str(folder)


def a_beat(now_ns, bars, source="player"):
  beat = BeatState(
    bpm=bars.bpm,
    beats_per_bar=bars.beats_per_bar,
    start_ns=bars.start_ns,
    source=source,
    confidence=0.8,
  )
  state = a_state(now_ns, Controls())
  return msgspec.structs.replace(state, beat=beat)


@pytest.mark.parametrize("clock_out", [True, False])
def test_the_clock_keeps_to_the_beat_that_the_model_follows(hosts, clock_out):
  ports = PortSettings(no_input=True, no_output=True, clock_out=clock_out)
  first, later = Bars(90.0, 4, SECOND), Bars(92.0, 4, SECOND)
  with LiveSession(SessionSettings(ports=ports)) as session:
    (host,) = hosts
    host.waiting = [
      news(*READY),
      news(a_state(SECOND, Controls())),
      *(news(a_beat(2 * SECOND, bars)) for bars in (first, first, later)),
    ]
    for _ in range(5):
      session.poll()
    assert session.beat.bpm == 92.0
  assert host.timed == ([first, later] if clock_out else [])


@pytest.mark.parametrize("tempo", [None, 120.0])
def test_taps_are_a_tempo_at_the_times_they_were_made(hosts, tempo):
  keys = ControlMap((Binding(1, 20, "tap"),))
  settings = SessionSettings(ports=SILENT, tempo=tempo)
  with LiveSession(settings, control_map=keys) as session:
    (host,) = hosts
    presses = [
      Message(number * SECOND // 2 + SECOND, control_change(1, 20, value))
      for number in range(3)
      for value in (127, 0)
    ]
    host.waiting = [news(*READY), news(control=presses)]
    session.poll()
    host.bars.clear()
    # However late they are looked at.
    host.time_ns = 9 * SECOND
    session.poll()
    assert [follows for _, follows in host.bars] == [tempo is None] * 2
    bars, _ = host.bars[-1]
    assert bars.bpm == pytest.approx(120)
    assert bars.start_ns == pytest.approx(SECOND, abs=10)
    assert session.controls.tempo == bars.bpm
    host.time_ns = 20 * SECOND
    session.send(Action.TAP)
    assert len(host.bars) == 2


def test_a_step_of_tempo_starts_from_the_players(hosts):
  with LiveSession(SessionSettings(ports=SILENT)) as session:
    (host,) = hosts
    host.waiting = [news(*READY), news(a_beat(1, Bars(87.6, 4, 0)))]
    session.poll()
    session.poll()
    session.send(Change("tempo_step", 1.0))
    assert session.controls.tempo == 89.0
    session.send(Change("tempo", 1000))
    session.send(Change("tempo", 0))
    assert session.controls.tempo == 0.0
  assert host.sent == [Change("tempo", 89.0), Change("tempo", 0)]


def test_nothing_is_left_of_a_session_that_never_began(hosts, tmp_path):
  recording = RecordingSettings(sessions=tmp_path)
  settings = SessionSettings(ports=SILENT, recording=recording)
  session = LiveSession(settings)
  with pytest.raises(HostError, match="no such model"), session:
    (host,) = hosts
    host.waiting = [HostError("no such model")]
    session.poll()
  assert host.closed
  assert session.report["problem"] == "no such model"
  assert session.report["session"] is None
  assert list(tmp_path.iterdir()) == []
  # Closing again changes nothing.
  assert session.close() is session.report


def test_lost_messages_are_reported_once(hosts):
  events = []
  with LiveSession(
    SessionSettings(ports=SILENT), on_event=events.append
  ) as session:
    (host,) = hosts
    lost = PortsState(
      late_ns=[2_000_000], clips={"rate": 1}, dropped=3, ticks=[]
    )
    host.waiting = [news(lost), news(lost)]
    session.poll()
    session.poll()
  assert len([e for e in events if isinstance(e, Notice)]) == 1
  assert session.report["messages_dropped"] == 3
  assert session.report["jitter_ms"]["p50"] == 2.0


def test_the_comp_is_told_what_it_plays_and_recorded(hosts, tmp_path):
  chords = "| 4/4 Dm7 | G7 |"
  controls = Controls(chords=chords, comp=True)
  settings = SessionSettings(
    ports=SILENT,
    controls=controls,
    recording=RecordingSettings(sessions=tmp_path),
  )
  struck = Message(SECOND, note_on(3, 38, 50))
  lifted = Message(2 * SECOND, note_off(3, 38))
  with LiveSession(settings) as session:
    (host,) = hosts
    host.waiting = [news(*READY)]
    session.poll()
    assert host.comps == [(chords, True, 0)]
    # Its bars are those of the player's own pulse, as the model reports it.
    beat = BeatState(bpm=90.0, start_ns=7, source="player")
    state = a_state(SECOND, controls)
    host.waiting = [
      news(msgspec.structs.replace(state, beat=beat), comp=[struck, lifted])
    ]
    session.poll()
    assert host.timed == [Bars(90.0, 4, 7)]
    # A beat that is lost leaves the chart without a place.
    host.waiting = [news(state)]
    session.poll()
    assert host.comps[-1] == (chords, False, 0)
    host.waiting = [news(msgspec.structs.replace(state, beat=beat))]
    session.poll()
    assert host.comps[-1] == (chords, True, 0)
    session.change("comp_loudness", -6)
    session.change("chords", "| C |")
    assert host.comps[-1][1:] == (True, -6)
    session.send(Action.PANIC)
    assert Action.PANIC in host.sent
    assert host.comps[-1][1] is False and not session.controls.comp
    session.send(Change("comp", True))
    assert host.comps[-1][1] is True
    folder = session.folder
  assert session.report["notes_out"] == session.report["notes_in"] == 0
  score = Score.from_file(folder / "session.mid")
  assert score.part_names == ("comp",)
  assert score.notes["key"].tolist() == [38]
