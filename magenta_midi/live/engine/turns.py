"""Turn-taking: when the player's phrase has ended, and when a reply must.

Everything follows from the player's events and the times passed in.
"""

import dataclasses
import statistics
from collections import deque
from typing import NamedTuple

from magenta_midi.limits import AMOUNT, KEY, SHARE, TIME_S
from magenta_midi.live.engine.phrase import AdaptiveWait, Call, Phrase, Reply
from magenta_midi.live.player import MAX_RING_NS, Keyboard, PlayerEvent
from magenta_midi.live.protocol.events import SECOND
from magenta_midi.live.timing.bar_trading import BarAt, Trade
from magenta_midi.midi.analysis.analysis import CHORD_S
from magenta_midi.settings import check_bounds, check_numbers

__all__ = ["Turn", "TurnSettings", "TurnTaking"]

# A player who goes on so soon had not finished.
_FALSE_START_NS = SECOND // 2
# An interruption by notes: so many, so close together.
_INTERRUPTING_NOTES, _INTERRUPTING_NS = 2, 400_000_000
# Or one this much louder than usual: the greater of the two.
_LOUDER_BY, _LOUDER_DEVIATIONS = 20, 2.5
# Before the player's loudness is known, this is loud.
_LOUD = 100
# Notes under a reply that did not interrupt it open the next phrase if they
# are this fresh at its end.
_FRESH_NS = 2 * SECOND
# Two strokes of the pedal within this time, no key struck in between.
_DOUBLE_STROKE_NS = 600_000_000
# A controller as a button is pressed from this value on, of 0 to 127.
_PRESSED = 64


class Turn(NamedTuple):
  """A change of turns.

  Attributes:
    kind: `phrase_end` (the reply may begin) or `interrupted` (it must stop).
    time_ns: When it was decided.
    reason: `silence`, `handed over`, `bars` or `first`; `notes`, `loud` or
      `handed over`.
  """

  kind: str
  time_ns: int
  reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class TurnSettings:
  """How turns are taken; `tools/live/turn_taking.py` measures the wait."""

  # First turn: `me`, the player, or `ai`, the model.
  first: str = "me"
  # Turns of so many bars in place of silences; 0: off.
  trade_bars: int = 0
  # The wait while little is known about the player.
  wait_s: float = 1.2
  # For how many silences the default counts, beside those observed.
  prior: int = 24
  # The wait is `base_s` and `factor` times this quantile of the last silences
  # inside the player's phrases; 1 is the longest.
  quantile: float = 1.0
  factor: float = 2.0
  base_s: float = 0.5
  # No wait is shorter or longer.
  shortest_s: float = 0.5
  longest_s: float = 2.5
  # Hand over by two quick strokes of the pedal, by a key of the piano, by a
  # controller pressed; None: not so.
  pedal_gesture: bool = True
  hand_over_key: int | None = None
  hand_over_controller: int | None = None

  def __post_init__(self) -> None:
    check_numbers(self)
    if self.first not in ("me", "ai"):
      raise ValueError(f"first must be me or ai, got {self.first!r}.")
    if self.trade_bars not in (0, 4, 8):
      raise ValueError(
        f"trade_bars must be 4 or 8 (0: none), got {self.trade_bars}."
      )
    check_bounds(self, SHARE, "quantile")
    check_bounds(self, AMOUNT, "prior", "factor")
    check_bounds(self, TIME_S, "wait_s", "base_s", "longest_s")
    check_bounds(self, KEY, "hand_over_key", "hand_over_controller")
    if not 0 < self.shortest_s <= self.longest_s:
      raise ValueError(
        "waits must have 0 < shortest_s <= longest_s, got"
        f" {self.shortest_s} and {self.longest_s}."
      )

  def make_wait(self) -> AdaptiveWait:
    """The wait at the start of a session."""
    return AdaptiveWait(
      default_s=self.wait_s,
      prior=self.prior,
      quantile=self.quantile,
      factor=self.factor,
      base_s=self.base_s,
      bounds_s=(self.shortest_s, self.longest_s),
    )


class TurnTaking:
  """Follows the player and decides when turns change.

  Ask `tick` at `next_deadline_ns` at the latest, and after each message while
  a reply is played; asking more often changes nothing.

  Attributes:
    call: The last phrase that ended, or None before the first.
    replying: Whether the model plays its turn.
  """

  def __init__(
    self,
    keyboard: Keyboard,
    settings: TurnSettings | None = None,
    bar_at: BarAt | None = None,
  ):
    """Starts a session.

    Args:
      keyboard: Of the player; the caller gives it each message first.
      settings: How turns are taken.
      bar_at: Where the settings say to trade bars; without it they are traded
        once `trade` is called.
    """
    self.settings = settings or TurnSettings()
    self.call: Call | None = None
    self.replying = False
    self._keyboard = keyboard
    # Since when nothing sounds, after the last event; None: something does.
    self._silent_ns: int | None = None
    self._phrase = Phrase()
    self._wait = self.settings.make_wait()
    self._last_event_ns = 0
    self._usual: deque[int] = deque(maxlen=64)
    self._ended_ns: int | None = None
    self._ended_phrase = Phrase()
    # Note-ons during the reply: time and velocity.
    self._under: list[tuple[int, int]] = []
    self._handed_over_ns: int | None = None
    self._interruption: Turn | None = None
    self._strokes: deque[int] = deque(maxlen=2)
    self._opens = self.settings.first == "ai"
    self._trade: Trade | None = None
    self._turns_taken = -1
    if self.settings.trade_bars and bar_at is not None:
      self.trade(self.settings.trade_bars, bar_at)

  def trade(self, trade_bars: int, bar_at: BarAt | None = None) -> None:
    """Takes turns by the bar from here on; 0 bars: by silences again.

    Called again with another grid, as when the tempo changes, it goes on.

    Turns are counted from bar 0; the first is that of `first`. While bars are
    traded, notes do not interrupt: a player who overruns may finish.

    Args:
      trade_bars: 4, 8 or 0.
      bar_at: The bar at a time of the session.

    Raises:
      ValueError: Neither 4, 8 nor 0 bars, or there is no grid of bars.
    """
    if not trade_bars:
      self._trade, self._turns_taken = None, -1
      return
    if bar_at is None:
      raise ValueError(
        "trading bars takes a tempo, got none. Give --tempo, or a MIDI clock."
      )
    ai_first = self.settings.first == "ai"
    self._trade = Trade(trade_bars, bar_at, ai_first=ai_first)

  # Events.

  def handle(self, event: PlayerEvent) -> None:
    """The player did something."""
    time_ns, data = event.message
    silent_ns = self._silent_ns
    self._silent_ns = self._keyboard.silent_without(self.settings.hand_over_key)
    if len(data) == 3 and data[0] >> 4 == 11:
      self._handle_controller(event, data[1], data[2])
    if event.kind not in ("note_on", "note_off"):
      return
    if data[1] == self.settings.hand_over_key:
      if event.kind == "note_on":
        self.hand_over(time_ns)
      return
    self._last_event_ns = time_ns
    if event.kind == "note_on":
      self._strokes.clear()
      self._strike(time_ns, data[2], silent_ns)

  def hand_over(self, now_ns: int) -> None:
    """Ends the present turn, at the next tick."""
    self._handed_over_ns = now_ns

  def reply_started(self, now_ns: int) -> None:
    """The model plays its turn from here on."""
    del now_ns
    self.replying = True
    self._under.clear()
    self._interruption = None

  def reply_ended(self, now_ns: int) -> None:
    """It does not any more."""
    self.replying = False
    self._interruption = None
    self._ended_ns = None
    under, self._under = self._under, []
    for time_ns, velocity in under:
      if self._sounds or now_ns - time_ns <= _FRESH_NS:
        self._add(time_ns, velocity)

  # Decisions.

  @property
  def wait_s(self) -> float:
    """How long a silence ends a phrase at present."""
    return self._wait.ns / SECOND

  @property
  def usual_loudness(self) -> float | None:
    """The player's mean velocity lately; None before the first note."""
    return statistics.fmean(self._usual) if self._usual else None

  def next_deadline_ns(self) -> int | None:
    """When `tick` must be called at the latest, if the player does nothing.

    A time that has passed means at once; None: only the player's
    next event can change anything.
    """
    if self._handed_over_ns is not None:
      return self._handed_over_ns
    if self._interruption is not None:
      return self._interruption.time_ns
    if self.replying:
      return None
    if self._trade is not None:
      return self._trade.next_model_ns(self._last_event_ns, self._turns_taken)
    if self._opens:
      return 0
    if not self._phrase.onsets:
      return None
    if self._sounds:
      return self._last_event_ns + MAX_RING_NS
    return (self._silent_ns or 0) + self._wait.ns

  def tick(self, now_ns: int) -> Turn | None:
    """Decides, at a time not before the last event."""
    handed_over_ns, self._handed_over_ns = self._handed_over_ns, None
    if self.replying:
      turn, self._interruption = self._interruption, None
      if handed_over_ns is not None:
        return Turn("interrupted", now_ns, "handed over")
      if turn is not None:
        self._resume(turn.time_ns)
        return turn._replace(time_ns=now_ns)
      return None
    if handed_over_ns is not None:
      return self._end_phrase(now_ns, "handed over")
    if self._trade is not None:
      number = self._trade.turn_at(now_ns)
      if number < self._turns_taken:  # the bars are counted anew
        self._turns_taken = -1
      if number <= self._turns_taken or not self._trade.is_models(number):
        return None
      self._turns_taken = number
      return self._end_phrase(now_ns, "bars")
    if self._opens:
      if not self._phrase.onsets:
        return self._end_phrase(now_ns, "first")
      self._opens = False
    deadline_ns = self.next_deadline_ns()
    if deadline_ns is None or now_ns < deadline_ns:
      return None
    return self._end_phrase(now_ns, "silence")

  def reply_should_end(
    self, now_ns: int, reply_start_ns: int, last_onset_ns: int
  ) -> bool:
    """Whether a reply is long enough: no new onsets, what sounds rings out.

    See `Reply.should_end`; in trades only the bars count.
    """
    if self._trade is not None:
      # A hand-over may have begun it in the player's bars.
      started = self._trade.turn_at(reply_start_ns)
      return self._trade.turn_at(now_ns) > started
    # No gap has to be longer than what ends a phrase.
    reply = Reply(reply_start_ns, self.call)
    return reply.should_end(now_ns, last_onset_ns, self.wait_s)

  # Inside.

  @property
  def _sounds(self) -> bool:
    """Whether any key sounds, but the one that hands over."""
    return self._keyboard.sounds_without(self.settings.hand_over_key)

  def _silent_since_ns(self, now_ns: int) -> int | None:
    if not self._sounds:
      return self._silent_ns
    if now_ns - self._last_event_ns >= MAX_RING_NS:
      return self._last_event_ns
    return None

  def _strike(
    self, time_ns: int, velocity: int, silent_since_ns: int | None
  ) -> None:
    self._opens = False
    silence_s = 0.0  # legato
    if silent_since_ns is not None:
      silence_s = (time_ns - silent_since_ns) / SECOND
    if self._ended_ns is not None:
      if time_ns - self._ended_ns <= _FALSE_START_NS:
        # That silence lay inside the phrase after all.
        self._wait.learn(silence_s)
        if not self.replying:
          self._phrase = self._ended_phrase
    elif (
      self._phrase.onsets
      and time_ns - self._phrase.onsets[-1] > CHORD_S * SECOND
    ):
      self._wait.learn(silence_s)
    if self.replying:
      self._strike_under(time_ns, velocity)
    else:
      self._ended_ns = None
      self._add(time_ns, velocity)

  def _add(self, time_ns: int, velocity: int) -> None:
    self._phrase.add(time_ns, velocity)
    self._usual.append(velocity)

  def _strike_under(self, time_ns: int, velocity: int) -> None:
    """A note while the model replies: perhaps an interruption."""
    self._under.append((time_ns, velocity))
    if self._interruption is not None or self._trade is not None:
      return
    close = sum(time_ns - at <= _INTERRUPTING_NS for at, _ in self._under)
    if self._is_loud(velocity):
      self._interruption = Turn("interrupted", time_ns, "loud")
    elif close >= _INTERRUPTING_NOTES:
      self._interruption = Turn("interrupted", time_ns, "notes")

  def _is_loud(self, velocity: int) -> bool:
    if len(self._usual) < 4:
      return velocity >= _LOUD
    spread = statistics.pstdev(self._usual)
    louder_by = max(_LOUDER_BY, _LOUDER_DEVIATIONS * spread)
    return velocity >= statistics.fmean(self._usual) + louder_by

  def _resume(self, time_ns: int) -> None:
    """The player goes on: with the phrase that was cut off, or a new one."""
    ended_ns = self._ended_ns
    first_ns = self._under[0][0] if self._under else time_ns
    if ended_ns is not None and first_ns - ended_ns <= _FALSE_START_NS:
      self._phrase = self._ended_phrase
    self._ended_ns = None

  def _end_phrase(self, now_ns: int, reason: str) -> Turn:
    self._opens = False
    if self._phrase.onsets:
      end_ns = self._silent_since_ns(now_ns)
      self.call = self._phrase.closed(now_ns if end_ns is None else end_ns)
    self._ended_phrase, self._phrase = self._phrase, Phrase()
    # A player who hands over has finished; only a silence can be misjudged.
    self._ended_ns = now_ns if reason == "silence" else None
    return Turn("phrase_end", now_ns, reason)

  def _handle_controller(
    self, event: PlayerEvent, number: int, value: int
  ) -> None:
    settings, time_ns = self.settings, event.time_ns
    if number == settings.hand_over_controller and value >= _PRESSED:
      self.hand_over(time_ns)
    stroke = event.kind == "pedal" and self._keyboard.pedal_down
    held = self._keyboard.held.keys() - {settings.hand_over_key}
    if not settings.pedal_gesture or not stroke or held:
      return
    self._strokes.append(time_ns)
    if (
      len(self._strokes) == 2
      and time_ns - self._strokes[0] <= _DOUBLE_STROKE_NS
    ):
      self._strokes.clear()
      self.hand_over(time_ns)
