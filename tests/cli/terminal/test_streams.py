"""Whatever a name holds, commands show it, and nothing obeys it."""

import io
import json
import logging
import os
import subprocess
import sys
import unicodedata
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from magenta_midi.cli.main import main
from magenta_midi.cli.terminal.output import (
  print_line,
  print_table,
  progress_bar,
  remark,
  table,
)
from magenta_midi.cli.terminal.plain_console import PlainConsole
from magenta_midi.cli.terminal.streams import plain_streams
from magenta_midi.midi.score import Score
from magenta_midi.model.lora.adapter_file import Adapter, write_adapter
from magenta_midi.model.lora.lora import LoraConfig, LowRank

EVIL = "[/x] :piano: \x1b[2J\x1b]52;c;ZQ==\x07\u202e\nmagenta-midi: fake"
SHOWN = r"[/x] :piano: \x1b[2J\x1b]52;c;ZQ==\x07\u202e\nmagenta-midi: fake"
KOREAN = "오할림 [live]"


def invisible(text):
  """The characters that a terminal obeys, or that turn writing round."""
  return {
    letter
    for letter in text
    if letter not in "\n\t\u200c\u200d"
    and unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")
  }


def outcome(monkeypatch, *args, encoding="utf-8"):
  """Exit status, stdout and stderr of a command on streams of an encoding."""
  streams = [io.TextIOWrapper(io.BytesIO(), encoding) for _ in range(2)]
  code = 0
  with monkeypatch.context() as patch:
    patch.setattr(sys, "stdout", streams[0])
    patch.setattr(sys, "stderr", streams[1])
    try:
      main([os.fspath(arg) for arg in args])
    except SystemExit as error:
      code = error.code
    assert [sys.stdout, sys.stderr] == streams
  written = []
  for stream in streams:
    assert stream.errors == "strict"
    stream.flush()
    written.append(stream.buffer.getvalue().decode(encoding))
  return code, *written


@pytest.fixture
def song(tmp_path):
  path = tmp_path / f"{KOREAN}.mid"
  Score.from_arrays(
    onset_s=[0.0, 1.0],
    duration_s=[0.5, 0.5],
    key=[60, 64],
    velocity=[64, 64],
    part_names=["오할림 $x"],
  ).to_file(path)
  return path


# Each is refused; none of them loads a model.
REFUSALS = [
  lambda text: [text],
  lambda text: ["tokenize", text],
  lambda text: ["render", text],
  lambda text: ["sessions", "--sessions", text, "list"],
  lambda text: ["adapters", "show", text],
  lambda text: ["generate", "--out", "x.mid", "--seconds", text],
  lambda text: ["generate", "--out", "x.mid", "--context", text],
  lambda text: ["jam", "--set", text],
  lambda text: ["evaluate", text],
]


@settings(
  max_examples=40,
  suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
  text=st.one_of(
    # NUL cannot be in an argument, "-" begins an option.
    st.text(st.characters(exclude_characters="\0")).map("/no {}".format),
    st.sampled_from([f"/no {EVIL}", "/no \udcff.mid", "/no 오.mid"]),
  ),
  command=st.sampled_from(REFUSALS),
)
def test_no_text_reaches_the_terminal_as_anything_but_text(
  monkeypatch, text, command
):
  code, out, err = outcome(monkeypatch, *command(text))
  assert code == 2, (out, err)
  assert not invisible(out + err)
  # No text makes a second line.
  assert len(err.splitlines()) == 1
  assert err.startswith("magenta-midi: ")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp949", "utf-8"])
def test_a_terminal_without_a_letter_does_not_end_a_command(
  monkeypatch, tmp_path, song, encoding
):
  for args in (
    ["tokenize", song, "--out", tmp_path / "나.mid"],
    ["render", song, "--plot", tmp_path / "그림.png"],
    ["sessions", "--sessions", tmp_path, "list"],
  ):
    code, out, err = outcome(monkeypatch, *args, encoding=encoding)
    assert code == 0, err
    # The sessions' name is a temporary folder's.
    if args[0] == "render":
      name = str(tmp_path / "그림.png")
      shown = name.encode(encoding, "backslashreplace").decode(encoding)
      assert out == f"wrote {shown}\n"


def test_json_holds_the_name_as_it_is(monkeypatch, tmp_path):
  (tmp_path / "\udcff [x]").mkdir()
  (tmp_path / "\udcff [x]" / "session.json").write_text("{")
  code, out, err = outcome(
    monkeypatch, "sessions", "--sessions", tmp_path, "list", "--json"
  )
  assert code == 0, err
  (session,) = json.loads(out.splitlines()[-1])["sessions"]
  assert session["id"] == "\udcff [x]"
  assert not invisible(out + err)


@pytest.mark.parametrize("name", ["\udcff.mid", "오.mid", "song [live].mid"])
def test_any_name_of_a_file_is_shown(monkeypatch, tmp_path, name):
  name = unicodedata.normalize("NFD", name)
  (tmp_path / name).write_bytes(b"MThd")
  code, out, err = outcome(monkeypatch, "tokenize", tmp_path / name)
  assert code == 2, out
  assert name.replace("\udcff", r"\udcff") in err


def test_metadata_of_adapters_is_shown_and_not_obeyed(monkeypatch, tmp_path):
  monkeypatch.setenv("MAGENTA_MIDI_ADAPTERS", str(tmp_path))
  pair = LowRank(np.zeros((6, 2), np.float32), np.zeros((2, 5), np.float32))
  adapter = Adapter(
    name="me",
    factors={"encoder_layers.0.mlp.wo.kernel": pair},
    config=LoraConfig(rank=2, alpha=3.0, targets=("mlp",)),
    base=EVIL,
    base_sha256="ab" * 32,
    codec={"name": EVIL},
    licence=EVIL,
    date=EVIL,
  )
  write_adapter(tmp_path / "me.safetensors", adapter)
  code, out, err = outcome(monkeypatch, "adapters", "list")
  assert (code, err) == (0, "")
  assert SHOWN in out
  code, out, err = outcome(monkeypatch, "adapters", "show", "me", "--json")
  assert (code, err) == (0, "")
  *lines, values = out.splitlines()
  # Base and codec stand on one line of their own.
  assert [line.count(SHOWN) for line in lines if SHOWN in line] == [2, 1, 1]
  assert not any(line.startswith("magenta-midi:") for line in lines)
  assert not invisible(out)
  facts = json.loads(values)
  assert facts["licence"] == facts["base"] == facts["date"] == EVIL


def test_lines_tables_bars_and_spinners_show_text(monkeypatch):
  out = io.StringIO()
  monkeypatch.setattr(sys, "stdout", out)
  monkeypatch.setattr(sys, "stderr", out)
  print_line(EVIL)
  remark(EVIL)
  assert out.getvalue() == f"{SHOWN}\n" * 2
  rows = table()
  rows.add_column(EVIL, no_wrap=True)
  rows.add_row(EVIL)
  print_table(rows)
  assert out.getvalue().count(SHOWN) == 4
  with progress_bar() as bar:
    bar.add_task(EVIL, note=EVIL)
    drawn = io.StringIO()
    PlainConsole(file=drawn, width=400).print(bar.get_renderable())
  assert drawn.getvalue().count(SHOWN) == 2
  status = PlainConsole(file=io.StringIO(), width=400).status(EVIL)
  assert str(status.status) == SHOWN
  assert not invisible(out.getvalue() + drawn.getvalue())


def test_what_others_write_is_text_too(monkeypatch):
  err = io.StringIO()
  monkeypatch.setattr(sys, "stderr", err)
  with plain_streams():
    print(EVIL, file=sys.stderr)
    # As the interpreter shows it; pytest takes warnings for itself.
    sys.stderr.write(warnings.formatwarning(EVIL, UserWarning, "a.py", 1))
    handler = logging.StreamHandler()
    handler.emit(logging.makeLogRecord({"msg": EVIL}))
    # Colours of our own are no text.
    PlainConsole(stderr=True, force_terminal=True).print("[b]", style="red")
  assert "\x1b[31m[b]\x1b[0m\n" in err.getvalue()
  text = err.getvalue().replace("\x1b[31m[b]\x1b[0m", "")
  assert text.count(r"\x1b]52;c;ZQ==\x07") == 3
  assert not invisible(text)
  assert sys.stderr is err


def command_line(*args, environment=None, **settings):
  return subprocess.Popen(
    [sys.executable, "-m", "magenta_midi.cli.main", *map(os.fspath, args)],
    env={**os.environ, **(environment or {})},
    stderr=subprocess.PIPE,
    **settings,
  )


@pytest.mark.parametrize(
  ("environment", "shown"),
  [
    ({"PYTHONIOENCODING": "ascii"}, rb"\uc624"),
    # The name arrives as bytes that are no text of that locale.
    (
      {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
      rb"\udcec\udc98\udca4",
    ),
  ],
)
def test_a_process_in_ascii_shows_escapes(tmp_path, song, environment, shown):
  process = command_line(
    "render",
    song,
    "--plot",
    tmp_path / "a [오].png",
    environment=environment,
    stdout=subprocess.PIPE,
  )
  out, err = process.communicate()
  assert process.returncode == 0, err
  assert out.endswith(b"a [" + shown + b"].png\n")
  assert out.isascii() and err.isascii()


@pytest.mark.parametrize("args", [[], ["generate"]])
def test_help_that_is_piped_is_text(args):
  process = command_line(*args, "--help", stdout=subprocess.PIPE)
  out, _ = process.communicate()
  assert out.startswith(b"Usage: "), out[:20]
  assert out.count(b"\n") > 10


@pytest.mark.parametrize(
  "args", [["--help"], ["sessions", "list"], ["sessions", "list", "--json"]]
)
def test_a_reader_that_has_gone_is_no_error(tmp_path, args):
  (tmp_path / "one").mkdir()
  (tmp_path / "one" / "session.json").write_text("{")
  if args[0] == "sessions":
    args = ["sessions", "--sessions", tmp_path, *args[1:]]
  reader, writer = os.pipe()
  os.close(reader)
  process = command_line(*args, stdout=writer)
  os.close(writer)
  _, err = process.communicate()
  assert process.returncode == 0, err
  assert b"roken" not in err and b"Traceback" not in err


def test_a_traceback_is_text_too():
  script = (
    "from magenta_midi.cli import main\n"
    "def fail(*_, **__): raise RuntimeError('\\x1b[2J')\n"
    "main.cli.main = fail\n"
    "main.main(['x'])"
  )
  done = subprocess.run(
    [sys.executable, "-c", script], capture_output=True, text=True
  )
  assert done.returncode == 1
  assert "Traceback" in done.stderr
  assert done.stderr.endswith("RuntimeError: \\x1b[2J\n")
