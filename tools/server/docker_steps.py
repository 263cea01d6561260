"""Executes the steps of the Dockerfile without Docker, in a clean root folder.

Each stage gets a Debian of its own, unpacked by debootstrap; its COPY and RUN
steps are carried out in order, and the last stage's server is started as its
user and asked by its health check. Needs Linux, root, and debootstrap.
"""

import argparse
import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SUITE = "bookworm"  # of python:3.11-slim-bookworm; its python3 is 3.11 as well
PACKAGES = "ca-certificates,python3,python3-venv"
# What the machine needs to reach its own package servers.
BORROWED = ("etc/apt/sources.list", "etc/apt/sources.list.d", "etc/pip.conf")
HEALTHY_S = 180


def instructions(text: str) -> Iterator[tuple[str, str]]:
  """Name and arguments of each instruction, continued lines joined."""
  text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
  text = text.replace("\\\n", " ")
  for line in filter(None, map(str.strip, text.splitlines())):
    name, _, rest = line.partition(" ")
    yield name.upper(), rest.strip()


def stages(text: str) -> dict[str, tuple[str, list[tuple[str, str]]]]:
  """Stages by name: what each begins from, and its instructions."""
  found: dict[str, tuple[str, list[tuple[str, str]]]] = {}
  for name, rest in instructions(text):
    if name == "FROM":
      source, _, stage = rest.partition(" AS ")
      found[stage] = (source, [])
      current = found[stage][1]
    else:
      current.append((name, rest))
  return found


class Root:
  """A folder that a stage has as its root."""

  def __init__(self, path: Path, shared: Sequence[Path] = ()):
    self.path, self.shared = path, shared
    self.env = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
    self.folder, self.user = "/", 0

  def unpack(self) -> None:
    """A bare Debian with `python` and `pip`, as in the official images."""
    subprocess.run(
      [
        *("debootstrap", "--variant=minbase", f"--include={PACKAGES}"),
        *(SUITE, str(self.path)),
      ],
      check=True,
      stdout=subprocess.DEVNULL,
    )
    (self.path / "etc/apt/sources.list").unlink(missing_ok=True)
    for name in BORROWED:
      source, target = Path("/", name), self.path / name
      if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
      elif source.exists():
        shutil.copy(source, target)
    shutil.copy("/etc/resolv.conf", self.path / "etc/resolv.conf")
    self.run(["python3", "-m", "venv", "/usr/local"])

  def copy_of(self, other: "Root") -> None:
    """All that another stage has."""
    subprocess.run(["cp", "-a", f"{other.path}/.", self.path], check=True)
    self.env, self.folder, self.user = dict(other.env), other.folder, other.user

  def command(self, words: list[str]) -> list[str]:
    """A command of this machine that runs `words` inside."""
    inside = shlex.join(words)
    start = f"cd {shlex.quote(self.folder)} && exec {inside}"
    return [
      *("chroot", f"--userspec={self.user}:{self.user}", str(self.path)),
      *("/bin/sh", "-c", start),
    ]

  def run(self, words: list[str]) -> None:
    """Runs to the end; an error shows what was printed, and ends all."""
    env = self.env | {k: v for k, v in os.environ.items() if k[:4] == "PIP_"}
    done = subprocess.run(
      self.command(words),
      env=env,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )
    if done.returncode:
      sys.exit(f"{done.stdout}\n{shlex.join(words)}: exit {done.returncode}")

  def copy(self, sources: list[str], target: str, top: Path) -> None:
    """COPY: a folder's contents, or files."""
    place = self.path / os.path.join(self.folder, target).lstrip("/")
    for source in sources:
      given = top / source.lstrip("/")
      if given.is_dir():
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(given, place, ignore=ignored, dirs_exist_ok=True)
      else:
        into = target.endswith("/")
        (place if into else place.parent).mkdir(parents=True, exist_ok=True)
        shutil.copy(given, place)


@contextlib.contextmanager
def devices(root: Root) -> Iterator[None]:
  """The mounts that a container has, and the shared folders."""
  mounted: list[Path] = []

  def mount(place: Path, *how: str) -> None:
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", *how, str(place)], check=True)
    mounted.append(place)

  try:
    mount(root.path / "proc", "-t", "proc", "proc")
    mount(root.path / "dev/shm", "-t", "tmpfs", "tmpfs")
    for folder in root.shared:
      mount(root.path / str(folder).lstrip("/"), "--bind", str(folder))
    yield
  finally:
    for name in reversed(mounted):
      subprocess.run(["umount", "-l", name], check=False)


def build(
  name: str,
  folder: Path,
  shared: Sequence[Path],
  plan: dict[str, tuple[str, list[tuple[str, str]]]],
  built: dict[str, Root],
) -> Root:
  """Carries out a stage, after those that it needs."""
  if name in built:
    return built[name]
  source, steps = plan[name]
  root = Root(folder / name, shared)
  root.path.mkdir(parents=True)
  if source in plan:
    root.copy_of(build(source, folder, shared, plan, built))
  else:
    print(f"{name}: Debian {SUITE} in place of {source}", flush=True)
    root.unpack()
  built[name] = root
  for instruction, rest in steps:
    begun = time.monotonic()
    match instruction:
      case "RUN":
        with devices(root):
          root.run(["/bin/sh", "-ec", rest])
      case "ENV":
        root.env |= dict(one.split("=", 1) for one in shlex.split(rest))
      case "WORKDIR":
        root.folder = rest
        (root.path / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
      case "USER":
        root.user = int(rest)
      case "COPY":
        words = shlex.split(rest)
        top = REPOSITORY
        if words[0].startswith("--from="):
          other = words.pop(0).removeprefix("--from=")
          top = build(other, folder, shared, plan, built).path
        *sources, target = words
        root.copy(sources, target, top)
      case _:
        continue
    print(f"{name}: {instruction} {rest[:60]} {time.monotonic() - begun:.1f} s")
  return root


def try_server(root: Root, check: list[str], entry: list[str]) -> float:
  """Starts the server as its user; returns s until the health check passes."""
  with devices(root):
    begun = time.monotonic()
    with subprocess.Popen(root.command(entry), env=root.env) as server:
      try:
        while time.monotonic() - begun < HEALTHY_S:
          time.sleep(0.5)
          asked = subprocess.run(
            root.command(check), env=root.env, capture_output=True
          )
          if asked.returncode == 0:
            return time.monotonic() - begun
          if server.poll() is not None:
            break
      finally:
        server.send_signal(signal.SIGINT)
  raise SystemExit("The server did not become healthy.")


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument(
    "--target", default="cpu", help="Stage to build [default: cpu]."
  )
  parser.add_argument(
    "--folder", type=Path, required=True, help="New folder for the roots."
  )
  parser.add_argument(
    "--share",
    type=Path,
    action="append",
    default=[],
    help="Folder of this machine that the steps see too, such as pip's settings"
    " and a folder of wheels; repeatable.",
  )
  arguments = parser.parse_args()
  if os.geteuid() != 0 or shutil.which("debootstrap") is None:
    sys.exit("This needs root and debootstrap: apt-get install debootstrap")
  text = (REPOSITORY / "Dockerfile").read_text("utf-8")
  plan = stages(text)
  if arguments.target not in plan:
    sys.exit(f"There is no stage {arguments.target}: {', '.join(plan)}.")
  shared = [path.resolve() for path in arguments.share]
  root = build(arguments.target, arguments.folder, shared, plan, {})
  found = dict(instructions(text))
  check = json.loads(found["HEALTHCHECK"].partition("CMD ")[2])
  entry = json.loads(dict(plan[arguments.target][1])["ENTRYPOINT"])
  healthy_s = try_server(root, check, entry)
  size = subprocess.run(
    ["du", "-sm", root.path], capture_output=True, text=True, check=True
  )
  print(f"healthy after {healthy_s:.1f} s; {size.stdout.split()[0]} MB")


if __name__ == "__main__":
  main()
