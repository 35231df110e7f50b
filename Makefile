PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# CI and a fresh clone find the real data beside the project; elsewhere set SPIKEPROOF_DATA_DIR yourself.
export SPIKEPROOF_DATA_DIR ?= $(wildcard $(abspath ../shared/data))

.PHONY: demo test test-all test-machines lint style bench peers docs dist clean

demo: $(STAMP)
	$(BIN)/spikeproof demo

# Two processes of one thread each: small networks gain nothing from two threads.
PYTEST := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE GOMP_SPINCOUNT=1000 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

# mypy runs beside the tests, and tells at the end: by itself it would leave a core idle for half a minute.
test: $(STAMP) style
	$(BIN)/mypy > $(VENV)/mypy.txt 2>&1 & types=$$!; $(PYTEST) -m "not thorough"; tests=$$?; \
		wait $$types; types=$$?; cat $(VENV)/mypy.txt; exit $$((tests + types))

# And what is slow and seldom tells more than its quicker kin.
test-all: test
	$(PYTEST) -m thorough

# The suite as other machines would run it (tests/machines.py), about ten minutes each. A part of it:
# make test-machines MACHINES="plain rounding-1" TESTS="tests/attacks tests/audit"
test-machines: $(STAMP)
	$(BIN)/python tests/machines.py $(TESTS) $(if $(MACHINES),--machines $(MACHINES))

lint: style
	$(BIN)/mypy

style: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

# The libraries whose networks `adapt` takes, for its tests, which are skipped where one is absent. They bring torchvision and
# torchaudio along, which they do not use here: hence --no-deps.
peers: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt h5py loguru packaging pbr requests scipy tensorboard
	$(BIN)/python -m pip install --quiet --no-deps spikingjelly==2.0.0 snntorch==1.0.0 norse==1.1.0 sinabs==3.1.3 nir==1.0.8 nirtorch==2.6

# The peers, as for `make peers`.
bench: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python -m pip install --quiet --no-deps spikingjelly==2.0.0 snntorch==1.0.0
	OMP_WAIT_POLICY=PASSIVE GOMP_SPINCOUNT=1000 MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=2147483647 \
		$(BIN)/python benchmarks/suite.py

# The pages as a site in build/site; any warning is an error. To look at it: python3 -m http.server --directory build/site
docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	$(BIN)/mkdocs build --quiet

# What is published: a wheel and a source archive in dist, checked.
dist: $(STAMP)
	rm -rf dist
	$(BIN)/python -m pip install --quiet build twine
	$(BIN)/python -m build --outdir dist .
	$(BIN)/twine check --strict dist/*

clean:
	rm -rf build dist $(VENV) .mypy_cache .ruff_cache .pytest_cache
