"""The socket of the page: lost and found again, refused, ended."""

import pytest

from tests.server.page.fake_server import FakeServer

pytestmark = pytest.mark.browser


@pytest.fixture
def server(page):
  server = FakeServer(page)
  server.open()
  return server


def hellos(server):
  return [m for m in server.sent if m["type"] == "hello"]


def test_a_lost_session_is_taken_up_again_with_its_key(page, server):
  assert "key" not in hellos(server)[0]
  server.lose()
  server._wait(lambda: len(hellos(server)) == 2)
  assert hellos(server)[1]["key"] == "secret"
  page.wait_for_selector("#notices :text('Connected again')")
  page.keyboard.press("KeyZ")
  server.wait_for_notes(b"\x90\x30\x4c", b"\x80\x30\x00")


def test_notes_of_the_model_end_when_the_connection_is_lost(page, server):
  page.mouse.click(300, 300)
  server.sound(1, 67)
  server.lose()
  page.wait_for_function("() => window.heard() < 1e-4")


def test_a_reload_goes_on_with_the_same_session(page, server):
  page.reload()
  server._wait(lambda: len(hellos(server)) == 2)
  assert hellos(server)[1]["key"] == "secret"


def test_a_new_tab_is_a_session_of_its_own(page, server):
  other = FakeServer(page.context.new_page())
  other.open()
  assert "key" not in hellos(other)[0]


def test_a_full_server_says_so_and_lets_in_later(page, keep_screenshot):
  server = FakeServer(page)
  server.full = True
  page.goto("http://localhost:8765/")
  page.wait_for_selector("#gate:not([hidden])")
  assert "2 at once" in page.inner_text("#gate-text")
  keep_screenshot(page, "full")
  server.full = False
  page.click("#gate-button")
  page.wait_for_selector("#gate", state="hidden")


@pytest.mark.parametrize(
  ("reason", "words"),
  [("idle", "ten minutes"), ("failed", "has stopped"), ("closing", "saved")],
)
def test_an_end_is_explained_and_a_new_session_begins(
  page, server, reason, words
):
  server.send("ended", reason=reason, take="t1", text="")
  server.socket.close(code=1000)
  page.wait_for_selector("#gate:not([hidden])")
  assert words in page.inner_text("#gate-text")
  page.click("#gate-button")
  server._wait(lambda: len(hellos(server)) == 2)
  assert "key" not in hellos(server)[1]


def test_a_session_that_another_tab_took_is_not_fought_for(page, server):
  server.socket.close(code=4409)
  page.wait_for_selector("#gate-title:text('another tab')")
  page.wait_for_timeout(800)
  assert len(hellos(server)) == 1


def test_a_notice_of_the_server_is_text_and_never_markup(page, server):
  server.send("notice", text="<img src=x onerror=alert(1)>", warning=True)
  page.wait_for_selector("#notices :text('<img src=x')")
  assert page.locator("#notices img").count() == 0


def test_a_new_start_clears_the_roll_and_the_clock(page, server):
  server.send_notes(1, (server.now_s, b"\x90\x43\x64"))
  page.wait_for_selector(".key.model")
  server.started += server.now_s  # begins at 0 again
  server.send("restarted", now_s=0.0, start={}, meter="3/4")
  page.wait_for_selector(".key.model", state="detached")
  page.wait_for_timeout(500)
  page.keyboard.press("KeyZ")
  server._wait(lambda: len(server.notes) == 2)
  assert abs(server.notes[0][0] - server.now_s) < 1
