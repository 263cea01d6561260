"""Odd files note for note with mido, symusic and pretty_midi.

Pretty_midi takes part where it is installed (the extra `dev`). Where readers
differ, the table says which is right and why.
"""

import csv

import pytest

from magenta_midi.midi import Score
from tests.support.other_readers import notes_of_others

# Twelve notes, 16 ticks each.
MUSIC = "".join(
  f"{'00' if i == 0 else '10'} 90 {60 + i:02x} 50 10 80 {60 + i:02x} 05"
  for i in range(12)
)
OTHER_CHANNEL = MUSIC.replace(" 90 ", " 91 ").replace(" 80 ", " 81 ")
RUNNING = "00 90 3c 50" + "10 3c 00 00 3c 50" * 11 + "10 3c 00"
SYSEX = "f0 05 7e 7f 09 01 f7"
REST = MUSIC[2:]  # without its first delta time

SAME, WRONG, REFUSED = "same", "wrong", "refused"
# Name: tracks, type, how many notes are right, and what each reader gives.
CASES = {
  "note-offs with velocities": ([MUSIC], 1, 12, {}),
  "note-ons of velocity 0": ([RUNNING], 1, 12, {}),
  "meta before running status": (
    [RUNNING.replace("10 3c 00", "00 ff 01 02 68 69 10 3c 00", 3)],
    1,
    12,
    {},
  ),
  # By the standard system exclusive cancels running status; many programs
  # write it nevertheless. Mido then reads the data as a message of its own.
  "system exclusive before running status": (
    [RUNNING.replace("10 3c 00", f"00 {SYSEX} 10 3c 00")],
    1,
    12,
    {"mido": WRONG, "symusic": REFUSED, "pretty_midi": REFUSED},
  ),
  "active sensing": ([MUSIC.replace("10 80", "00 fe 10 80")], 1, 12, {}),
  "type 0 with two tracks": ([MUSIC, OTHER_CHANNEL], 0, 24, {}),
  "unknown type": ([MUSIC], 0x7401, 12, {"mido": SAME, "symusic": REFUSED}),
  # The standard's 28 bits are in it: padding changes no number.
  "padded delta time": (
    ["80 80 80 80 10" + REST],
    1,
    12,
    {"symusic": REFUSED},
  ),
  # -128 in 32 bits: mido waits for 4,294,967,168 ticks (an hour times 6000).
  "negative first delta time": (
    ["8f ff ff ff 00" + REST],
    1,
    12,
    {"mido": WRONG, "symusic": REFUSED, "pretty_midi": REFUSED},
  ),
  # 2**57 + 15, written by Ardour for 15.
  "delta time of nine bytes": (
    [MUSIC + "82 80 80 80 80 80 80 80 0f" + REST],
    1,
    24,
    {"mido": WRONG, "symusic": REFUSED, "pretty_midi": REFUSED},
  ),
  # No status before it: it cannot be a message.
  "stray data bytes": (
    ["00 3c 40" + MUSIC],
    1,
    12,
    {"mido": REFUSED, "symusic": REFUSED, "pretty_midi": REFUSED},
  ),
  # Read as 127 by mido with clip=True; the pair's note-off is clipped alike.
  "velocities over 127": (
    [MUSIC.replace("50", "c8")],
    1,
    12,
    {"symusic": REFUSED, "pretty_midi": REFUSED},
  ),
  "keys over 127": (
    [MUSIC + "00 90 c8 50 10 80 c8 00"],
    1,
    13,
    {"symusic": REFUSED, "pretty_midi": REFUSED},
  ),
  "pitch bend over 127": (
    ["00 e0 ff ff" + MUSIC],
    1,
    12,
    {"symusic": REFUSED, "pretty_midi": REFUSED},
  ),
}


def same(ours, theirs):
  return len(ours) == len(theirs) and all(
    abs(a[0] - b[0]) < 0.002 and a[1:] == b[1:]
    for a, b in zip(ours, theirs, strict=True)
  )


@pytest.mark.parametrize("case", CASES)
def test_made_files(midi, case):
  tracks, kind, count, expected = CASES[case]
  data = midi(*tracks, kind=kind)
  score = Score.from_bytes(data)
  assert len(score) == count
  assert not score.repairs.damaged_tracks
  ours = sorted(score.notes[["onset_s", "key", "velocity"]].tolist())
  found = {}
  for name, theirs in notes_of_others(data).items():
    if theirs is None:
      found[name] = REFUSED
    else:
      found[name] = SAME if same(ours, theirs) else WRONG
  assert found == {name: expected.get(name, SAME) for name in found}


# Of the shared odd files, those that a reader does not read as we do.
SHARED = {
  # Truncated by a byte: only its end-of-track is cut.
  "14": {"mido": REFUSED, "symusic": REFUSED, "pretty_midi": REFUSED},
  # Undefined status bytes between the notes of a scale.
  "16": {"mido": REFUSED, "symusic": REFUSED, "pretty_midi": REFUSED},
  # See above; its text says a scale of eight notes, symusic finds four.
  "18": {"mido": REFUSED, "symusic": WRONG, "pretty_midi": REFUSED},
  # Chunks of other kinds are to be skipped, says the standard.
  "19": {"mido": REFUSED, "pretty_midi": REFUSED},
  # Frames of 1/25 and 1/30 s; mido takes the division for a negative tempo.
  "53": {"mido": WRONG, "symusic": REFUSED, "pretty_midi": REFUSED},
  "54": {"mido": WRONG, "symusic": REFUSED, "pretty_midi": REFUSED},
}


@pytest.mark.corpus
def test_shared_files(shared):
  folder = shared / "data" / "odd"
  with open(folder / "manifest.csv", newline="") as file:
    paths = [row["path"] for row in csv.DictReader(file)]
  for path in paths:
    data = (folder / path).read_bytes()
    score = Score.from_bytes(data)
    ours = sorted(score.notes[["onset_s", "key", "velocity"]].tolist())
    for name, theirs in notes_of_others(data).items():
      kind = REFUSED
      if theirs is not None:
        kind = SAME if same(ours, theirs) else WRONG
      assert kind == SHARED.get(path[:2], {}).get(name, SAME), (path, name)
