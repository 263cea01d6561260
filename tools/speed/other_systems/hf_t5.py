"""Times of a T5 of Hugging Face `transformers` on the music of one chunk.

Run by tools/speed/peers.py in an environment of its own; prints one JSON line.
The weights are random: their values do not change the time.
"""
# PyTorch is never in the environment that checks types.
# pyright: reportMissingImports=false

import argparse
import json
import platform
import resource
import sys
import time

import torch
import transformers
from transformers import T5Config, T5ForConditionalGeneration
from transformers.cache_utils import DynamicCache, EncoderDecoderCache

START = 0
TOP_K = 40
GUIDANCE = 5.0


def build(options: argparse.Namespace) -> T5ForConditionalGeneration:
  """A T5 v1.1 (gated GELU, outputs not scaled) that never ends.

  `transformers` ties the head to the embedding in every configuration; that
  setting now only chooses between T5 and T5 v1.1.
  """
  torch.manual_seed(0)
  config = T5Config(
    vocab_size=options.vocab,
    d_model=options.embed,
    num_heads=options.heads,
    d_kv=options.head_dim,
    d_ff=options.mlp,
    num_layers=options.layers,
    feed_forward_proj="gated-gelu",
    tie_word_embeddings=False,
    dropout_rate=0.0,
    decoder_start_token_id=START,
    pad_token_id=START,
    eos_token_id=None,
  )
  model = T5ForConditionalGeneration(config).eval()
  model.generation_config.eos_token_id = None
  return model


class Bare:
  """Encoder, then one forward pass a token with the cache, nothing else.

  One row picks the likeliest token. Two rows are mixed by guidance, and one
  token for both is drawn from the 40 likeliest, as Magenta RealTime does.
  """

  def __init__(self, model: T5ForConditionalGeneration, *, compiled: bool):
    self.model = model
    self.step = torch.compile(model.forward) if compiled else model.forward

  def __call__(self, tokens: torch.Tensor, count: int) -> torch.Tensor:
    rows = tokens.shape[0]
    encoded = self.model.encoder(tokens)
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    last = torch.full((rows, 1), START)
    out = []
    for _ in range(count):
      logits = self.step(
        decoder_input_ids=last,
        encoder_outputs=encoded,
        past_key_values=cache,
        use_cache=True,
      ).logits[:, -1]
      if rows == 1:
        last = logits.argmax(-1, keepdim=True)
      else:
        mixed = logits[1] + GUIDANCE * (logits[0] - logits[1])
        best, ids = mixed.topk(TOP_K)
        drawn = ids[torch.multinomial(best.softmax(-1), 1)]
        last = drawn.expand(rows, 1)
      out.append(last)
    return torch.cat(out, 1)


class Generate:
  """`model.generate` with sampling, as most callers do."""

  def __init__(self, model: T5ForConditionalGeneration):
    self.model = model

  def __call__(self, tokens: torch.Tensor, count: int) -> torch.Tensor:
    return self.model.generate(
      tokens,
      # No padding: without the mask it would be guessed, with a warning.
      attention_mask=torch.ones_like(tokens),
      do_sample=True,
      top_k=TOP_K,
      min_new_tokens=count,
      max_new_tokens=count,
      use_cache=True,
    )[:, 1:]


def times_ms(call, repeats: int) -> list[float]:
  """Wall times of repeated calls, ms."""
  times = []
  for _ in range(repeats):
    start = time.perf_counter()
    call()
    times.append((time.perf_counter() - start) * 1000)
  return times


def median(times: list[float]) -> float:
  """The middle value."""
  return float(torch.tensor(times, dtype=torch.float64).quantile(0.5))


def percentile_99(times: list[float]) -> float:
  """Interpolated, as NumPy does."""
  return float(torch.tensor(times, dtype=torch.float64).quantile(0.99))


def main() -> None:
  """Times one way of decoding."""
  parser = argparse.ArgumentParser(description=__doc__)
  for name in ("vocab", "embed", "heads", "head-dim", "mlp"):
    parser.add_argument(f"--{name}", type=int, required=True)
  for name in ("layers", "context", "tokens"):
    parser.add_argument(f"--{name}", type=int, required=True)
  parser.add_argument("--levels", type=int, default=4)
  parser.add_argument("--rows", type=int, default=1)
  parser.add_argument("--threads", type=int, default=2)
  parser.add_argument("--repeats", type=int, default=10)
  parser.add_argument(
    "--way", choices=["generate", "bare", "compiled"], required=True
  )
  options = parser.parse_args()
  torch.set_num_threads(options.threads)
  torch.set_num_interop_threads(1)
  transformers.logging.set_verbosity_error()
  model = build(options)
  decode = (
    Generate(model)
    if options.way == "generate"
    else Bare(model, compiled=options.way == "compiled")
  )
  tokens = torch.randint(1, options.vocab, (options.rows, options.context))
  with torch.inference_mode():
    produced = decode(tokens, options.tokens)
    if produced.shape != (options.rows, options.tokens):
      raise SystemExit(
        f"expected {options.rows} x {options.tokens} tokens,"
        f" got {tuple(produced.shape)}"
      )
    decode(tokens, options.levels)
    model.encoder(tokens)
    chunk = times_ms(lambda: decode(tokens, options.tokens), options.repeats)
    first = times_ms(lambda: decode(tokens, options.levels), options.repeats)
    encoder = times_ms(lambda: model.encoder(tokens), options.repeats)
  events = options.tokens // options.levels
  event = [(whole - median(first)) / (events - 1) for whole in chunk]
  facts = dict(
    parameters=sum(p.numel() for p in model.parameters()),
    chunk_ms=median(chunk),
    first_note_ms=dict(p50=median(first), p99=percentile_99(first)),
    event_ms=dict(p50=median(event), p99=percentile_99(event)),
    encoder_ms=median(encoder),
    tokens_per_s=options.tokens / median(chunk) * 1000,
    attention=model.config._attn_implementation,
    threads=torch.get_num_threads(),
    peak_memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    / (1024 if sys.platform != "darwin" else 1024**2),
    versions=dict(
      python=platform.python_version(),
      torch=torch.__version__,
      transformers=transformers.__version__,
    ),
  )
  print(json.dumps(facts))


if __name__ == "__main__":
  main()
