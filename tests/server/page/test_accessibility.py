"""axe finds no serious fault, on a desk and on a phone, light and dark."""

import pytest

from tests.server.page.fake_server import TAKE, FakeServer

pytestmark = pytest.mark.browser

TABS = ("play", "style", "time", "takes", "mine", "setup")


@pytest.fixture
def faults():
  """Finds what is serious or worse on a page."""
  axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()

  def find(page):
    found = axe.run(page).response["violations"]
    return [
      (fault["id"], [node["target"] for node in fault["nodes"]])
      for fault in found
      if fault["impact"] in ("serious", "critical")
    ]

  return find


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1440, 900), (390, 844)])
def test_no_serious_fault(make_page, faults, size, scheme, keep_screenshot):
  phone = size[0] < 700
  page = make_page(size, color_scheme=scheme, has_touch=phone, is_mobile=phone)
  server = FakeServer(page)
  server.answers["GET", "/api/takes"] = (
    200,
    {"takes": [{**TAKE, "rating": 3, "keep": True}]},
  )
  server.open()
  assert faults(page) == []
  device = "phone" if phone else "desk"
  keep_screenshot(page, f"{device}_{scheme}")
  if phone:
    page.click("#panel-toggle")
  for tab in TABS:
    page.click(f"#tab-{tab}")
    if tab == "style":
      for prompt in ("calm", "stride"):
        page.fill("#prompt-text", prompt)
        page.press("#prompt-text", "Enter")
    page.wait_for_timeout(100)
    assert faults(page) == [], tab
    keep_screenshot(page, f"{device}_{scheme}_{tab}")


def test_the_gate_has_no_serious_fault(page, faults):
  server = FakeServer(page)
  server.full = True
  page.goto("http://localhost:8765/")
  page.wait_for_selector("#gate:not([hidden])")
  assert faults(page) == []
