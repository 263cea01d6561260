"""Docs: links, the drawings of the architecture, the table of tools."""

import ast
import itertools
import re
import shlex
from pathlib import Path

import click
import pytest

from magenta_midi.cli.main import cli
from tools.docs.draw_architecture import (
  LINES,
  PAGE,
  ROOMS,
  drawn,
  floors,
  path_of,
)

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
  [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "tools/README.md"]
)
PAIRS = [
  (line, above, below)
  for line, stops in LINES.items()
  for above, below in itertools.pairwise(stops)
]


def imports_of(module: str) -> set[str]:
  """Names that a module imports anywhere, within `magenta_midi`."""
  names = set()
  for node in ast.walk(ast.parse(path_of(module).read_text("utf-8"))):
    if isinstance(node, ast.ImportFrom) and node.module:
      names.add(node.module)
      names |= {f"{node.module}.{alias.name}" for alias in node.names}
    elif isinstance(node, ast.Import):
      names |= {alias.name for alias in node.names}
  prefix = "magenta_midi."
  return {name.removeprefix(prefix) for name in names if prefix in name}


def anchors_of(page: Path) -> set[str]:
  """The anchors that GitHub makes of a page's headings."""
  text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
  anchors = set()
  for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
    words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
    anchors.add(re.sub(r"[^\w\- ]", "", words).replace(" ", "-"))
  return anchors


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_relative_link_leads_somewhere(page):
  text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
  for target in re.findall(r"\]\(([^)\s]+)\)", text):
    if re.match(r"\w+:", target):
      continue
    name, _, anchor = target.partition("#")
    file = (page.parent / name).resolve() if name else page
    assert file.exists(), target
    if anchor:
      assert anchor in anchors_of(file), target


def test_the_index_lists_every_page():
  index = (ROOT / "docs" / "index.md").read_text("utf-8")
  for page in ROOT.glob("docs/**/*.md"):
    if page.name != "index.md":
      assert f"({page.relative_to(ROOT / 'docs').as_posix()})" in index


def test_the_drawings_are_current():
  page = PAGE.read_text("utf-8")
  assert drawn(page) == page, "python -m tools.docs.draw_architecture"


def test_every_room_is_described():
  assert {room for floor in floors() for room in floor} == set(ROOMS)


@pytest.mark.parametrize("line", LINES)
def test_a_main_line_has_at_most_eight_modules(line):
  modules = [stop.module for stop in LINES[line]]
  assert 2 <= len(modules) <= 8
  assert len(set(modules)) == len(modules)
  for module in modules:
    assert path_of(module).exists(), module


@pytest.mark.parametrize(
  ("line", "above", "below"),
  PAIRS,
  ids=[f"{line}:{below.module}" for line, _, below in PAIRS],
)
def test_each_module_of_a_main_line_leads_down_to_the_next(line, above, below):
  floor = {
    room: number for number, rooms in enumerate(floors()) for room in rooms
  }
  room = [module.split(".")[0] for module in (above.module, below.module)]
  assert floor[room[0]] <= floor[room[1]]
  if below.message:
    assert below.message in imports_of(above.module)
    assert below.message in imports_of(below.module)
    return
  if below.passed_by:
    modules = [stop.module for stop in LINES[line]]
    passes = modules.index(below.passed_by)
    assert passes < modules.index(above.module)
    assert below.module in imports_of(below.passed_by)
  else:
    assert below.module in imports_of(above.module)
  assert above.module not in imports_of(below.module)


def test_modules_that_the_docs_name_exist():
  rooms = "|".join(ROOMS)
  for page in PAGES:
    if page.name == "CHANGELOG.md":  # of earlier versions too
      continue
    for name in re.findall(
      rf"`((?:{rooms})/[\w/]+(?:\.\w+)?)`", page.read_text("utf-8")
    ):
      file = ROOT / "magenta_midi" / name
      found = file.exists() or file.with_suffix(".py").exists()
      assert found or (ROOT / name).exists(), (page.name, name)


def test_every_tool_stands_once_in_the_table():
  table = (ROOT / "tools" / "README.md").read_text("utf-8")
  commands = re.findall(r"`python -m ([\w.]+)`", table)
  # Run by `tools.speed.peers` in an environment of its own.
  inner = ROOT / "tools" / "speed" / "other_systems"
  found = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in ROOT.glob("tools/**/*.py")
    if '\nif __name__ == "__main__":' in path.read_text("utf-8")
    and not path.is_relative_to(inner)
  ]
  assert sorted(commands) == sorted(found)


def test_commands_of_tools_in_the_docs_exist():
  for page in PAGES:
    for name in re.findall(r"python -m (tools[\w.]+)", page.read_text("utf-8")):
      assert (ROOT / f"{name.replace('.', '/')}.py").exists(), (page, name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_of_the_command_line_have_their_options(page):
  if page.name == "CHANGELOG.md":  # of earlier versions too
    return
  text = page.read_text("utf-8").replace("\\\n", " ")
  for line in re.findall(r"^magenta-midi (.+)$", text, re.MULTILINE):
    words = shlex.split(line.replace("[", "").replace("]", ""), comments=True)
    command: click.Command | None = cli
    while isinstance(command, click.Group) and words:
      command = command.get_command(click.Context(command), words.pop(0))
    assert command is not None, line
    options = {name for param in command.params for name in param.opts}
    given = {word.split("=")[0] for word in words if word.startswith("--")}
    given = {name for name in given if not name.startswith("--gin.")}
    assert given <= options | {"--help"}, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_python_in_the_docs_compiles_and_imports_names_that_exist(page):
  text = page.read_text("utf-8")
  for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
    tree = ast.parse(block, str(page))
    for node in ast.walk(tree):
      if not isinstance(node, ast.ImportFrom):
        continue
      package, _, module = (node.module or "").partition(".")
      if package != "magenta_midi":
        continue
      file = path_of(module) if module else path_of("__init__")
      source = file.read_text("utf-8")
      for alias in node.names:
        assert re.search(rf"\b{alias.name}\b", source), alias.name
