r"""Reading path of a command: the modules that a reader passes on the way down.

    python -m tools.docs.reading_path --until draw_frame -- \\
      generate --seconds 2 --out /tmp/new.mid

Runs a `magenta-midi` command and stops it at the first call of a function
named by `--until`. The path is the call stack at this moment, without frames
of other packages. Prints

* the modules of the path, from the command to that function;
* how often the path climbs back: to a module that it has passed before, or
  from one room to a room on a higher floor;
* how many modules of the package were entered until then, by the path and
  beside it.

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
# The lowest floor first; `app` and `api` as they were and are.
FLOORS = (
  ("settings", "typing"),
  ("midi",),
  ("model", "tokens", "audio"),
  ("style",),
  ("generate",),
  ("data",),
  ("evaluation",),
  ("train",),
  ("finetune", "magenta_rt"),
  ("api",),
  ("live",),
  ("testing",),
  ("app", "cli"),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


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


def climbs(path: list[str]) -> list[tuple[str, str]]:
  """The steps of a path that lead back, or to a higher floor."""
  found = []
  for index, (above, below) in enumerate(itertools.pairwise(path)):
    floors = [FLOOR[module.split(".")[0]] for module in (above, below)]
    if below in path[: index + 1] or floors[1] > floors[0]:
      found.append((above, below))
  return found


def measure(arguments: list[str], until: str) -> dict[str, Any]:
  """Runs a command until a function is called.

  Raises:
    ValueError: The function was never called.
  """
  entered: dict[str, None] = {}
  known: dict[CodeType, str | None] = {}
  paths: list[list[str]] = []

  def profile(frame: FrameType, event: str, _: Any) -> None:
    if event != "call" or paths:
      return
    code = frame.f_code
    if code not in known:
      known[code] = module_of(code)
    if module := known[code]:
      entered.setdefault(module)
      if code.co_name == until:
        paths.append(path_to(frame))
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
  if not paths:
    raise ValueError(f"{until} was not called by {' '.join(arguments)}.")
  path = paths[0]
  return {
    "path": path,
    "modules": len(set(path)),
    "climbs": climbs(path),
    "entered": len(entered),
  }


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    "--until", required=True, help="Name of the function that ends the path."
  )
  parser.add_argument("arguments", nargs="+", help="The command, after --.")
  asked = parser.parse_args()
  found = measure(asked.arguments, asked.until)
  back = set(map(tuple, found["climbs"]))
  for above, below in itertools.pairwise(["", *found["path"]]):
    print(f"{'^' if (above, below) in back else ' '} {below}")
  print(
    f"{found['modules']} modules, {len(found['climbs'])} climbs back,"
    f" {found['entered']} modules entered"
  )
  print(json.dumps(found))


if __name__ == "__main__":
  main()
