"""Text from outside is shown in one way only: a raw one is found here.

Whatever a command prints goes through `cli.terminal.output`, and whatever a
plot shows through `plain_text.drawable` and `midi.figures.save_figure`. This
reads the source, so that a new raw `print` fails without an input that shows
it.
"""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "magenta_midi"
TOOLS = PACKAGE.parent / "tools"

# The ways out themselves; and what writes cells of a known width only.
OUTPUT = {
  "cli/terminal/output.py",
  "cli/terminal/streams.py",
  "cli/terminal/plain_console.py",
}
# Bytes from one process to another, read by no one else.
PIPES = {"live/io/port_lister.py"}
CELLS = {"cli/jam/cells.py", "cli/jam/display.py", "cli/jam/roll.py"}
FIGURES = {"midi/figures.py"}

# These make text fit to be shown; the JSON of `dumps` is in ASCII.
PLAIN = {"printable", "line", "drawable", "dumps", "_short", "_in_legend"}

PRINTS = {
  "print",
  "click.echo",
  "click.secho",
  "rich.print",
  "sys.stdout.write",
  "sys.stderr.write",
  "sys.stdout.buffer.write",
  "sys.stderr.buffer.write",
}
CONSOLES = {"Console", "Text", "Segment", "Panel", "Status", "from_markup"}
# Method of Matplotlib -> places of arguments with text, and their names.
DRAWS = {
  "annotate": ((0,), {"text"}),
  "bar_label": ((1,), {"labels"}),
  "set_label": ((0,), {"s"}),
  "set_label_text": ((0,), {"label"}),
  "set_text": ((0,), {"s"}),
  "set_title": ((0,), {"label"}),
  "set_xlabel": ((0,), {"xlabel"}),
  "set_ylabel": ((0,), {"ylabel"}),
  "set_xticklabels": ((0,), {"labels"}),
  "set_yticklabels": ((0,), {"labels"}),
  "set_xticks": ((1,), {"labels"}),
  "set_yticks": ((1,), {"labels"}),
  "suptitle": ((0,), {"t"}),
  "supxlabel": ((0,), {"t"}),
  "supylabel": ((0,), {"t"}),
  "text": ((2,), {"s"}),
}
# Names of arguments with text of any call in a module that draws.
DRAWN = {"label", "labels", "title", "xlabel", "ylabel"}


def raw_places(source: str, name: str, prints: bool = True) -> list[str]:
  """`name:line` of each place of a module that shows text as it came.

  Args:
    source: Of the module.
    name: Its path.
    prints: Whether what it prints counts, beside what it draws.
  """
  tree = ast.parse(source)
  draws = "matplotlib" in source and name not in FIGURES
  plain = _plain_names(tree)
  found = []
  for call in ast.walk(tree):
    if not isinstance(call, ast.Call):
      continue
    called = ast.unparse(call.func)
    last = called.rpartition(".")[2]
    shown: list[ast.expr] = []
    if prints and called in PRINTS and name not in OUTPUT | PIPES:
      shown += call.args
    if prints and last in CONSOLES and name not in OUTPUT | CELLS:
      # A console of rich's own obeys markup, whatever it is given.
      shown += [call.func] if last == "Console" else call.args[:1]
    if prints and last == "status" and name not in OUTPUT:
      shown += call.args[:1]
    if draws:
      places, names = DRAWS.get(last, ((), set()))
      shown += [call.args[place] for place in places if place < len(call.args)]
      shown += [k.value for k in call.keywords if k.arg in DRAWN | names]
      if last in ("savefig", "print_png", "imsave"):
        shown.append(call.func)
    if not all(_is_plain(one, plain) for one in shown):
      found.append(f"{name}:{call.lineno}")
  return found


def _plain_names(tree: ast.AST) -> set[str]:
  """Names that are only ever given plain text, and their items."""
  given: dict[str, list[ast.expr | None]] = {}
  for node in ast.walk(tree):
    if isinstance(node, ast.Assign):
      for target in node.targets:
        for name in ast.walk(target):
          if isinstance(name, ast.Name):
            alone = target is name
            given.setdefault(name.id, []).append(node.value if alone else None)
    elif isinstance(node, ast.arg):
      given.setdefault(node.arg, []).append(None)
    elif isinstance(node, ast.For | ast.comprehension):
      for name in ast.walk(node.target):
        if isinstance(name, ast.Name):
          given.setdefault(name.id, []).append(None)
  # Names in texts of plain names: until no more are found.
  plain: set[str] = set()
  while True:
    more = {
      name
      for name, values in given.items()
      if all(v is not None and _is_plain(v, plain) for v in values)
    }
    if more == plain:
      return plain
    plain = more


def _is_plain(node: ast.expr, plain: set[str]) -> bool:
  """Whether an expression can only be plain text."""
  match node:
    case ast.Constant():
      return True
    case ast.Name():
      return node.id in plain
    case ast.Call():
      return ast.unparse(node.func).rpartition(".")[2] in PLAIN
    case ast.JoinedStr():
      return all(_is_plain(part, plain) for part in node.values)
    case ast.FormattedValue(format_spec=ast.JoinedStr(values=[*spec])):
      # A number: text has no such format.
      end = spec[-1]
      return (
        isinstance(end, ast.Constant) and str(end.value)[-1:] in "bdefgoxEFGX%"
      ) or _is_plain(node.value, plain)
    case ast.FormattedValue():
      return node.conversion == ord("a") or _is_plain(node.value, plain)
    case ast.BinOp(op=ast.Add()):
      return _is_plain(node.left, plain) and _is_plain(node.right, plain)
    case ast.IfExp():
      return _is_plain(node.body, plain) and _is_plain(node.orelse, plain)
    case ast.List() | ast.Tuple():
      return all(_is_plain(one, plain) for one in node.elts)
    case ast.ListComp() | ast.GeneratorExp():
      return _is_plain(node.elt, plain)
    case ast.Subscript() | ast.Starred():
      return _is_plain(node.value, plain)
  return False


def test_the_package_shows_no_raw_text():
  found = []
  for path in sorted(PACKAGE.rglob("*.py")):
    name = path.relative_to(PACKAGE).as_posix()
    found += raw_places(path.read_text("utf-8"), name)
  assert found == []


def test_the_plots_of_the_tools_show_no_raw_text():
  found = []
  for path in sorted(TOOLS.rglob("*.py")):
    source = path.read_text("utf-8")
    name = path.relative_to(TOOLS).as_posix()
    # They print to those who wrote them, mostly tables of numbers.
    found += raw_places(source, name, prints=False)
  assert found == []


@pytest.mark.parametrize(
  "raw",
  [
    "print(name)",
    "print('it is', name)",
    "click.echo(f'wrote {path}')",
    "click.echo(message, err=True)",
    "sys.stdout.write(text)",
    "sys.stderr.write(text + '\\n')",
    "rich.console.Console(stderr=True)",
    "Console()",
    "Text(name)",
    "Text.from_markup(name)",
    "console().status(f'loading {name}')",
    "import matplotlib\naxes.set_title(name)",
    "import matplotlib\naxes.set_title(label=name)",
    "import matplotlib\naxes.set(title=f'{name}: {x:.2f}')",
    "import matplotlib\naxes.plot(x, y, label=name)",
    "import matplotlib\naxes.text(0, 0, name)",
    "import matplotlib\naxes.annotate(name, (0, 0))",
    "import matplotlib\naxes.set_yticks([0], [name for name in names])",
    "import matplotlib\nfigure.legend(handles, labels=names)",
    "import matplotlib\nfigure.savefig(path)",
    # A name that is plain in one place only.
    "name = line(name)\nname = other\nprint(name)",
    "for shown in names:\n  print(shown)",
  ],
)
def test_a_raw_one_is_found(raw):
  last = len(raw.splitlines())
  assert raw_places(raw, "cli/new.py") == [f"cli/new.py:{last}"]


@pytest.mark.parametrize(
  "fit",
  [
    "print('ready')",
    "print(line(name))",
    "print(json.dumps(facts), flush=True)",
    "shown = printable(name)\nprint(f'wrote {shown}')",
    "print(f'{count:,d} notes, {share:.1%}')",
    "import matplotlib\naxes.set_title(drawable(name))",
    "import matplotlib\naxes.set(title=f'{drawable(name)}: {x:.2f}')",
    "import matplotlib\naxes.set_yticks([0], [drawable(n) for n in names])",
    # Without a plot, a keyword is anything.
    "make(label=name)",
  ],
)
def test_what_is_fit_is_let_through(fit):
  assert raw_places(fit, "cli/new.py") == []
