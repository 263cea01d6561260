"""The README's Python runs as printed."""

import re
import shutil
from pathlib import Path

from magenta_midi.cli.phrases import phrase_path

README = Path(__file__).resolve().parents[1] / "README.md"


def test_the_quick_start_runs_as_printed(tmp_path, monkeypatch):
  blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
  for block in blocks[1:]:  # live play: tests/live runs it over real ports
    compile(block, str(README), "exec")
  monkeypatch.chdir(tmp_path)
  shutil.copy(phrase_path(), "my_recording.mid")
  names: dict = {}
  exec(compile(blocks[0], str(README), "exec"), names)
  assert names["state"].chunk_index == 5
  assert names["state"].now_s == 10.0
  assert names["style"].shape == (768,)


def test_the_readme_is_short_and_begins_with_three_commands():
  text = README.read_text()
  assert len(text.splitlines()) <= 150
  first = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)[0]
  assert [line.split("#")[0].strip() for line in first.splitlines()] == [
    "make play",
    "make test",
    "make serve",
  ]
