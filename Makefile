PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test check docs bench soak clean

# One virtual environment; a stamp per set of extras, renewed when the package's metadata changes.
$(VENV)/.train: pyproject.toml constraints.txt $(wildcard native/*)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) -e ".[train]"
	touch $@

$(VENV)/.test: $(VENV)/.train
	$(INSTALL) -e ".[train,test]"
	touch $@

$(VENV)/.check: $(VENV)/.train
	$(INSTALL) -e ".[train,check]"
	touch $@

$(VENV)/.bench: $(VENV)/.train
	$(INSTALL) -e ".[train,bench]"
	touch $@

demo: $(VENV)/.train  ## train a VQ-VAE on real handwritten digits and draw what it learned
	$(BIN)/vqkit train digits --out runs/demo --overwrite

test: $(VENV)/.test  ## every test, and every example in a docstring
	$(BIN)/python -m pytest -n auto tests vqkit

check: $(VENV)/.check $(VENV)/.test  ## style, types, and which way the imports point
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/python -m pytest tests/test_architecture.py

docs: $(VENV)/.train  ## the parts of docs/quantizers.md that the code writes
	$(BIN)/python -m tools.quantizer_docs

bench: $(VENV)/.bench  ## every case against the peers, in the same run
	$(BIN)/python -m benchmarks.run

soak: $(VENV)/.train  ## training under everything that goes wrong: random shapes, NaN, empty ranks, restarts
	$(BIN)/python -m tools.soak --report docs/soak.md

clean:
	rm -rf $(VENV) runs build *.egg-info
