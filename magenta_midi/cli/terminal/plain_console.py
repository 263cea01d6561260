"""The only console of rich: what it is given is text, never markup."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.progress import Task, TextColumn
from rich.segment import Segment
from rich.status import Status
from rich.text import Text

from magenta_midi.plain_text import printable

__all__ = ["PlainColumn", "PlainConsole"]


class PlainConsole(Console):
  """A console that shows strings as they are, each on one line.

  `[/b]`, `:piano:` and escape sequences in a string are letters like others.
  Style and ends of lines are only in rich's own objects, such as `Text`.
  """

  def __init__(self, *, stderr: bool = False, **settings: Any):
    """Settings are those of rich's console."""
    super().__init__(
      stderr=stderr, markup=False, emoji=False, highlight=False, **settings
    )

  @property
  def ascii_only(self) -> bool:
    """Whether lines, blocks and dots of rich's kind cannot be shown."""
    return not self.encoding.startswith("utf")

  def render_str(self, text: str, **settings: Any) -> Text:
    """The string as text on one line; rich calls it for every string."""
    plain = {"markup": False, "emoji": False, "highlight": False}
    return super().render_str(printable(text, keep=""), **{**settings, **plain})

  def render(self, *args: Any, **settings: Any) -> Iterable[Segment]:
    """Everything invisible as escapes, whatever object it comes from."""
    for segment in super().render(*args, **settings):
      text = segment.text
      if segment.control or text.isprintable():
        yield segment
      else:
        yield Segment(printable(text, keep="\n"), segment.style)

  def status(self, status: Any, **settings: Any) -> Status:
    """A spinner beside a text."""
    if self.ascii_only:
      settings.setdefault("spinner", "line")
    if isinstance(status, str):
      status = self.render_str(status)
    return super().status(status, **settings)


class PlainColumn(TextColumn):
  """A column of a progress bar whose text is no markup."""

  def render(self, task: Task) -> Text:
    """The text of a task, on one line."""
    return Text(printable(self.text_format.format(task=task), keep=""))
