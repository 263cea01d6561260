"""Sessions that a stranger made: named and left out, the others as ever."""

import datetime
import json
import os
import resource
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from magenta_midi.cli.sessions import command
from magenta_midi.data.titles import saved_session
from magenta_midi.live.recording.files import (
  JOURNAL,
  MUSIC,
  PICTURE,
  TRACE,
  change_facts,
  read_journal,
)
from magenta_midi.live.recording.library import prunable
from magenta_midi.live.recording.recorder import recover, recover_all
from magenta_midi.live.recording.serialization import load_session
from magenta_midi.midi.session_facts import FACTS, read_facts

SAVED = Path(__file__).parents[2] / "fixtures/saved_by_326db6b/session"
FULL = json.loads((SAVED / FACTS).read_text())
DEEP = "[" * 100_000 + "]" * 100_000
INFINITE = float("inf")

BAD_FACTS = dict(
  seconds={**FULL, "seconds": "x"},
  seconds_infinite={**FULL, "seconds": INFINITE},
  seconds_digits={**FULL, "seconds": 10**400},
  notes={**FULL, "notes_player": True},
  rating={**FULL, "rating": 10**9},
  rating_text={**FULL, "rating": "abc"},
  keep={**FULL, "keep": "yes"},
  bookmarks={**FULL, "bookmarks": 3},
  bookmark={**FULL, "bookmarks": [{"from_s": 0, "to_s": 1e300}]},
  bookmark_empty={**FULL, "bookmarks": [{}]},
  tempo={**FULL, "tempo": {}},
  tempo_zero={
    **FULL,
    "tempo": [{"time_s": 0, "bpm": 0, "beats_per_bar": 0}],
  },
  started={**FULL, "started": "\x1b[2J"},
  started_naive={**FULL, "started": "2026-01-01T00:00:00"},
  started_number={**FULL, "started": 3},
  adapters={**FULL, "adapters_played": [{"time_s": 0, "adapter": ["x"]}]},
  deep='{"format":1,"a":' + DEEP + "}",
  digits='{"format":1,"seconds":' + "9" * 5000 + "}",
  empty="",
  list="[1]",
  other_format={**FULL, "format": 99},
  text="\ud800".encode("utf-16", "surrogatepass"),
)


def session(root, name, facts=None, journal=None):
  folder = root / name
  shutil.copytree(SAVED, folder)
  (folder / PICTURE).touch()
  if facts is not None:
    if isinstance(facts, dict):
      facts = json.dumps(facts) + "\n"
    data = facts if isinstance(facts, bytes) else facts.encode()
    (folder / FACTS).write_bytes(data)
  if journal is not None:
    for product in (FACTS, MUSIC, PICTURE, TRACE):
      (folder / product).unlink(missing_ok=True)
    (folder / JOURNAL).write_text(journal)
  return folder


@pytest.fixture
def crowd(tmp_path):
  """Two good sessions among bad ones."""
  for name, facts in BAD_FACTS.items():
    session(tmp_path, name, facts)
  for name in ("good-1", "good-2"):
    session(tmp_path, name)
  fifo = session(tmp_path, "fifo")
  (fifo / FACTS).unlink()
  os.mkfifo(fifo / FACTS)
  (session(tmp_path, "zero") / FACTS).unlink()
  (tmp_path / "zero" / FACTS).symlink_to("/dev/zero")
  pipe = session(tmp_path, "journal_fifo")
  (pipe / JOURNAL).unlink()
  os.mkfifo(pipe / JOURNAL)
  (tmp_path / "a-file").touch()
  (tmp_path / "empty-folder").mkdir()
  (tmp_path / "lost").symlink_to("nowhere")
  return tmp_path


GOOD = ["good-1", "good-2", "journal_fifo"]


def run(*words):
  result = CliRunner().invoke(command, words, catch_exceptions=False)
  return result.exit_code, result.stdout, result.stderr


def test_bad_sessions_are_named_and_the_others_listed(crowd):
  code, out, err = run("--sessions", str(crowd), "list", "--json")
  assert code == 0
  rows = json.loads(out.splitlines()[-1])["sessions"]
  state = {row["id"]: row["state"] for row in rows}
  # Where only the facts are a pipe or a device, the journal gives them anew.
  done = {name for name in state if state[name] == "done"}
  assert done == {*GOOD, "fifo", "zero"}
  for row in rows:
    if row["state"] != "done":
      assert row["state"] == "damaged"
      assert row["id"] in out and row["id"] in err
      assert "\n" not in row["problem"] and len(row["problem"]) <= 300
  assert set(BAD_FACTS) < set(state)


def test_bad_sessions_do_not_disable_the_other_commands(crowd, tmp_path):
  folder = ("--sessions", str(crowd))
  target = tmp_path / "out"
  assert run(*folder, "export", "good-1", str(target))[0] == 0
  assert (target / "both.mid").is_file()
  assert run(*folder, "rate", "good-1", "4")[0] == 0
  assert run(*folder, "keep", "good-1")[0] == 0
  assert run(*folder, "trim", "good-1", "--to", "10")[0] == 0
  code, out, _ = run(*folder, "prune", "--older-than", "0", "--yes")
  assert code == 0 and "good-2: deleted" in out
  assert not (crowd / "good-2").exists()
  assert (crowd / "good-1").exists() and (crowd / "rating").exists()


def test_a_bad_session_itself_is_refused_in_one_line(crowd):
  for name in (*BAD_FACTS, "fifo", "zero"):
    with pytest.raises((ValueError, OSError)) as caught:
      change_facts(crowd / name, rating=3)
    assert "\n" not in str(caught.value)
    assert str(crowd / name) in str(caught.value)


def test_a_bad_session_is_a_recording_without_rating(crowd):
  for name in BAD_FACTS:
    found = saved_session(crowd / name / MUSIC)
    assert found is not None and found.rating is None


def test_a_large_rating_takes_no_memory(tmp_path):
  session(tmp_path, "x", {**FULL, "rating": 10**9})
  before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  assert run("--sessions", str(tmp_path), "list")[0] == 0
  grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
  assert grown_kb < 300_000


def test_a_change_keeps_the_long_lists_and_other_facts(tmp_path):
  folder = session(tmp_path, "x", {**FULL, "mine": [1, {"a": 2}]})
  lists = {name: FULL[name] for name in ("decisions", "trace")}
  first = json.dumps({n: v for n, v in FULL.items() if n not in lists})
  for text in (
    # As one program writes it, and as another lays it out.
    first[:-1]
    + f',\n"decisions": {json.dumps(lists["decisions"])},'
    + f'\n"trace": {json.dumps(lists["trace"])}}}\n',
    json.dumps(FULL, indent=1),
  ):
    (folder / FACTS).write_text(text)
    change_facts(folder, rating=2, keep=True)
    found = json.loads((folder / FACTS).read_text())
    assert (found["rating"], found["keep"]) == (2, True)
    assert {name: found[name] for name in lists} == lists
    assert read_facts(folder)["rating"] == 2


@pytest.mark.parametrize(
  ("journal", "damaged"),
  [
    ('["p",9223372036854775807,"903c40"]\n["p",1,"903c40"]', 1),
    ('["z",92233720368547758070,{}]', 1),
    (DEEP, 1),
    ('["p",-5,"903c40"]\n["p",10,"80"]\n["p",1e400,"90"]\n["p",11,"f0ff"]', 2),
    ('["t",5,0,4,1]\n["t",5,1e-300,4,1]\n["t",0,' + "9" * 400 + ",4,0]", 3),
    ('["t",5,120,true,0]\n["t",true,120,4,0]\n["t",5,120,4,0]', 2),
    ('["t",5,120,1000000000,0]\n["t",5,120,4,' + "9" * 400 + "]", 2),
    ('["b",-3]\n["b",' + "9" * 4000 + "]", 1),
    ('["p",1,"' + "90" * 2_000_000 + '"]\n["p",1,"903c40"]', 1),
    ('["p",1,"zz"]\n["p",1,""]\n["p",true,"903c40"]\n[]\n{}\n3\n"', 7),
    ('["h",{"started":7,"controls":{"adapters":3},"adapters":9}]', 0),
    ('["p",100000000,"903c40"]\n["p",86398000000000,"803c40"]', 0),
  ],
)
def test_a_hostile_journal_is_recovered(tmp_path, journal, damaged):
  folder = session(tmp_path, "x", journal='{"format":1}\n' + journal + "\n")
  assert read_journal(folder / JOURNAL).damaged == damaged
  assert recover(folder)
  facts = read_facts(folder)
  assert facts["damaged_lines"] == damaged
  assert facts["recovered"] is True
  assert not recover(folder)  # it is complete


def test_a_trace_is_bounded_too(tmp_path):
  folder = session(tmp_path, "x")
  (folder / TRACE).write_text(
    DEEP + "\n" + '["m",1,"903c40"]\n' + "[" + "1," * 1_000_000 + "1]\n"
  )
  found = read_journal(folder / JOURNAL)
  assert ["m", 1, "903c40"] in found.trace
  assert found.damaged == 2


def test_one_session_that_cannot_be_recovered_stops_none(tmp_path, capsys):
  for name in ("a", "b", "c"):
    session(tmp_path, name, journal='{"format":1}\n["p",1,"903c40"]\n')
  (tmp_path / "b" / JOURNAL).unlink()
  # Sparse: far beyond what is read.
  with open(tmp_path / "b" / JOURNAL, "wb") as file:
    file.truncate(2**40)
  assert [folder.name for folder in recover_all(tmp_path)] == ["a", "c"]
  assert "b: not recovered (has 1048576.0 MiB" in capsys.readouterr().err


def test_old_sessions_are_found_among_bad_ones(crowd):
  now = datetime.datetime.now().astimezone()
  # The saved ones began in 2026, whatever the clock says now.
  later = now.replace(year=2999)
  found = prunable(crowd, datetime.timedelta(days=1), later)
  assert [folder.name for folder in found] == GOOD


@pytest.mark.parametrize(
  "entry",
  [
    3,
    [],
    ["m", 1],
    ["m", 1, "zz"],
    ["m", 10**30, "903c40"],
    ["m", 1, "903c40" * 100],
    ["f", 1],
    ["f", 1, 1, "on", 300, 1, ""],
    ["f", 1, 1, ["on"], 60, 1, ""],
    ["c", 1, {"nosuch": 1}],
    ["c", 1, {"temperature": INFINITE}],
    ["s", ["x"]],
    ["s", [10**30]],
    ["b", 0, 4, 0],
    ["b", 10**400, 4, 0],
    ["h", -1],
    ["h", 10**30],
    ["a", 1, 1],
    ["j", "1"],
    ["r", 1, 3],
    ["r", -1, {}],
  ],
)
def test_a_session_of_other_calls_is_refused(tmp_path, entry):
  stored = json.loads((SAVED.parent / "replay.json").read_text())
  path = tmp_path / "x.json"
  path.write_text(json.dumps(stored))
  assert load_session(path) == stored
  stored["trace"].insert(3, entry)
  path.write_text(json.dumps(stored))
  with pytest.raises(ValueError, match=r"x.json: not a session \(entry 4"):
    load_session(path)


@pytest.mark.parametrize(
  "changes",
  [
    dict(checkpoint=3),
    dict(checkpoint={"path": 3, "sha256": None}),
    dict(settings={"engine": []}),
    dict(settings={"engine": {"first_id": -1}}),
    dict(controls=[]),
    dict(controls={"adapters": ["x"] * 100}),
    dict(adapters=[1]),
    dict(trace={}),
    dict(format="1"),
  ],
)
def test_a_session_of_other_facts_is_refused(tmp_path, changes):
  stored = json.loads((SAVED.parent / "replay.json").read_text())
  path = tmp_path / "x.json"
  path.write_text(json.dumps(stored | changes))
  with pytest.raises(ValueError, match=r"x.json: not a session"):
    load_session(path)


def test_a_session_nested_deeply_is_refused(tmp_path):
  path = tmp_path / "x.json"
  path.write_text('{"format":1,"trace":' + DEEP + "}")
  with pytest.raises(ValueError, match="nested deeper than 64"):
    load_session(path)


def test_a_message_of_a_key_that_cannot_be_is_counted(tmp_path):
  rows = [{}, ["p", 1, "90ab40"], ["p", 2, "903c40"], ["o", 3, "91"]]
  path = tmp_path / JOURNAL
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  found = read_journal(path)
  assert [message.data for message in found.received] == [b"\x90\x3c\x40"]
  assert found.damaged == 1
