"""The player's input: times that can be, and keys that come up."""

from magenta_midi.live.protocol.events import SECOND, Message
from magenta_midi.server.duets.note_frames import TimedBytes
from magenta_midi.server.duets.player_input import PlayerInput

ON, OFF = b"\x90\x3c\x50", b"\x80\x3c\x40"
MS = SECOND // 1000


class Engine:
  def __init__(self):
    self.now = 10 * SECOND
    self.played = []

  def play_in(self, data, time_ns):
    self.played.append((time_ns, data))


def an_input():
  engine = Engine()
  return engine, PlayerInput(engine.play_in, lambda: engine.now)


def test_a_time_shortly_before_now_is_kept():
  engine, played = an_input()
  played.play([TimedBytes(9.98, ON)])
  assert engine.played == [(9_980 * MS, ON)]


def test_times_that_cannot_be_are_moved():
  engine, played = an_input()
  for time_s in (0.0, -1e300, 11.0, 1e300, None):
    played.play([TimedBytes(time_s, ON)])
  times = [time_ns for time_ns, _ in engine.played]
  assert times[0] == times[1] or times == sorted(times)
  assert all(9_900 * MS <= time_ns <= 10_000 * MS for time_ns in times)


def test_time_does_not_go_back():
  engine, played = an_input()
  played.play([TimedBytes(9.99, ON), TimedBytes(9.95, OFF)])
  assert [time_ns for time_ns, _ in engine.played] == [9_990 * MS] * 2


def test_a_client_that_is_gone_holds_nothing():
  engine, played = an_input()
  pedal = b"\xb0\x40\x7f"
  played.play([TimedBytes(None, data) for data in (ON, pedal)])
  played.lift_socket()
  assert [data for _, data in engine.played[2:]] == [OFF, b"\xb0\x40\x00"]
  played.lift_socket()
  assert len(engine.played) == 4


def test_music_is_played_in_time_and_once():
  engine, played = an_input()
  played.start_music([Message(0, ON), Message(SECOND, OFF)])
  assert not played.advance() and played.has_music
  assert engine.played == [(10 * SECOND, ON)]
  engine.now += 2 * SECOND
  assert played.advance()
  assert [data for _, data in engine.played] == [ON, OFF]
  assert not played.advance()


def test_music_that_is_stopped_leaves_nothing_down():
  engine, played = an_input()
  played.start_music([Message(0, ON), Message(SECOND, OFF)])
  played.advance()
  played.stop_music()
  engine.now += 2 * SECOND
  played.advance()
  assert [data for _, data in engine.played] == [ON, OFF]
  assert not played.has_music
