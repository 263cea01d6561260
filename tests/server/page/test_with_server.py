"""The page and `magenta-midi serve`, with a tiny model: nothing is made up."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from websockets.sync.client import connect

from magenta_midi.midi.score import Score
from magenta_midi.server.control_table import control_table
from tests.server.conftest import a_score

pytestmark = [pytest.mark.browser, pytest.mark.slow]

REPOSITORY = Path(__file__).resolve().parents[3]
GUIDE = REPOSITORY / "docs/guides/server.md"
READY_MS = 120_000
SOUNDS = "() => window.heard && window.heard() > 1e-3"
SILENT = "() => window.heard && window.heard() < 1e-4"
PHRASE = ("KeyZ", "KeyC", "KeyB", "KeyQ", "KeyB", "KeyC")


@pytest.fixture(scope="module")
def address(tiny_checkpoint, tmp_path_factory, browser):
  """Of a server for two, in a process of its own."""
  pytest.importorskip("uvicorn")
  home = tmp_path_factory.mktemp("home")
  with subprocess.Popen(
    [
      *(sys.executable, "-m", "magenta_midi.cli.main", "serve"),
      *("--port", "0", "--sessions", "2", "--checkpoint", tiny_checkpoint),
      *("--takes", home / "takes"),
    ],
    cwd=REPOSITORY,
    env={
      **os.environ,
      "XDG_DATA_HOME": str(home / "data"),
      "XDG_CONFIG_HOME": str(home / "config"),
    },
    stdout=subprocess.PIPE,
    text=True,
  ) as process:
    assert process.stdout is not None
    found = re.search(r"http://\S+", process.stdout.readline())
    assert found
    yield found[0]
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0


class Jam:
  """A page that is open and ready, and what its socket receives."""

  def __init__(self, page, address):
    self.page = page
    self.address = address
    self.received = []
    self.model_notes = 0
    page.on("websocket", lambda w: w.on("framereceived", self._receive))

  def open(self):
    self.page.goto(self.address)
    self.page.wait_for_selector("#modes input", state="attached")
    return self

  def wait_until_ready(self):
    self.page.wait_for_selector("#turn[data-who=player]", timeout=READY_MS)

  def wait(self, is_so, timeout_s=30):
    for _ in range(timeout_s * 20):
      if is_so():
        return
      self.page.wait_for_timeout(50)
    raise AssertionError(self.received[-20:])

  def play(self, gap_ms=180):
    for code in PHRASE:
      self.page.keyboard.down(code)
      self.page.wait_for_timeout(gap_ms)
      self.page.keyboard.up(code)

  def wait_until_it_can_sound(self):
    """The samples are made once, at the first start."""
    facts = f"{self.address}api/piano"
    self.wait(lambda: self.page.request.get(facts).json()["ready"], 120)
    self.page.wait_for_load_state("networkidle")

  @property
  def controls(self):
    found = [m for m in self.received if "controls" in m]
    return found[-1]["controls"]

  def _receive(self, frame):
    if isinstance(frame, bytes):
      if frame[1] == 1:
        self.model_notes += sum(
          frame[at + 9] >> 4 == 9 and frame[at + 11] > 0
          for at in range(4, len(frame), 12)
        )
    else:
      self.received.append(json.loads(frame))

  def leave(self):
    """Ends the session at once: its seat would be kept for 30 s."""
    keys = [m["key"] for m in self.received if m["type"] == "welcome"]
    self.page.close()
    with connect(self.address.replace("http", "ws") + "api/socket") as socket:
      socket.send(json.dumps({"type": "hello", "version": 1, "key": keys[-1]}))
      socket.send(json.dumps({"type": "bye"}))
      for message in socket:
        if isinstance(message, str) and json.loads(message)["type"] == "ended":
          break


@pytest.fixture
def jam(page, address):
  jam = Jam(page, address).open()
  yield jam
  jam.leave()


def test_the_first_visit_sounds_and_is_answered(jam, keep_screenshot):
  page = jam.page
  page.click("#demo")
  page.wait_for_function(SOUNDS, timeout=10_000)
  keep_screenshot(page, "real_demo")
  jam.wait(lambda: jam.model_notes > 0, 90)
  page.wait_for_selector(".key.model", state="attached")
  keep_screenshot(page, "real_reply")


def test_a_phrase_is_answered_in_turn_and_notes_together(jam):
  jam.wait_until_ready()
  jam.play()
  jam.wait(lambda: jam.model_notes > 0)
  jam.page.wait_for_selector("#turn[data-who=model]")
  jam.page.get_by_role("radio", name="Together").check()
  jam.wait(lambda: jam.controls["mode"] == "simultaneous")
  jam.model_notes = 0
  for _ in range(4):
    jam.play(120)
  jam.wait(lambda: jam.model_notes > 0)


def test_every_control_of_the_page_reaches_the_engine(jam):
  """Sliders, switches and choices: the server's table against its echo."""
  jam.wait_until_ready()
  page = jam.page
  moved = {}
  for tab in ("play", "style", "time"):
    page.click(f"#tab-{tab}")
    if tab == "play":
      page.click("summary:text('More')")
    for field in page.locator(f"#sheet-{tab} [data-control]").all():
      name = field.get_attribute("data-control")
      if name not in jam.controls and not name.startswith("register"):
        continue  # of the page alone: volumes, the count-in
      input = field.locator("input, select, textarea")
      if field.locator("select").count():
        input.select_option(index=1)
      elif input.get_attribute("type") == "checkbox":
        input.click()
      elif input.get_attribute("type") == "range":
        input.evaluate(
          """(input) => {
            const middle = (Number(input.min) + Number(input.max)) / 2;
            input.value = middle * 1.1 + Number(input.step);
            input.dispatchEvent(new Event("input", { bubbles: true }));
          }"""
        )
      else:
        continue
      moved[name] = True
      page.wait_for_timeout(120)
  page.fill("[data-control='chords'] textarea", "Dm7 | G7 | C | C")
  page.click("text=Use this chart")
  before = next(m for m in jam.received if m["type"] == "welcome")["controls"]
  # The others are tried elsewhere.
  names = {one["name"] for one in control_table()} - {
    "adapter",
    "prompts",
    "mode",
  }
  jam.wait(lambda: all(before[name] != jam.controls[name] for name in names))
  assert len(moved) > 14
  assert not [m for m in jam.received if m["type"] == "error"]


def test_a_muted_model_plays_nothing(jam):
  jam.wait_until_ready()
  jam.page.check("[data-control='muted'] input")
  jam.wait(lambda: jam.controls["muted"])
  jam.model_notes = 0
  jam.play()
  # The space bar belongs to the switch, which has the focus.
  jam.page.click("#hand-over")
  jam.page.wait_for_timeout(3000)
  assert jam.model_notes == 0


def test_a_take_is_saved_rated_played_and_downloaded(jam, tmp_path):
  page = jam.page
  jam.wait_until_ready()
  jam.play()
  page.click("#tab-takes")
  page.click("#save-take")
  identity = next(m["take"] for m in jam.received if m.get("phase") == "ready")
  card = page.locator(f".card[data-take='{identity}']:has(.stars)")
  card.wait_for(timeout=READY_MS)
  card.get_by_label("Rate 5 of 5").click()
  page.wait_for_selector(".stars button[aria-pressed=true]")
  jam.wait_until_it_can_sound()
  rated = page.request.get(f"{jam.address}api/takes/{identity}").json()
  assert rated["rating"] == 5
  with page.expect_download() as download:
    card.get_by_role("link", name="MIDI").click()
  download.value.save_as(tmp_path / "take.mid")
  notes = Score.from_file(tmp_path / "take.mid").notes
  keys = [48, 52, 55, 60, 55, 52]
  # The player's track is the first.
  assert [int(n["key"]) for n in notes if n["part"] == 0][:6] == keys
  card.get_by_role("button", name="Play").click()
  page.wait_for_function(SOUNDS)
  card.get_by_role("button", name="Stop").click()
  page.wait_for_function(SILENT)


def test_a_file_is_continued_and_generated_from(jam, tmp_path):
  page = jam.page
  jam.wait_until_ready()
  a_score().to_file(tmp_path / "mine.mid")
  page.click("#tab-takes")
  page.set_input_files("#continue input[type=file]", tmp_path / "mine.mid")
  page.wait_for_selector("#sheet-takes :text('mine.mid')")
  jam.wait_until_it_can_sound()
  page.click("#continue-this")
  jam.wait(lambda: any(m["type"] == "playing" for m in jam.received))
  page.wait_for_function(SOUNDS)
  page.locator("[data-control='generate_seconds'] input").fill("4")
  page.click("#generate")
  link = page.locator("a[href$='music.mid']")
  link.wait_for(timeout=READY_MS)
  with page.expect_download() as download:
    link.click()
  download.value.save_as(tmp_path / "made.mid")
  assert len(Score.from_file(tmp_path / "made.mid"))


def test_a_lost_socket_goes_on_with_the_same_music(make_page, address):
  page = make_page()
  jam = Jam(page, address)
  sockets = []

  def through(route):
    server = route.connect_to_server()
    sockets.append((route, server))

  page.route_web_socket(re.compile("/api/socket$"), through)
  jam.open()
  jam.wait_until_ready()
  jam.play()
  for end in sockets[0]:
    end.close(code=3001)
  page.wait_for_selector("#notices :text('Connected again')")
  first, *_, last = (m for m in jam.received if m["type"] == "welcome")
  assert last["resumed"] and last["session"] == first["session"]
  jam.play()
  jam.wait(lambda: jam.model_notes > 0)
  jam.leave()


def test_two_tabs_play_and_the_third_is_refused(jam, page, address):
  other = Jam(page.context.new_page(), address).open()
  jam.wait_until_ready()
  other.wait_until_ready()
  third = page.context.new_page()
  third.goto(address)
  third.wait_for_selector("#gate:not([hidden])")
  assert "2 at once" in third.inner_text("#gate-text")
  other.model_notes = jam.model_notes = 0
  other.page.bring_to_front()
  other.play()
  other.wait(lambda: other.model_notes > 0)
  assert jam.model_notes == 0
  other.leave()
  third.click("#gate-button")
  third.wait_for_selector("#gate", state="hidden")
  third.close()


def test_fine_tuning_from_the_page(jam, tmp_path, keep_screenshot):
  page = jam.page
  for number in range(3):
    a_score(count=200 + number).to_file(tmp_path / f"{number}.mid")
  page.click("#tab-mine")
  page.set_input_files(
    "#mine-drop input[type=file]",
    [tmp_path / f"{number}.mid" for number in range(3)],
  )
  page.wait_for_selector("#sheet-mine .list li:nth-child(3)")
  page.fill("#mine-name", "Clara")
  page.click("#mine-start")
  run = page.locator("#mine-run")
  run.wait_for()
  jam.wait(lambda: "is being trained" in run.inner_text(), 200)
  keep_screenshot(page, "real_fine_tuning")
  page.click("text=Stop and save")
  page.wait_for_selector("#mine-run:has-text('stopped')", timeout=READY_MS)


def test_the_client_of_the_guide_plays(page, address):
  blocks = re.findall(r"```js\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
  client = next(block for block in blocks if "class JamClient" in block)
  assert client.count("\n") <= 100
  page.route(
    "**/jam_client.js",
    lambda route: route.fulfill(body=client, content_type="text/javascript"),
  )
  # Any page of the server: one of elsewhere may not open its socket.
  page.goto(f"{address}healthz")
  found = page.evaluate(
    """() => new Promise(async (done, fail) => {
      setTimeout(() => fail(new Error("no answer in time")), 100_000);
      const { JamClient } = await import("/jam_client.js");
      const jam = new JamClient();
      const come = (type) => new Promise((done) =>
        jam.addEventListener(type, ({ detail }) => done(detail)));
      const ready = new Promise((done) => {
        jam.addEventListener("status", ({ detail }) =>
          detail.phase === "ready" && done());
      });
      const notes = [];
      jam.addEventListener("note", ({ detail }) =>
        notes.push([detail.who, ...detail.data]));
      const clock = come("pong");
      const left = come("ended");
      come("full").then(() => fail(new Error("full")));
      jam.connect();
      await clock;
      await ready;
      const before = jam.time();
      for (const key of [60, 64, 67, 72]) {
        jam.noteOn(key);
        await new Promise((done) => setTimeout(done, 200));
        jam.noteOff(key);
      }
      const turn = come("state");
      jam.send("act", { action: "hand_over" });
      await turn;
      while (!notes.some(([who]) => who === "model")) {
        await new Promise((done) => setTimeout(done, 100));
      }
      const passed = jam.time() - before;
      jam.close();
      done({ passed, notes, ended: await left });
    })"""
  )
  assert found["notes"][0] == ["player", 0x90, 60, 80]
  assert 0.8 < found["passed"] < 60
  assert found["ended"]["reason"] == "bye"
