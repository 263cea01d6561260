"""MusicCoCa's files with small random weights, for tests without the real ones.

The interfaces are those of the published files, so that the package's own
class loads them; what they compute is simple enough to be said in NumPy.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["RandomMusicCoCa", "write_music_coca"]

_DIM = 768
_TEXT = 128  # ids of a text: the start, its pieces, padding
_START = 1
_CLIP = 160_000  # samples at 16 kHz
_FRAME = 320
_BANDS = 24
_LEVELS = 12
_CODES = 32  # of a level; the published ones have 1024
_VOCABULARY = 35
_WORDS = (
  "slow sparse jazz ballad in a minor key",
  "busy loud stride piano",
  "gentle waltz for two hands",
  "a nocturne with soft arpeggios",
)


@dataclass(frozen=True, eq=False)
class RandomMusicCoCa:
  """The weights, and what the files compute with them.

  Attributes:
    table: [pieces, 768], a vector of each text piece.
    bands: [bands, 320], filters of an audio frame.
    mix: [768, bands], from the mean of the bands' magnitudes.
    codebooks: [12, codes, 768].
  """

  table: np.ndarray
  bands: np.ndarray
  mix: np.ndarray
  codebooks: np.ndarray

  @classmethod
  def draw(cls, seed: int = 0) -> RandomMusicCoCa:
    """Draws weights."""
    normal = np.random.default_rng(seed).standard_normal
    scale = 0.7 ** np.arange(_LEVELS)[:, None, None]
    arrays = (
      normal((_VOCABULARY, _DIM)) / 10,
      normal((_BANDS, _FRAME)) / 10,
      normal((_DIM, _BANDS)) / 10,
      normal((_LEVELS, _CODES, _DIM)) * scale / 10,
    )
    return cls(*(array.astype(np.float32) for array in arrays))

  def text(self, pieces: Sequence[int]) -> np.ndarray:
    """Of text pieces without the start: the sum of their vectors, [768]."""
    return self.table[[_START, *pieces]].sum(axis=0)

  def clip(self, samples: np.ndarray) -> np.ndarray:
    """Of at most 10 s at 16 kHz, mono [n], [768]."""
    padded = np.pad(samples, (0, _CLIP - len(samples)))
    bands = np.abs(padded.reshape(-1, _FRAME) @ self.bands.T)
    return self.mix @ bands.mean(axis=0)

  def codes(self, embedding: np.ndarray) -> list[int]:
    """The nearest code of each level to what the ones before left over."""
    rest, codes = embedding, []
    for book in self.codebooks:
      codes.append(int(np.square(rest - book).sum(axis=1).argmin()))
      rest = rest - book[codes[-1]]
    return codes


def write_music_coca(folder: Path, seed: int = 0) -> RandomMusicCoCa:
  """Writes the five files that the package `magenta-rt` looks for.

  It needs that package; its own requirements are enough to write TFLite.

  Args:
    folder: `resources/musiccoca` under the package's home; made if absent.
    seed: Of the weights.

  Returns:
    The weights.
  """
  import sentencepiece

  weights = RandomMusicCoCa.draw(seed)
  folder.mkdir(parents=True, exist_ok=True)
  pieces = io.BytesIO()
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(_WORDS),
    model_writer=pieces,
    vocab_size=_VOCABULARY,
    minloglevel=2,
  )
  (folder / "spm.model").write_bytes(pieces.getvalue())
  for name, write in (
    ("text_encoder", _text_encoder),
    ("audio_preprocessor", _audio_preprocessor),
    ("music_encoder", _music_encoder),
    ("pretrained_vector_quantizer", _quantizer),
  ):
    (folder / f"{name}.tflite").write_bytes(write(weights))
  return weights


def _text_encoder(weights: RandomMusicCoCa) -> bytes:
  graph = _Graph()
  ids = graph.input("ids", (1, _TEXT), np.int32)
  paddings = graph.input("paddings", (1, _TEXT), np.float32)
  vectors = graph.add(
    "GATHER", [graph.constant(weights.table), ids], (1, _TEXT, _DIM)
  )
  one = graph.constant(np.ones((1, 1), np.float32))
  kept = graph.add("SUB", [one, paddings], (1, _TEXT))
  shape = graph.constant(np.array([1, _TEXT, 1], np.int32))
  kept = graph.add("RESHAPE", [kept, shape], (1, _TEXT, 1))
  vectors = graph.add("MUL", [vectors, kept], (1, _TEXT, _DIM))
  axis = graph.constant(np.array([1], np.int32))
  return graph.built(graph.add("SUM", [vectors, axis], (1, _DIM)))


def _audio_preprocessor(weights: RandomMusicCoCa) -> bytes:
  graph, frames = _Graph(), _CLIP // _FRAME
  samples = graph.input("samples", (1, _CLIP), np.float32)
  shape = graph.constant(np.array([frames, _FRAME], np.int32))
  framed = graph.add("RESHAPE", [samples, shape], (frames, _FRAME))
  bands = graph.linear(framed, weights.bands, (frames, _BANDS))
  return graph.built(graph.add("ABS", [bands], (frames, _BANDS)))


def _music_encoder(weights: RandomMusicCoCa) -> bytes:
  graph = _Graph()
  bands = graph.input("features", (_CLIP // _FRAME, _BANDS), np.float32)
  axis = graph.constant(np.array([0], np.int32))
  mean = graph.add("MEAN", [bands, axis], (1, _BANDS))
  return graph.built(graph.linear(mean, weights.mix, (1, _DIM)))


def _quantizer(weights: RandomMusicCoCa) -> bytes:
  graph, codes = _Graph(), []
  rest = graph.input("embedding", (1, _DIM), np.float32)
  for book in weights.codebooks:
    # Nearest: of the square, the part that differs between codes.
    nearness = graph.linear(
      rest, 2 * book, (1, _CODES), -np.square(book).sum(axis=1)
    )
    axis = graph.constant(np.array([1], np.int32))
    code = graph.add("ARG_MAX", [nearness, axis], (1,), np.int32)
    codes.append(code)
    found = graph.add("GATHER", [graph.constant(book), code], (1, _DIM))
    rest = graph.add("SUB", [rest, found], (1, _DIM))
  return graph.built(graph.add("CONCATENATION", codes, (_LEVELS,), np.int32))


class _Graph:
  """A TFLite model in the making, by the schema that comes with LiteRT."""

  def __init__(self) -> None:
    from ai_edge_litert import schema_py_generated as schema

    self._schema: Any = schema
    self._operators: list[str] = []
    self._model = schema.ModelT(
      version=3, operatorCodes=[], buffers=[schema.BufferT()]
    )
    self._graph = schema.SubGraphT(
      tensors=[], operators=[], inputs=[], outputs=[]
    )
    self._model.subgraphs = [self._graph]

  def input(self, name: str, shape: tuple[int, ...], dtype: type) -> int:
    """A tensor that the caller sets."""
    self._graph.inputs.append(self._tensor(shape, dtype, name=name))
    return self._graph.inputs[-1]

  def constant(self, values: np.ndarray) -> int:
    """A tensor of weights."""
    data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
    self._model.buffers.append(self._schema.BufferT(data=data))
    where = len(self._model.buffers) - 1
    return self._tensor(values.shape, values.dtype.type, buffer=where)

  def linear(
    self,
    inputs: int,
    kernel: np.ndarray,
    shape: tuple[int, ...],
    bias: np.ndarray | None = None,
  ) -> int:
    """A product with [output, input] weights, and a bias."""
    bias = np.zeros(len(kernel), np.float32) if bias is None else bias
    terms = [inputs, self.constant(kernel), self.constant(bias)]
    return self.add("FULLY_CONNECTED", terms, shape)

  def add(
    self,
    operator: str,
    inputs: list[int],
    shape: tuple[int, ...],
    dtype: type = np.float32,
  ) -> int:
    """An operation, by its name in the schema."""
    schema, output = self._schema, self._tensor(shape, dtype)
    if operator not in self._operators:
      code = getattr(schema.BuiltinOperator, operator)
      self._operators.append(operator)
      self._model.operatorCodes.append(
        schema.OperatorCodeT(
          builtinCode=code, deprecatedBuiltinCode=code, version=1
        )
      )
    kind, options = self._options(operator)
    self._graph.operators.append(
      schema.OperatorT(
        opcodeIndex=self._operators.index(operator),
        inputs=inputs,
        outputs=[output],
        builtinOptionsType=kind,
        builtinOptions=options,
      )
    )
    return output

  def built(self, output: int) -> bytes:
    """The file, of one output."""
    import flatbuffers

    self._graph.outputs.append(output)
    builder = flatbuffers.Builder(0)
    builder.Finish(self._model.Pack(builder), b"TFL3")
    return bytes(builder.Output())

  def _options(self, operator: str) -> tuple[int, Any]:
    schema, kinds = self._schema, self._schema.BuiltinOptions
    if operator == "FULLY_CONNECTED":
      return kinds.FullyConnectedOptions, schema.FullyConnectedOptionsT()
    if operator == "GATHER":
      return kinds.GatherOptions, schema.GatherOptionsT(axis=0)
    if operator == "ARG_MAX":
      index = schema.ArgMaxOptionsT(outputType=schema.TensorType.INT32)
      return kinds.ArgMaxOptions, index
    if operator in ("SUM", "MEAN"):
      return kinds.ReducerOptions, schema.ReducerOptionsT(keepDims=False)
    if operator == "CONCATENATION":
      return kinds.ConcatenationOptions, schema.ConcatenationOptionsT(axis=0)
    return kinds.NONE, None

  def _tensor(
    self,
    shape: tuple[int, ...],
    dtype: type,
    *,
    buffer: int = 0,
    name: str = "",
  ) -> int:
    kinds = self._schema.TensorType
    self._graph.tensors.append(
      self._schema.TensorT(
        shape=list(shape),
        type=kinds.INT32 if dtype is np.int32 else kinds.FLOAT32,
        buffer=buffer,
        name=name or f"tensor_{len(self._graph.tensors)}",
      )
    )
    return len(self._graph.tensors) - 1
