# Names for what people do here; the work is in scripts/.
PYTHON ?= python3
VENV := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup web images up test check wheel lab bench soak fuzz lock docs newcomer

help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Make .venv with locked dependencies, and install missing system packages where allowed.
	@$(PYTHON) scripts/setup

web: setup ## Build the dashboard, if what it is made from has changed.
	@$(VENV)/python scripts/web

images: setup ## Build the guest images that are missing or out of date.
	@$(VENV)/caisson images build --missing

up: web ## Set up, serve, run a hello workload on every isolation, and keep serving until Ctrl-C.
	@$(VENV)/python scripts/up

test: ## Set up what the tests need and run all of them.
	@$(PYTHON) scripts/setup --test
	@$(VENV)/python scripts/web
	@$(VENV)/python scripts/test

check: ## Linters, types, and the rules of the house.
	@$(PYTHON) scripts/setup --test
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/mypy
	$(VENV)/python scripts/sizes
	@if command -v shellcheck; then shellcheck scripts/lock tests/e2e/newcomer .ci/run src/caisson/sandbox/inside/go-build; else echo "no shellcheck here: skipped"; fi
	$(VENV)/python scripts/audit
	$(VENV)/pytest -q tests/house

wheel: web ## Build the package, dashboard and guest agent included, and its bill of materials, into dist/.
	@SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(VENV)/hatchling build -t wheel -d dist
	@$(PYTHON) scripts/setup --test
	@SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(VENV)/python scripts/sbom dist/sbom.cdx.json

lab: ## As root: run the tests that need KVM in an emulated machine that has it; arguments: `make lab ARGS="-k word"`.
	@$(PYTHON) scripts/setup --test
	@$(VENV)/caisson images build --missing --images-dir build/images python base kernel
	@$(VENV)/python scripts/lab $(ARGS)

bench: setup ## Measure this machine, beside peers, and write the figures to docs/performance.md.
	@$(VENV)/python -m caisson.bench --write docs/performance.md

soak: ## Kill servers and sandboxes at random, KILLS times (300), and 30 of 200 machines; tell what was survived; takes about an hour.
	@$(PYTHON) scripts/setup --test
	@CAISSON_SOAK_MACHINES=$(or $(MACHINES),200) CAISSON_SOAK_MACHINE_KILLS=$(or $(MACHINE_KILLS),30) \
		$(VENV)/pytest -q -s -n 0 tests/faults/test_machine_kills.py
	@CAISSON_SOAK_KILLS=$(or $(KILLS),300) $(VENV)/pytest -q -s tests/faults/test_random_kills.py
	@CAISSON_TEST_ALL=1 $(VENV)/pytest -q tests/security/hostile

fuzz: ## Give random input to all that reads what others wrote, for MINUTES (20).
	@$(PYTHON) scripts/setup --test
	@nice -n 19 $(VENV)/python scripts/fuzz $(or $(MINUTES),20)

docs: ## Write anew the pages that are made from the settings and from the hostile programs.
	@$(VENV)/python scripts/docs

lock: ## Write requirements/*.txt anew from pyproject.toml.
	@PYTHON=$(PYTHON) scripts/lock

newcomer: ## As root: try `make up` and `make test` in a bare Debian root file system.
	@tests/e2e/newcomer
