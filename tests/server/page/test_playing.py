"""The page is played: by mouse, keys, fingers and MIDI; it sounds and shows."""

import re

import pytest

from tests.server.page.fake_server import FakeServer

pytestmark = pytest.mark.browser

PIANO_LOW, PIANO_WHITES = 21, 52
SOUNDS = "() => window.heard && window.heard() > 1e-3"
SILENT = "() => window.heard && window.heard() < 1e-4"


@pytest.fixture
def server(page):
  server = FakeServer(page)
  server.open()
  return server


def point_on(page, key):
  """A point low on a key of the piano of the page."""
  box = page.locator(f".key[data-key='{key}']").bounding_box()
  return box["x"] + box["width"] / 2, box["y"] + 0.9 * box["height"]


def test_a_first_visit_has_one_sentence_and_one_button_that_plays(page, server):
  welcome = page.locator("#welcome")
  assert welcome.locator("p").count() == 1
  assert welcome.locator("button").count() == 1
  welcome.locator("button").click()
  assert server.wait_for("play")["phrase"] == "prelude"
  assert welcome.is_hidden()
  server.sound(0, 60)


def test_the_phrase_plays_while_the_model_loads(page):
  server = FakeServer(page, phase="compiling")
  server.open()
  server.send("status", phase="compiling", done=3, total=12)
  page.wait_for_selector("#turn-text:text('3 of 12')")
  page.click("#demo")
  server.wait_for("play", phrase="prelude")
  server.send("playing", playing=True, seconds=1)
  server.send("playing", playing=False, seconds=0)
  server.send("status", phase="ready")
  page.wait_for_timeout(200)
  # The engine answers by itself; an act now would end its reply.
  assert not [m for m in server.sent if m["type"] == "act"]


def test_the_mouse_plays_and_slides(page, server):
  page.mouse.move(*point_on(page, 60))
  page.mouse.down()
  page.wait_for_function(SOUNDS)
  page.mouse.move(*point_on(page, 62), steps=4)
  page.mouse.up()
  server._wait(lambda: len(server.notes) == 4)
  data = [note for _, note in server.notes]
  assert [note[:2] for note in data] == [
    b"\x90\x3c",
    b"\x80\x3c",
    b"\x90\x3e",
    b"\x80\x3e",
  ]
  # Low on the key is loud.
  assert 90 < data[0][2] <= 110
  page.wait_for_function(SILENT)


def test_times_of_keys_are_on_the_clock_of_the_session(page, server):
  page.wait_for_timeout(400)  # until it is known
  before = server.now_s
  page.keyboard.press("KeyZ")
  server._wait(lambda: len(server.notes) == 2)
  on, off = (at for at, _ in server.notes)
  assert before - 0.1 < on <= off < server.now_s + 0.1


def test_two_rows_of_letters_play_by_place(page, server):
  for code in ("KeyZ", "KeyS", "Slash", "KeyQ", "Digit2", "BracketRight"):
    page.keyboard.press(code)
  server._wait(lambda: len(server.notes) == 12)
  assert [note[1] for _, note in server.notes[::2]] == [48, 49, 64, 60, 61, 79]


def test_arrows_move_the_rows_by_an_octave(page, server):
  page.keyboard.press("ArrowRight")
  page.keyboard.press("KeyZ")
  server.wait_for_notes(b"\x90\x3c\x4c", b"\x80\x3c\x00")


def test_a_key_that_is_held_while_the_octave_moves_is_lifted(page, server):
  page.keyboard.down("KeyZ")
  page.keyboard.press("ArrowRight")
  page.keyboard.up("KeyZ")
  server.wait_for_notes(b"\x90\x30\x4c", b"\x80\x30\x00")


def test_shift_is_the_pedal_and_holds_the_tone(page, server):
  page.keyboard.down("Shift")
  page.keyboard.press("KeyQ")
  page.wait_for_timeout(300)
  assert page.evaluate("window.heard()") > 1e-3
  page.keyboard.up("Shift")
  server.wait_for_notes(
    b"\xb0\x40\x7f", b"\x90\x3c\x4c", b"\x80\x3c\x00", b"\xb0\x40\x00"
  )
  page.wait_for_function(SILENT)


def test_letters_that_are_typed_into_a_field_do_not_play(page, server):
  page.click("#tab-style")
  page.fill("#prompt-text", "")
  page.type("#prompt-text", "zsxq")
  page.wait_for_timeout(200)
  assert server.notes == []


def test_keys_are_lifted_when_the_window_loses_the_focus(page, server):
  page.keyboard.down("KeyZ")
  page.evaluate("window.dispatchEvent(new Event('blur'))")
  server.wait_for_notes(b"\x90\x30\x4c", b"\x80\x30\x00")


def test_several_fingers_play_on_a_phone(make_page, keep_screenshot):
  page = make_page((390, 844), has_touch=True, is_mobile=True)
  server = FakeServer(page)
  server.open()
  touch = page.context.new_cdp_session(page)
  points = [
    {"x": x, "y": y, "id": index}
    for index, (x, y) in enumerate(point_on(page, key) for key in (60, 64, 67))
  ]
  for count in (1, 2, 3):
    touch.send(
      "Input.dispatchTouchEvent",
      {"type": "touchStart", "touchPoints": points[:count]},
    )
  page.wait_for_function(SOUNDS)
  keep_screenshot(page, "phone_chord")
  touch.send(
    "Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []}
  )
  server._wait(lambda: len(server.notes) == 6)
  keys = [(note[0], note[1]) for _, note in server.notes]
  assert keys[:3] == [(0x90, 60), (0x90, 64), (0x90, 67)]
  assert set(keys[3:]) == {(0x80, 60), (0x80, 64), (0x80, 67)}


def test_a_midi_keyboard_is_plugged_in_played_and_pulled_out(page, server):
  page.click("#tab-setup")
  page.click("#midi-connect")
  page.evaluate("midi.plugIn('inputs', 'Keystation')")
  page.wait_for_selector("#midi-inputs :text('Keystation')")
  page.evaluate("midi.play('Keystation', 0x90, 65, 99)")
  page.wait_for_function(SOUNDS)
  page.evaluate("midi.pullOut('inputs', 'Keystation')")
  server.wait_for_notes(b"\x90\x41\x63", b"\x80\x41\x00")
  assert page.locator("#midi-inputs label").count() == 0


def test_what_came_while_there_was_no_sound_stays_silent(page):
  """Before the first click there is no sound: notes must not wait for one."""
  page.add_init_script(
    """Object.defineProperty(AudioContext.prototype, "state", {
      get: () => window.soundState ?? "suspended",
    });"""
  )
  server = FakeServer(page)
  server.open()
  for key in range(48, 84):
    server.send_notes(1, (server.now_s, bytes((0x91, key, 90))))
  page.wait_for_selector(".key.model", state="attached")
  for _ in range(10):
    page.wait_for_timeout(50)
    assert page.evaluate("() => window.heard()") < 1e-4
  page.evaluate("() => { window.soundState = 'running'; }")
  server.sound(1, 60)


def test_refused_midi_is_said_with_what_to_do(page, server):
  page.click("#tab-setup")
  page.evaluate("window.midiRefused = true")
  page.click("#midi-connect")
  page.wait_for_selector("#midi-state:text('Allow it beside the address')")
  assert page.locator("#midi-connect").is_visible()


def test_the_model_sounds_in_a_synthesizer_in_place_of_the_page(page, server):
  page.click("#tab-setup")
  page.click("#midi-connect")
  page.evaluate("midi.plugIn('outputs', 'Synth')")
  page.select_option("#midi-output", "Synth")
  page.evaluate("midi.sent.length = 0")
  server.send_notes(1, (server.now_s, b"\x90\x3c\x50"))
  page.wait_for_function("() => midi.sent.length > 0")
  assert page.evaluate("midi.sent[0].slice(0, 3)") == [0x91, 60, 80]
  page.click("#panic")
  # Controllers 64, 123 and 120 on the model's channel.
  page.wait_for_function(
    "() => midi.sent.some(([s, c]) => s === 0xb1 && c === 123)"
  )


def test_the_model_sounds_is_shown_and_can_be_muted(
  page, server, keep_screenshot
):
  page.mouse.click(300, 300)
  server.sound(1, 67)
  page.wait_for_selector(".key.model[data-key='67']")
  keep_screenshot(page, "model_plays")
  page.click("#tab-setup")
  page.get_by_role("button", name="Mute").nth(1).click()
  page.wait_for_function(SILENT)


def test_panic_silences_the_page_and_asks_the_server(page, server):
  page.mouse.click(300, 300)
  server.sound(1, 67)
  page.keyboard.press("Escape")
  server.wait_for("act", action="panic")
  page.wait_for_function(SILENT)
  assert page.locator(".key.model").count() == 0


def test_the_space_bar_hands_over_the_turn(page, server):
  page.keyboard.press("Space")
  server.wait_for("act", action="hand_over")


def test_the_turn_is_shown_and_said(page, server):
  server.send_state(turn="model")
  page.wait_for_selector("#turn[data-who='model']")
  assert page.inner_text("#turn-text") == "The model plays"
  assert page.inner_text("#status") == "The model plays"


def test_tempo_bar_chord_and_key_are_shown(page, server):
  beat = {"bpm": 120, "beats_per_bar": 3, "start_s": server.now_s - 5.1}
  server.send_state(
    beat={**beat, "source": "player"}, chord="Dm7", key="C major"
  )
  page.wait_for_function(
    "() => document.querySelector('#fact-tempo').innerText === '120'"
  )
  # 5.1 s are 10.2 beats and some: the fourth bar.
  assert re.match(r"4\.[1-3]|5\.1", page.inner_text("#fact-bar"))
  assert page.inner_text("#fact-chord") == "Dm7"
  assert page.inner_text("#fact-key") == "C major"


def test_notes_are_drawn_in_the_color_of_their_part(page, server):
  count = """(name) => {
    const css = getComputedStyle(document.documentElement);
    const probe = document.createElement("canvas").getContext("2d");
    probe.fillStyle = css.getPropertyValue(name);
    probe.fillRect(0, 0, 1, 1);
    const [r, g, b] = probe.getImageData(0, 0, 1, 1).data;
    const roll = document.querySelector("#roll");
    const { data } = roll.getContext("2d").getImageData(
      0, 0, roll.width, roll.height);
    let found = 0;
    for (let i = 0; i < data.length; i += 4) {
      const far = Math.abs(data[i] - r) + Math.abs(data[i + 1] - g) +
        Math.abs(data[i + 2] - b);
      if (far < 12) found += 1;
    }
    return found;
  }"""
  before = page.evaluate(count, "--player")
  server.send_notes(0, (server.now_s - 3, b"\x90\x40\x7f"))
  page.wait_for_timeout(300)
  assert page.evaluate(count, "--player") > before + 500
