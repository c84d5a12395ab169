# Every target installs what it needs first; nothing is asked, no system service is started.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo up test lint bench soak fuzz format clean install install-test

CONFIG ?= xiaohao.toml
# Debian keeps kamailio where an ordinary user's PATH does not look.
export PATH := $(CURDIR)/.venv/bin:$(PATH):/usr/sbin:/sbin

help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1|\2/p' Makefile | awk -F '|' '{ printf "  make %-8s %s\n", $$1, $$2 }'

demo: install ## show masked calls on this machine (KEEP=1 leaves everything running)
	@xiaohao demo $(if $(filter-out 0,$(KEEP)),--keep)

up: install ## start the platform (CONFIG=xiaohao.toml)
	@xiaohao up --config $(CONFIG)

test: install-test ## lint and all tests (ARGS=… passes on to pytest)
	@scripts/test.sh $(ARGS)

lint: install ## ruff and mypy only
	@scripts/lint.sh

bench: install-test ## measure speed and cost beside the bare engines (ARGS="cost --rounds 1")
	@python -m bench $(ARGS)

soak: install-test ## chaos: kill, stop, fill and cut off everything while calls go on (ARGS="--minutes 3 --seed 7")
	@python -m tests.soak $(ARGS)

fuzz: install-test ## send the API every boundary of every field, and much at random (a quarter of an hour)
	@XIAOHAO_FUZZ=1 python -m pytest tests/api/test_description.py $(ARGS)

format: install ## put the code in order as lint wants it
	@ruff check --quiet --fix . ; ruff format --quiet .

clean: ## remove the virtual environment and caches (never data/ or run/)
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist src/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

install:
	@scripts/install.sh demo
	@scripts/venv.sh
	@python -m xiaohao.prompts.making

install-test:
	@scripts/install.sh test
	@scripts/venv.sh
	@python -m xiaohao.prompts.making
