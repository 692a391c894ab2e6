# `make demo` and `make test` need Python 3.11 or newer, and reach nothing but package registries.
PYTHON ?= python3
VENV := .venv

.PHONY: demo test check docs clean

demo: $(VENV)/installed
	$(VENV)/bin/syncdraw generate "digit 0 is moving left and right" "digit 7 is moving up and down" \
		--num 4 -o zero-and-seven.gif

# A file's tests run in one worker, which makes what they share once. (xdist 3.8 does not see groups under pytest 9.2.)
test: $(VENV)/installed-dev
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

check: $(VENV)/installed-dev
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

# Whoever reads the site asks its own server for everything, and nobody else.
docs: $(VENV)/installed-docs
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --quiet --strict
	@! grep -rEo --include='*.html' '<(script|link|img|iframe)[^>]*(src|href)="?(https?:)?//[^" >]*' site

$(VENV)/bin/python:
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed; try make PYTHON=python3.12')"
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python pyproject.toml constraints.txt
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/installed-dev: $(VENV)/bin/python pyproject.toml constraints.txt
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

$(VENV)/installed-docs: $(VENV)/bin/python pyproject.toml constraints.txt
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	@touch $@

clean:
	rm -rf $(VENV) site
