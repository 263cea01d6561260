"""Music samples of a run: one opening, continued at each evaluation."""

from pathlib import Path

from magenta_midi.data.corpus import Corpus
from magenta_midi.data.pieces import unpack_piece
from magenta_midi.generate.generator import CONTEXT_S, Generator, join_chunks
from magenta_midi.midi.piano_roll import plot_piano_roll
from magenta_midi.midi.score import Score
from magenta_midi.model.depthformer import Depthformer
from magenta_midi.tokens.codec import Codec

__all__ = ["SampleMaker"]


class SampleMaker:
  """Continues the opening of the first held-out piece, with the same draws.

  Only the model changes from sample to sample.

  Args:
    codec: The model's.
    held_out: Has at least one piece.
    seconds: Length of the continuation.
    folder: Receives `step_N.mid` and `step_N.png`.
  """

  def __init__(
    self, codec: Codec, held_out: Corpus, seconds: float, folder: Path
  ):
    self.codec = codec
    self.seconds = seconds
    self.folder = folder
    # On the codec's grid, which is what the model reads.
    piece = codec.decode(codec.encode(unpack_piece(held_out.piece(0))))
    self.opening = piece.crop(0.0, CONTEXT_S)
    self._generator: Generator | None = None

  def render(self, model: Depthformer, step: int) -> Path:
    """Writes a sample; the first call compiles.

    Args:
      model: In evaluation mode; of one shape at every call.
      step: For the name.

    Returns:
      The picture.

    Raises:
      OSError: It cannot be written.
    """
    if self._generator is None:
      self._generator = Generator(model, self.codec)
    else:
      self._generator.take_weights(model)
    music = self._played(self._generator)
    self.folder.mkdir(parents=True, exist_ok=True)
    path = self.folder / f"step_{step:07d}.mid"
    whole = self.opening.joined(music.shifted(CONTEXT_S))
    whole.to_file(path)
    picture = path.with_suffix(".png")
    plot_piano_roll(
      whole,
      picture,
      given_until_s=CONTEXT_S,
      title=f"Sample at step {step}",
    )
    return picture

  def _played(self, generator: Generator) -> Score:
    state = generator.init_state(self.opening)
    state = generator.at(state, CONTEXT_S)
    chunks = []
    while sum(chunk.seconds for chunk in chunks) < self.seconds:
      chunk, state = generator.generate_chunk(state)
      chunks.append(chunk)
    return join_chunks(self.codec, chunks).crop(0.0, self.seconds)
