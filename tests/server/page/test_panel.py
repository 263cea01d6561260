"""Each part of the panel sends what it is moved to, and shows what comes."""

import json
import math

import pytest

from tests.server.page.fake_server import TAKE, FakeServer

pytestmark = pytest.mark.browser

TAKE_PATH = f"/api/takes/{TAKE['id']}"
FILE = {
  "name": "mine.mid",
  "mimeType": "audio/midi",
  "buffer": b"MThd\0\0\0\6\0\0\0\1\1\xe0MTrk\0\0\0\4\0\xff\x2f\0",
}
UPLOAD = {"id": "u1", "name": "mine.mid", "seconds": 60.0, "notes": 9}
UPLOADS = "/api/uploads?name=mine.mid"


@pytest.fixture
def server(page):
  server = FakeServer(page)
  server.answers["POST", UPLOADS] = (201, UPLOAD)
  server.open()
  return server


def set_slider(page, control, value):
  page.locator(f"[data-control='{control}'] input").evaluate(
    """(input, value) => {
      input.value = value;
      input.dispatchEvent(new Event("input", { bubbles: true }));
    }""",
    value,
  )


@pytest.mark.parametrize(
  ("tab", "control", "moved", "sent"),
  [
    ("play", "guidance", 2.5, 2.5),
    ("play", "temperature", 0.6, 0.6),
    # Equal ways on the slider are equal factors.
    ("play", "density", 1, 2),
    ("play", "loudness", -6, -6),
    ("style", "style_s", 4, 4),
    ("time", "tightness", 2, 2),
    ("time", "chord_weight", 1.5, 1.5),
    ("time", "tempo", 96, 96),
  ],
)
def test_a_slider_sends_its_control(page, server, tab, control, moved, sent):
  page.click(f"#tab-{tab}")
  set_slider(page, control, moved)
  assert server.wait_for("change", name=control)["value"] == sent


def test_the_left_end_of_the_tempo_is_the_players_own(page, server):
  page.click("#tab-time")
  set_slider(page, "tempo", 96)
  set_slider(page, "tempo", 0)
  server.wait_for("change", name="tempo", value=0)
  assert page.inner_text("[data-control='tempo'] output") == "yours"


def test_the_ends_of_the_register_stay_an_octave_apart(page, server):
  set_slider(page, "register_low", 60)
  server.wait_for("change", name="register", value=[60, 108])
  page.wait_for_timeout(100)
  set_slider(page, "register_high", 50)
  server.wait_for("change", name="register", value=[38, 50])


def test_switches_choices_and_modes_are_sent(page, server):
  page.check("[data-control='solo'] input")
  server.wait_for("change", name="solo", value=True)
  page.click("summary:text('More')")
  page.select_option("[data-control='injection'] select", "harmonic")
  server.wait_for("change", name="injection", value="harmonic")
  page.get_by_role("radio", name="Together").check()
  server.wait_for("change", name="mode", value="simultaneous")
  page.click("#tab-time")
  page.select_option("[data-control='groove'] select", "swing")
  server.wait_for("change", name="groove", value="swing")


def test_a_control_that_was_moved_elsewhere_moves_here(page, server):
  server.controls["temperature"] = 1.5
  server.controls["mode"] = "listen"
  server.send("controls", controls=server.controls)
  page.wait_for_selector("[data-control='temperature'] output:text('1.50')")
  assert page.is_checked("#modes input[value='listen']")


def test_chart_and_taps(page, server):
  page.click("#tab-time")
  page.fill("[data-control='chords'] textarea", "Dm7 | G7 | C")
  page.click("text=Use this chart")
  server.wait_for("change", name="chords", value="Dm7 | G7 | C")
  page.click("#tap")
  page.click("#tap")
  taps = [m for m in server.sent if m.get("action") == "tap"]
  assert len(taps) == 2


def test_a_count_in_starts_anew_with_its_tempo_and_meter(page, server):
  page.click("#tab-time")
  set_slider(page, "count_tempo", 120)
  page.select_option("[data-control='meter'] select", "3/4")
  page.click("#count-in")
  start = server.wait_for("start")
  assert (start["tempo"], start["meter"], start["first"]) == (120, "3/4", "me")


def test_the_metronome_clicks_on_an_asked_beat_and_can_be_shut(page, server):
  page.mouse.click(300, 300)
  beat = {"bpm": 240, "beats_per_bar": 4, "start_s": server.now_s}
  heard = """() => new Promise((done) => {
    let loudest = 0;
    const until = performance.now() + 1000;
    (function look() {
      loudest = Math.max(loudest, window.heard());
      if (performance.now() < until) setTimeout(look, 5); else done(loudest);
    })();
  })"""
  server.send_state(beat={**beat, "source": "player"})
  assert page.evaluate(heard) < 1e-5
  server.send_state(beat={**beat, "source": "asked"})
  assert page.evaluate(heard) > 1e-3
  page.click("#tab-time")
  page.uncheck("[data-control='metronome'] input")
  page.wait_for_timeout(400)
  assert page.evaluate(heard) < 1e-5


# Prompts and adapters.


def prompts_sent(server):
  changes = [m for m in server.sent if m.get("name") == "prompts"]
  return changes[-1]["value"] if changes else []


def add_prompts(page, *prompts):
  page.click("#tab-style")
  for prompt in prompts:
    page.fill("#prompt-text", prompt)
    page.press("#prompt-text", "Enter")


def test_the_pad_weights_prompts_by_where_its_point_is(
  page, server, keep_screenshot
):
  add_prompts(page, "calm", "stride", "@me")
  server._wait(lambda: len(prompts_sent(server)) == 3)
  assert all(abs(w - 1 / 3) < 0.02 for _, w in prompts_sent(server))
  pad = page.locator("#pad").bounding_box()
  # The first prompt lies above the middle.
  page.mouse.move(pad["x"] + pad["width"] / 2, pad["y"] + pad["height"] / 2)
  page.mouse.down()
  page.mouse.move(
    pad["x"] + pad["width"] / 2, pad["y"] + 0.14 * pad["height"], steps=5
  )
  page.mouse.up()
  server._wait(lambda: prompts_sent(server)[0][1] > 0.9)
  weights = [w for _, w in prompts_sent(server)]
  assert math.isclose(sum(weights), 1, abs_tol=0.02)
  keep_screenshot(page, "prompt_pad")
  page.focus("#pad-handle")
  for _ in range(40):
    page.keyboard.press("ArrowDown")
  server._wait(lambda: prompts_sent(server)[0][1] < 0.3)
  assert "calm" in page.get_attribute("#pad-handle", "aria-valuetext")


def test_there_are_at_most_six_prompts_and_they_can_be_removed(page, server):
  add_prompts(page, *(f"prompt {i}" for i in range(7)))
  server._wait(lambda: len(prompts_sent(server)) == 6)
  page.wait_for_selector("#notices :text('at most 6')")
  page.get_by_label("Remove prompt 0").click()
  server._wait(lambda: len(prompts_sent(server)) == 5)
  assert prompts_sent(server)[0][0] == "prompt 1"


def test_a_midi_file_is_a_prompt(page, server):
  page.click("#tab-style")
  page.set_input_files("#sheet-style input[type=file]", [FILE])
  server._wait(lambda: prompts_sent(server) == [["midi:u1", 1]])
  assert page.inner_text("#prompts .name") == "mine.mid"


def test_a_dropped_file_is_a_prompt(page, server):
  page.click("#tab-style")
  drop(page, "#pad")
  server._wait(lambda: prompts_sent(server) == [["midi:u1", 1]])


def drop(page, selector):
  page.evaluate(
    """(selector) => {
      const data = new DataTransfer();
      data.items.add(new File(["MThd"], "mine.mid"));
      document.querySelector(selector).dispatchEvent(
        new DragEvent("drop", { dataTransfer: data, bubbles: true }));
    }""",
    selector,
  )


def test_adapters_are_switched_blended_and_loaded(page, server):
  fits = {"base_fits": True, "has_style": True, "has_groove": False}
  server.answers["GET", "/api/adapters"] = (
    200,
    {
      "adapters": [
        {"name": "me", **fits},
        {"name": "you", **fits},
        {"name": "other", **fits, "base_fits": False},
      ],
      "choices": [],
    },
  )
  server.controls["adapters"] = ["", "me"]
  server.send("controls", controls=server.controls)
  page.click("#tab-style")
  page.check("#adapters label:has-text('me') input")
  server.wait_for("change", name="adapter", value=2)
  assert page.get_by_role("button", name="+ other").count() == 0
  page.get_by_role("button", name="+ you").click()
  start = server.wait_for("start")
  assert start["adapters"] == ["", "me", "you"]
  assert start["controls"] == {"adapter": 3}
  page.get_by_role("button", name="Load this blend").click()
  server.wait_for(
    "start",
    adapters=["", "me", "me:0.50 + you:0.50"],
    controls={"adapter": 3},
  )


# Takes and files.


@pytest.fixture
def takes(page, server):
  server.answers["GET", "/api/takes"] = (200, {"takes": [TAKE]})
  server.answers["GET", f"{TAKE_PATH}/notes"] = (
    200,
    {
      "seconds": 12.0,
      "parts": ["player", "model"],
      "notes": [[0, 60, 90, 0.0, 1.5], [1, 67, 90, 0.2, 1.5]],
      "pedals": [[1, 0.0, True], [1, 2.0, False]],
    },
  )
  page.click("#tab-takes")
  page.wait_for_selector(".card")
  return server


def test_a_take_is_rated_and_kept(page, takes):
  rated = {**TAKE, "rating": 4}
  takes.answers["PATCH", TAKE_PATH] = (200, rated)
  page.get_by_label("Rate 4 of 5").click()
  body = takes.wait_for_request("PATCH", TAKE_PATH)
  assert json.loads(body) == {"rating": 4}
  page.wait_for_function(
    "() => document.querySelectorAll('.stars [aria-pressed=true]').length === 4"
  )
  page.get_by_role("button", name="Keep").click()
  takes._wait(lambda: len(takes.requests) == 2)
  assert json.loads(takes.requests[1][2]) == {"keep": True}


def test_a_take_is_played_back(page, takes, keep_screenshot):
  page.locator(".card").get_by_role("button", name="Play").click()
  page.wait_for_function("() => window.heard && window.heard() > 1e-3")
  keep_screenshot(page, "take_plays")
  page.locator(".card").get_by_role("button", name="Stop").click()
  page.wait_for_function("() => window.heard() < 1e-4")


def test_a_take_plays_on_while_the_list_changes(page, takes):
  takes.answers["GET", f"{TAKE_PATH}/notes"] = (
    200,
    {
      "seconds": 60.0,
      "parts": ["player", "model"],
      "notes": [[0, 60, 90, 0.0, 60.0]],
      "pedals": [],
    },
  )
  card = page.locator(f".card[data-take='{TAKE['id']}']")
  card.get_by_role("button", name="Play").click()
  page.wait_for_function("() => window.heard && window.heard() > 1e-3")
  newer = {**TAKE, "id": "newer"}
  rated = {**TAKE, "rating": 2}
  takes.answers["GET", "/api/takes"] = (200, {"takes": [newer, rated]})
  takes.send("restarted", now_s=0.0, start={}, meter="4/4")
  page.wait_for_selector(".card[data-take='newer']")
  assert card.locator("[aria-pressed=true]").count() == 2
  card.get_by_role("button", name="Stop").click()
  card.get_by_role("button", name="Play").wait_for()
  page.wait_for_function("() => window.heard() < 1e-4")


def test_a_take_is_downloaded_in_three_forms(page, takes):
  for kind in ("mid", "png", "wav"):
    link = page.locator(f".card a[href='{TAKE_PATH}/take.{kind}']")
    assert link.get_attribute("download") == f"{TAKE['id']}.{kind}"


def test_a_take_is_trimmed_and_continued(page, takes):
  page.click("summary:text('Trim')")
  page.get_by_label("From, s").fill("2.5")
  page.get_by_role("button", name="Save as a new take").click()
  body = takes.wait_for_request("POST", f"{TAKE_PATH}/trim")
  assert json.loads(body) == {"from_s": 2.5, "to_s": 12}
  page.wait_for_timeout(200)
  page.get_by_role("button", name="Continue").click()
  takes.wait_for("play", take=TAKE["id"])


def test_what_the_server_refuses_is_shown(page, takes):
  takes.answers["PATCH", TAKE_PATH] = (409, {"error": "it is played now."})
  page.get_by_label("Rate 2 of 5").click()
  page.wait_for_selector("#notices :text('it is played now.')")


def test_a_file_is_continued_in_the_session(page, server):
  page.click("#tab-takes")
  page.set_input_files("#continue input[type=file]", [FILE])
  page.click("#continue-this")
  server.wait_for("play", upload="u1")


def test_a_file_dropped_on_the_roll_is_continued(page, server):
  drop(page, "#stage")
  server.wait_for("play", upload="u1")


def test_music_is_generated_and_sounds_as_it_comes(page, server):
  lines = [
    {"type": "queued"},
    {"type": "begin", "context_s": 0},
    {
      "type": "chunk",
      "from_s": 0,
      "seconds": 2,
      "notes": [[60, 90, 0.0, 1.5]],
      "pedals": [],
    },
    {
      "type": "chunk",
      "from_s": 2,
      "seconds": 2,
      "notes": [[64, 90, 2.0, 1.5]],
      "pedals": [],
    },
    {"type": "done", "id": "g1", "seconds": 4, "notes": 2},
  ]
  body = "".join(json.dumps(line) + "\n" for line in lines).encode()
  server.answers["POST", "/api/generate"] = (200, body)
  page.click("#tab-takes")
  page.click("#generate-ask summary")
  for name, value in (("density", "4"), ("pedal", "0.5"), ("low", "60")):
    page.fill(f"[data-control='generate_{name}'] input", value)
  page.click("#generate")
  asked = json.loads(server.wait_for_request("POST", "/api/generate"))
  assert (asked["density"], asked["pedal"]) == (4, 0.5)
  assert asked["register"] == [60, 108] and "tempo" not in asked
  assert asked["seconds"] == 20
  page.wait_for_function("() => window.heard && window.heard() > 1e-3")
  assert page.locator("a[href='/api/generated/g1/music.wav']").count() == 1


def test_make_it_mine_is_started_watched_stopped_and_used(
  page, server, keep_screenshot
):
  run = {
    "state": "training",
    "name": "Clara",
    "share": 0.4,
    "step": 40,
    "estimate_minutes": 12,
    "curve": [[0, 5.0], [20, 4.2], [40, 4.0]],
    "held_out": [[0, 5.1], [40, 4.4]],
    "text": "step 40",
  }
  server.answers["POST", "/api/finetune"] = (202, run)
  server.answers["POST", "/api/finetune/stop"] = (
    200,
    {**run, "state": "stopped"},
  )
  server.answers["POST", "/api/finetune/resume"] = (202, run)
  page.click("#tab-mine")
  assert page.is_disabled("#mine-start")
  page.set_input_files("#mine-drop input[type=file]", [FILE])
  page.fill("#mine-name", "Clara")
  page.click("#mine-start")
  body = json.loads(server.wait_for_request("POST", "/api/finetune"))
  assert body == {
    "name": "Clara",
    "takes": [],
    "uploads": ["u1"],
    "minutes": 20,
  }
  page.wait_for_selector("#mine-run:has-text('about 12 minutes')")
  keep_screenshot(page, "fine_tuning")
  page.click("text=Stop and save")
  page.wait_for_selector("#mine-run:has-text('is stopped and saved')")
  page.click("text=Go on")
  done = {**run, "state": "done", "adapter": "Clara", "share": 1}
  server.answers["GET", "/api/finetune"] = (
    200,
    {**done, "before": 5.1, "after": 4.4},
  )
  page.wait_for_selector("#mine-run:has-text('5.100 → 4.400')")
  page.click("text=Play with it")
  server.wait_for("start", adapters=["", "Clara"], controls={"adapter": 2})


def test_volume_theme_and_tabs_by_keyboard(page, server, keep_screenshot):
  page.focus("#tab-play")
  for _ in range(5):
    page.keyboard.press("ArrowRight")
  assert page.locator("#sheet-setup").is_visible()
  page.get_by_role("button", name="Dark").click()
  dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
  keep_screenshot(page, "dark")
  page.get_by_role("button", name="Light").click()
  light = page.evaluate("getComputedStyle(document.body).backgroundColor")
  assert dark != light


def test_the_panel_is_closed_and_opened(page, server):
  assert page.locator("#panel").is_visible()
  page.click("#panel-toggle")
  assert page.locator("#panel").is_hidden()
  page.click("#panel-toggle")
  assert page.locator("#panel").is_visible()
