# Every target makes .venv itself when it is missing, and again when the pins change.
PYTHON ?= python3
PROFILE ?= quick
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
PLATFORM := $(shell $(PYTHON) -c 'import sys, sysconfig; print(*sys.version_info[:2], sysconfig.get_platform())')
# The hashes hold where they were made; elsewhere pip chooses what fits the same versions.
REQUIREMENTS := $(if $(filter 3-11-linux-x86_64,$(subst $() ,-,$(PLATFORM))),--require-hashes -r requirements.lock,-r requirements.txt)

.PHONY: reproduce test test-slow soak lint lock audit tables docs notebooks clean

reproduce: $(READY)  ## the main job on the embedded data: GAN -> synthesis -> four classifiers -> report
	$(BIN)/keras-fracture reproduce ibrahim_gan --profile $(PROFILE) $(ARGS)

test: $(READY)  ## the whole test suite but the slow ones
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

test-slow: $(READY)  ## the slow tests alone
	$(BIN)/python -m pytest -m slow $(ARGS)

soak: $(READY)  ## faults, hostile input, requests and long training by the thousand; about three hours, Linux
	for part in kills train inputs requests restarts; do $(BIN)/python -m benchmarks.soak $$part $(ARGS) || exit; done
	unshare -rm $(BIN)/python -m benchmarks.soak full $(ARGS)
	$(BIN)/keras-fracture tables

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

tables: $(READY)  ## the tables of README, docs and notebooks from results/*.json
	$(BIN)/keras-fracture tables

docs: $(READY)  ## the documentation as a site, docs/_build/html
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement docs/requirements.txt
	$(BIN)/python -m sphinx -q -W --keep-going -b html -c docs . docs/_build/html
	@echo "open docs/_build/html/index.html in a browser"

notebooks: $(READY)  ## all notebooks from top to bottom, in their smoke profile
	$(BIN)/python notebooks/execute.py $(ARGS)

lock: $(READY)  ## requirements.lock from requirements.txt: the hashes of all packages
	$(BIN)/python -m pip install --quiet --disable-pip-version-check pip-tools
	$(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-annotate --no-header \
	  --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --output-file requirements.lock requirements.txt

audit: $(READY)  ## known vulnerabilities of what is pinned; asks PyPI's database
	$(BIN)/python -m pip install --quiet --disable-pip-version-check pip-audit
	$(BIN)/pip-audit --requirement requirements.lock --require-hashes --disable-pip

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): requirements.lock requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(REQUIREMENTS)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@
