"""`magenta-midi` as a user runs it, inside the test process."""

import json
from typing import Any

from magenta_midi.cli.main import main

__all__ = ["refused", "run", "run_json"]


def run(capsys: Any, *args: object) -> tuple[int, str, str]:
  """Returns the exit status, stdout and stderr."""
  code = 0
  try:
    main([str(arg) for arg in args])
  except SystemExit as error:
    code = int(error.code or 0)
  captured = capsys.readouterr()
  return code, captured.out, captured.err


def run_json(capsys: Any, *args: object) -> dict[str, Any]:
  """The last JSON that `--json` prints, for a run that succeeds."""
  code, out, err = run(capsys, *args, "--json")
  assert code == 0, err
  return json.loads(out.strip().splitlines()[-1])


def refused(capsys: Any, *args: object) -> str:
  """The line on stderr of a run that must fail with a one-line error."""
  code, out, err = run(capsys, *args)
  assert code == 2, (out, err)
  lines = err.strip().splitlines()
  assert len(lines) == 1, err
  return lines[0]
