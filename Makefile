.PHONY: setup demo quick test lint format docs results model faults
PYTHON ?= python3
BIN := .venv/bin

setup: .venv/installed  ## make the environment that everything below uses

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt \
		--editable . --group dev
	touch $@

demo: setup  ## do the whole job with the embedded model: runs/demo/report.html
	$(BIN)/dataset-diffusion demo --out runs/demo

quick: setup  ## the inner loop: unit tests that load no model, train nothing and start no process
	$(BIN)/pytest tests/unit -m "not slow"

test: setup  ## everything, a process with one thread for each core
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup  ## the documentation as a site: open build/site/index.html
	$(BIN)/mkdocs build --quiet

results: setup  ## measure everything in docs/results.md (needs npm for the icons; hours on two cores, resumes)
	$(BIN)/python -m benchmarks.results --num-images 600 --iterations 800

faults: setup  ## damage files, kill commands at random moments, fill disks: docs/reliability.md; resumes
	$(BIN)/python -m benchmarks.faults

model: setup  ## train the embedded model (needs npm for the icons); the same command resumes
	$(BIN)/python tools/embedded_model/train.py
