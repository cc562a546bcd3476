# Two commands are enough: `make demo` and `make test`. Each makes .venv and installs the pinned packages when they are
# missing or when pyproject.toml or constraints.txt changed; nothing but Python (3.11 to 3.13) and make is assumed.

PYTHON ?= python3
ARGS ?=
# `make test` runs on all cores, on four at most (1.5 GB each); on one: make test SPREAD=
SPREAD ?= --numprocesses logical --maxprocesses 4 --dist worksteal
BIN := .venv/bin
READY := .venv/.installed
UI := .venv/.ui-installed
UI_TEST := .venv/.ui-test-installed
OLD_FRONT_END := .cache/front-end-1.27.10

.DEFAULT_GOAL := help
.PHONY: demo run test test-full test-soak test-ui parity nodes bench lint format help clean

help: ## show this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(READY) ## start a server, have it draw a picture from text, show where it lies
	@$(BIN)/python -m examples.demo $(ARGS)

run: $(UI) ## start the server on http://127.0.0.1:8188 (flags: make run ARGS="--cpu --port 9000")
	@$(BIN)/python -m server $(ARGS)

test: lint ## linters and every test that needs no GPU
	$(BIN)/python -m pytest -q $(SPREAD) $(ARGS)

test-full: $(READY) ## the long checks: full-size SD1.5, SVD and SDXL files, made first (14 GB), every sampler on every schedule, thousands of odd requests
	$(BIN)/python -m pytest -q -m "full or soak" $(ARGS)

test-soak: $(READY) ## minutes of load: 5,000 prompts, 200 rounds of kill -9, 500 races of cancel, 10,000 refused posts, 25,000 hostile requests
	$(BIN)/python -m pytest -q -s -m soak tests/soak tests/process tests/hostile $(ARGS)

test-ui: $(UI_TEST) $(OLD_FRONT_END) ## the web front end in Chromium, used as a person does; installs Chromium if it can
	browser="$$(tests/ui/chromium.sh)" && CHROMIUM="$$browser" \
	  WEFT_OLD_FRONT_END=$(CURDIR)/$(OLD_FRONT_END)/comfyui_frontend_package/static \
	  $(BIN)/python -m pytest -q --tb=short -m ui tests/ui $(ARGS)

# The recordings were made where MKL takes its compatible path; with it their last digits come out on any processor.
parity: $(READY) ## recorded numbers against ours: a table (other ones: make parity DATA=folder; full-size models: FULL=1)
	@MKL_CBWR=COMPATIBLE $(BIN)/python -m tests.parity $(if $(DATA),--data "$(DATA)") $(if $(FULL),--full) $(ARGS)

nodes: $(READY) ## every node of the reference: here, listed as there, tested; totals by module
	@$(BIN)/python -m tests.inventory

bench: $(READY) ## measure: one table, each figure beside its floor (make bench ARGS="--only routes --json result.json")
	$(BIN)/python -m benchmarks $(ARGS)

lint: $(READY) ## ruff, mypy, import-linter, codespell
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/codespell

format: $(READY) ## let ruff put the files into form
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean: ## remove what was made here, except models, pictures and settings
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build weft.egg-info temp

$(READY): pyproject.toml constraints.txt
	@for python in $(PYTHON) python3.13 python3.12 python3.11; do \
	  if $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then echo "Weft needs Python 3.11, 3.12 or 3.13: make PYTHON=/path/to/python3" >&2; exit 1; fi; \
	$(BIN)/python -c '' 2>/dev/null || $$found -m venv --clear .venv || \
	  { echo "$$found cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@echo "Installing the pinned packages into .venv (once; minutes, and up to 3 GB where PyTorch comes with CUDA)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# Without these packages the server works, with a plain page at its root: no network must not keep it from starting.
$(UI): $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[ui]' && touch $@ || \
	  echo "The web interface could not be installed; the server starts without it" >&2

$(UI_TEST): $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test-ui]'
	@touch $(UI) $@

$(OLD_FRONT_END): | $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $@.part comfyui-frontend-package==1.27.10
	@rm -rf $@ && mv $@.part $@
