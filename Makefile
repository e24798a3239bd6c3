# Everything needs only Python 3.11+ and make: the first target that runs sets up a virtual environment in .venv.

PYTHON ?= python3
BIN := .venv/bin
OUT ?= runs
SECONDS ?= 3600
KILLS ?= 10000
INPUTS ?= 1000000
CASE ?= weights

.PHONY: demo test soak lint types docs bench fuzz guided constraints licenses audit clean

demo: .venv/installed
	$(BIN)/persistill demo --out $(OUT) $(ARGS)

test: .venv/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

# Kills, damage and fuzzing until the time is over or there were so many; every run draws others.
soak: .venv/installed-dev fuzz
	OMP_NUM_THREADS=1 $(BIN)/python tests/reliability/soak.py --seconds $(SECONDS) --kills $(KILLS) $(ARGS)

# Inputs to all that reads what anybody may have written, and to the topology engine.
fuzz: .venv/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -X faulthandler tests/fuzz/fuzz_soak.py --seconds $(SECONDS) --inputs $(INPUTS)

# Guided by coverage, one case at a time: make guided CASE=weights SECONDS=600
guided: .venv/installed-guided
	mkdir -p .fuzz/$(CASE)
	OMP_NUM_THREADS=1 $(BIN)/python tests/fuzz/fuzz_guided.py --case "$(CASE)" .fuzz/$(CASE) -max_total_time=$(SECONDS)

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed-dev
	$(BIN)/mypy

docs: .venv/installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: .venv/installed-dev
	for name in topology agreement cubical vietoris_rips vectorization training; do $(BIN)/python benchmarks/$$name.py $(ARGS) || exit 1; done

# The versions of this environment, for installations that are to be the same: pip install -c constraints.txt .
constraints: .venv/installed-dev
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+[^ ]*$$//; / @ /d' > constraints.txt

# Licenses of all that is installed: none that forbids commercial use, or asks for the source of what uses it.
# GUDHI (MIT; the parts that are asked here), faster-coco-eval (Apache-2.0) and CUDA's meta package do not state theirs.
licenses: .venv/installed-audit
	$(BIN)/pip-licenses --partial-match --ignore-packages gudhi faster-coco-eval cuda-toolkit persistill --fail-on \
	  "GPL;General Public;Affero;Non-Commercial;NonCommercial;CC-BY-NC;Commons Clause;UNKNOWN" > /dev/null

# Known vulnerabilities of all that is installed; asks a server, and fails for packages that it does not know.
audit: .venv/installed-audit
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+[^ ]*$$//; / @ /d' > .venv/audited.txt
	$(BIN)/pip-audit --strict --no-deps --disable-pip -r .venv/audited.txt

clean:
	rm -rf .venv site .fuzz .mypy_cache .ruff_cache .pytest_cache

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet -e ".[onnx]"
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install --quiet -e ".[onnx,ray,slurm,sweep,tensorboard]" --group dev --group docs
	touch $@

.venv/installed-guided: .venv/installed-dev
	$(BIN)/python -m pip install --quiet --group guided
	touch $@

.venv/installed-audit: .venv/installed-dev
	$(BIN)/python -m pip install --quiet --group audit
	touch $@
