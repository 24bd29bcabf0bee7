PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= out

.PHONY: install test check demo bench clean

install: $(VENV)/.installed

# torch first: the constraint takes the CPU build where one is offered, and later ranges leave it alone
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,eval]"
	touch $@

test: install check
	$(BIN)/python -m pytest -n 2

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

demo: install
	$(BIN)/python -m experiments.demo --out $(OUT)/demo

# an hour on two cores; the machine should have nothing else to do
BENCHES := inference compact drawing scenes steps geometry metrics prior photographs memory scale

bench: install
	for name in $(BENCHES); do $(BIN)/python -m experiments.bench.$$name || exit 1; done
	$(BIN)/python -m experiments.bench.memory --size source
	$(BIN)/python -m experiments.bench.report

clean:
	rm -rf $(VENV) $(OUT)
