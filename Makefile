# Works with GNU make 3.81 (macOS). Needs Python >= 3.11 and the package index, nothing else. Where uv is installed it
# does the installing, from uv.lock, and finds or fetches a Python; otherwise pip does, from constraints.txt.
#
#   make UV= ...                          pip even where uv is installed
#   make PYTHON=/path/to/python3.12 ...   another Python for .venv
#   make TORCH=cpu ...                    on the first call, on Linux without a GPU: torch without CUDA, which saves 5 GB.
#                                         Not exercised by CI.
#   make lab PORT=9999                    another port for JupyterLab (the next free one is taken anyway)

PORT ?= 8888
PYTHONS := $(if $(PYTHON),$(PYTHON),python3 python3.14 python3.13 python3.12 python3.11)
VENV := .venv
PY := $(VENV)/bin/python
UV := $(shell command -v uv 2>/dev/null)
# Python compiles what it imports and keeps it. pip would compile all that it installs, which takes most of a minute.
export PYTHONDONTWRITEBYTECODE :=
PIP := $(PY) -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt
# The index has torch under the same version with a local label (2.14.1+cpu), which pip prefers and the pin allows.
PIP_cpu := --extra-index-url https://download.pytorch.org/whl/cpu
# $(call install,EXTRAS): varlite, editable, with some of its extras. uv.lock knows torch with CUDA only.
comma := ,
with = -e '.[$(subst $() ,$(comma),$(1))]'
ifeq ($(UV),)
install = $(PIP) $(PIP_$(TORCH)) $(with)
else ifneq ($(TORCH),)
install = $(UV) pip install --quiet --python $(PY) --torch-backend $(TORCH) -c constraints.txt $(with)
else
install = UV_PROJECT_ENVIRONMENT=$(VENV) $(UV) sync --quiet --locked --inexact $(addprefix --extra ,$(1))
endif
# A file of tests, or a notebook, stays in one process. Files begin in the order in which they are collected.
NBVAL := $(PY) -m pytest --nbval --nbval-current-env --nbval-cell-timeout=240 --dist loadfile --no-loadscope-reorder
# Tests and notebooks run side by side, with a thread each.
WORKERS ?= $(shell $(firstword $(PYTHONS)) -c 'import os; print(max(1, min(4, os.cpu_count() or 1)))' 2>/dev/null || echo 2)
ONE_THREAD := OMP_NUM_THREADS=1
START := $(shell date +%s)
TOOK = @echo "== Done in $$(( $$(date +%s) - $(START) )) s"

.DEFAULT_GOAL := help
.PHONY: help lab tour test test-notebooks-again lint notebooks site badges lock docker clean

help:
	@echo "make lab        set up .venv and open JupyterLab on the first notebook"
	@echo "make tour       run the first notebook without a browser and write out/tour.png"
	@echo "make test       set up .venv and run everything that CI runs"
	@echo "make test-notebooks-again   all notebooks twice in a row, with other numbers of threads"
	@echo "make lint       fix what ruff can fix, then check style and types"
	@echo "make notebooks  execute all notebooks in place, to refresh their outputs"
	@echo "make site       the course as a book, and the model in the browser, as a static site in out/site (needs npm)"
	@echo "make badges     put badges and the set-up cell into notebooks that lack them"
	@echo "make lock       bring uv.lock and constraints.txt up to pyproject.toml (with uv)"
	@echo "make docker     JupyterLab in a container, on http://127.0.0.1:$(PORT)"
	@echo "make clean      remove .venv and caches; out/ and runs/ stay"

# The stamps are what makes a second call install nothing. They lie in .venv, so that they go when it goes.
$(VENV)/stamp-python:
ifneq ($(UV),)
	@echo "== Creating $(VENV) with $$($(UV) --version)"
	@$(UV) venv --quiet --allow-existing --seed $(if $(PYTHON),--python $(PYTHON)) $(VENV)
	@touch $@
else
	@for p in $(PYTHONS); do \
	  "$$p" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	  echo "== Creating $(VENV) with $$("$$p" --version)"; "$$p" -m venv $(VENV) && touch $@ && exit 0; exit 1; done; \
	echo "varlite needs Python >= 3.11 with the venv module." >&2; \
	for p in $(PYTHONS); do echo "Looked at $$p: $$("$$p" --version 2>&1)" >&2; done; \
	echo "Install a newer one (Debian, Ubuntu: apt install python3 python3-venv; macOS: brew install python@3.13)," >&2; \
	echo "or name it: make PYTHON=/path/to/python3.13 ..." >&2; exit 1
endif

$(VENV)/stamp-notebooks: $(VENV)/stamp-python pyproject.toml constraints.txt uv.lock
	@echo "== Installing varlite and the notebooks' packages into $(VENV) (the first time: a few minutes, 6 GB with CUDA)"
	@$(call install,notebooks)
	@touch $@

$(VENV)/stamp-test: $(VENV)/stamp-python pyproject.toml constraints.txt uv.lock
	@echo "== Installing varlite and what its tests need into $(VENV) (the first time: a few minutes, 6 GB with CUDA)"
	@$(call install,notebooks test site)
	@touch $(VENV)/stamp-notebooks $(VENV)/stamp-site $@

lab: $(VENV)/stamp-notebooks
	@echo "== JupyterLab (Ctrl-C twice stops it)"
	@echo "   No browser on this machine? On the one with the browser:"
	@echo "     ssh -N -L $(PORT):127.0.0.1:$(PORT) $$(id -un)@$$(hostname)"
	@echo "   and open there the http://127.0.0.1 address below, token and all (if it shows another port, use that one in both)."
	@flags=; \
	if [ -z "$$DISPLAY$$WAYLAND_DISPLAY$$BROWSER" ] && [ "$$(uname)" != Darwin ]; then flags=--no-browser; fi; \
	if [ "$$(id -u)" = 0 ]; then flags="$$flags --allow-root"; fi; \
	exec $(PY) -m jupyterlab $$flags --ip=127.0.0.1 --port=$(PORT) --ServerApp.root_dir=. --ServerApp.log_level=WARN \
	  --LabApp.default_url=/lab/tree/notebooks/00_quickstart.ipynb

tour: $(VENV)/stamp-notebooks
	@echo "== The first notebook, without a browser"
	@$(PY) -m varlite.nb.tour
	$(TOOK)

test: $(VENV)/stamp-test
	@echo "== Style (make lint fixes most of it)"
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@echo "== Notebooks, of which every cell must give its committed output; types and tests; JupyterLab in a browser"
	@$(ONE_THREAD) $(NBVAL) -n $(WORKERS) --durations=20 notebooks tests
	$(TOOK)

# What a cell prints may depend neither on what an earlier run left behind nor on the number of threads, which decides
# on the last digits of sums. One thread is what `make test` has.
#
#   make test-notebooks-again NOTEBOOKS="notebooks/00_quickstart.ipynb notebooks/solutions" THREADS="1 1 4"
NOTEBOOKS ?= notebooks
THREADS ?= 1 2
test-notebooks-again: $(VENV)/stamp-test
	@for threads in $(THREADS); do \
	  echo "== Notebooks, OMP_NUM_THREADS=$$threads"; \
	  OMP_NUM_THREADS=$$threads $(NBVAL) -n $(WORKERS) $(NOTEBOOKS) || exit 1; done
	$(TOOK)

lint: $(VENV)/stamp-test
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .
	@$(PY) -m mypy

# nbconvert and not `jupyter execute --inplace`: the same engine, but this one can leave out the four timestamps a cell,
# which would make every refresh a diff.
notebooks: $(VENV)/stamp-notebooks
	@$(PY) -m nbconvert --to notebook --execute --inplace --ExecutePreprocessor.record_timing=False --ExecutePreprocessor.store_widget_state=False notebooks/*.ipynb notebooks/solutions/*.ipynb
	$(TOOK)

$(VENV)/stamp-site: $(VENV)/stamp-python pyproject.toml constraints.txt uv.lock
	@echo "== Installing varlite and what the site needs into $(VENV) (the first time: a few minutes, 6 GB with CUDA)"
	@$(call install,notebooks site)
	@touch $(VENV)/stamp-notebooks $@

site: $(VENV)/stamp-site
	@$(PY) site/build_site.py
	$(TOOK)

badges: $(VENV)/stamp-notebooks
	@$(PY) -m varlite.nb.badges

# constraints.txt is the same list for pip. Left out are the CUDA libraries, which torch pins itself, and [gpu].
lock:
	@test -n "$(UV)" || { echo "make lock needs uv: pip install uv" >&2; exit 1; }
	@$(UV) lock $(LOCK)
	@{ sed '/^[^#]/,$$d' constraints.txt; \
	  $(UV) export --quiet --frozen --no-hashes --no-emit-project --no-annotate --no-header --all-extras --no-extra gpu | \
	  sed 's/ *;.*//' | grep -vE '^(nvidia|cuda|triton)'; } > .constraints.half
	@mv .constraints.half constraints.txt

docker:
	docker build -t varlite .
	docker run --rm -it -p 127.0.0.1:$(PORT):8888 varlite

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache test-results build *.egg-info
	find varlite tests notebooks -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf
