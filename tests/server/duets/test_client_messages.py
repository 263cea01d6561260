"""JSON messages of clients: hostile ones are refused with one line."""

import json

import pytest

from magenta_midi.server.duets.client_messages import (
  MAX_MESSAGE_BYTES,
  Act,
  ChangeControl,
  Hello,
  Play,
  Start,
  parse_message,
)


def test_messages_of_the_guide():
  hello = parse_message('{"type": "hello", "version": 1, "more": 0}')
  assert hello == Hello(version=1)
  assert parse_message('{"type": "act", "action": "panic"}') == Act(
    action="panic"
  )
  change = parse_message('{"type": "change", "name": "x", "value": [1, "a"]}')
  assert change == ChangeControl(name="x", value=[1, "a"])
  start = parse_message('{"type": "start", "tempo": 90, "trade": 4}')
  assert isinstance(start, Start) and (start.tempo, start.trade) == (90.0, 4)
  assert parse_message('{"type": "play", "phrase": "elise"}') == Play(
    phrase="elise"
  )


@pytest.mark.parametrize(
  "text",
  [
    "",
    "[]",
    "{}",
    "no",
    '{"type": "quit"}',
    '{"type": "hello"}',
    '{"type": "act", "action": "quit"}',
    '{"type": "play", "part": "third"}',
    '{"type": "start", "trade": 3}',
    '{"type": "ping", "t": "now"}',
    "[" * 10_000,
    '{"type": "change", "name": "x", "value": ' + "[" * 200 + "]" * 200 + "}",
    '{"type": "ping", "t": ' + "9" * 5000 + "}",
    " " * (MAX_MESSAGE_BYTES + 1),
    '{"type": "start", "name": "\\ud800"}',
    '{"type": "hello", "version": 1, "start": {"name": "\\ud800"}}',
    '{"type": "start", "name": "' + "x" * 81 + '"}',
    json.dumps({"type": "start", "controls": {str(n): 0 for n in range(99)}}),
  ],
)
def test_others_are_refused(text):
  with pytest.raises(ValueError) as raised:
    parse_message(text)
  assert len(str(raised.value)) < 1000
