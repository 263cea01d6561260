"""What does a bare machine with an accelerator need to train?

    python -m tools.training.bundle PREPARED [PREPARED ...] --out bundle.tar.xz

Packs the package and prepared corpora (`magenta-midi prepare`) into one file.
On the other machine, with only what JAX, Flax, Optax and Orbax bring:

    tar xf bundle.tar.xz && cd bundle
    python -m magenta_midi.cli.main train --data corpora/NAME ... --minutes 8

Without grain one process cuts the batches; without tensorboardX the log is
`log.jsonl` and `loss.png`.
"""

import tarfile
from collections.abc import Iterator
from pathlib import Path

import click

import magenta_midi
from magenta_midi.data.prepared import is_prepared, read_manifest

# Training starts from drawn weights, or from a checkpoint that is named.
_LEFT_OUT = ("__pycache__", "model/embedded", "server/page")


def members(folders: tuple[Path, ...]) -> Iterator[tuple[Path, str]]:
  """Each file, and its name in the bundle."""
  package = Path(magenta_midi.__file__).parent
  for path in sorted(package.rglob("*")):
    name = path.relative_to(package).as_posix()
    if path.is_file() and not any(part in name for part in _LEFT_OUT):
      yield path, f"bundle/magenta_midi/{name}"
  for folder in folders:
    for path in sorted(folder.iterdir()):
      if path.is_file():
        yield path, f"bundle/corpora/{folder.name}/{path.name}"


def plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
  """Without names of this machine."""
  info.uid = info.gid = 0
  info.uname = info.gname = ""
  return info


@click.command(help=__doc__)
@click.argument(
  "folders",
  nargs=-1,
  required=True,
  type=click.Path(path_type=Path, exists=True, file_okay=False),
)
@click.option(
  "--out",
  type=click.Path(path_type=Path, dir_okay=False),
  default=Path("bundle.tar.xz"),
  show_default=True,
  help="The file.",
)
def main(folders: tuple[Path, ...], out: Path) -> None:
  """Writes the bundle and prints its size."""
  for folder in folders:
    if not is_prepared(folder):
      raise click.UsageError(f"{folder}: run magenta-midi prepare first.")
    read_manifest(folder)
  with tarfile.open(out, "w:xz", preset=6) as packed:
    for path, name in members(folders):
      packed.add(path, name, filter=plain)
  print(f"{out}: {out.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
  main()
