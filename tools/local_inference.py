"""Short inference script: load, prompt, stream chunks, play or write.

  python -m tools.local_inference --seconds 20 --out out.mid
  python -m tools.local_inference --context recording.mid --port "FluidSynth"

On a GPU install jax with CUDA (`pip install 'jax[cuda12]'`): nothing else
changes. It is short so that it can be copied into a script of your own.
"""

import argparse
import time

import jax

from magenta_midi import MagentaMidi, Score
from magenta_midi.generate.generator import join_chunks


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--checkpoint", help="folder [default: the embedded]")
  parser.add_argument("--prompt", help="style, in words")
  parser.add_argument("--context", help="MIDI file to continue")
  parser.add_argument("--seconds", type=float, default=20.0)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--out", default="local_inference.mid")
  parser.add_argument("--port", help="MIDI port to play to, instead of a file")
  arguments = parser.parse_args()

  mm = MagentaMidi.load(arguments.checkpoint)
  print(f"{mm.checkpoint} on {jax.devices()[0].device_kind}")
  context = Score.from_file(arguments.context) if arguments.context else None
  style = mm.embed_style(arguments.prompt) if arguments.prompt else None
  mm.generator.warm_up()  # compiles, so that the first chunk is not late

  port = start_s = None
  if arguments.port:
    import mido

    port = mido.open_output(arguments.port)  # pyright: ignore
    start_s = time.perf_counter()
  state, chunks = mm.init_state(context), []
  while len(chunks) * mm.codec.config.chunk_s < arguments.seconds:
    began_s = time.perf_counter()
    chunk, state = mm.generate_chunk(state, style, arguments.seed)
    took_s = time.perf_counter() - began_s
    chunks.append(chunk)
    print(
      f"{chunk.start_s:6.1f} s: {chunk.notes:3} notes in {1e3 * took_s:.0f} ms"
    )
    if port is not None and start_s is not None:
      play(port, chunk.score, start_s + 2.0 * (len(chunks) - 1))
  if port is not None:
    port.reset()
    port.close()
  else:
    join_chunks(mm.codec, chunks).to_file(arguments.out)
    print(f"wrote {arguments.out}")


def play(port, score: Score, start_s: float) -> None:
  """Sends a chunk in time; returns when its last onset is out."""
  import mido

  rows = []
  for onset_s, duration_s, key, velocity, _ in score.notes.tolist():
    rows.append((onset_s, "note_on", key, velocity))
    rows.append((min(onset_s + duration_s, 1.99), "note_off", key, 0))
  for time_s, down, _ in score.pedals.tolist():
    rows.append((time_s, "control_change", 64, 127 * down))
  for time_s, kind, first, second in sorted(rows):
    time.sleep(max(0.0, start_s + time_s - time.perf_counter()))
    names = ("control", "value") if kind[0] == "c" else ("note", "velocity")
    values = dict(zip(names, (first, second), strict=True))
    port.send(mido.Message(kind, **values))


if __name__ == "__main__":
  main()
