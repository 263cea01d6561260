"""Both languages say the same things, and the page is there in both."""

import ast
import json
import re

import pytest

from magenta_midi.live.protocol.controls import Controls, changed
from magenta_midi.server.control_table import control_table
from tests.server.page.fake_server import PAGE, FakeServer

TABLES = {
  name: json.loads((PAGE / f"strings/{name}.json").read_text("utf-8"))
  for name in ("en", "ko")
}
SCRIPTS = {path: path.read_text("utf-8") for path in PAGE.rglob("*.js")}
HTML = (PAGE / "index.html").read_text("utf-8")


PACKAGE = PAGE.parents[1]


def sentences():
  """All texts in the package's source; `{}` where a value is put in."""
  found = set()
  for path in PACKAGE.rglob("*.py"):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
      if isinstance(node, ast.Constant) and isinstance(node.value, str):
        found.add(node.value)
      elif isinstance(node, ast.JoinedStr):
        parts = (
          str(part.value) if isinstance(part, ast.Constant) else "{}"
          for part in node.values
        )
        found.add("".join(parts))
  return found


def places(text):
  return set(re.findall(r"\{(\w+)\}", text))


def test_both_tables_have_the_same_keys_and_places():
  assert list(TABLES["en"]) == list(TABLES["ko"])
  for key, text in TABLES["en"].items():
    assert text and TABLES["ko"][key], key
    assert places(text) == places(TABLES["ko"][key]), key


def test_korean_is_korean():
  hangul = re.compile("[\uac00-\ud7a3]")
  same = {key for key, text in TABLES["ko"].items() if not hangul.search(text)}
  # Names, examples and signs.
  assert same == {
    "midi.title",
    "prompt.file",
    "prompt.example",
    "control.chords.example",
    "adapter.load",
  }


def test_every_key_that_the_page_names_is_there():
  named = set(
    re.findall(r'data-(?:text|label|title|placeholder)="([^"]+)"', HTML)
  )
  for text in SCRIPTS.values():
    named |= set(re.findall(r'words\(\s*"([^"]+)"', text))
    named |= set(
      re.findall(r'(?:text|label|title|placeholder): "(\w+\.[\w.]+)"', text)
    )
  assert len(named) > 80
  assert named <= TABLES["en"].keys()


def test_what_is_translated_is_what_the_server_says():
  written = " | ".join(sentences())
  for key, text in TABLES["en"].items():
    if key.startswith("said."):
      pieces = [piece for piece in re.split(r"\{\w+\}", text) if len(piece) > 9]
      assert pieces, key
      for piece in pieces:
        # Sentences of two modules are joined by a space or a colon.
        assert piece.strip(" :") in written, (key, piece)


@pytest.mark.parametrize("control", control_table(), ids=lambda c: c["name"])
def test_every_control_and_choice_has_a_name(control):
  elsewhere = {
    "mode": "modes.label",
    "prompts": "prompt.title",
    "adapter": "adapter.title",
    "register": "control.register_low",
  }
  name = control["name"]
  assert elsewhere.get(name, f"control.{name}") in TABLES["en"]
  for value in control.get("choices", ()):
    assert f"choice.{name}.{value}" in TABLES["en"]


def test_scripts_and_styles_stand_in_files_of_their_own():
  assert "style=" not in HTML and "<style" not in HTML
  assert re.findall(r"<script[^>]*>", HTML) == [
    '<script type="module" src="main.js">'
  ]
  assert not re.search(r"\son\w+=", HTML)
  for path, text in SCRIPTS.items():
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|eval\(", text), (
      path
    )
    # Nothing of other hosts; the name of a format is no address.
    assert set(re.findall(r"https?://[\w.]+", text)) <= {"http://www.w3.org"}


@pytest.mark.browser
def test_the_language_of_the_browser_is_taken(make_page, keep_screenshot):
  page = make_page(locale="ko-KR")
  FakeServer(page).open()
  assert page.get_attribute("html", "lang") == "ko"
  assert page.inner_text("#demo") == TABLES["ko"]["welcome.demo"]
  keep_screenshot(page, "korean")


@pytest.mark.browser
def test_the_server_speaks_the_language_of_the_page(make_page):
  page = make_page(locale="ko-KR")
  server = FakeServer(page)
  server.open()
  with pytest.raises(ValueError) as refused:
    changed(Controls(), "chords", "| C | H7 |")
  server.send("error", text=str(refused.value))
  page.wait_for_selector("#notices :text('2번째 마디')")
  server.send("notice", text="plays with <b>$&(한별)", warning=False)
  page.wait_for_selector("#notices :text('<b>$&(한별) 스타일로 연주해요')")
  server.send("notice", text="something new", warning=False)
  page.wait_for_selector("#notices :text('something new')")


@pytest.mark.browser
def test_the_language_is_switched_and_kept(page):
  FakeServer(page).open()
  page.click("#tab-setup")
  page.select_option("#language", "ko")
  page.wait_for_selector(f"#panic:text('{TABLES['ko']['act.panic']}')")
  assert page.inner_text("#tab-play") == TABLES["ko"]["tab.play"]
  page.reload()
  page.wait_for_selector(f"#panic:text('{TABLES['ko']['act.panic']}')")


@pytest.mark.browser
@pytest.mark.parametrize("language", ["en", "ko"])
def test_no_key_is_shown_in_place_of_its_words(make_page, language):
  page = make_page(locale=language)
  FakeServer(page).open()
  for tab in ("play", "style", "time", "takes", "mine", "setup"):
    page.click(f"#tab-{tab}")
    shown = page.inner_text("body").split()
    assert not [word for word in shown if word in TABLES["en"]]
