from magenta_midi.live.io.echo import EchoDetector
from magenta_midi.live.protocol.events import SECOND, Message
from magenta_midi.midi.io.messages import control_change, note_off, note_on

MS = 1_000_000
DELAY = 5 * MS


def play(echo, count, *, comes_back, start_ns=0, delay_ns=DELAY):
  """Sends notes and says which of those that came back were muted."""
  muted = []
  for index in range(count):
    time_ns, key = start_ns + index * SECOND // 5, 50 + index % 20
    echo.sent(Message(time_ns, note_on(2, key, 80)))
    if comes_back(index):
      at = time_ns + delay_ns
      muted.append(echo.is_echo(Message(at, note_on(2, key, 80))))
    echo.sent(Message(time_ns + 100 * MS, note_off(2, key)))
    if comes_back(index):
      at = time_ns + 100 * MS + delay_ns
      assert echo.is_echo(Message(at, note_off(2, key))) == muted[-1]
  return muted


def test_notes_that_come_back_are_muted_from_the_fourth_on_and_named_once():
  echo = EchoDetector()
  assert play(echo, 3, comes_back=lambda i: True) == [False] * 3
  assert not echo.named
  muted = play(echo, 10, comes_back=lambda i: True, start_ns=SECOND)
  assert muted == [True] * 10
  assert "come back" in echo.named
  assert echo.named == ""


def test_one_that_gets_lost_does_not_hide_the_loop():
  echo = EchoDetector()
  assert play(echo, 20, comes_back=lambda i: i % 5 != 2)[-8:] == [True] * 8


def test_a_driver_may_stamp_a_message_before_its_sender_does():
  echo = EchoDetector()
  play(echo, 8, comes_back=lambda i: True, delay_ns=-MS)
  assert echo.looped


def test_a_player_who_answers_in_the_same_keys_is_no_loop():
  echo = EchoDetector()
  play(echo, 40, comes_back=lambda i: True, delay_ns=90 * MS)
  play(echo, 40, comes_back=lambda i: i % 2 == 0, start_ns=20 * SECOND)
  assert not echo.looped
  assert echo.named == ""


def test_what_the_player_plays_meanwhile_is_heard():
  echo = EchoDetector()
  play(echo, 8, comes_back=lambda i: True)
  now_ns = 10 * SECOND
  echo.sent(Message(now_ns, note_on(2, 60, 80)))
  assert not echo.is_echo(Message(now_ns + DELAY, note_on(1, 61, 80)))
  assert not echo.is_echo(Message(now_ns + DELAY, note_off(1, 61)))
  assert echo.is_echo(Message(now_ns + DELAY, note_on(2, 60, 80)))


def test_a_muted_key_whose_end_got_lost_is_the_players_again():
  echo = EchoDetector()
  play(echo, 8, comes_back=lambda i: True)
  now_ns = 10 * SECOND
  echo.sent(Message(now_ns, note_on(2, 60, 80)))
  assert echo.is_echo(Message(now_ns + DELAY, note_on(2, 60, 80)))
  echo.sent(Message(now_ns + 100 * MS, note_off(2, 60)))
  later_ns = now_ns + SECOND
  assert not echo.is_echo(Message(later_ns, note_on(1, 60, 80)))
  assert not echo.is_echo(Message(later_ns + MS, note_off(1, 60)))


def test_keys_let_through_before_the_loop_was_found_are_named_once():
  echo = EchoDetector()
  for key in range(60, 64):
    time_ns = key * 100 * MS
    echo.sent(Message(time_ns, note_on(2, key, 80)))
    echo.is_echo(Message(time_ns + DELAY, note_on(2, key, 80)))
  assert echo.drain_let_through() == [60, 61, 62]
  assert echo.drain_let_through() == []


def test_our_own_pedal_is_muted_in_a_loop_only():
  echo = EchoDetector()
  down, up = control_change(2, 64, 127), control_change(1, 64, 0)
  echo.sent(Message(0, down))
  assert not echo.is_echo(Message(DELAY, down))
  play(echo, 8, comes_back=lambda i: True, start_ns=SECOND)
  echo.sent(Message(10 * SECOND, down))
  assert not echo.is_echo(Message(10 * SECOND + DELAY, up))
  assert echo.is_echo(Message(10 * SECOND + DELAY, down))


def test_a_loop_that_was_taken_out_is_forgotten():
  echo = EchoDetector()
  play(echo, 8, comes_back=lambda i: True)
  assert echo.named
  play(echo, 8, comes_back=lambda i: False, start_ns=10 * SECOND)
  assert not echo.looped
  play(echo, 8, comes_back=lambda i: True, start_ns=20 * SECOND)
  assert echo.named
