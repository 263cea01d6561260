"""`magenta-midi info`: checkpoint, device and versions."""

from pathlib import Path

import click

from magenta_midi.cli.terminal.options import checkpoint_option
from magenta_midi.cli.terminal.output import json_option, print_json, print_line

__all__ = ["command"]


@click.command("info")
@checkpoint_option
@json_option
def command(checkpoint: Path | None, as_json: bool) -> None:
  """Show the checkpoint, the device and the versions in use."""
  import importlib.metadata
  import platform

  import jax

  from magenta_midi.audio.render import find_soundfont
  from magenta_midi.generate.compilation.compilation_cache import cache_folder
  from magenta_midi.model.checkpoint import (
    CheckpointError,
    StoredCheckpoint,
    embedded_path,
  )

  folder = checkpoint or embedded_path()
  facts: dict = dict(
    version=importlib.metadata.version("magenta-midi"),
    python=platform.python_version(),
    jax=jax.__version__,
    device=jax.devices()[0].device_kind,
    devices=len(jax.devices()),
    cache=str(cache_folder()),
    soundfont=str(find_soundfont() or "none: the NumPy piano is used"),
    checkpoint="embedded" if checkpoint is None else str(checkpoint),
  )
  try:
    stored = StoredCheckpoint(folder)
    config = stored.facts
    facts |= dict(
      parameters=stored.parameters,
      arrays=len(stored.infos),
      megabytes=round(stored.path.stat().st_size / 1e6, 1),
      storage=config.get("storage"),
      codec=config["codec"],
      model=config["model"],
      notes=config["notes"],
    )
  except (CheckpointError, OSError) as error:
    if checkpoint is not None:
      raise
    facts["checkpoint"] = f"none ({error})"
  for name, value in facts.items():
    if not isinstance(value, dict):
      print_line(f"{name:12} {value}")
  if model := facts.get("model"):
    print_line(
      f"{'layers':12} {model['encoder_layers']} encoder,"
      f" {model['temporal_layers']} temporal, {model['depth_layers']} depth;"
      f" {model['embed_dim']} wide, {model['num_heads']} heads"
    )
    name = facts["codec"]["name"]
    ids = f"{model['levels']} levels, {model['vocab_size']} ids"
    print_line(f"{'codec':12} {name}: {ids}")
  notes = facts.get("notes") or {}
  if source := notes.get("source"):
    tag = notes.get("tag")
    print_line(f"{'imported':12} from {source}{f' ({tag})' if tag else ''}")
  held = notes.get("held_out")
  nats = held.get("nats_per_note") if isinstance(held, dict) else None
  if isinstance(nats, int | float):
    print_line(f"{'held out':12} {nats:.2f} nats a note")
  if as_json:
    print_json(facts)
