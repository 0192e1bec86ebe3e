# `make` alone prints what there is to make. Everything runs in .venv, which is made with the newest Python that works.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Most tests wait for processes, not for the processor; the long ones go to whoever is idle.
PYTEST_ARGS ?= -n 6 --dist worksteal
# Containers often say that no bytecode may be written. The tests start thousands of processes, and without it each would
# compile the package anew: half of what it does.
unexport PYTHONDONTWRITEBYTECODE
# What is measured is measured alone: beside other tests the workers starve and their batches shrink. When it fails the
# others are run all the same, so that one run tells all there is to tell.
ALONE := tests/benchmarks tests/lifecycle/test_moments.py

.DEFAULT_GOAL := help
# The steps of a target run one after the other and the first that fails ends it, whatever -j says.
.NOTPARALLEL:

heading = printf '\n\033[1m== %s ==\033[0m\n' '$(1)'

.PHONY: help
help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: venv
venv: $(STAMP) ## Make .venv and install everything, pinned (only when something changed)

# PYTHON=python3.11 chooses another Python for a venv that is not there yet.
# The stamp is written last: an installation that was interrupted is repeated. A venv whose Python is gone is made anew.
# Dependency groups need a newer pip than the one a new venv comes with.
$(STAMP): pyproject.toml constraints.txt
	@$(BIN)/python -c '' 2>/dev/null || \
		{ python=$${PYTHON:-$$(scripts/python)} && "$$python" -m venv --clear $(VENV); }
	$(BIN)/python -m pip install --quiet --upgrade --constraint constraints.txt pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --build-constraint constraints.txt \
		--group demo --group test --group lint --editable '.[all]'
	@touch $@

# A BROKER_URL of the environment belongs to another project; the one of the command line is meant.
.PHONY: demo
demo: venv ## Run the test project until Ctrl-C (ARGS=--once: do the work, check it, leave; BROKER_URL=redis://… amqp://…)
	@$(BIN)/python -m testproject.demo $(if $(filter command,$(origin BROKER_URL)),--broker-url '$(BROKER_URL)') $(ARGS)

.PHONY: test
test: services lint typecheck migrations ## Run everything: services, lint, types, migrations, tests (PYTEST_ARGS='-k name')
	@$(call heading,Tests)
	@$(BIN)/python -m pytest --cache-clear $(ALONE); alone=$$?; \
	$(BIN)/python -m pytest $(PYTEST_ARGS) $(addprefix --ignore=,$(ALONE)); beside=$$?; \
	$(BIN)/python -m scripts.second_look $$alone $$beside

.PHONY: lint
lint: venv ## Check style, format and who imports whom
	@$(call heading,Lint)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/djlint --check --lint --quiet django_tasks_q testproject
	$(BIN)/lint-imports --no-logo

.PHONY: typecheck
typecheck: venv ## Check types
	@$(call heading,Types)
	$(BIN)/mypy

# Not through manage.py: that one may only say what the test project needs.
.PHONY: migrations
migrations: venv
	@$(call heading,Migrations)
	$(BIN)/django-admin makemigrations --check --dry-run --settings testproject.settings --pythonpath .

.PHONY: format
format: venv ## Format the code and repair what can be repaired
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/djlint --reformat --quiet django_tasks_q testproject

.PHONY: messages
messages: venv ## Update and compile the translations (needs gettext)
	@command -v xgettext >/dev/null || { echo 'gettext is missing: apt install gettext, or brew install gettext' >&2; exit 1; }
	cd django_tasks_q && ../$(BIN)/django-admin makemessages --all --no-obsolete --no-wrap --add-location file
	cd django_tasks_q && ../$(BIN)/django-admin compilemessages

.PHONY: bench
bench: venv services ## Measure, with peers beside it (ARGS names what to measure)
	@$(BIN)/python -m benchmarks $(ARGS)

.PHONY: services
services: venv ## Start (as root: install) the servers that the tests need, where none answers
	@$(call heading,Services)
	@$(BIN)/python -m scripts.services

.PHONY: clean
clean: ## Remove what tools and builds left (not .venv)
	rm -rf build dist htmlcov .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
