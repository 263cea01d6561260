"""The package as a graph: no circles, no folder too full to look through."""

import ast
import importlib
import sys
from collections import Counter
from pathlib import Path

import pytest

from magenta_midi.tokens import EventCodec, NoteCodec

ROOT = Path(__file__).parents[1]
MAX_MODULES = 20


def module_name(path: Path) -> str:
  parts = path.relative_to(ROOT).with_suffix("").parts
  return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


class Imports(ast.NodeVisitor):
  """Modules that a file imports, at the top and inside of functions."""

  def __init__(self, known: set[str], package: str):
    self.known, self.package = known, package
    self.found: set[str] = set()

  def visit_If(self, node: ast.If) -> None:
    if ast.unparse(node.test).endswith("TYPE_CHECKING"):
      for statement in node.orelse:
        self.visit(statement)
    else:
      self.generic_visit(node)

  def visit_Import(self, node: ast.Import) -> None:
    self.found |= {alias.name for alias in node.names} & self.known

  def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
    module = node.module or ""
    if node.level:
      above = self.package.split(".")[: 1 - node.level or None]
      module = ".".join([*above, *filter(None, [module])])
    for alias in node.names:
      inner = f"{module}.{alias.name}"
      self.found |= {inner if inner in self.known else module} & self.known


def imports_of(paths: list[Path]) -> dict[str, set[str]]:
  names = {path: module_name(path) for path in paths}
  known = set(names.values())
  graph = {}
  for path, name in names.items():
    package = name if path.stem == "__init__" else name.rpartition(".")[0]
    visitor = Imports(known, package)
    visitor.visit(ast.parse(path.read_text()))
    graph[name] = visitor.found - {name}
  return graph


def circle_in(graph: dict[str, set[str]]) -> list[str]:
  """Modules of a circle, the first one again at the end; [] if none."""
  done: set[str] = set()

  def search(way: list[str]) -> list[str]:
    for following in sorted(graph[way[-1]]):
      if following in way:
        return [*way[way.index(following) :], following]
      if following not in done and (circle := search([*way, following])):
        return circle
    done.add(way[-1])
    return []

  for module in sorted(graph):
    if module not in done and (circle := search([module])):
      return circle
  return []


def python_files(folder: str) -> list[Path]:
  return sorted((ROOT / folder).rglob("*.py"))


def test_modules_import_each_other_in_no_circle():
  graph = imports_of(python_files("magenta_midi"))
  assert len(graph) > 200
  assert "magenta_midi.midi.score" in graph["magenta_midi.midi.score_files"]
  circle = circle_in(graph)
  assert not circle, " -> ".join(circle)


def test_a_circle_through_a_function_is_found(tmp_path, monkeypatch):
  monkeypatch.setitem(module_name.__globals__, "ROOT", tmp_path)
  (tmp_path / "p").mkdir()
  (tmp_path / "p/__init__.py").write_text("")
  (tmp_path / "p/a.py").write_text("import os\nfrom p import b\n")
  (tmp_path / "p/b.py").write_text("def f():\n  from .c import g\n  g()\n")
  c = tmp_path / "p/c.py"
  c.write_text("import p.a\n")
  paths = sorted(tmp_path.rglob("*.py"))
  assert circle_in(imports_of(paths)) == ["p.a", "p.b", "p.c", "p.a"]
  c.write_text("import typing\nif typing.TYPE_CHECKING:\n  import p.a\n")
  assert circle_in(imports_of(paths)) == []


def test_no_folder_has_more_modules_than_one_looks_through():
  for top in ("magenta_midi", "tools"):
    counts = Counter(path.parent for path in python_files(top))
    for folder, count in counts.items():
      assert count <= MAX_MODULES, folder


def test_a_task_module_may_name_the_old_place_of_the_seqio_tasks(monkeypatch):
  old, new = "magenta_midi.train.seqio_tasks", "magenta_midi.magenta_rt"
  monkeypatch.delitem(sys.modules, old, raising=False)
  with pytest.warns(DeprecationWarning, match=f"{old} .*{new}.seqio_tasks"):
    found = importlib.import_module(old)
  assert found is importlib.import_module(f"{new}.seqio_tasks")


@pytest.mark.parametrize("codec", [NoteCodec, EventCodec])
def test_a_codec_is_found_in_its_package_too(codec):
  package = importlib.import_module(codec.__module__.rpartition(".")[0])
  with pytest.warns(DeprecationWarning, match=f"tokens.{codec.__name__}"):
    assert getattr(package, codec.__name__) is codec
  with pytest.raises(AttributeError, match="no attribute 'Codec'"):
    _ = package.Codec
