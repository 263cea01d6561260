"""Test clock that stands still until a test moves it."""

__all__ = ["FakeClock"]


class FakeClock:
  """Time as a parameter: what is given `now_ns` needs no real clock.

  Args:
    now_ns: Where it starts.

  Attributes:
    now_ns: The time, ns; only `advance` changes it.
  """

  def __init__(self, now_ns: int = 0):
    self.now_ns = now_ns

  def advance(self, by_ns: int) -> int:
    """Lets time pass; returns the new time.

    Raises:
      ValueError: It would go back.
    """
    if by_ns < 0:
      raise ValueError(f"time must pass by 0 ns or more, got {by_ns}.")
    self.now_ns += by_ns
    return self.now_ns
