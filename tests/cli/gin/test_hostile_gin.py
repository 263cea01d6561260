"""Gin files of strangers: one line with the place and the name, at once."""

import os

import pytest

from magenta_midi.cli.gin.evaluation import configurable, evaluate
from magenta_midi.cli.gin.statements import GinSource, read_statements
from magenta_midi.cli.gin.train_run import gin_train_run
from magenta_midi.cli.terminal.errors import UserError


def target(*, rate: float = 0.1, names: list | None = None):
  return rate, names


CONFIGURABLES = dict(target=configurable(target))


def value_of(tmp_path, text):
  path = tmp_path / "x.gin"
  path.write_text(text)
  source = GinSource((str(path),))
  return evaluate("target", CONFIGURABLES, source).value


def refused(tmp_path, text):
  with pytest.raises((UserError, ValueError)) as caught:
    value_of(tmp_path, text)
  message = str(getattr(caught.value, "message", caught.value))
  assert "\n" not in message
  assert len(message) < 600
  return message


def test_a_circular_macro_is_named(tmp_path):
  message = refused(tmp_path, "target.rate = %A\nA = %B\nB = %A\n")
  assert "x.gin:3: %A refers to itself: %A -> %B -> %A" in message
  assert "%A refers to itself" in refused(
    tmp_path, "target.names = %A\nA = [1, [%A]]\n"
  )
  assert "%A refers to itself: %A -> %A" in refused(
    tmp_path, "target.rate = %A\nA = %A\n"
  )


def test_a_configurable_that_refers_to_itself_is_named(tmp_path):
  message = refused(tmp_path, "target.rate = @target()\n")
  assert "x.gin:1: @target refers to itself" in message


@pytest.mark.parametrize("length", [1, 3000, 10_000])
def test_a_long_chain_of_macros_has_its_value(tmp_path, length):
  links = [f"M{i} = %M{i + 1}" for i in range(length)]
  text = "\n".join([*links, f"M{length} = 0.5", "target.rate = %M0\n"])
  assert value_of(tmp_path, text) == (0.5, None)


def test_macros_that_double_are_refused(tmp_path):
  links = [f"M{i} = [%M{i + 1}, %M{i + 1}]" for i in range(30)]
  text = "\n".join([*links, "M30 = 1", "target.names = %M0\n"])
  assert "more than 100,000 values" in refused(tmp_path, text)


@pytest.mark.parametrize("depth", [100, 50_000])
def test_nested_lists_are_refused(tmp_path, depth):
  text = "target.names = " + "[" * depth + "]" * depth + "\n"
  assert "x.gin:1: no gin statement: nested deeper" in refused(tmp_path, text)
  chain = [f"M{i} = [%M{i + 1}]" for i in range(depth)][:1000]
  text = "\n".join([*chain, f"M{len(chain)} = 1", "target.names = %M0\n"])
  assert "nested deeper than 32 lists" in refused(tmp_path, text)


@pytest.mark.parametrize(
  "value",
  [
    "9" * 10_000,
    "-" * 5000 + "1",
    "{[1]: 2}",
    "{{}: 2}",
    "{" * 3,
    "1j",
    "b'x'",
    "nan",
    "'a' " * 5000,
    "__import__('os').system('touch pwned')",
    "@os.system()",
    '"""' + "x\n" * 100,
    "(" * 10 + "$" + ")" * 10,
  ],
)
def test_other_values_are_refused(tmp_path, monkeypatch, value):
  monkeypatch.chdir(tmp_path)
  assert "x.gin:" in refused(tmp_path, f"target.rate = {value}\n")
  assert not (tmp_path / "pwned").exists()


def test_nothing_is_imported(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "evilmod.py").write_text("open('pwned', 'w')")
  for text in ("import evilmod\n", "import __gin__.x\n", "from a import b\n"):
    assert "nothing is imported here" in refused(tmp_path, text)
  assert not (tmp_path / "pwned").exists()


def test_files_that_include_each_other_are_refused(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert "includes itself" in refused(tmp_path, "include 'x.gin'\n")
  for i in range(12):
    (tmp_path / f"{i}.gin").write_text(f"include '{i + 1}.gin'\n" * 2)
  (tmp_path / "12.gin").write_text("")
  message = refused(tmp_path, "include '0.gin'\n")
  assert "is included after 200 others" in message


def test_only_regular_files_of_bounded_size_are_read(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  os.mkfifo("pipe.gin")
  os.symlink("/dev/zero", "zero.gin")
  with open("large.gin", "wb") as file:
    file.truncate(2**30)
  (tmp_path / "bytes.gin").write_bytes(b"\xff\xfe\x00")
  for name in ("pipe", "zero"):
    with pytest.raises(UserError, match="there is no such file"):
      read_statements(GinSource((f"{name}.gin",)))
  with pytest.raises(OSError, match=r"at most 0.25 are read"):
    read_statements(GinSource(("large.gin",)))
  with pytest.raises(UserError, match="is not a text file"):
    read_statements(GinSource(("bytes.gin",)))


def test_many_names_take_linear_time(tmp_path):
  # 12,000 mentions of 12,000 names: quadratic, it would take minutes.
  lines = [f"M{i} = %N{i}\nN{i} = 1" for i in range(6000)]
  text = "\n".join([*lines, "target.rate = %M0\n"])
  message = refused(tmp_path, text)
  assert "nothing is called M1" in message


def test_a_run_of_a_circular_macro_is_refused(tmp_path):
  path = tmp_path / "x.gin"
  path.write_text(
    'include "gin_configs/runs/pretrain.gin"\nMIXTURE_OR_TASK_NAME = "x"\n'
    "TRAIN_STEPS = 2\nLEARNING_RATE = %A\nA = %B\nB = %A\n"
  )
  with pytest.raises(UserError, match="%A refers to itself: %A -> %B -> %A"):
    gin_train_run(GinSource((str(path),)), {})
