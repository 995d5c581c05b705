# The two commands: `make site` and `make test`. Both make the environment on the first run and reuse it afterwards.
PYTHON ?= python3
PORT ?= 8000
VENV := .venv
RUN := $(VENV)/bin/python -m
STAMP := $(VENV)/.installed
TORCH := $(shell grep '^torch==' constraints.txt)

export NO_MKDOCS_2_WARNING := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help site test serve bench clean

define step
@printf '\n==> %s\n' '$(1)'
endef

help:
	@echo 'make site    check the catalogue, regenerate README and pages, build the site into site/'
	@echo 'make test    everything that must pass: lint, types, catalogue, site, tests and doctests'
	@echo 'make serve   show site/ at http://localhost:$(PORT) (PORT=8001 for another port)'
	@echo 'make bench   time and memory beside other libraries'
	@echo 'make clean   remove what the commands made, the environment included'

$(STAMP): pyproject.toml constraints.txt locked.txt
	$(call step,environment: $(VENV) with $(TORCH); a few minutes the first time)
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; name another with make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(RUN) pip install --quiet --constraint constraints.txt '$(TORCH)'
	$(RUN) pip install --quiet --require-hashes --requirement locked.txt
	$(RUN) pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

site: $(STAMP)
	$(call step,catalogue: check)
	$(RUN) tools check
	$(call step,README and pages: regenerate)
	$(RUN) tools build
	$(call step,mathematics: KaTeX)
	$(RUN) tools.assets
	$(call step,site: build)
	$(RUN) mkdocs build --strict
	@printf '\nThe site is in %s/site. To open it: make serve, then http://localhost:%s\n' '$(CURDIR)' '$(PORT)'

test: $(STAMP)
	$(call step,lint)
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(call step,types)
	$(RUN) pyright segloss tools
	$(call step,catalogue: check)
	$(RUN) tools check
	$(call step,generated files: up to date?)
	$(RUN) tools build --check
	$(call step,site: build)
	$(RUN) tools build
	$(RUN) tools.assets
	$(RUN) mkdocs build --strict
	$(call step,tests and doctests)
	$(RUN) pytest --numprocesses auto --dist loadgroup
	@printf '\nAll passed.\n'

serve: $(STAMP)
	@test -f site/index.html || $(MAKE) site
	@echo 'http://localhost:$(PORT)   (Ctrl-C to stop)'
	@$(RUN) http.server --bind localhost --directory site $(PORT)

bench: $(STAMP)
	$(call step,environment for the benchmarks)
	$(RUN) pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(RUN) pip install --quiet --constraint constraints.txt --no-deps nnunetv2  # its losses need torch and numpy alone
	$(call step,benchmarks)
	$(RUN) benchmarks.cost

clean:
	rm -rf $(VENV) .cache site web/node_modules docs/assets/katex docs/papers docs/families docs/pictures
	rm -f docs/compare.json docs/compare.md docs/catalog.md docs/catalog.json docs/choose.md docs/lineage.md
	rm -f nav.yml docs/feed.xml docs/wanted.md docs/licences.md docs/reliability.md docs/cost.md docs/cost-*.svg docs/one-input.md docs/references.bib docs/vocabulary.md
