"""Every file is written whole or not at all: no plain writer is left."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Writers that are right as they are, and why.
ALLOWED = {
  # It is `write_atomically` itself.
  ("magenta_midi/midi/atomic.py", "open"),
  # Lines are appended while a run or a session goes on; readers pass over one
  # that is cut.
  ("magenta_midi/train/watch.py", "open"),
  ("tools/music/sampler.py", "open"),
  # Under another name; the download that follows continues it.
  ("magenta_midi/cli/terminal/download.py", "open"),
  # Under another name until weights and config are both whole.
  ("magenta_midi/model/checkpoint.py", "open"),
  # In a folder that takes its name when all is there, or is removed.
  ("magenta_midi/magenta_rt/t5x_archive.py", "open"),
  ("magenta_midi/magenta_rt/t5x_checkpoint.py", "write_bytes"),
  ("magenta_midi/magenta_rt/t5x_checkpoint.py", "write_text"),
  # Runs where this package is not installed; the file is renamed when whole.
  ("tools/speed/other_systems/environment.py", "write_text"),
  # The null device.
  ("tools/speed/other_systems/notochord_events.py", "open"),
  # A pipe to the process that asks.
  ("magenta_midi/live/io/port_lister.py", "open"),
  ("magenta_midi/server/jobs/child.py", "open"),
  # What a server of the tests says, while it runs.
  ("magenta_midi/testing/jack.py", "open"),
  # Folders of tests, made to be read once.
  ("magenta_midi/testing/music_coca.py", "write_bytes"),
}
# Damaged files, read once in the same process.
MADE_TO_BE_READ = "tools/fuzzing/"
_MODES = set("rwaxbt+")
METHODS = {"write_text", "write_bytes", "savefig", "save_file", "tofile"}


def writers(source):
  """The names of calls that write a file in place, each with its line."""
  for node in ast.walk(ast.parse(source)):
    if not isinstance(node, ast.Call):
      continue
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    values = [*node.args, *(keyword.value for keyword in node.keywords)]
    words = [v.value for v in values if isinstance(v, ast.Constant)]
    words += [
      branch.value
      for value in values
      if isinstance(value, ast.IfExp)
      for branch in (value.body, value.orelse)
      if isinstance(branch, ast.Constant)
    ]
    modes = [
      word
      for word in words
      if isinstance(word, str)
      and 0 < len(word) < 4
      and set(word) <= set("rwaxbt+")
    ]
    if name in ("open", "fdopen"):
      if any(set(mode) & set("wax+") for mode in modes):
        yield "open", node.lineno
    elif name == "save" and isinstance(node.func, ast.Attribute):
      if getattr(node.func.value, "id", "") in ("np", "numpy"):
        yield "np.save", node.lineno
    elif name in METHODS or name.startswith("savez"):
      # A figure or array that is written into memory or an opened file.
      target = node.args[0] if node.args else None
      if name in METHODS - {"savefig"} or not (
        isinstance(target, ast.Name) and target.id in ("image", "file")
      ):
        yield name, node.lineno


@pytest.mark.parametrize("room", ["magenta_midi", "tools"])
def test_files_are_written_by_the_atomic_writers(room):
  found = {}
  for path in sorted((ROOT / room).rglob("*.py")):
    name = path.relative_to(ROOT).as_posix()
    for writer, line in writers(path.read_text("utf-8")):
      found.setdefault((name, writer), []).append(line)
  rest = {
    key: lines
    for key, lines in found.items()
    if key not in ALLOWED and not key[0].startswith(MADE_TO_BE_READ)
  }
  assert not rest, "use write_atomically or open_atomically"
  stale = {key for key in ALLOWED if key[0].startswith(room)} - found.keys()
  assert not stale


@pytest.mark.parametrize(
  ("source", "names"),
  [
    ("open(path, 'w')", ["open"]),
    ("path.open(mode='ab')", ["open"]),
    ("open(path, 'ab' if start else 'wb')", ["open"]),
    ("open(path, 'rb')", []),
    ("open(path, encoding='utf-8')", []),
    ("path.write_text('a')", ["write_text"]),
    ("figure.savefig(path)", ["savefig"]),
    ("figure.savefig(image)", []),
    ("np.savez_compressed(path, a=a)", ["savez_compressed"]),
    ("np.save(path, a)", ["np.save"]),
    ("model.save(folder)", []),
  ],
)
def test_plain_writers_are_found(source, names):
  assert [name for name, _ in writers(source)] == names
