"""MIDI clock: following another machine's, and being followed.

24 ticks a quarter note (F8), start (FA), continue (FB), stop (FC) and song
position (F2, in sixteenths). The tick after a start or continue is the one at
the position.
"""

from typing import NamedTuple

import numpy as np

from magenta_midi.live.protocol.events import SECOND, Message
from magenta_midi.live.timing.bars import BPM_RANGE, Bars
from magenta_midi.midi.meter import Meter

__all__ = ["TICKS_PER_BEAT", "ClockFollower", "ClockSender"]

TICKS_PER_BEAT = 24
_TICKS_PER_SIXTEENTH = 6
_SONG_POSITIONS = 1 << 14  # sixteenths that two data bytes can count

_TICK, _START, _CONTINUE, _STOP, _POSITION = 0xF8, 0xFA, 0xFB, 0xFC, 0xF2

# Ticks that a tempo is estimated from. Over the long window a jitter of 2 ms
# gives 0.04 % at 120 bpm; the short one is for a tempo that changes.
_LONG, _SHORT, _FEWEST = 96, 24, 12
# Without a tick for so long the clock is lost, but music can go on by it...
_LOST_NS = SECOND // 4
# ...until here; then it counts as another clock.
_HOLD_NS = 2 * SECOND
# An interval that is this many times the usual may have lost ticks in it; the
# ticks after it count, because late ones come in a hurry.
_GAP = 1.5
_TICKS_AFTER_GAP = 3
_OUTLIER = 4.0  # times the median deviation
# Closer ticks than these differ by what clocks and drivers round.
_MIN_DEVIATION_NS = 200_000.0


# The newest ticks lie off the long line together where they do so by more
# than this many times their median deviation.
_TOGETHER = 3.0


class _Fit(NamedTuple):
  """Times of ticks as a line: `at_ns` is that of tick `number`, smoothed."""

  at_ns: float
  number: int
  period_ns: float
  deviation_ns: float


class ClockFollower:
  """Estimates tempo and position from the ticks of a MIDI clock.

  Args:
    meter: A MIDI clock does not send it.

  Attributes:
    running: Between start (or continue) and stop.
    lost_ticks: Ticks that never came, so far.
  """

  def __init__(self, meter: Meter | None = None):
    self.running = False
    self.lost_ticks = 0
    self._meter = meter or Meter()
    # The newest ticks: time, and number in an unbroken count.
    self._times: list[int] = []
    self._numbers: list[int] = []
    self._fit: _Fit | None = None
    # Ticks since a gap that may have swallowed some; 0: there was none.
    self._after_gap = 0
    # Position of the newest tick in the song, in ticks; the next one's where
    # a start or a song position has just set it.
    self._position: int | None = None
    self._next_position: int | None = None

  def receive(self, message: Message) -> bool:
    """Receives a message.

    Returns:
      Whether it was one of a clock; others change nothing.
    """
    data = message.data
    if not data:
      return False
    match data[0]:
      case 0xF8:
        self._tick(message.time_ns)
      case 0xFA:
        self.running, self._next_position = True, 0
      case 0xFB:
        self.running = True
        if self._next_position is None and self._position is not None:
          self._next_position = self._position + 1
      case 0xFC:
        self.running = False
      case 0xF2 if len(data) == 3:
        sixteenths = data[1] | data[2] << 7
        self._next_position = sixteenths * _TICKS_PER_SIXTEENTH
      case _:
        return False
    return True

  def bpm(self, now_ns: int) -> float | None:
    """The tempo, in or out of a song; None while it is not known.

    It stays for 2 s after the last tick.
    """
    if self._fit is None or now_ns - self._times[-1] > _HOLD_NS:
      return None
    ticks = TICKS_PER_BEAT * self._meter.quarters
    bpm = 60 * SECOND / (self._fit.period_ns * ticks)
    return bpm if BPM_RANGE[0] <= bpm <= BPM_RANGE[1] else None

  def lost(self, now_ns: int) -> bool:
    """Whether the clock ticked and then fell silent."""
    return bool(self._times) and now_ns - self._times[-1] > _LOST_NS

  def bars(self, now_ns: int) -> Bars | None:
    """Bars at the tempo of now, with now in its right place.

    The first bar begins where it would have, had the tempo always been so.

    Returns:
      None where the clock stands, its tempo is not known, or it began before
      this follower and never sent its position.
    """
    bpm = self.bpm(now_ns)
    if bpm is None or not self.running or self._fit is None:
      return None
    if self._next_position is not None:
      # A tick before: nothing has moved since.
      position = self._next_position - 1
    elif self._position is not None:
      position = self._position
    else:
      return None
    # The fit may be some ticks old.
    ticks = position - (self._numbers[-1] - self._fit.number)
    start_ns = self._fit.at_ns - ticks * self._fit.period_ns
    return Bars(bpm, self._meter.beats, round(start_ns))

  def _tick(self, time_ns: int) -> None:
    times, numbers = self._times, self._numbers
    if times and time_ns < times[-1]:
      time_ns = times[-1]
    silence_ns = time_ns - times[-1] if times else 0
    if silence_ns > _HOLD_NS:
      self._forget(time_ns, keep_tempo=False)
    fit = self._fit
    gap = fit is not None and silence_ns > _GAP * fit.period_ns
    placed = self.running and self._next_position is not None
    if gap and (placed or not self.running):
      # It stood; whatever it did not send, we have not lost.
      self._forget(time_ns, keep_tempo=True)
      gap = False
    times.append(time_ns)
    numbers.append(numbers[-1] + 1 if numbers else 0)
    if placed:
      self._position, self._next_position = self._next_position, None
    elif self._position is not None and self.running:
      self._position += 1
    if self._after_gap:
      self._after_gap += 1
      if self._after_gap > _TICKS_AFTER_GAP:
        self._count_lost()
    elif gap:
      self._after_gap = 1
    del times[:-_LONG], numbers[:-_LONG]
    if not self._after_gap:
      # Until there are enough after a stop, the tempo before it holds.
      self._fit = _fitted(times, numbers) or self._fit

  def _forget(self, time_ns: int, *, keep_tempo: bool) -> None:
    """Drops the ticks so far; the next is number 0, at `time_ns`."""
    self._times.clear()
    self._numbers.clear()
    self._after_gap = 0
    if self._fit is not None and keep_tempo:
      self._fit = self._fit._replace(at_ns=float(time_ns), number=0)
    else:
      self._fit = None

  def _count_lost(self) -> None:
    """Decides whether ticks are missing before the last few.

    Were they only late, then those behind them made up for it; had the tempo
    changed, then those behind them are as far apart.
    """
    after, self._after_gap = self._after_gap, 0
    assert self._fit is not None
    period_ns = self._fit.period_ns
    recent = np.diff(self._times[-after - 1 :])
    usual = float(np.median(recent[1:]))
    lost = 0
    if abs(usual - period_ns) < period_ns / 4:
      lost = max(round(float(recent.sum()) / period_ns) - after, 0)
    if not lost:
      return
    self.lost_ticks += lost
    for at in range(len(self._numbers) - after, len(self._numbers)):
      self._numbers[at] += lost
    if self._position is not None and self.running:
      self._position += lost


def _fitted(times: list[int], numbers: list[int]) -> _Fit | None:
  """Fits the times of the newest ticks, over the short window at need."""
  if len(times) < _FEWEST:
    return None
  # From the newest on: nanoseconds of a long session are too large to square.
  at = np.array(numbers, np.float64) - numbers[-1]
  time = np.array(times, np.int64) - times[-1]
  time = time.astype(np.float64)
  short = _line(at[-_SHORT:], time[-_SHORT:])
  line = short
  if len(times) > _SHORT:
    line = _line(at, time)
    # After a change of tempo the newest clocks lie off the long line together.
    newest = time[-_FEWEST:] - line.at_ns - line.period_ns * at[-_FEWEST:]
    spread = max(short.deviation_ns, _MIN_DEVIATION_NS)
    if abs(float(np.median(newest))) > _TOGETHER * spread:
      line = short
  return line._replace(at_ns=times[-1] + line.at_ns, number=numbers[-1])


def _line(at: np.ndarray, time: np.ndarray) -> _Fit:
  """Least squares, repeated without outliers."""
  kept = np.ones(len(at), bool)
  offset = slope = deviation = 0.0
  for _ in range(2):
    x, y = at[kept], time[kept]
    centre = x.mean()
    spread = x - centre
    slope = float(spread @ y / (spread @ spread))
    offset = float(y.mean() - slope * centre)
    off = np.abs(time - offset - slope * at)
    deviation = float(np.median(off))
    kept = off <= _OUTLIER * max(deviation, _MIN_DEVIATION_NS)
  return _Fit(offset, 0, slope, deviation)


class ClockSender:
  """Sends a MIDI clock that keeps the time of given bars.

  Ticks begin with the first `start` or `resume`, so that machines know the
  tempo by the end of the count-in, and end with `close`.
  """

  def __init__(self, bars: Bars, quarters: float = 1.0):
    """Is silent at first.

    Args:
      bars: Whose time it keeps; see `retime`.
      quarters: Length of a beat in quarter notes.
    """
    self._bars = bars
    # 24 to a quarter note, whatever a beat is.
    self._ticks = round(TICKS_PER_BEAT * quarters)
    self._tick: int | None = None  # number of the next, from the first bar
    # Messages between the ticks, in order of time.
    self._transport: list[Message] = []
    self._running = False

  @property
  def next_due_ns(self) -> int | None:
    """When `due` next has something; None for never."""
    times = [message.time_ns for message in self._transport[:1]]
    if self._tick is not None:
      times.append(self._time_of(self._tick))
    return min(times, default=None)

  def start(self, now_ns: int) -> None:
    """Starts others at the next bar line, the first one at the earliest."""
    line_ns = self._bars.next_bar_ns(max(now_ns, self._bars.start_ns))
    tick = self._next_tick(line_ns)
    self._begin(now_ns, tick, [bytes((_START,))])

  def resume(self, now_ns: int) -> None:
    """Lets others continue at the right place, from the next sixteenth on."""
    tick = max(self._next_tick(now_ns), 0)
    tick += -tick % _TICKS_PER_SIXTEENTH
    place = self._song_position(tick)
    self._begin(now_ns, tick, [place, bytes((_CONTINUE,))])

  def stop(self, now_ns: int) -> None:
    """Stops others; the ticks go on."""
    self._transport = [Message(now_ns, bytes((_STOP,)))]
    self._running = False

  def close(self, now_ns: int) -> None:
    """Stops others and the ticks."""
    self.stop(now_ns)
    self._tick = None

  def retime(self, bars: Bars, now_ns: int) -> None:
    """Keeps the time of other bars from now on.

    Where their beats are those of before, a little sooner or later, the ticks
    go on without a gap. Else others are stopped, sent the position, and
    continued from there; where they are still to start, they do so later.
    """
    before, tick = self._bars, self._tick
    if bars == before:
      return
    was_ns = 0 if tick is None else self._time_of(tick)
    self._bars = bars
    if tick is None:
      return
    moved_ns = abs(self._time_of(tick) - was_ns)
    waits = [m.data[0] for m in self._transport]
    if moved_ns > before.beat_ns / 4:
      self._tick = self._next_tick(now_ns)
    elif not waits:
      return
    if _START in waits:
      self.start(now_ns)
    elif _CONTINUE in waits:
      self.resume(now_ns)
    elif self._running and not waits:
      stop = Message(now_ns, bytes((_STOP,)))
      self.resume(now_ns)
      self._transport.insert(0, stop)

  def due(self, now_ns: int) -> list[Message]:
    """Returns the messages to send up to now, in order, and removes them.

    After a pause of more than a sixteenth the ticks missed are not sent in a
    hurry: others are stopped, sent the position, and continued from there.
    """
    if self._tick is not None:
      following = self._next_tick(now_ns)
      if following - self._tick > _TICKS_PER_SIXTEENTH:
        self._tick = following
        return self._rejoin(now_ns)
    messages = []
    while (time_ns := self.next_due_ns) is not None and time_ns <= now_ns:
      if self._transport and self._transport[0].time_ns <= time_ns:
        messages.append(self._transport.pop(0))
        if messages[-1].data[0] in (_START, _CONTINUE):
          self._running = True
      else:
        assert self._tick is not None
        messages.append(Message(time_ns, bytes((_TICK,))))
        self._tick += 1
    return messages

  def _rejoin(self, now_ns: int) -> list[Message]:
    """Leaves out what a pause has swallowed."""
    messages = []
    while self._transport and self._transport[0].time_ns <= now_ns:
      status = self._transport.pop(0).data[0]
      self._running = status in (_START, _CONTINUE) or (
        self._running and status != _STOP
      )
      if status == _STOP:
        messages = [Message(now_ns, bytes((_STOP,)))]
    if self._running:
      messages = [Message(now_ns, bytes((_STOP,)))]
      self._running = False
      if not self._transport:
        self.resume(now_ns)
    return messages

  def _begin(self, now_ns: int, tick: int, data: list[bytes]) -> None:
    if self._tick is None:
      self._tick = self._next_tick(now_ns)
    # Half way from the tick before: a tick at the same time could overtake.
    early_ns = round(self._bars.beat_ns / self._ticks / 2)
    time_ns = max(now_ns, self._time_of(tick) - early_ns)
    self._transport = [Message(time_ns, each) for each in data]

  def _time_of(self, tick: int) -> int:
    return self._bars.time_of(0, tick / self._ticks)

  def _next_tick(self, time_ns: int) -> int:
    """The first tick that is not before a time."""
    ticks = (time_ns - self._bars.start_ns) / self._bars.beat_ns
    tick = int(np.floor(ticks * self._ticks))
    while self._time_of(tick) < time_ns:
      tick += 1
    return tick

  def _song_position(self, tick: int) -> bytes:
    sixteenths = tick // _TICKS_PER_SIXTEENTH
    # Beyond what can be counted, the place in the bar is still right.
    bar = self._bars.beats_per_bar * self._ticks // _TICKS_PER_SIXTEENTH
    sixteenths %= _SONG_POSITIONS // bar * bar
    return bytes((_POSITION, sixteenths & 127, sixteenths >> 7))
