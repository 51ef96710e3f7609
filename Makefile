# `make demo` and `make test` are all that a newcomer needs; both can be repeated.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip --disable-pip-version-check install -q -c constraints.txt

.PHONY: demo test check fuzz bench weights clean
.DELETE_ON_ERROR:

# The torch-free core.
$(VENV)/core: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "promptless needs Python 3.11 or newer; name one: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@echo "Installing the core into $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) -e .
	@touch $@

# What training and the tests need besides.
$(VENV)/dev: $(VENV)/core
	@echo "Installing what the tests need into $(VENV) ..."
	@$(PIP) -e '.[sam,formats,volume,train-volume,large,plots,dev]'
	@touch $@

# The histology image that scikit-image ships, or IMAGE=...
demo: $(VENV)/core
	@image="$(IMAGE)"; \
	if [ -z "$$image" ]; then \
		mkdir -p demo; image=demo/immunohistochemistry.png; \
		$(RUN) -c 'import skimage.data, skimage.io; skimage.io.imsave("demo/immunohistochemistry.png", skimage.data.immunohistochemistry(), check_contrast=False)'; \
	fi; \
	$(VENV)/bin/promptless segment "$$image" -o demo --overwrite

test: $(VENV)/dev
	$(RUN) -m pytest -n 2 --dist loadfile

check: $(VENV)/dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

# Damaged files of every format, as many as FUZZ says; the suite has a few hundred.
fuzz: $(VENV)/dev
	PROMPTLESS_FUZZ=$(or $(FUZZ),10000) $(RUN) -m pytest tests/test_fuzz.py

# Figures of the model that ships. Needs PROMPTLESS_DATA; nothing else should run meanwhile.
bench: $(VENV)/dev
	$(RUN) benchmarks/planar.py accuracy --split test
	for what in cost editing folder evaluation; do $(RUN) benchmarks/planar.py $$what || exit 1; done

# Train the model that ships again, from nothing (hours on two cores), and put it in its place.
weights: $(VENV)/dev
	$(VENV)/bin/promptless train recipes/nuclei.toml -o runs/nuclei --resume
	mkdir -p src/promptless/weights/nuclei
	cp runs/nuclei/model/* src/promptless/weights/nuclei/

clean:
	rm -rf $(VENV) demo
