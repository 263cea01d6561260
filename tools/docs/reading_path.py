r"""Reading path of a command: the modules that a reader passes on the way down.

    python -m tools.docs.reading_path --until read_music encode_context \
      training_loss -- finetune my_recordings/ --name me --steps 2

Runs a `magenta-midi` command until each function named by `--until` was called
once. The path to a function is the call stack at its first call, without
frames of other packages. Prints

* the modules of all these paths, in the order in which they are passed;
* the climbs back until then: calls into a module that waits higher up in the
  same call stack (callbacks, and modules that import each other);
* how many modules of the package were entered, on the paths and beside them.

The last line is JSON. PYTHONPATH chooses the tree that is measured.
"""

import argparse
import importlib
import itertools
import json
import sys
import threading
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import magenta_midi

PACKAGE = Path(magenta_midi.__file__).parent


class Reached(BaseException):
  """Ends the command where the path ends; no handler of errors catches it."""


def module_of(code: CodeType) -> str | None:
  """The module of the package that holds the code; None: another package."""
  if code.co_name in ("<module>", "__init__") or code.co_name[0] == "<":
    return None
  path = Path(code.co_filename)
  if not path.is_relative_to(PACKAGE):
    return None
  return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def path_to(frame: FrameType | None) -> list[str]:
  """The modules of a call stack, the command first."""
  modules = []
  while frame is not None:
    if module := module_of(frame.f_code):
      modules.append(module)
    frame = frame.f_back
  return [module for module, _ in itertools.groupby(reversed(modules))]


def climbs_back(frame: FrameType) -> tuple[str, str] | None:
  """The caller's and the callee's module, if the callee waits higher up."""
  path = path_to(frame)
  if len(path) > 2 and path[-1] in path[:-2]:
    return path[-2], path[-1]
  return None


def measure(arguments: list[str], until: list[str]) -> dict[str, Any]:
  """Runs a command until all functions were called.

  Raises:
    ValueError: A function was never called.
  """
  known: dict[CodeType, str | None] = {}
  calls: set[tuple[CodeType, CodeType | None]] = set()
  entered: dict[str, None] = {}
  climbs: dict[tuple[str, str], None] = {}
  paths: dict[str, list[str]] = {}

  def profile(frame: FrameType, event: str, _: Any) -> None:
    if event != "call" or len(paths) == len(until):
      return
    code = frame.f_code
    if code not in known:
      known[code] = module_of(code)
    if not (module := known[code]):
      return
    entered.setdefault(module)
    call = (code, frame.f_back.f_code if frame.f_back else None)
    if call not in calls:
      calls.add(call)
      if climb := climbs_back(frame):
        climbs.setdefault(climb)
    if code.co_name in until and code.co_name not in paths:
      paths[code.co_name] = path_to(frame)
      if len(paths) == len(until):
        raise Reached

  # Version 326db6b has its command line in `app`.
  moved = (PACKAGE / "cli" / "main.py").exists()
  name = "magenta_midi.cli.main" if moved else "magenta_midi.app.cli"
  main = importlib.import_module(name)
  sys.argv = ["magenta-midi", *arguments]
  threading.setprofile(profile)
  sys.setprofile(profile)
  try:
    main.main()
  except (Reached, SystemExit):
    pass
  finally:
    sys.setprofile(None)
    threading.setprofile(None)
  if missing := sorted(set(until) - set(paths)):
    raise ValueError(f"not called by {arguments[0]}: {', '.join(missing)}.")
  passed = dict.fromkeys(module for path in paths.values() for module in path)
  return {
    "passed": list(passed),
    "climbs": list(climbs),
    "entered": len(entered),
    "paths": paths,
  }


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    "--until", nargs="+", required=True, help="Functions that end a path."
  )
  before = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
  asked = parser.parse_args(sys.argv[1:before])
  arguments = sys.argv[before + 1 :]
  if not arguments:
    parser.error("give the command after --.")
  found = measure(arguments, asked.until)
  for name, path in found["paths"].items():
    print(f"{name}: {' > '.join(path)}")
  for above, below in found["climbs"]:
    print(f"climbs back: {above} > {below}")
  print(
    f"{len(found['passed'])} modules passed, {len(found['climbs'])} climbs"
    f" back, {found['entered']} modules entered"
  )
  print(json.dumps(found))


if __name__ == "__main__":
  main()
