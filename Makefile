# make run    set up (once) and run the main job     make lint   style, types, layers
# make test   set up (once) and run the tests        make bench  djinnload beside its peers
# make docs   build/docs/index.html
# make smoke  every scenario that is small, one after the other
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNS := $(VENV)/.runs
STAMP := $(VENV)/.installed
# For a machine that wants another build of torch: TORCH_INDEX=https://…/cpu
TORCH_INDEX ?=
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: run test smoke docs lint bench bench-quick clean

# What runs it: the package with its models, and the plugins beside it.
$(RUNS): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "djinnload needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 2; }
	@echo "setting up $(VENV), once: PyTorch and others, a minute or more"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install -q 'pip>=25.1'
	@$(PIP) install -q -c constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -e '.[models]' $(addprefix -e ,$(wildcard plugins/*))
	@touch $@

# And what tests it, draws its pages and reads its style.
$(STAMP): $(RUNS)
	@echo "setting up the tools of tests and pages in $(VENV), once"
	@$(PIP) install -q -c constraints.txt --group dev
	@touch $@

# An objective that is missed (exit code 1) is a result too; void (4) is none.
run: $(RUNS)
	@$(BIN)/djinnload run scenarios/qos_mix.toml; code=$$?; \
	  if [ $$code -eq 4 ]; then echo "void: this host was too busy to measure on, or see the reasons; end what else runs, and make run again"; fi; \
	  test $$code -le 1

# Most tests wait for processes and sockets more than they compute, so they share the
# cores; what needs real time runs alone, after them.
test: $(STAMP)
	$(BIN)/python -m pytest -q -n 4 --dist loadfile -m "not wallclock"
	$(BIN)/python -m pytest -q -m wallclock

# Runs alone: a busy host makes all of them void.
smoke: $(RUNS)
	$(BIN)/python bench/smoke.py

# The peers live in an environment of their own; wrk and hey come from the system.
bench/.venv-peers/.installed: bench/requirements.txt
	$(PYTHON) -m venv bench/.venv-peers
	bench/.venv-peers/bin/python -m pip install -q -r $<
	@touch $@

bench: $(STAMP) bench/.venv-peers/.installed
	$(BIN)/python bench/all.py

bench-quick: $(STAMP) bench/.venv-peers/.installed
	$(BIN)/python bench/all.py --quick

docs: $(STAMP)
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs build/docs
	@echo build/docs/index.html

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell src tests docs README.md

clean:
	rm -rf $(VENV) bench/.venv-peers bench/build build dist .mypy_cache .ruff_cache .pytest_cache
