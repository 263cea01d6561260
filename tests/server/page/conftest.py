"""One Chromium for all tests of the page, and a clean context for each."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SCREENSHOTS = Path(__file__).resolve().parents[3] / "out" / "page"

# Everything that reaches the loudspeaker passes through an analyser too.
LISTEN = """
(() => {
  const connect = AudioNode.prototype.connect;
  AudioNode.prototype.connect = function (target, ...rest) {
    if (target instanceof AudioDestinationNode) {
      const analyser = new AnalyserNode(this.context, { fftSize: 4096 });
      connect.call(this, analyser);
      window.heard = () => {
        const wave = new Float32Array(analyser.fftSize);
        analyser.getFloatTimeDomainData(wave);
        return Math.sqrt(wave.reduce((sum, x) => sum + x * x, 0) / wave.length);
      };
    }
    return connect.call(this, target, ...rest);
  };
})();
"""

# A keyboard and a synthesizer that a test plugs in and out.
MIDI = """
(() => {
  const access = new EventTarget();
  access.inputs = new Map();
  access.outputs = new Map();
  const changed = (port) => {
    const event = new Event("statechange");
    event.port = port;
    access.dispatchEvent(event);
  };
  window.midi = {
    sent: [],
    plugIn(kind, id) {
      const type = kind.slice(0, -1);
      const state = "connected";
      const port = { id, name: id, type, state, onmidimessage: null };
      port.send = (data, time) => window.midi.sent.push([...data, time]);
      access[kind].set(id, port);
      changed(port);
    },
    pullOut(kind, id) {
      // As Chromium: what is gone is in the list no more.
      const port = access[kind].get(id);
      port.state = "disconnected";
      access[kind].delete(id);
      changed(port);
    },
    play(id, ...data) {
      access.inputs.get(id).onmidimessage?.({
        data: new Uint8Array(data),
        timeStamp: performance.now(),
      });
    },
  };
  navigator.requestMIDIAccess = async () => {
    if (window.midiRefused) throw new DOMException("no", "SecurityError");
    return access;
  };
})();
"""


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
  """Debian's Chromium, without a window."""
  playwright = pytest.importorskip("playwright.sync_api")
  if CHROMIUM is None:
    pytest.skip("Chromium is not installed: apt-get install chromium")
  with playwright.sync_playwright() as driver:
    browser = driver.chromium.launch(
      executable_path=CHROMIUM,
      # Without a sound card its audio clock runs all the same.
      args=["--no-sandbox", "--disable-gpu"],
    )
    yield browser
    browser.close()


@pytest.fixture
def make_page(browser) -> Iterator[Any]:
  """Makes pages; any error in one of them fails the test."""
  contexts: list[Any] = []
  problems: list[str] = []

  def make(size=(1440, 900), **options: Any) -> Any:
    context = browser.new_context(
      viewport={"width": size[0], "height": size[1]},
      **{"locale": "en-US", **options},
    )
    contexts.append(context)
    context.add_init_script(LISTEN)
    context.add_init_script(MIDI)
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
      "console",
      lambda message: (
        problems.append(message.text)
        if "Content Security Policy" in message.text
        else None
      ),
    )
    return page

  yield make
  for context in contexts:
    context.close()
  assert not problems


@pytest.fixture
def page(make_page) -> Any:
  """A page on a desk."""
  return make_page()


@pytest.fixture
def keep_screenshot() -> Any:
  """Keeps a picture of a page, to be looked at."""

  def keep(page: Any, name: str) -> None:
    page.screenshot(path=str(SCREENSHOTS / f"{name}.png"))

  return keep
