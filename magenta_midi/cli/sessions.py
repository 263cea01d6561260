"""Command `magenta-midi sessions`: list, replay, rate and export sessions."""

import contextlib
import datetime
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from magenta_midi.cli.terminal.bounded_number import bounded
from magenta_midi.cli.terminal.errors import (
  UserError,
  interrupt_on_sigterm,
  writable,
)
from magenta_midi.cli.terminal.file_paths import FilePath
from magenta_midi.cli.terminal.output import (
  console,
  json_option,
  print_json,
  print_line,
  print_table,
  progress_bar,
  remark,
  table,
)
from magenta_midi.limits import DAYS, RATING, TIME_S

if TYPE_CHECKING:
  from magenta_midi.live.protocol.events import Message
  from magenta_midi.midi.score import Score

__all__ = ["command"]

# The player, the model on its channel of the session, and the comp.
_CHANNELS = (1, 2, 3)
# Longest wait at the end for an output that stands still: JACK does for 5 s.
_SETTLE_S = 6.0
_SPIN_S = 0.001  # before a message is due: a sleep may be longer


@click.group("sessions")
@click.option(
  "--sessions",
  "folder",
  type=FilePath(),
  help="Folder of the sessions [default: your data folder].",
)
@click.pass_context
def command(ctx: click.Context, folder: Path | None) -> None:
  """List, play, rate and export saved sessions.

  An ID may be shortened to its beginning; `last` is the newest. Each command
  has --json.
  """
  from magenta_midi.live.recording.recorder import sessions_folder

  ctx.obj = folder or sessions_folder()
  if folder is not None and not folder.is_dir():
    raise UserError(f"{folder}: no such folder. Give --sessions a folder.")


def _recovered(sessions: Path) -> None:
  """Finishes what a crash has left unfinished."""
  from magenta_midi.live.recording.recorder import recover_all

  for folder in recover_all(sessions):
    remark(f"{folder.name}: recovered after a crash")


def _complete(sessions: Path, wanted: str) -> Path:
  """The session meant, complete.

  Raises:
    UserError: It is being played.
    ValueError: None or several match.
  """
  from magenta_midi.live.recording.files import JOURNAL
  from magenta_midi.live.recording.journal import in_use
  from magenta_midi.live.recording.library import find_session
  from magenta_midi.live.recording.recorder import recover
  from magenta_midi.midi.session_facts import FACTS

  folder = find_session(sessions, wanted)
  if recover(folder):
    remark(f"{folder.name}: recovered after a crash")
  if not (folder / FACTS).is_file() and in_use(folder / JOURNAL):
    raise UserError(f"{folder.name} is still being played. End it first.")
  return folder


@command.command("list")
@json_option
@click.pass_obj
def list_(sessions: Path, as_json: bool) -> None:
  """List the sessions, the oldest first."""
  from magenta_midi.live.recording.library import list_sessions

  _recovered(sessions)
  rows = list_sessions(sessions)
  if not rows:
    remark(f"no sessions in {sessions} yet")
  else:
    _print_table(rows)
  for row in rows:
    if "problem" in row:
      remark(f"damaged: {row['problem']}")
  if as_json:
    print_json({"folder": str(sessions), "sessions": rows})


def _print_table(rows: Sequence[dict[str, Any]]) -> None:
  shown = table()
  shown.add_column("ID", no_wrap=True)
  for name in ("length", "player", "model", "marks", "rated", "kept"):
    shown.add_column(name, justify="right")
  played = [_adapters_played(session) for session in rows]
  if any(played):
    shown.add_column("adapters")
  for session, adapters in zip(rows, played, strict=True):
    if session["state"] != "done":
      shown.add_row(session["id"], f"({session['state']})")
      continue
    minutes, seconds = divmod(round(session["seconds"]), 60)
    shown.add_row(
      session["id"],
      f"{minutes}:{seconds:02d}",
      str(session["notes_player"]),
      str(session["notes_ai"]),
      str(len(session["bookmarks"]) or ""),
      "*" * (session["rating"] or 0),
      "kept" if session["keep"] else "",
      *([adapters] if any(played) else []),
    )
  print_table(shown)


def _adapters_played(session: Mapping[str, Any]) -> str:
  """Those of a session, in the order in which they came."""
  rows = session.get("adapters_played", ())
  return ", ".join(dict.fromkeys(row["adapter"] for row in rows))


@command.command("play")
@click.argument("session", metavar="ID")
@click.option("--out", "port", metavar="PORT", help="Play to a MIDI output.")
@click.option(
  "--sound", is_flag=True, help="Play through a synthesizer [default]."
)
@click.option(
  "--wav",
  type=FilePath(),
  help="Write it as sound instead, 44.1 kHz.",
)
@json_option
@click.pass_obj
def play(
  sessions: Path,
  session: str,
  port: str | None,
  sound: bool,
  wav: Path | None,
  as_json: bool,
) -> None:
  """Play a session again, both players."""
  if (port is not None) + sound + (wav is not None) > 1:
    raise UserError("give one of --out, --sound and --wav.")
  from magenta_midi.live.recording.library import read_session_score

  folder = _complete(sessions, session)
  score = read_session_score(folder)
  facts: dict[str, Any] = dict(
    id=folder.name, notes=len(score), seconds=round(score.end_s, 3)
  )
  if not len(score):
    raise UserError(f"{folder.name}: holds no notes.")
  if wav is not None:
    from magenta_midi.audio.render import render

    writable(wav)
    with console().status("rendering"):
      facts["engine"] = render(score, wav)
    facts["wav"] = str(wav)
    print_line(f"wrote {wav}")
  else:
    with _output(port) as (name, send), interrupt_on_sigterm():
      facts["output"] = name
      _perform(score, send)
    print_line(f"played {folder.name} to {name}")
  if as_json:
    print_json(facts)


@contextlib.contextmanager
def _output(port: str | None) -> Iterator[tuple[str, Callable[[bytes], bool]]]:
  """An open port or synthesizer: its name, and what sends to it."""
  if port is None:
    from magenta_midi.live.io.sound import open_sound

    with open_sound() as sound:
      yield sound.name or "sound", sound.send
    return
  from magenta_midi.live.io.port_names import display_names, find_port
  from magenta_midi.live.io.port_scan import scan
  from magenta_midi.live.io.rtmidi import RtMidiBackend

  found = scan()
  if not found.api:
    raise UserError(f"{found.problem}.")
  name = find_port(port, found.outputs, kind="output")
  backend = RtMidiBackend(found.api)
  output = backend.open_output(name)
  try:
    yield display_names([name])[0], output.send
  finally:
    # What ends the notes may wait in a system that stands still.
    if backend.settle(_SETTLE_S):
      output.close()
    else:
      output.abandon()


def _perform(score: "Score", send: Callable[[bytes], bool]) -> None:
  """Sends a score in time; nothing is left sounding, come what may.

  Raises:
    UserError: The output is gone.
  """
  from magenta_midi.live.recording.score_messages import part_messages

  channels = _CHANNELS[: score.parts]
  messages = [
    message
    for part, channel in enumerate(channels)
    for message in part_messages(score, part, channel=channel)
  ]
  messages.sort(key=lambda message: message.time_ns)
  sounding: set[tuple[int, int]] = set()
  try:
    with progress_bar() as bar:
      task = bar.add_task("playing", total=score.end_s, note="")
      started_ns = time.perf_counter_ns()
      for message in messages:
        _wait_until(started_ns + message.time_ns)
        bar.update(task, completed=message.time_ns / 1e9)
        if not send(message.data):
          raise UserError("the output is gone. Connect it and play again.")
        _keep_track(sounding, message)
  finally:
    for channel, key in sorted(sounding):
      send(bytes((0x80 | channel, key, 64)))
    for channel in channels:
      send(bytes((0xB0 | channel - 1, 64, 0)))


def _wait_until(time_ns: int) -> None:
  while (left_ns := time_ns - time.perf_counter_ns()) > 0:
    if left_ns > _SPIN_S * 1e9:
      # In slices, so that Ctrl-C is not kept waiting on Windows.
      time.sleep(min(left_ns / 1e9 - _SPIN_S, 0.1))


def _keep_track(sounding: set[tuple[int, int]], message: "Message") -> None:
  status, key, _ = message.data
  if status >> 4 == 9:
    sounding.add((status & 15, key))
  elif status >> 4 == 8:
    sounding.discard((status & 15, key))


@command.command("keep")
@click.argument("session", metavar="ID")
@click.option("--not", "undo", is_flag=True, help="Let prune have it again.")
@json_option
@click.pass_obj
def keep(sessions: Path, session: str, undo: bool, as_json: bool) -> None:
  """Keep a session from being pruned."""
  _change(
    sessions,
    session,
    as_json,
    "no longer kept" if undo else "kept",
    ("keep", not undo),
  )


@command.command("rate")
@click.argument("session", metavar="ID")
@click.argument("rating", metavar="1-5", type=bounded(RATING))
@json_option
@click.pass_obj
def rate(sessions: Path, session: str, rating: int, as_json: bool) -> None:
  """Rate a session from 1 to 5."""
  _change(sessions, session, as_json, f"rated {rating}", ("rating", rating))


def _change(
  sessions: Path,
  wanted: str,
  as_json: bool,
  done: str,
  change: tuple[str, Any],
) -> None:
  from magenta_midi.live.recording.files import change_facts

  folder = _complete(sessions, wanted)
  change_facts(folder, **dict([change]))
  print_line(f"{folder.name}: {done}")
  if as_json:
    print_json(dict([("id", folder.name), change]))


@command.command("trim")
@click.argument("session", metavar="ID")
@click.option(
  "--from",
  "from_s",
  type=bounded(TIME_S),
  default=0.0,
  show_default=True,
  help="Where the part begins, seconds.",
)
@click.option(
  "--to",
  "to_s",
  type=bounded(TIME_S),
  help="Where it ends, seconds [default: the session's end].",
)
@json_option
@click.pass_obj
def trim(
  sessions: Path, session: str, from_s: float, to_s: float | None, as_json: bool
) -> None:
  """Make a new session from a part; the whole session does not change."""
  from magenta_midi.live.recording.library import trim_session
  from magenta_midi.midi.session_facts import read_facts

  folder = trim_session(_complete(sessions, session), from_s, to_s)
  facts = read_facts(folder)
  print_line(f"{folder.name}: {facts['seconds']:g} s")
  if as_json:
    names = ("seconds", "notes_player", "notes_ai", "trimmed_from")
    chosen = {name: facts[name] for name in names}
    print_json({"id": folder.name, **chosen})


@command.command("export")
@click.argument("session", metavar="ID")
@click.argument("target", metavar="DIR", type=FilePath())
@json_option
@click.pass_obj
def export(sessions: Path, session: str, target: Path, as_json: bool) -> None:
  """Write stems: player.mid, ai.mid, both.mid and tempo.mid, into DIR.

  The 30 s before each bookmark are written in the same way to a subfolder.
  """
  from magenta_midi.live.recording.library import export_session

  folder = _complete(sessions, session)
  writable(target / "both.mid")
  written = export_session(folder, target)
  print_line(f"wrote {len(written)} files to {target}")
  if as_json:
    files = [str(path) for path in written]
    print_json({"id": folder.name, "files": files})


@command.command("path")
@click.argument("session", metavar="ID", required=False)
@json_option
@click.pass_obj
def path(sessions: Path, session: str | None, as_json: bool) -> None:
  """Print the folder of a session, or of all."""
  from magenta_midi.live.recording.library import find_session

  found = sessions if session is None else find_session(sessions, session)
  print_line(str(found))
  if as_json:
    print_json({"path": str(found)})


@command.command("prune")
@click.option(
  "--older-than",
  "days",
  type=bounded(DAYS),
  default=90.0,
  show_default=True,
  help="Age in days.",
)
@click.option("--yes", is_flag=True, help="Delete them; else only list them.")
@json_option
@click.pass_obj
def prune(sessions: Path, days: float, yes: bool, as_json: bool) -> None:
  """Delete old sessions for good, except those that you keep."""
  from magenta_midi.live.recording.library import prunable, remove_session

  age = datetime.timedelta(days=days)
  now = datetime.datetime.now().astimezone()
  folders = prunable(sessions, age, now)
  for folder in folders:
    if yes:
      remove_session(folder)
    print_line(f"{folder.name}: {'deleted' if yes else 'would be deleted'}")
  if not folders:
    remark("nothing to delete")
  elif not yes:
    remark("to delete them for good, add --yes")
  if as_json:
    names = [folder.name for folder in folders]
    print_json({"deleted": yes, "sessions": names})
