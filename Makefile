# Two commands: `make demo` runs the whole study, `make test` runs all that CI runs. Both set up .venv when needed.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test check slow hostile report-in-browser setup lock clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[demo,cluster]' --group dev
	touch $(READY)

demo: $(READY)
	$(BIN)/flowerti run --preset demo --run-dir runs/demo

# uv.lock with the versions of constraints.txt; it names package indexes, so it is made here and never committed
lock:
	uv lock $(addprefix --upgrade-package=,$(shell cat constraints.txt))

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# tests that start Ray have the machine's cores for themselves; the others share them, a file a process at a time
test: check
	$(BIN)/pytest -m 'not slow and not ray and not browser' --numprocesses auto --maxprocesses 4 --dist loadfile
	$(BIN)/pytest -m 'ray and not slow'

slow: $(READY)
	$(BIN)/pytest -m slow

# run directories damaged in every way, with and without Ray
hostile: $(READY)
	$(BIN)/pytest tests/hostile

# the report's page in Debian's Chromium (apt-get install chromium): phone, dark, keys, paper, axe
report-in-browser: $(READY)
	$(BIN)/pytest -m browser tests/report

clean:
	rm -rf .venv
