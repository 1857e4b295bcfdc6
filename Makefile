# make demo   set up, then the whole pipeline on made-up slides
# make test   set up, then all tests
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test check format setup clean

demo: setup
	$(BIN)/python train.py experiment=demo -m
	$(BIN)/python -m activessf.evaluation.report --data demo --recipe quick

# Two workers of one thread each: two cores do more than with all threads in one test.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

setup: $(VENV)/.installed

$(VENV)/.installed: requirements.txt requirements-dev.txt constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "ActiveSSF needs Python 3.10 or newer; name one with make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --progress-bar on -r requirements-dev.txt -c constraints.txt
	$(BIN)/python -m pip install --no-deps -e .
	@touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
