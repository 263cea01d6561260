"""Help texts of tools: the docstring of the module, with its own lines."""


def help_of(docstring: str | None) -> str:
  """The docstring as click's help, each paragraph as it is written.

  click fills paragraphs anew, which breaks commands and lists; a line with
  only a backspace in front of a paragraph keeps its lines.
  """
  paragraphs = (docstring or "").strip("\n").split("\n\n")
  return "\n\n".join(f"\b\n{paragraph}" for paragraph in paragraphs)
