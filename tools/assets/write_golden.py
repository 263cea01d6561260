"""Golden figures of the network: tests/model/golden.npz.

    python -m tools.assets.write_golden --shared ../shared

The figures of our code on random weights are worth keeping only where they are
known to be right: the parity tests with the original's fixtures run first, and
none may fail or be skipped.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "model" / "golden.npz"
PARITY = (
  "tests/magenta_rt/test_parity.py",
  "tests/magenta_rt/test_conventions.py",
  "tests/magenta_rt/test_token_decoder.py",
  "tests/magenta_rt/test_t5x_model.py",
)


def parity_holds(shared: Path) -> bool:
  """Whether every parity test ran and passed."""
  run = subprocess.run(
    [sys.executable, "-m", "pytest", *PARITY, "-p", "no:cacheprovider"],
    cwd=ROOT,
    env={**os.environ, "MAGENTA_MIDI_SHARED": str(shared.resolve())},
    capture_output=True,
    text=True,
  )
  summary = run.stdout.strip().splitlines()[-1] if run.stdout.strip() else ""
  print(summary)
  return run.returncode == 0 and "skipped" not in summary


def main() -> None:
  """Checks, then writes under a temporary name and renames."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    "--shared", type=Path, required=True, help="folder that holds fixtures/"
  )
  shared = parser.parse_args().shared
  if not (shared / "fixtures" / "magenta_rt_v1").is_dir():
    sys.exit(
      f"{shared}: holds no fixtures/magenta_rt_v1. Golden outputs are written"
      " only beside the original's recordings."
    )
  if not parity_holds(shared):
    sys.exit("the parity tests do not all pass: nothing was written.")

  import numpy as np

  from magenta_midi.midi.atomic import open_atomically
  from magenta_midi.testing.golden import golden_outputs

  with open_atomically(GOLDEN) as file:
    np.savez_compressed(file, allow_pickle=False, **golden_outputs())
  print(f"wrote {GOLDEN} ({GOLDEN.stat().st_size} bytes)")


if __name__ == "__main__":
  main()
