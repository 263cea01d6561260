# make play    continue a bundled phrase: out/play.mid, out/play.wav, out/play.png
# make test    lint, types, the import contract, tests
# make lint    the first three
# make test-magenta  MusicCoCa through magenta-rt, in an environment of its own
# make test-beam     prepare --beam on its local runner, likewise
# make test-seqio    the seqio tasks, likewise
# make test-baseline GPT-2 on MidiTok's tokens (tools/baselines/gpt2.py), likewise
# make format  rewrite the sources in house style
# make clean   remove what these made, the virtual environment included
#
# PYTHON=...   another Python (3.11 or newer)
# PHRASE=...   prelude (if none is given), elise or gymnopedie
# SECONDS=...  how much music to play
# WORKERS=...  test processes, 4 GB each (0: in this one, as a debugger needs)

PHRASE ?=
SECONDS ?= 30
WORKERS ?= 2
PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3)

VENV := .venv
BIN := $(VENV)/bin
CORE := $(VENV)/core.stamp
DEV := $(VENV)/dev.stamp
# Of its own: magenta-rt pins what other tools need newer.
MAGENTA := .venv-magenta
# Of its own: Apache Beam pins much, protobuf and pyarrow among it.
BEAM := .venv-beam
# Of its own: seqio brings TensorFlow.
SEQIO := .venv-seqio
# Of its own: MidiTok brings tokenizers and huggingface_hub.
BASELINE := .venv-baseline
TESTS := $(BIN)/python -m pytest --jaxtyping-packages=magenta_midi,beartype.beartype
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# Its wrapper would ask PyPI for a newer one at each run.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.PHONY: play test test-magenta test-beam test-seqio test-baseline lint format clean
.DELETE_ON_ERROR:

play: $(CORE)
	@mkdir -p out
	@context=$$($(BIN)/python -m magenta_midi.cli.phrases $(PHRASE)) && \
	  $(BIN)/magenta-midi generate --seconds $(SECONDS) --context "$$context" \
	    --out out/play.mid --wav out/play.wav --plot out/play.png

# What plays in real time comes last, with nothing beside it. Of one file, one
# of the two finds no tests: pytest's 5.
test: lint
	$(TESTS) --numprocesses $(WORKERS) --dist loadfile -m "not ports" \
	  $(PYTEST) || [ $$? -eq 5 ]
# A JACK server now and then stands still for good: what waited for it in vain
# is tried once more, with another server.
	$(TESTS) -m ports --reruns 1 --only-rerun TimeoutError $(PYTEST) \
	  || [ $$? -eq 5 ]

# MAGENTA_PYTHON=... takes an environment that has both packages already.
test-magenta:
	@set -e; python="$(MAGENTA_PYTHON)"; \
	  if [ -z "$$python" ]; then \
	    python=$(MAGENTA)/bin/python; \
	    [ -x $$python ] || $(PYTHON) -m venv $(MAGENTA); \
	    $$python -m pip install --quiet --disable-pip-version-check \
	      --editable '.[dev,magenta]' || { \
	      echo "Skipped: magenta-rt cannot be installed here." >&2; exit 0; }; \
	  fi; \
	  $$python -m pytest --jaxtyping-packages=magenta_midi,beartype.beartype \
	    tests/style/test_music_coca.py tests/style/test_waveform.py $(PYTEST)

# BEAM_PYTHON=... takes an environment that has both packages already.
test-beam:
	@set -e; python="$(BEAM_PYTHON)"; \
	  if [ -z "$$python" ]; then \
	    python=$(BEAM)/bin/python; \
	    [ -x $$python ] || $(PYTHON) -m venv $(BEAM); \
	    $$python -m pip install --quiet --disable-pip-version-check \
	      --editable '.[dev,beam]' || { \
	      echo "Skipped: apache-beam cannot be installed here." >&2; exit 0; }; \
	  fi; \
	  $$python -m pytest --jaxtyping-packages=magenta_midi,beartype.beartype \
	    tests/data/test_prepare_beam.py $(PYTEST)

# SEQIO_PYTHON=... takes an environment that has both packages already.
test-seqio:
	@set -e; python="$(SEQIO_PYTHON)"; \
	  if [ -z "$$python" ]; then \
	    python=$(SEQIO)/bin/python; \
	    [ -x $$python ] || $(PYTHON) -m venv $(SEQIO); \
	    $$python -m pip install --quiet --disable-pip-version-check \
	      --editable '.[dev,seqio]' || { \
	      echo "Skipped: seqio cannot be installed here." >&2; exit 0; }; \
	  fi; \
	  $$python -m pytest --jaxtyping-packages=magenta_midi,beartype.beartype \
	    tests/magenta_rt/test_seqio.py $(PYTEST)

# BASELINE_PYTHON=... takes an environment that has both packages already.
test-baseline:
	@set -e; python="$(BASELINE_PYTHON)"; \
	  if [ -z "$$python" ]; then \
	    python=$(BASELINE)/bin/python; \
	    [ -x $$python ] || $(PYTHON) -m venv $(BASELINE); \
	    $$python -m pip install --quiet --disable-pip-version-check \
	      --editable '.[dev,baseline]' || { \
	      echo "Skipped: miditok cannot be installed here." >&2; exit 0; }; \
	  fi; \
	  $$python -m pytest --jaxtyping-packages=magenta_midi,beartype.beartype \
	    tests/tools/baselines/test_gpt2.py $(PYTEST)

lint: $(DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports --no-cache

format: $(DEV)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) $(MAGENTA) $(BEAM) $(SEQIO) $(BASELINE) out build dist *.egg-info .hypothesis .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps, not the environment's own files: pip leaves those half-made when it
# is stopped. Both depend on pyproject.toml, which names all there is to install.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  2>/dev/null || { \
	  echo "magenta-midi needs Python 3.11 or newer, got $(PYTHON):" \
	       "$$($(PYTHON) --version 2>/dev/null || echo not found)." \
	       "Give another: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "$(PYTHON) cannot make virtual environments." \
	       "On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 2; }

$(CORE): pyproject.toml | $(BIN)/python
	@echo "Installing magenta-midi into $(VENV) (a minute or two, once) ..." >&2
	@$(PIP) --editable .
	@touch $@

$(DEV): pyproject.toml | $(BIN)/python
	@echo "Installing the development tools into $(VENV) ..." >&2
	@$(PIP) --editable '.[dev]'
	@touch $(CORE) $@
