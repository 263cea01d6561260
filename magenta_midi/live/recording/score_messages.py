"""Conversion between MIDI messages and scores."""

import dataclasses
import functools
from collections.abc import Sequence

from magenta_midi.live.player import Player
from magenta_midi.live.protocol.events import SECOND, Message
from magenta_midi.midi.harmony.comp_part import COMP_PART
from magenta_midi.midi.score import Score
from magenta_midi.midi.tempo import TempoMap

__all__ = [
  "COMP_PART",
  "PART_NAMES",
  "duet_score",
  "messages_of",
  "part_messages",
]

PART_NAMES = ("player", "ai")


def duet_score(
  received: Sequence[Message],
  sent: Sequence[Message],
  comp: Sequence[Message] = (),
  *,
  end_ns: int = 0,
  tempo: TempoMap | None = None,
) -> Score:
  """Both players' music, the parts named `player` and `ai`, and `comp`.

  Args:
    received: Messages of the player, in order of time.
    sent: Messages of the model, in order of time.
    comp: Messages of the comp, likewise; without any there is no such part.
    end_ns: When it ended; keys still down come up then, or after the last
      message.
    tempo: By default 120 beats a minute.
  """
  played = [received, sent, comp] if comp else [received, sent]
  last_ns = max([m[-1].time_ns for m in played if m], default=0)
  end_ns = max(end_ns, last_ns + 1)
  parts = []
  for messages in played:
    player = Player()
    for time_ns, data in messages:
      player.receive(Message(max(0, time_ns), data))
    player.release_all(end_ns)
    parts.append(player.history.score(end_ns + 1, 0))
  return dataclasses.replace(
    functools.reduce(Score.joined, parts),
    part_names=(*PART_NAMES, COMP_PART)[: len(parts)],
    tempo=tempo or TempoMap.constant(),
  )


def part_messages(score: Score, part: int, *, channel: int) -> list[Message]:
  """One part as a keyboard would send it, in order of time.

  Args:
    score: Its notes of a key must not overlap, as in every score.
    part: Which.
    channel: 1 to 16.
  """
  status = channel - 1
  # At one time: pedal up, note-offs, pedal down, note-ons.
  rows: list[tuple[int, int, bytes]] = []
  for note in score.notes[score.notes["part"] == part]:
    onset = round(float(note["onset_s"]) * SECOND)
    end = onset + max(1, round(float(note["duration_s"]) * SECOND))
    key, velocity = int(note["key"]), int(note["velocity"])
    rows.append((onset, 3, bytes((0x90 | status, key, velocity))))
    rows.append((end, 1, bytes((0x80 | status, key, 64))))
  for change in score.pedals[score.pedals["part"] == part]:
    down = bool(change["down"])
    data = bytes((0xB0 | status, 64, 127 if down else 0))
    rows.append((round(float(change["time_s"]) * SECOND), 2 * down, data))
  rows.sort()
  return [Message(time_ns, data) for time_ns, _, data in rows]


def messages_of(score: Score, *, channel: int = 1) -> list[Message]:
  """A recording as a keyboard would send it; its parts become one."""
  merged = score.merged()
  messages = part_messages(merged, 0, channel=channel)
  if len(merged.pedals) and merged.pedals[-1]["down"]:
    # Releases the pedal at the end.
    up = bytes((0xB0 | (channel - 1), 64, 0))
    messages.append(Message(messages[-1].time_ns, up))
  return messages
