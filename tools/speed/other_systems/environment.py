"""Environment of the other systems: PyTorch stays out of the project's own."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

__all__ = ["NOTOCHORD", "OTHERS", "TORCH", "make_environment"]

# Linux: PyPI's own wheel needs gigabytes of CUDA libraries to be imported.
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
TORCH = "torch==2.13.0+cpu" if sys.platform == "linux" else "torch==2.13.0"
# Notochord's own requirements less those of its apps.
OTHERS = (
  "transformers==5.23.0",
  "mido==1.3.3",
  "pandas>=2,<3",
  "tqdm",
  "appdirs",
  "joblib",
)
# It asks for torch below 2.11 and for sound libraries; it runs without.
NOTOCHORD = "notochord==0.8.0"
STAMP = "peers.json"


def make_environment(folder: Path, *, torch: str = TORCH) -> Path:
  """Makes the environment once; goes on where an earlier call was stopped.

  Args:
    folder: Where to; made if it is not there.
    torch: What pip shall install as PyTorch: a requirement or a wheel.

  Returns:
    Its Python.

  Raises:
    OSError: Something could not be installed.
  """
  wanted = hashlib.sha256(
    json.dumps([torch, OTHERS, NOTOCHORD, sys.version_info[:2]]).encode()
  ).hexdigest()
  stamp = folder / STAMP
  python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
  if stamp.is_file():
    if json.loads(stamp.read_text())["wanted"] == wanted:
      return python
    shutil.rmtree(folder)
  started = time.perf_counter()
  if not python.exists():
    venv.create(folder, with_pip=True)
  # One place at a time: where the index of PyTorch is out of reach, a wheel
  # that pip finds elsewhere does, and nothing else waits for that index.
  _pip(
    python,
    "--retries=1",
    "--no-deps",
    *(["--index-url", TORCH_INDEX] if torch.endswith("+cpu") else []),
    torch,
  )
  _pip(python, torch, *OTHERS)
  _pip(python, "--no-deps", NOTOCHORD)
  files = [path for path in folder.rglob("*") if path.is_file()]
  facts = dict(
    wanted=wanted,
    megabytes=round(sum(path.stat().st_size for path in files) / 1e6),
    seconds=round(time.perf_counter() - started),
  )
  partial = stamp.with_suffix(".partial")
  partial.write_text(json.dumps(facts))
  partial.replace(stamp)
  print(
    f"{folder}: {facts['megabytes']} MB in {facts['seconds']} s",
    file=sys.stderr,
  )
  return python


def _pip(python: Path, *arguments: str) -> None:
  command = [str(python), "-m", "pip", "install", "--quiet"]
  command += ["--disable-pip-version-check", *arguments]
  print(f"installing {arguments[-1]} ...", file=sys.stderr)
  result = subprocess.run(command, stderr=subprocess.PIPE, text=True)
  if result.returncode:
    reasons = [
      line for line in result.stderr.splitlines() if line.startswith("ERROR")
    ]
    raise OSError(
      f"pip could not install {' '.join(arguments)}:"
      f" {' '.join(reasons) or 'it says nothing'}. With a network run the same"
      " again; --torch names another PyTorch."
    )
