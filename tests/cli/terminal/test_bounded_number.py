"""Numeric options of all commands: refused before anything is loaded."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from magenta_midi.cli.main import COMMANDS, cli

ROOT = Path(__file__).resolve().parents[3]

WRONG = ("nan", "inf", "-inf", "1e300", "-1e300", str(10**30), "", "x")

# Numbers inside of texts: (arguments, what the line says).
TEXTS = [
  (["generate", "--temperature=nan"], "--temperature must be"),
  (["generate", "--temperature=1,1,inf,1"], "--temperature must be"),
  (["generate", "--temperature=-1"], "--temperature must be"),
  (["generate", "--top-k=1.5"], "--top-k must be a whole number"),
  (["generate", "--top-k=-1"], "--top-k must be"),
  (["generate", "--top-p=0"], "--top-p must be"),
  (["generate", "--min-p=2"], "--min-p must be"),
  (["generate", "--adapter=a:1e9"], "the scale must be a number from -10 to"),
  (["generate", "--adapter=a:nan"], "the scale must be"),
  (["generate", "--prompt=a:inf"], "the weight must be"),
  (["generate", "--prompt=a:-1"], "the weight must be"),
  (["generate", "--register=40-1e300"], "the highest key must be"),
  (["generate", "--gin.generate.guidance=1e30"], "--guidance must be"),
  (["generate", "--gin.generate.seed=-1"], "--seed must be"),
  (["evaluate", "x", "--adapter=a:inf"], "the scale must be"),
  (["jam", "--set=temperature=nan"], "temperature must be"),
  (["jam", "--set=guidance=1e30"], "guidance must be a number from 0 to 8"),
  (["jam", "--set=register=0-" + "9" * 5000], "register_low must be"),
  (["jam", "--prompt=a:nan"], "the weight must be"),
  (["jam", "--adapter=a:1e9"], "the scale must be"),
  (["jam", "--switchable=a:0.5+b:inf"], "the scale must be"),
  (["replay", "x", "--control=density=inf"], "density must be"),
  (["replay", "x", "--adapter=a:1e9"], "the scale must be"),
  (["train", "--data=x:nan"], "the weight must be"),
  (["train", "--data=x:0"], "the weight must be"),
  (["style", "calm:nan"], "the weight must be"),
]
# Of options that must be there; none of them is reached.
REQUIRED = {"generate": ["--seconds=1", "--out={out}/x.mid"]}

# Runs each line of its input, prints what came of it, and whether JAX is in.
RUNS = """
import contextlib, io, json, sys
from magenta_midi.cli.main import main

found = []
for args in json.load(sys.stdin):
  err = io.StringIO()
  code = 0
  with contextlib.redirect_stderr(err), contextlib.redirect_stdout(err):
    try:
      main(args)
    except SystemExit as end:
      code = end.code
  found.append((args, code, err.getvalue()))
print(json.dumps([found, "jax" in sys.modules]))
"""


def numeric():
  """(words of a command, parameter) of every number that is a parameter."""
  for name in COMMANDS:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    yield from _numeric(command, (name,))


def _numeric(command, words):
  for param in command.params:
    kind = param.type
    if isinstance(kind, click.types.IntParamType | click.types.FloatParamType):
      yield words, param
  for name, inner in getattr(command, "commands", {}).items():
    yield from _numeric(inner, (*words, name))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
  folder = tmp_path_factory.mktemp("runs")
  lines = []
  for words, param in numeric():
    for value in WRONG:
      if isinstance(param, click.Option):
        lines.append([*words, f"{max(param.opts, key=len)}={value}"])
      else:  # the last argument
        lines.append([*words, "x", "--", value])
  for args, _ in TEXTS:
    more = (text.format(out=folder) for text in REQUIRED.get(args[0], []))
    lines.append([*args, *more])
  done = subprocess.run(
    [sys.executable, "-c", RUNS],
    input=json.dumps(lines),
    capture_output=True,
    text=True,
    check=True,
    timeout=300,
  )
  found, jax_is_loaded = json.loads(done.stdout)
  return found, jax_is_loaded


def test_every_numeric_parameter_has_limits():
  found = list(numeric())
  assert len(found) > 30
  for words, param in found:
    assert type(param.type).__module__.endswith("bounded_number"), (
      f"{' '.join(words)} {param.name}: use bounded(...) of bounded_number"
    )


@pytest.mark.parametrize("folder", ["magenta_midi", "tools"])
def test_no_option_is_an_unbounded_number(folder):
  """Also of tools, and of what nobody can walk over."""
  bounded = 0
  for path in (ROOT / folder).rglob("*.py"):
    for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
      if not isinstance(call, ast.Call) or ast.unparse(call.func) not in (
        "click.option",
        "click.argument",
      ):
        continue
      given = {word.arg: word.value for word in call.keywords}
      where = f"{path}:{call.lineno}"
      kind = ast.unparse(given.get("type", ast.Constant(None)))
      bounded += kind.startswith("bounded(")
      assert not kind.startswith(
        ("int", "float", "click.INT", "click.FLOAT", "click.IntR", "click.Flo")
      ), where
      default = given.get("default")
      if kind == "None" and isinstance(default, ast.Constant):
        number = isinstance(default.value, int | float)
        assert not number or isinstance(default.value, bool), where
  assert bounded > 20


def test_no_command_takes_a_number_that_cannot_be(runs):
  found, jax_is_loaded = runs
  names = [
    max(param.opts, key=len)
    if isinstance(param, click.Option)
    else str(param.metavar)
    for _, param in numeric()
    for _ in WRONG
  ]
  for (args, code, text), name in zip(found, names, strict=False):
    assert code == 2, (args, text)
    assert text.startswith(f"magenta-midi: {name} must be a "), (args, text)
    assert "number " in text, (args, text)
    assert len(text.splitlines()) == 1, (args, text)
  assert not jax_is_loaded


def test_no_command_takes_such_a_number_inside_a_text(runs):
  found, _ = runs
  assert len(found) > len(TEXTS)
  last = found[-len(TEXTS) :]
  for (args, code, text), (_, says) in zip(last, TEXTS, strict=True):
    assert code == 2, (args, text)
    assert says in text, (args, text)
    assert len(text.splitlines()) == 1, (args, text)
    assert len(text) < 300, (args, text)


def test_help_shows_the_range(capsys):
  from tests.support.command_line import run

  _, out, _ = run(capsys, "generate", "--help")
  assert "0<=x<=8" in out
  assert "0<=x<=4294967295" in out
