# `make` alone prints what there is to make. Everything runs in .venv, which is made with the newest Python that works.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: venv
venv: $(STAMP) ## Make .venv and install everything, pinned (only when something changed)

# The stamp is written last: an installation that was interrupted is repeated. A venv whose Python is gone is made anew.
# Dependency groups need a newer pip than the one a new venv comes with.
$(STAMP): pyproject.toml constraints.txt
	@$(BIN)/python -c '' 2>/dev/null || { python=$$(scripts/python) && "$$python" -m venv --clear $(VENV); }
	$(BIN)/python -m pip install --quiet --upgrade --constraint constraints.txt pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --build-constraint constraints.txt \
		--group demo --group test --group lint --editable '.[all]'
	@touch $@
