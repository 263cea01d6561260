"""Is it a duet? Whether replies belong to their calls, and notes to notes.

python tools/duet_likeness.py FOLDER_OR_FILE ... --phrases 200

Call and response: a stretch of each piece is the call. A reply is compared
with its own call and with other pieces' calls in key (pitch classes), tempo
(median gap between onsets) and density (notes a second). AUC is the chance
that it is more alike its own: 0.5 is a reply that did not listen. Both at
once: how often an own onset is consonant with what the partner sounds, and
falls within 50 ms of one of the partner's, beside a partner from elsewhere.
All on a virtual clock. Bootstrap over phrases.
"""

import json
from pathlib import Path

import click
import numpy as np

from magenta_midi.api import MagentaMidi
from magenta_midi.live import replay as replay_module
from magenta_midi.live.controls import Controls
from magenta_midi.live.costs import CostTable
from magenta_midi.live.events import SECOND
from magenta_midi.live.replay import Replay
from magenta_midi.live.score_messages import duet_score, messages_of
from magenta_midi.live.session import make_engine, make_performer
from magenta_midi.midi.analysis import pitch_class_weights
from magenta_midi.midi.score import Score

CALL_S, TOGETHER_S = 8.0, 20.0
HARSH = (1, 2, 6, 10, 11)
CLOSE_S = 0.05
DRAWS = 1000


def phrases(paths: list[Path], count: int, seconds: float) -> list[Score]:
  """Stretches of pieces, at most a few of each, not too thin."""
  rng = np.random.default_rng(0)
  files = [
    file
    for path in paths
    for file in (sorted(path.rglob("*.mid*")) if path.is_dir() else [path])
  ]
  rng.shuffle(files)
  found: list[Score] = []
  while files and len(found) < count:
    for file in list(files):
      score = Score.from_file(file).merged()
      if score.end_s < seconds + 5:
        files.remove(file)
        continue
      start = rng.uniform(0, score.end_s - seconds)
      stretch = score.crop(start, start + seconds)
      if len(stretch) >= seconds:
        found.append(stretch)
      if len(found) == count:
        break
  return found


def answered(mm: MagentaMidi, score: Score, mode: str, seed: int) -> Score:
  """The model's part beside a stretch."""
  engine = make_engine(
    mm.generator, mm.default_sampling, Controls(mode=mode), seed=seed
  )
  result = Replay(engine, make_performer(), CostTable.load()).run(
    messages_of(score)
  )
  both = duet_score(result.heard, result.sent)
  notes = both.notes[both.notes["part"] == 1]
  return Score.from_arrays(
    onset_s=notes["onset_s"],
    duration_s=notes["duration_s"],
    key=notes["key"],
    velocity=notes["velocity"],
  )


def features(score: Score) -> tuple[np.ndarray, float, float]:
  """Pitch classes, log of the median gap, log of notes a second."""
  onset = score.notes["onset_s"]
  gaps = np.diff(onset)
  gaps = gaps[gaps > 0.03]
  gap = float(np.median(gaps)) if len(gaps) else 1.0
  length = max(1.0, float(onset[-1] - onset[0]))
  weights = pitch_class_weights(score)
  return (
    weights / np.linalg.norm(weights),
    np.log(gap),
    np.log(len(onset) / length),
  )


def auc(alike: np.ndarray, rows: np.ndarray) -> float:
  """Chance that a row's own column beats another's."""
  own = alike[rows, rows][:, None]
  others = alike[np.ix_(rows, rows)]
  apart = rows[:, None] != rows[None]
  wins = (own > others) + 0.5 * (own == others)
  return float(wins[apart].mean())


def interval(values: list[float]) -> list[float]:
  """95 % of them."""
  return [round(float(x), 3) for x in np.percentile(values, [2.5, 97.5])]


def likeness(calls: list[Score], replies: list[Score]) -> dict[str, object]:
  """AUC of key, tempo, density and all three, with intervals."""
  a = [features(reply) for reply in replies]
  b = [features(call) for call in calls]
  alike: dict[str, np.ndarray] = {
    "key": np.array([[x[0] @ y[0] for y in b] for x in a]),
    "tempo": -np.array([[abs(x[1] - y[1]) for y in b] for x in a]),
    "density": -np.array([[abs(x[2] - y[2]) for y in b] for x in a]),
  }
  alike["all"] = np.sum(
    [(x - x.mean()) / x.std() for x in alike.values()], axis=0
  )
  rng = np.random.default_rng(0)
  count = len(calls)
  report = {}
  for name, matrix in alike.items():
    draws = [
      auc(matrix, rng.integers(0, count, count)) for _ in range(DRAWS // 4)
    ]
    report[name] = {
      "auc": round(auc(matrix, np.arange(count)), 3),
      "ci95": interval(draws),
    }
  return report


def agreement(own: Score, partner: Score) -> tuple[float, float]:
  """Shares of own onsets that are consonant, and that fall together."""
  notes = partner.notes
  end_s = notes["onset_s"] + notes["duration_s"]
  consonant, together = [], []
  for note in own.notes:
    at = note["onset_s"] + 0.02
    sounding = notes["key"][(notes["onset_s"] <= at) & (end_s > at)]
    if len(sounding):
      apart = np.abs(sounding.astype(int) - int(note["key"])) % 12
      consonant.append(not np.isin(apart, HARSH).any())
    gap = np.abs(notes["onset_s"] - note["onset_s"])
    together.append(gap.min() <= CLOSE_S if len(gap) else False)
  return (
    float(np.mean(consonant)) if consonant else np.nan,
    float(np.mean(together)) if together else np.nan,
  )


def duets(partners: list[Score], own: list[Score]) -> dict[str, object]:
  """Agreement with the true partner and with the next one's."""
  true = np.array([agreement(o, p) for o, p in zip(own, partners, strict=True)])
  moved = [*partners[1:], partners[0]]
  other = np.array([agreement(o, p) for o, p in zip(own, moved, strict=True)])
  rng = np.random.default_rng(0)
  report = {}
  for column, name in enumerate(("consonance", "synchrony")):
    gain = true[:, column] - other[:, column]
    gain = gain[np.isfinite(gain)]
    draws = [float(rng.choice(gain, len(gain)).mean()) for _ in range(DRAWS)]
    report[name] = {
      "partner": round(float(np.nanmean(true[:, column])), 3),
      "shuffled": round(float(np.nanmean(other[:, column])), 3),
      "gain_ci95": interval(draws),
    }
  return report


@click.command()
@click.argument(
  "paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path)
)
@click.option("--phrases", "count", default=200, show_default=True)
@click.option(
  "--together", default=40, show_default=True, help="Stretches of 20 s."
)
@click.option("--checkpoint", type=click.Path(path_type=Path))
def main(
  paths: tuple[Path, ...], count: int, together: int, checkpoint: Path | None
) -> None:
  """Prints one JSON object."""
  mm = MagentaMidi.load(checkpoint)
  # A reply to 8 s is over after 12 s at most, and a pause before it.
  replay_module.TAIL_NS = 16 * SECOND
  calls, replies = [], []
  for seed, call in enumerate(phrases(list(paths), count, CALL_S)):
    reply = answered(mm, call, "call-response", seed)
    if len(reply) >= 4:
      calls.append(call)
      replies.append(reply)
  replay_module.TAIL_NS = SECOND
  partners, own = [], []
  for seed, stretch in enumerate(phrases(list(paths), together, TOGETHER_S)):
    music = answered(mm, stretch, "simultaneous", seed)
    if len(music) >= 4:
      partners.append(stretch)
      own.append(music)
  report = {
    "phrases": len(calls),
    "of": count,
    "call_response": likeness(calls, replies),
    "stretches": len(own),
    "together": duets(partners, own),
  }
  click.echo(json.dumps(report))


if __name__ == "__main__":
  main()
