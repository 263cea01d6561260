# make play    continue a bundled phrase: out/play.mid, out/play.wav, out/play.png
# make serve   the jam in the browser
# make test    lint, types, the import contract, tests
# make lint    the first three
# make test-magenta  MusicCoCa and SpectroStream through magenta-rt, in its own
#                    environment
# make test-beam     prepare --beam on its local runner, in its own environment
# make test-seqio    the seqio tasks, in their own environment
# make test-baseline tools/baselines/gpt2.py, in its own environment
# make test-transkun transcription beside the originals, in its own environment
# make test-encodec  EnCodec beside the original, in its own environment
# make format  rewrite the sources in house style
# make clean   remove all that these made, and the virtual environments
#
# PYTHON=...   another Python (3.11 or newer)
# PHRASE=...   prelude (if none is given), elise or gymnopedie
# SECONDS=...  how much music to play
# WORKERS=...  test processes, 4 GB each (0: one process, for a debugger)

PHRASE ?=
SECONDS ?= 30
WORKERS ?= 2
PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3)

VENV := .venv
BIN := $(VENV)/bin
CORE := $(VENV)/core.stamp
SERVER := $(VENV)/server.stamp
DEV := $(VENV)/dev.stamp
# magenta-rt pins packages of which other tools need newer versions.
MAGENTA := .venv-magenta
# Apache Beam pins many packages, protobuf and pyarrow among them.
BEAM := .venv-beam
# seqio installs TensorFlow.
SEQIO := .venv-seqio
# MidiTok installs tokenizers and huggingface_hub.
BASELINE := .venv-baseline
# PyTorch, without the packages of graphics cards.
TRANSKUN := .venv-transkun
ENCODEC := .venv-encodec
TESTS := $(BIN)/python -m pytest --jaxtyping-packages=magenta_midi,beartype.beartype
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# Otherwise its wrapper asks PyPI for a newer version at each run.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.PHONY: play serve test test-magenta test-beam test-seqio test-baseline test-transkun test-encodec lint format clean
.DELETE_ON_ERROR:

play: $(CORE)
	@mkdir -p out
	@context=$$($(BIN)/python -m magenta_midi.cli.phrases $(PHRASE)) && \
	  $(BIN)/magenta-midi generate --seconds $(SECONDS) --context "$$context" \
	    --out out/play.mid --wav out/play.wav --plot out/play.png

serve: $(SERVER)
	@$(BIN)/magenta-midi serve --open

# Tests in real time run last and alone, those of a browser before them. If PYTEST
# names one file, two of the three calls find no test: exit code 5 of pytest.
test: lint
	$(TESTS) --numprocesses $(WORKERS) --dist loadfile \
	  -m "not ports and not browser" $(PYTEST) || [ $$? -eq 5 ]
# Pictures of the page go to out/page.
	$(TESTS) -m browser $(PYTEST) || [ $$? -eq 5 ]
# A JACK server sometimes hangs, and its library can crash while a server ends:
# such a test is run once more, with another server, in another process.
	$(TESTS) --numprocesses 1 -m ports --reruns 1 --only-rerun TimeoutError $(PYTEST) \
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
	    tests/style/test_music_coca.py tests/style/test_waveform.py \
	    tests/audio/codec/test_spectrostream.py $(PYTEST)

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

# TRANSKUN_PYTHON=... takes an environment that has all packages already. What
# carries the models asks for much that is not needed, hence --no-deps.
test-transkun:
	@set -e; python="$(TRANSKUN_PYTHON)"; \
	  if [ -z "$$python" ]; then \
	    python=$(TRANSKUN)/bin/python; \
	    [ -x $$python ] || $(PYTHON) -m venv $(TRANSKUN); \
	    pip="$$python -m pip install --quiet --disable-pip-version-check"; \
	    $$pip --editable '.[dev]' && \
	    $$pip --index-url https://download.pytorch.org/whl/cpu torch && \
	    $$pip --no-deps transkun==2.0.1 basic-pitch==0.4.0 || { \
	      echo "Skipped: PyTorch or transkun cannot be installed here." >&2; exit 0; }; \
	  fi; \
	  $$python -m pytest --jaxtyping-packages=magenta_midi,beartype.beartype \
	    tests/transcribe tests/audio/test_audio_file.py \
	    tests/cli/test_transcribe.py $(PYTEST)

# ENCODEC_PYTHON=... takes an environment that has all packages already.
test-encodec:
	@set -e; python="$(ENCODEC_PYTHON)"; \
	  if [ -z "$$python" ]; then \
	    python=$(ENCODEC)/bin/python; \
	    [ -x $$python ] || $(PYTHON) -m venv $(ENCODEC); \
	    pip="$$python -m pip install --quiet --disable-pip-version-check"; \
	    $$pip --editable '.[dev]' && \
	    $$pip --index-url https://download.pytorch.org/whl/cpu torch && \
	    $$pip 'transformers>=4.46,<6' || { \
	      echo "Skipped: PyTorch or transformers cannot be installed here." >&2; \
	      exit 0; }; \
	  fi; \
	  $$python -m pytest --jaxtyping-packages=magenta_midi,beartype.beartype \
	    tests/audio/codec/encodec $(PYTEST)

lint: $(DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports --no-cache
	$(BIN)/hadolint Dockerfile

format: $(DEV)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) $(MAGENTA) $(BEAM) $(SEQIO) $(BASELINE) $(TRANSKUN) $(ENCODEC) out build dist *.egg-info .hypothesis .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps in place of the environment's own files: a stopped pip leaves those
# incomplete. Both depend on pyproject.toml, which lists all packages.
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

$(SERVER): pyproject.toml | $(BIN)/python
	@echo "Installing the server into $(VENV) ..." >&2
	@$(PIP) --editable '.[server,train]'
	@touch $(CORE) $@

$(DEV): pyproject.toml | $(BIN)/python
	@echo "Installing the development tools into $(VENV) ..." >&2
	@$(PIP) --editable '.[dev]'
	@touch $(CORE) $@
