"""Likeness of replies to their phrases, and of notes to notes.

    python -m tools.live.likeness FOLDER_OR_FILE ... --phrases 200

Call-response: a stretch of each piece is the phrase. A reply is compared with
its phrase and with phrases of other pieces in key (how well each of the 24
keys fits), tempo (median gap between onsets) and density (notes a second). AUC
is the probability that it is more similar to its phrase: 0.5 is a reply that
does not depend on it. The pianist's next phrase is the upper reference.
Simultaneous: the share of the model's onsets that are consonant with the
player's sounding notes, and the share within 50 ms of a player's onset, beside
players from other pieces. All on a virtual clock; intervals by bootstrap over
phrases.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from magenta_midi.api import MagentaMidi
from magenta_midi.cli.terminal.bounded_number import bounded
from magenta_midi.cli.terminal.errors import UserError, one_line_errors
from magenta_midi.limits import COUNT_FROM_0
from magenta_midi.live.protocol.controls import Controls
from magenta_midi.live.protocol.events import SECOND
from magenta_midi.live.recording.costs import CostTable
from magenta_midi.live.recording.score_messages import duet_score, messages_of
from magenta_midi.live.recording.serialization import (
  make_engine,
  make_performer,
)
from magenta_midi.live.recording.virtual_clock import Replay
from magenta_midi.midi.analysis.analysis import (
  inter_onsets_s,
  key_correlations,
  notes_per_s,
  pitch_class_weights,
)
from magenta_midi.midi.score import Score
from tools.help_text import help_of

CALL_S, TOGETHER_S = 8.0, 20.0
# A reply to 8 s is over after 12 s at most, and a pause comes before it.
REPLY_S, LAST_S = 16.0, 1.0
# Music of fewer notes is not judged.
MIN_NOTES = 4
HARSH = (1, 2, 6, 10, 11)  # semitones, whatever the octave
CLOSE_S = 0.05
DRAWS = 1000


class Phrase(NamedTuple):
  """A stretch of a piece.

  Attributes:
    piece: Number of the file: two of one piece are not compared.
    score: The stretch, from 0 s.
    next: As long a stretch, right after it.
  """

  piece: int
  score: Score
  next: Score


def find_phrases(
  paths: Sequence[Path], count: int, seconds: float
) -> list[Phrase]:
  """Stretches of as many pieces as there are, none too thin.

  Raises:
    UserError: There are fewer than two pieces with one.
  """
  rng = np.random.default_rng(0)
  files = [
    file
    for path in paths
    for file in (sorted(path.rglob("*.mid*")) if path.is_dir() else [path])
  ]
  order = rng.permutation(len(files))[:count]
  each = -(-count // max(1, len(order)))
  found: list[Phrase] = []
  for piece in order:
    score = Score.from_file(files[piece]).merged()
    # Within each part of the piece, so that no two overlap.
    share_s = score.end_s / each
    if share_s < 2 * seconds:
      share_s = max(2 * seconds, score.end_s)
    for start_s in np.arange(0, score.end_s - 2 * seconds + 1e-9, share_s):
      free_s = min(share_s, score.end_s - start_s) - 2 * seconds
      at_s = float(start_s + rng.uniform(0, max(free_s, 0.0)))
      first, after = (
        score.crop(from_s, from_s + seconds)
        for from_s in (at_s, at_s + seconds)
      )
      if min(len(first), len(after)) >= seconds:
        found.append(Phrase(int(piece), first, after))
  if len({phrase.piece for phrase in found}) < 2:
    raise UserError(
      f"expected two pieces or more of {2 * seconds:g} s at a note a second,"
      f" got {len({phrase.piece for phrase in found})} among {len(files)}"
      " MIDI files. Give more music."
    )
  return found[:count]


def answer(
  mm: MagentaMidi, score: Score, mode: str, *, seed: int, tail_s: float
) -> Score:
  """The model's part beside a stretch."""
  engine = make_engine(mm, Controls(mode=mode), seed=seed)
  result = Replay(engine, make_performer(), CostTable.load()).run(
    messages_of(score), tail_ns=round(tail_s * SECOND)
  )
  return duet_score(result.received, result.sent).select(1)


def likeness(
  music: Sequence[Score], calls: Sequence[Score]
) -> dict[str, np.ndarray]:
  """How alike each piece of music (rows) is each call (columns)."""
  keys = [
    [key_correlations(pitch_class_weights(score)).ravel() for score in scores]
    for scores in (music, calls)
  ]
  gap, rate = (
    np.array(
      [[np.log(measure(s)) for s in scores] for scores in (music, calls)]
    )
    for measure in (_median_gap_s, notes_per_s)
  )
  alike = {
    "key": np.array(keys[0]) @ np.array(keys[1]).T,
    "tempo": -np.abs(gap[0][:, None] - gap[1]),
    "density": -np.abs(rate[0][:, None] - rate[1]),
  }
  alike["all"] = np.sum(
    [(x - x.mean()) / max(x.std(), 1e-9) for x in alike.values()], axis=0
  )
  return alike


def _median_gap_s(score: Score) -> float:
  gaps = inter_onsets_s(score)
  return float(np.median(gaps)) if len(gaps) else CALL_S


def auc(
  alike: np.ndarray, piece: np.ndarray, rows: np.ndarray | None = None
) -> float:
  """Chance that a row is more like its column than another piece's.

  Args:
    alike: Likeness, square.
    piece: Of each row and column; those of one piece are not compared.
    rows: Which rows and columns, repeated or not; by default each once.
  """
  rows = np.arange(len(alike)) if rows is None else rows
  own = np.diagonal(alike)[rows][:, None]
  others = alike[np.ix_(rows, rows)]
  wins = (own > others) + 0.5 * (own == others)
  apart = piece[rows][:, None] != piece[rows]
  return float(wins[apart].mean()) if apart.any() else 0.5


def _interval(values: Sequence[float]) -> list[float]:
  return [round(float(x), 3) for x in np.percentile(values, [2.5, 97.5])]


def judged(
  music: Sequence[Score], calls: Sequence[Score], pieces: Sequence[int]
) -> dict[str, dict[str, Any]]:
  """AUC of key, tempo, density and all three, each with its interval."""
  rng = np.random.default_rng(0)
  piece, count = np.array(pieces), len(calls)
  report = {}
  for name, alike in likeness(music, calls).items():
    draws = [
      auc(alike, piece, rng.integers(0, count, count)) for _ in range(DRAWS)
    ]
    value = round(auc(alike, piece), 3)
    report[name] = {"auc": value, "ci95": _interval(draws)}
  return report


def agreement(model: Score, player: Score) -> tuple[float, float]:
  """Shares of the model's onsets that are consonant, and synchronous.

  Onsets with no sounding note of the player count only for the second; NaN if
  there are none.
  """
  notes = player.notes
  end_s = notes["onset_s"] + notes["duration_s"]
  at_s = model.notes["onset_s"][:, None]
  # Notes with nearly the same onset count as sounding together.
  sounds = (notes["onset_s"] <= at_s + CLOSE_S) & (end_s > at_s)
  apart = notes["key"].astype(int) - model.notes["key"].astype(int)[:, None]
  clashes = (sounds & np.isin(np.abs(apart) % 12, HARSH)).sum(axis=1) > 0
  beside = sounds.sum(axis=1) > 0
  close = np.any(np.abs(notes["onset_s"] - at_s) <= CLOSE_S, axis=1)
  return (
    float(1 - clashes[beside].mean()) if beside.any() else np.nan,
    float(close.mean()) if len(close) else np.nan,
  )


def agreements(
  models: Sequence[Score], players: Sequence[Score], pieces: Sequence[int]
) -> dict[str, dict[str, Any]]:
  """Agreement with the true player and, on average, with all others."""
  rng = np.random.default_rng(0)
  report = {}
  table = np.array([[agreement(m, p) for p in players] for m in models])
  same = np.array(pieces)[:, None] == np.array(pieces)
  for column, name in enumerate(("consonance", "synchrony")):
    shares = table[..., column]
    true = np.diagonal(shares)
    other = np.nanmean(np.where(same, np.nan, shares), axis=1)
    gain = (true - other)[np.isfinite(true - other)]
    draws = [float(rng.choice(gain, len(gain)).mean()) for _ in range(DRAWS)]
    report[name] = {
      "partner": round(float(np.nanmean(true)), 3),
      "others": round(float(np.nanmean(other)), 3),
      "gain": round(float(gain.mean()), 3),
      "gain_ci95": _interval(draws),
    }
  return report


def in_turns(mm: MagentaMidi, phrases: Sequence[Phrase]) -> dict[str, Any]:
  """Figures of replies, and of the pianist's next phrases."""
  replies = [
    answer(mm, phrase.score, "call-response", seed=seed, tail_s=REPLY_S)
    for seed, phrase in enumerate(phrases)
  ]
  kept = [i for i, reply in enumerate(replies) if len(reply) >= MIN_NOTES]
  if len(kept) < 2:
    return {"phrases": len(phrases), "replies": len(kept)}
  chosen = [phrases[i] for i in kept]
  calls, pieces = [p.score for p in chosen], [p.piece for p in chosen]
  return {
    "phrases": len(phrases),
    "replies": len(kept),
    "reply": judged([replies[i] for i in kept], calls, pieces),
    "pianist": judged([p.next for p in chosen], calls, pieces),
  }


def together(mm: MagentaMidi, phrases: Sequence[Phrase]) -> dict[str, Any]:
  """Figures of the notes that the model plays together with stretches."""
  music = [
    answer(mm, phrase.score, "simultaneous", seed=seed, tail_s=LAST_S)
    for seed, phrase in enumerate(phrases)
  ]
  kept = [i for i, score in enumerate(music) if len(score) >= MIN_NOTES]
  found = {"stretches": len(phrases), "played": len(kept)}
  pieces = [phrases[i].piece for i in kept]
  if len(set(pieces)) < 2:
    return found
  players = [phrases[i].score for i in kept]
  models = [music[i] for i in kept]
  return found | agreements(models, players, pieces)


@click.command(help=help_of(__doc__))
@click.argument(
  "paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path)
)
@click.option(
  "--phrases",
  type=bounded(COUNT_FROM_0),
  default=200,
  show_default=True,
  help="Calls of 8 s.",
)
@click.option(
  "--stretches",
  type=bounded(COUNT_FROM_0),
  default=40,
  show_default=True,
  help="Of 20 s, both at once.",
)
@click.option("--checkpoint", type=click.Path(path_type=Path))
def command(
  paths: tuple[Path, ...],
  phrases: int,
  stretches: int,
  checkpoint: Path | None,
) -> None:
  """Prints one JSON object."""
  with one_line_errors():
    calls = find_phrases(paths, phrases, CALL_S)
    players = find_phrases(paths, stretches, TOGETHER_S)
    mm = MagentaMidi.load(checkpoint)
    report = {
      "checkpoint": mm.checkpoint,
      "call_response": in_turns(mm, calls),
      "simultaneous": together(mm, players),
    }
  click.echo(json.dumps(report))


if __name__ == "__main__":
  command()
