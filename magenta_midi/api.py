"""`MagentaMidi`: Python interface from a checkpoint to music."""

import functools
import logging
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from magenta_midi.generate.checkpoint_codec import read_codec
from magenta_midi.generate.compilation.compilation_cache import (
  enable_compilation_cache,
)
from magenta_midi.generate.generator import (
  Chunk,
  GenerationState,
  Generator,
  join_chunks,
)
from magenta_midi.generate.priors import Priors
from magenta_midi.generate.sampling import Sampling
from magenta_midi.limits import GUIDANCE, SECONDS
from magenta_midi.midi.continuation import lifted_pedal
from magenta_midi.midi.score import Score
from magenta_midi.model.checkpoint import (
  CheckpointError,
  embedded_path,
  load_checkpoint,
)
from magenta_midi.model.depthformer import Depthformer
from magenta_midi.model.lora.adapter_file import Adapter, PlayerStyle
from magenta_midi.model.lora.adapter_library import (
  adapted_model,
  check_free,
  find_adapter,
  install_adapter,
  is_adapter,
  load_adapters,
)
from magenta_midi.style import Prompt, StyleModel
from magenta_midi.style.controls import ControlTargets
from magenta_midi.style.motion import StyleMotion
from magenta_midi.style.players import PLAYER_GUIDANCE, with_players
from magenta_midi.style.slots import StyleSlots, allowed_keys
from magenta_midi.typing import Float, Int

if TYPE_CHECKING:
  from magenta_midi.data.recordings import Split
  from magenta_midi.finetune.finetune import Base, Finetuned, FinetuneProgress

__all__ = [
  "CONTROL_GUIDANCE",
  "DEFAULT_GUIDANCE",
  "DEFAULT_SAMPLING",
  "MagentaMidi",
]

_log = logging.getLogger(__name__)

# Default by codec; that of `note` is from the sweep in docs/decisions.md.
DEFAULT_SAMPLING = {
  "note": Sampling(temperature=(0.9, 0.9, 1.0, 0.9)),
  "event": Sampling(),
}


# A constant style, or one that moves.
Style: TypeAlias = "Float[np.ndarray, ' d'] | StyleMotion | None"

# Guidance with a style, if none is given.
DEFAULT_GUIDANCE = 1.5
# Guidance with only controls. With more, 12 notes a second become 18.
CONTROL_GUIDANCE = 0.75


class MagentaMidi:
  """A loaded model, ready to play.

  Make one with `MagentaMidi.load`. Generation takes a state and returns a new
  one; the model itself does not change, so many states may share it.
  """

  def __init__(
    self, generator: Generator, config: dict[str, Any], checkpoint: str
  ):
    self.generator = generator
    self.codec = generator.codec
    # The checkpoint's config.json.
    self.config = config
    # Name or folder of the checkpoint.
    self.checkpoint = checkpoint
    # Slots of style and controls.
    self.slots = StyleSlots(config)
    # The network without adapters, and the adapters in use.
    self._base = generator.model
    self._adapters: tuple[tuple[Adapter, float], ...] = ()
    # The argument of `use_adapters`.
    self._wanted: tuple[str | tuple[str, float], ...] = ()

  @classmethod
  def load(
    cls,
    checkpoint: str | os.PathLike[str] | None = None,
    adapters: Sequence[str | tuple[str, float]] = (),
  ) -> "MagentaMidi":
    """Loads a checkpoint; compiled functions are cached on disk.

    Args:
      checkpoint: A folder that `magenta-midi train` wrote; None: the embedded
        checkpoint. It may also be the name of an adapter of the embedded
        checkpoint.
      adapters: See `use_adapters`.

    Raises:
      CheckpointError: It is missing, damaged or has another shape.
      AdapterError: An adapter is missing, damaged or of another checkpoint.
    """
    if isinstance(checkpoint, str) and is_adapter(checkpoint):
      checkpoint, adapters = None, (checkpoint, *adapters)
    # Before the weights, so that a wrong name is reported at once.
    loaded = load_adapters(adapters)
    enable_compilation_cache()
    folder = Path(checkpoint) if checkpoint is not None else embedded_path()
    codec = read_codec(folder)
    model, config = load_checkpoint(folder)
    sizes = tuple(stop - start for start, stop in model.config.columns)
    if sizes != tuple(codec.vocabulary.level_sizes):
      raise CheckpointError(
        f"{folder}: its model has levels of {sizes} codes, its codec of"
        f" {tuple(codec.vocabulary.level_sizes)}."
      )
    name = "embedded" if checkpoint is None else str(folder)
    try:
      loaded_model = cls(Generator(model, codec), config, name)
    except ValueError as error:
      raise CheckpointError(f"{folder}/{error}") from None
    loaded_model._adapt(loaded)
    loaded_model._wanted = tuple(adapters)
    return loaded_model

  @property
  def adapters(self) -> tuple[tuple[str, float], ...]:
    """Names and scales of the adapters in use."""
    return tuple((adapter.name, scale) for adapter, scale in self._adapters)

  @property
  def name(self) -> str:
    """The checkpoint and its adapters, for display."""
    added = (
      name if scale == 1 else f"{name}:{scale:g}"
      for name, scale in self.adapters
    )
    return " + ".join((self.checkpoint, *added))

  def use_adapters(self, adapters: Sequence[str | tuple[str, float]]) -> None:
    """Changes the adapters; compiles nothing.

    Args:
      adapters: Names or file paths of adapters, as `NAME`, `NAME:SCALE` or
        (name, scale). Scale 1 is full strength; several adapters blend; an
        empty list is the checkpoint without adapters.

    Raises:
      AdapterError: An adapter is missing, damaged or was trained on another
        checkpoint; the adapters in use do not change.
    """
    self._adapt(load_adapters(adapters))
    self._wanted = tuple(adapters)

  @property
  def wanted_adapters(self) -> tuple[str | tuple[str, float], ...]:
    """The argument of `use_adapters`, to load the same in another process."""
    return self._wanted

  def network_with(
    self, adapters: Sequence[str | tuple[str, float]]
  ) -> Depthformer:
    """A copy of the checkpoint's network with merged adapters.

    Used to change adapters while music plays. Arrays that no adapter changes
    are shared with the checkpoint.

    Args:
      adapters: See `use_adapters`; empty: the network without adapters.

    Raises:
      AdapterError: See `use_adapters`.
    """
    return self._merged(load_adapters(adapters))

  def _merged(self, adapters: Sequence[tuple[Adapter, float]]) -> Depthformer:
    if not adapters:
      return self._base
    return adapted_model(
      self._base, adapters, sha256=self._sha256, base=self.checkpoint
    )

  def _adapt(self, adapters: Sequence[tuple[Adapter, float]]) -> None:
    if not adapters and not self._adapters:
      return
    self.generator.take_weights(self._merged(adapters))
    self._adapters = tuple(adapters)

  @property
  def _sha256(self) -> str:
    """SHA-256 of the checkpoint's weights."""
    return self.config.get("sha256", "")

  def finetune(
    self,
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    name: str,
    out: str | os.PathLike[str] | None = None,
    replace: bool = False,
    start: str | None = None,
    rehearsal: str | os.PathLike[str] | None = None,
    on_progress: "Callable[[FinetuneProgress], None]" = lambda progress: None,
    **settings: Any,
  ) -> "Finetuned":
    """Trains an adapter on a player's recordings and installs it.

    An interrupted call continues if it is repeated.

    Args:
      paths: MIDI files, audio files, which are transcribed, or folders of
        these.
      name: Name of the adapter, for `use_adapters([name])`.
      out: Folder of the run; None: `runs/adapters/NAME`.
      replace: Whether an installed adapter of this name may be overwritten.
      start: Adapter of this checkpoint to start from; if it has the same name,
        it is replaced.
      rehearsal: Folder of other music to train on with the recordings, so that
        the model does not forget it; "itself": music that the model generates
        before training; "none". None: "itself" with `start`, else "none".
      on_progress: Called about twice a second.
      **settings: Fields of `FinetuneConfig`, or of its `LoraConfig`; without
        `steps` or `minutes`, 20 minutes.

    Returns:
      The adapter, and held-out figures before and after training.

    Raises:
      ValueError: No recording can be used, or a setting is invalid.
      OSError: A file cannot be written; repeat the call to continue.
    """
    from magenta_midi.data.recordings import read_recordings, split_recordings
    from magenta_midi.finetune.config import finetune_config
    from magenta_midi.finetune.finetune import finetune, finetune_folder
    from magenta_midi.finetune.mixture import choose_rehearsal
    from magenta_midi.transcribe.listener import Listener

    one = isinstance(paths, str | os.PathLike)
    sources = [paths] if one else list(paths)  # type: ignore[arg-type]
    old = None if start is None else find_adapter(start)
    config = finetune_config(
      start=None if old is None else old.config, **settings
    )
    folder = Path(out) if out is not None else finetune_folder(name, old)
    replace = replace or name == start
    if not replace:
      check_free(name)
    recordings, _ = read_recordings(
      [Path(path) for path in sources], Listener(None).hear
    )
    split = split_recordings(recordings)
    rehearsed = choose_rehearsal(
      None if rehearsal is None else os.fspath(rehearsal),
      going_on=old is not None,
    )
    finetuned = finetune(
      config,
      self.finetune_base(),
      split,
      name,
      folder,
      general=rehearsed.judged,
      rehearsal=rehearsed.learned,
      start=old,
      learn_style=functools.partial(self.learn_style, split),
      on_progress=on_progress,
    )
    assert finetuned is not None  # None only after a request to stop
    install_adapter(finetuned.adapter, replace=replace)
    return finetuned

  def learn_style(
    self,
    split: "Split",
    known: PlayerStyle | None = None,
    *,
    on_remark: Callable[[str], None] = _log.warning,
    on_fraction: Callable[[float], None] = lambda done: None,
  ) -> PlayerStyle | None:
    """Learns a player's style vector from recordings.

    Args:
      split: Recordings for training and for evaluation.
      known: Style from earlier recordings; None: no style.
      on_remark: Called with the reason if no style was learned.
      on_fraction: Called with the progress, 0..1.

    Returns:
      The style; `known` if nothing was learned, for example with a checkpoint
      without style.
    """
    if not self.uses_style:
      return known
    from magenta_midi.finetune.player_style import (
      StyleSource,
      learn_player_style,
    )

    source = StyleSource(self._base, self.codec, self.style_model, self.slots)
    on_fraction(0.0)
    return learn_player_style(
      source, split, known, on_remark=on_remark, on_fraction=on_fraction
    )

  def finetune_base(self) -> "Base":
    """The base for fine-tuning: the checkpoint without adapters."""
    from magenta_midi.finetune.finetune import Base

    return Base(
      model=self._base,
      codec=self.codec,
      name=self.checkpoint,
      sha256=self._sha256,
      codec_entry=self.config.get("codec", {}),
    )

  @functools.cached_property
  def style_model(self) -> StyleModel:
    """The style model that the checkpoint was trained with, or the default.

    Raises:
      ValueError: It is not installed; one line states how to get it.
    """
    return self.slots.style_model()

  def embed_style(
    self,
    style: Prompt,
    *,
    on_remark: Callable[[str], None] = _log.warning,
  ) -> Float[np.ndarray, " 768"] | None:
    """Embeds a style prompt: text, score, file, or a weighted list of them.

    The name of an installed adapter in a text, with or without @, means the
    style of its player. In double quotes it is only a word. A text in which the
    style model finds nothing about music is left out.

    Args:
      style: The prompt.
      on_remark: Called with a line about each name that was found and each text
        that was left out; by default they are logged.

    Returns:
      A vector of 768 dimensions, of unit length (except with MusicCoCa). None
      if nothing is left: no style, which is what `generate` takes None for.

    Raises:
      ValueError: The prompt cannot be used, the weights cannot be normalized,
        or a named adapter has no style for this model.
    """
    model = self.style_model
    understood = with_players(style, model, on_remark=on_remark)
    return None if understood is None else model.embed(understood)

  @property
  def default_sampling(self) -> Sampling:
    """Default settings of drawing for the codec."""
    return DEFAULT_SAMPLING[self.codec.name]

  @property
  def uses_style(self) -> bool:
    """Whether the checkpoint was trained with style.

    If not, its style slots are masked and a style changes nothing.
    """
    return self.slots.levels > 0

  @property
  def uses_controls(self) -> bool:
    """Whether the checkpoint was trained with control tokens."""
    return self.slots.controls

  @property
  def hears_style(self) -> bool:
    """Deprecated name of `uses_style`."""
    return _renamed("hears_style", "uses_style", self.uses_style)

  @property
  def hears_controls(self) -> bool:
    """Deprecated name of `uses_controls`."""
    return _renamed("hears_controls", "uses_controls", self.uses_controls)

  def style_rows(
    self,
    style: Float[np.ndarray, " d"] | None = None,
    controls: ControlTargets | None = None,
  ) -> Int[np.ndarray, " m"]:
    """The row of each style slot; 0 (the mask) without style or target.

    Args:
      style: From `embed_style`; None: none.
      controls: Targets; None: none.

    Raises:
      ValueError: The style is not an embedding, or a target is out of range.
    """
    if style is not None and np.shape(style) != (768,):
      raise ValueError(
        f"style must be an embedding of shape (768,), got {np.shape(style)}."
        " Make one with embed_style."
      )
    tokens = None
    if style is not None and self.uses_style:
      tokens = self.style_model.tokenize(style)
    return self.slots.rows(tokens, controls)

  def guidance_for(
    self,
    style: Style = None,
    controls: ControlTargets | None = None,
    *,
    players_alone: bool = False,
  ) -> float:
    """The default guidance; 0 if the model uses none of the inputs.

    Args:
      style: See `generate_chunk`.
      controls: Targets.
      players_alone: Whether the style has only names of players. The guidance
        for words is too high for players.
    """
    has_style = self.uses_style and style is not None
    has_controls = self.uses_controls and controls not in (
      None,
      ControlTargets(),
    )
    if has_style:
      return PLAYER_GUIDANCE if players_alone else DEFAULT_GUIDANCE
    return CONTROL_GUIDANCE if has_controls else 0.0

  def request_settings(
    self,
    style: Float[np.ndarray, " d"] | None = None,
    controls: ControlTargets | None = None,
    sampling: Sampling | None = None,
    guidance: float | None = None,
  ) -> dict[str, Any]:
    """Converts arguments of `generate_chunk` to those of `Generator`.

    Args:
      style: See `generate_chunk`.
      controls: Targets.
      sampling: Settings of drawing; None: `default_sampling`.
      guidance: Weight of style and controls.

    Returns:
      The arguments `style`, `sampling`, `guidance` and `keys` of
      `Generator.request` and `Generator.generate_chunk`.
    """
    if guidance is None:
      guidance = self.guidance_for(style, controls)
    guidance = GUIDANCE.check("guidance", guidance)
    return dict(
      style=self.style_rows(style, controls),
      sampling=sampling or self.default_sampling,
      guidance=guidance,
      keys=None if controls is None else allowed_keys(controls),
    )

  def init_state(self, context: Score | None = None) -> GenerationState:
    """The initial state, after `context`; None: without context."""
    return self.generator.init_state(context)

  def generate_chunk(
    self,
    state: GenerationState,
    style: Float[np.ndarray, " d"] | None = None,
    seed: int = 0,
    *,
    controls: ControlTargets | None = None,
    sampling: Sampling | None = None,
    guidance: float | None = None,
    priors: Priors | None = None,
  ) -> tuple[Chunk, GenerationState]:
    """Generates the next 2 s.

    Args:
      state: From `init_state` or an earlier call; not modified.
      style: From `embed_style`; None: no style. Each chunk may have another.
      seed: The same seed and state give the same music; 0 to 2**32 - 1.
      controls: Targets of density, loudness, register and pedal; keys outside
        the register are not played. None: no targets.
      sampling: Settings of drawing; None: `default_sampling`.
      guidance: Weight of style and controls against none of them, 0 to 8; 0
        costs no time. None: `guidance_for` the style and controls.
      priors: What is wanted of the music, such as `Priors(onset=...)` with
        the beat of `prior_after`; None: nothing.

    Returns:
      The chunk and the state after it.
    """
    asked = self.request_settings(style, controls, sampling, guidance)
    return self.generator.generate_chunk(
      state, seed=seed, **asked, priors=priors
    )

  def generate(
    self,
    seconds: float,
    *,
    context: Score | None = None,
    style: Style = None,
    controls: ControlTargets | None = None,
    seed: int = 0,
    sampling: Sampling | None = None,
    guidance: float | None = None,
    priors: Priors | None = None,
    on_chunk: Any = lambda chunk: None,
  ) -> tuple[Score, GenerationState]:
    """Generates music of a given length.

    Args:
      seconds: Length of the music; above 0, at most a day.
      context: Music to continue; None: start without context.
      style: From `embed_style`, or a `StyleMotion` that the chunks follow from
        the start of the music.
      controls: Targets; see `generate_chunk`.
      seed: Random seed of all draws, 0 to 2**32 - 1.
      sampling: Settings of drawing; None: `default_sampling`.
      guidance: Weight of style and controls; see `generate_chunk`.
      priors: What is wanted of the music; see `generate_chunk`.
      on_chunk: Called with each `Chunk`.

    Returns:
      The new music, with time 0 at the end of the context, and the state before
      it (its `now_s` is that time).

    Raises:
      ValueError: A number is out of range.
    """
    seconds = SECONDS.check("seconds", seconds)
    first = state = self.init_state(context)
    chunks = []
    while len(chunks) * self.codec.config.chunk_s < seconds:
      now_s = len(chunks) * self.codec.config.chunk_s
      chunk, state = self.generate_chunk(
        state,
        style.at(now_s) if isinstance(style, StyleMotion) else style,
        seed,
        controls=controls,
        sampling=sampling,
        guidance=guidance,
        priors=priors,
      )
      chunks.append(chunk)
      on_chunk(chunk)
    music = join_chunks(self.codec, chunks).crop(0.0, seconds)
    return lifted_pedal(music, max(seconds, music.end_s)), first


def _renamed(old: str, new: str, value: bool) -> bool:
  """The value of a property that has a new name, with a warning."""
  warnings.warn(
    f"MagentaMidi.{old} is now {new}; the old name goes with the next release.",
    DeprecationWarning,
    stacklevel=3,
  )
  return value
