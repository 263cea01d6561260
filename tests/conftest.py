"""Settings and fixtures of all tests: CPU only, strict shapes, shared data."""

import os
from pathlib import Path

# Before JAX is imported: tests use only the CPU.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import pytest
from hypothesis import HealthCheck, settings

try:
  import jax
except ImportError:  # packages without JAX are tested without it
  pass
else:
  jax.config.update("jax_numpy_rank_promotion", "raise")

REPOSITORY = Path(__file__).resolve().parents[1]
# Most time of the tests is compilation. With these flags XLA needs a fifth of
# the time; results differ only by rounding.
QUICK_COMPILATION = (
  "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
)


def pytest_configure(config):
  """Sets how XLA compiles, before its first use."""
  flags = os.environ.get("XLA_FLAGS", "")
  # Real-time tests use the compilation of users.
  if config.getoption("markexpr") != "ports" and QUICK_COMPILATION not in flags:
    # The last flag wins, so flags of the environment stay.
    os.environ["XLA_FLAGS"] = f"{QUICK_COMPILATION} {flags}".strip()


# No deadlines: a first call may compile. `ci` always draws the same examples.
settings.register_profile(
  "default",
  deadline=None,
  suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
  "ci", settings.get_profile("default"), derandomize=True, print_blob=True
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(scope="session", autouse=True)
def compiled_functions(tmp_path_factory):
  """Cache on disk of compiled functions for all tests and processes."""
  folder = tmp_path_factory.getbasetemp()
  if "PYTEST_XDIST_WORKER" in os.environ:
    # Above the settings of the test process.
    folder = folder.parent
  folder = folder / "compiled"
  folder.mkdir(exist_ok=True)
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("MAGENTA_MIDI_CACHE", str(folder))
    if "jax" in globals():
      from magenta_midi.generate.compilation.compilation_cache import (
        enable_compilation_cache,
      )

      enable_compilation_cache()
    yield


@pytest.fixture(scope="session")
def shared() -> Path:
  """The folder of corpora and fixtures, which is no part of the repository.

  It is ../shared next to the repository, or the folder MAGENTA_MIDI_SHARED.
  """
  folder = Path(
    os.environ.get("MAGENTA_MIDI_SHARED", REPOSITORY.parent / "shared")
  )
  if not folder.is_dir():
    pytest.skip(f"no shared data at {folder} (set MAGENTA_MIDI_SHARED)")
  return folder


@pytest.fixture(scope="session")
def original(shared):
  """Magenta RealTime's recorded arrays (configs A, B, B2, C)."""
  from magenta_midi.testing.original import RecordedOriginal

  folder = shared / "fixtures" / "magenta_rt_v1"
  if not folder.is_dir():
    pytest.skip("no fixtures of Magenta RealTime")
  return RecordedOriginal(folder)
