"""`MagentaMidi`: the whole line in Python, from a checkpoint to music."""

import functools
import logging
import math
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from magenta_midi.generate.checkpoint_codec import codec_of
from magenta_midi.generate.compilation.compilation_cache import (
  enable_compilation_cache,
)
from magenta_midi.generate.generator import (
  Chunk,
  GenerationState,
  Generator,
  join_chunks,
)
from magenta_midi.generate.sampling import Sampling
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
  from magenta_midi.data.takes import Split
  from magenta_midi.finetune.finetune import Base, Finetuned, FinetuneProgress

__all__ = [
  "CONTROL_GUIDANCE",
  "DEFAULT_GUIDANCE",
  "DEFAULT_SAMPLING",
  "MagentaMidi",
]

_log = logging.getLogger(__name__)

# By codec; that of `note` is from the sweep in docs/decisions.md.
DEFAULT_SAMPLING = {
  "note": Sampling(temperature=(0.9, 0.9, 1.0, 0.9)),
  "event": Sampling(),
}


# A style that stays, or one that moves.
Style: TypeAlias = "Float[np.ndarray, ' d'] | StyleMotion | None"

# Where a style is given and nothing else is said.
DEFAULT_GUIDANCE = 1.5
# Where controls alone are asked for: at more, 12 notes a second become 18.
CONTROL_GUIDANCE = 0.75


class MagentaMidi:
  """A loaded model, ready to play.

  Make one with `MagentaMidi.load`. States go in and come out; nothing in here
  changes while music is made, so many states may share one model.
  """

  def __init__(
    self, generator: Generator, config: dict[str, Any], checkpoint: str
  ):
    self.generator = generator
    self.codec = generator.codec
    # The checkpoint's config.json.
    self.config = config
    # Where it came from.
    self.checkpoint = checkpoint
    # Which slots it hears style and controls in.
    self.slots = StyleSlots(config)
    # The checkpoint's own weights, and what is added to them.
    self._base = generator.model
    self._adapters: tuple[tuple[Adapter, float], ...] = ()
    # As they were asked for.
    self._wanted: tuple[str | tuple[str, float], ...] = ()

  @classmethod
  def load(
    cls,
    checkpoint: str | os.PathLike[str] | None = None,
    adapters: Sequence[str | tuple[str, float]] = (),
  ) -> "MagentaMidi":
    """Loads a checkpoint; compiled functions are kept between runs.

    Args:
      checkpoint: A folder that `magenta-midi train` wrote; None: the embedded
        one. A text that is no folder may name an adapter of the embedded one.
      adapters: See `use_adapters`.

    Raises:
      CheckpointError: It is absent, damaged or of another shape.
      AdapterError: An adapter is absent, damaged or of another checkpoint.
    """
    if isinstance(checkpoint, str) and is_adapter(checkpoint):
      checkpoint, adapters = None, (checkpoint, *adapters)
    # Before the weights: a mistyped name should not wait for them.
    loaded = load_adapters(adapters)
    enable_compilation_cache()
    folder = Path(checkpoint) if checkpoint is not None else embedded_path()
    codec = codec_of(folder)
    model, config = load_checkpoint(folder)
    sizes = tuple(stop - start for start, stop in model.config.columns)
    if sizes != tuple(codec.vocabulary.level_sizes):
      raise CheckpointError(
        f"{folder}: its model has levels of {sizes} codes, its codec of"
        f" {tuple(codec.vocabulary.level_sizes)}."
      )
    name = "embedded" if checkpoint is None else str(folder)
    try:
      found = cls(Generator(model, codec), config, name)
    except ValueError as error:
      raise CheckpointError(f"{folder}/{error}") from None
    found._adapt(loaded)
    found._wanted = tuple(adapters)
    return found

  @property
  def adapters(self) -> tuple[tuple[str, float], ...]:
    """Name and scale of the adapters in use."""
    return tuple((adapter.name, scale) for adapter, scale in self._adapters)

  @property
  def name(self) -> str:
    """The checkpoint and its adapters, for people."""
    added = (
      name if scale == 1 else f"{name}:{scale:g}"
      for name, scale in self.adapters
    )
    return " + ".join((self.checkpoint, *added))

  def use_adapters(self, adapters: Sequence[str | tuple[str, float]]) -> None:
    """Plays on with other adapters; nothing is compiled again.

    Args:
      adapters: Names of installed adapters, or paths of their files, as `NAME`,
        `NAME:SCALE` or name and scale: 1 is full strength, several blend, none
        is the checkpoint itself.

    Raises:
      AdapterError: One is absent, damaged or was trained on another
        checkpoint; those in use stay.
    """
    self._adapt(load_adapters(adapters))
    self._wanted = tuple(adapters)

  @property
  def wanted_adapters(self) -> tuple[str | tuple[str, float], ...]:
    """What `use_adapters` was given: another process can load them by it."""
    return self._wanted

  def network_with(
    self, adapters: Sequence[str | tuple[str, float]]
  ) -> Depthformer:
    """The checkpoint's network with adapters merged in, a copy to keep.

    For changing over while music plays: arrays that no adapter changes are
    shared with the checkpoint's.

    Args:
      adapters: See `use_adapters`; none is the checkpoint's own network.

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
    """Of the checkpoint's weights."""
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
    """Makes an adapter of a player's takes, and installs it.

    A call that was interrupted continues where it was when it is given again.

    Args:
      paths: MIDI files or folders of such.
      name: What the adapter is to be called; `use_adapters([name])` plays
        with it.
      out: Folder of the run; None: `runs/adapters/NAME`.
      replace: Whether an installed adapter of that name may be overwritten.
      start: Adapter to go on from, of this checkpoint; with `name` the same,
        it is replaced.
      rehearsal: Folder of other music to learn from beside the takes, so that
        it is not forgotten; "itself": what the model plays by itself before it
        learns; "none". None: "itself" with `start`, else "none".
      on_progress: Called about twice a second.
      **settings: Fields of `FinetuneConfig`, or of its `LoraConfig`; without
        `steps` or `minutes`, 20 minutes.

    Returns:
      The adapter, and held-out figures before and after.

    Raises:
      ValueError: No take can be used, or a setting cannot.
      OSError: Something cannot be written; the same call continues.
    """
    from magenta_midi.data.takes import read_takes, split_takes
    from magenta_midi.finetune.config import finetune_config
    from magenta_midi.finetune.finetune import finetune, finetune_folder
    from magenta_midi.finetune.rehearsal import choose_rehearsal

    one = isinstance(paths, str | os.PathLike)
    given = [paths] if one else list(paths)  # type: ignore[arg-type]
    old = None if start is None else find_adapter(start)
    config = finetune_config(
      start=None if old is None else old.config, **settings
    )
    folder = Path(out) if out is not None else finetune_folder(name, old)
    replace = replace or name == start
    if not replace:
      check_free(name)
    takes, _ = read_takes([Path(path) for path in given])
    split = split_takes(takes)
    rehearsed = choose_rehearsal(
      None if rehearsal is None else os.fspath(rehearsal),
      going_on=old is not None,
    )
    found = finetune(
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
    assert found is not None  # nobody asked it to stop
    install_adapter(found.adapter, replace=replace)
    return found

  def learn_style(
    self,
    split: "Split",
    known: PlayerStyle | None = None,
    *,
    on_remark: Callable[[str], None] = _log.warning,
    on_fraction: Callable[[float], None] = lambda done: None,
  ) -> PlayerStyle | None:
    """A player's style vector, learned from takes.

    Args:
      split: What to learn from, and what to judge by.
      known: What was learned from earlier takes; None: nothing.
      on_remark: Told why nothing was learned, where takes have no style.
      on_fraction: Told how much is done, 0..1.

    Returns:
      The style; `known` where nothing was learned, as by a checkpoint that
      hears no style.
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
    """What `train.finetune` adapts: the checkpoint without adapters."""
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
      ValueError: It is not installed; one line says how to get it.
    """
    return self.slots.style_model()

  def embed_style(
    self,
    style: Prompt,
    *,
    on_remark: Callable[[str], None] = _log.warning,
  ) -> Float[np.ndarray, " 768"]:
    """Embeds a text, a score, a file, an embedding or a weighted list of them.

    The name of an installed adapter in a text is its player's style: with an
    @ before it, or alone; in double quotes it is a word like others.

    Args:
      style: What to embed.
      on_remark: Told in a line which names were found, and what was left out;
        else it is logged.

    Returns:
      A vector of 768 dimensions, of unit length but for MusicCoCa's.

    Raises:
      ValueError: Nothing in it can be understood, the weights cannot be
        normalized, or an adapter that is named has no style for this model.
    """
    model = self.style_model
    return model.embed(with_players(style, model, on_remark=on_remark))

  @property
  def default_sampling(self) -> Sampling:
    """How codes are drawn where nothing else is said."""
    return DEFAULT_SAMPLING[self.codec.name]

  @property
  def uses_style(self) -> bool:
    """Whether the checkpoint was trained with style.

    If it was not, its style slots are masked: a style changes nothing.
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
    """What the model's style slots hold; 0, the mask, where nothing is asked.

    Args:
      style: From `embed_style`; None: none.
      controls: Targets; None: none.

    Raises:
      ValueError: The style is no embedding, or a target is out of range.
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
    """The guidance where none is given: 0 where the model hears nothing.

    Args:
      style: See `generate_chunk`.
      controls: Targets.
      players_alone: Whether the style is of players by name, and of no words:
        a player is exaggerated by what words need.
    """
    heard = self.uses_style and style is not None
    asked = self.uses_controls and controls not in (None, ControlTargets())
    if heard:
      return PLAYER_GUIDANCE if players_alone else DEFAULT_GUIDANCE
    return CONTROL_GUIDANCE if asked else 0.0

  def request_settings(
    self,
    style: Float[np.ndarray, " d"] | None = None,
    controls: ControlTargets | None = None,
    sampling: Sampling | None = None,
    guidance: float | None = None,
  ) -> dict[str, Any]:
    """What `Generator` is asked for, given what `generate_chunk` is.

    Args:
      style: See `generate_chunk`, as the others.
      controls: Targets.
      sampling: How codes are drawn.
      guidance: Weight of style and controls.

    Returns:
      The arguments `style`, `sampling`, `guidance` and `keys` of
      `Generator.request` and `Generator.generate_chunk`.
    """
    if guidance is None:
      guidance = self.guidance_for(style, controls)
    return dict(
      style=self.style_rows(style, controls),
      sampling=sampling or self.default_sampling,
      guidance=guidance,
      keys=None if controls is None else allowed_keys(controls),
    )

  def init_state(self, context: Score | None = None) -> GenerationState:
    """The state that continues `context`; None: that starts from nothing."""
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
  ) -> tuple[Chunk, GenerationState]:
    """Generates the next 2 s.

    Args:
      state: From `init_state` or an earlier call; never changed.
      style: From `embed_style`; None: none. It may be another in each chunk.
      seed: The same seed and state give the same music.
      controls: What is asked of density, loudness, register and pedal; keys
        outside the register are not struck. None: nothing.
      sampling: How codes are drawn; None: `default_sampling`.
      guidance: Weight of style and controls against their absence; 0 costs
        nothing. None: 1.5 where the model hears something of what is asked,
        else 0.

    Returns:
      The chunk and the state after it.
    """
    asked = self.request_settings(style, controls, sampling, guidance)
    return self.generator.generate_chunk(state, seed=seed, **asked)

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
    on_chunk: Any = lambda chunk: None,
  ) -> tuple[Score, GenerationState]:
    """Generates music of a given length.

    Args:
      seconds: How much.
      context: What to continue.
      style: From `embed_style`, or a `StyleMotion`, followed chunk by chunk
        from the music's start.
      controls: Targets; see `generate_chunk`.
      seed: Of all draws.
      sampling: How codes are drawn; None: `default_sampling`.
      guidance: Weight of style and controls; see `generate_chunk`.
      on_chunk: Called with each `Chunk`.

    Returns:
      The new music, its time 0 at the end of the context, and the state
      before it (its `now_s` is that time).
    """
    if not (seconds > 0 and math.isfinite(seconds)):
      raise ValueError(f"seconds must be above 0, got {seconds}.")
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
