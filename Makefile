# Two commands: `make reproduce` and `make test`. Everything else serves them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORES ?= 8
RESULTS := results
PEER := .venv-peer

export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: reproduce gallery test test-network test-slurm test-kills test-soak check docs links notebooks bench \
        lock clean

# Made anew whenever a lock file or the package's metadata change.
$(VENV)/.done: requirements.lock requirements-torch.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements-torch.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(BIN)/python -m pip check --quiet --disable-pip-version-check
	$(BIN)/python workflow/scripts/compile_loops.py
	touch $@

reproduce: $(VENV)/.done
	snakemake --cores $(CORES)
	@echo
	@echo "Figures:              $(RESULTS)/figures/"
	@echo "Report:               $(RESULTS)/report.html"
	@echo "Numbers:              $(RESULTS)/summary.json"
	@echo "Optimized sequences:  $(RESULTS)/*/optimized/*.seq"

# The last version of PyPulseq with its example scripts in the wheel; nothing of it is imported.
EXAMPLES := .cache/pypulseq_examples
EXAMPLE := $(EXAMPLES)/pypulseq/seq_examples/scripts/write_tse.py
$(EXAMPLE): | $(VENV)/.done
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-compile \
	    --target $(EXAMPLES) pypulseq==1.4.2 || { echo "No package index: run the others by" \
	    "snakemake --cores $(CORES) --configfile config/gallery.yaml" \
	    "--config 'experiments=[gre_ernst,ir_flash_train,rf_pulse,t2star_echoes]'" >&2; exit 1; }

gallery: $(VENV)/.done $(EXAMPLE)
	snakemake --cores $(CORES) --snakefile docs/gallery/Snakefile
	snakemake --cores $(CORES) --configfile config/gallery.yaml

test: $(VENV)/.done
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# What needs the package index: PyPulseq's own tests, other people's sequences, sigpy's pulses,
# and mrpro, which reads what is exported and reconstructs it.
MRPRO := mrpro==0.261015 torchnd==0.3.0 einops==0.8.2 pydicom==3.0.2 pytorch-finufft==0.1.0 \
    finufft==2.5.1 ptwt==1.0.1 pywavelets==1.9.0
test-network: $(VENV)/.done
	$(BIN)/python -m pytest -m network
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $(VENV)/sigpy sigpy==0.1.27 pywavelets==1.9.0
	PYTHONPATH=$(VENV)/sigpy $(BIN)/python -m pytest tests/tracing/test_designs.py
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $(VENV)/mrpro $(MRPRO)
	PYTHONPATH=$(VENV)/mrpro $(BIN)/python -m pytest tests/files/test_mrd.py

# The pipeline on a Slurm that the tests start and stop here: Debian's slurm-wlm and munge.
test-slurm: $(VENV)/.done
	$(BIN)/python -m pytest -m slurm tests/slurm

# The small pipeline, killed at random moments: it goes on every time. Says how many there were in a
# quarter of an hour.
test-kills: $(VENV)/.done
	$(BIN)/python -m pytest --capture=no -m kills tests/pipeline

# Hundreds of optimizations in one process, in threads and in pools.
test-soak: $(VENV)/.done
	$(BIN)/python -m pytest -m soak

check: $(VENV)/.done
	$(BIN)/ruff format --check src tests workflow sequences losses phantoms benchmarks docs
	$(BIN)/ruff check src tests workflow sequences losses phantoms benchmarks docs
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/snakefmt --check Snakefile workflow/rules docs/gallery/Snakefile
	snakemake --lint

# The site, with notebooks executed, in site/html/index.html; a link that leads nowhere is an error.
DOCS := $(BIN)/sphinx-build -c docs --fail-on-warning --keep-going --quiet

$(VENV)/.docs: $(VENV)/.done requirements-docs.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement requirements-docs.lock
	touch $@

docs: $(VENV)/.docs
	$(DOCS) . site/html

# Links to other sites, too: needs a network.
links: $(VENV)/.docs
	$(DOCS) -b linkcheck -D nb_execution_mode=off . site/links

# The notebooks as they are read where the code is hosted.
notebooks: $(VENV)/.docs
	cd docs && jupyter execute --inplace tutorial.ipynb notebooks/optimize.ipynb

# The peer has an environment of its own: it pins other versions of PyPulseq.
$(PEER)/.done:
	$(PYTHON) -m venv --clear $(PEER)
	$(PEER)/bin/python -m pip install --quiet torch==2.13.0 MRzeroCore==1.2.0 pulseqzero==1.1.0
	touch $@

bench: $(VENV)/.done $(PEER)/.done
	$(BIN)/python benchmarks/run.py --output $(RESULTS)/benchmark.json --peer-python $(PEER)/bin/python
	$(BIN)/python benchmarks/page.py $(RESULTS)/benchmark.json docs/benchmark.md

# The newest versions that fit together, with the checksums of all their files; torch stays.
LOCKED := .venv-lock/bin/python -m pip freeze --exclude-editable --exclude torch --exclude uv
HASHED := .venv-lock/bin/uv pip compile --python .venv-lock/bin/python --quiet --no-deps --generate-hashes --no-header --no-annotate
lock:
	$(PYTHON) -m venv --clear .venv-lock
	.venv-lock/bin/python -m pip install --quiet uv --requirement requirements-torch.lock
	.venv-lock/bin/python -m pip install --quiet --editable '.[pipeline,cluster,dev]'
	$(LOCKED) > .venv-lock/used.txt
	echo '# Exact versions of everything but torch, made by `make lock`. environment.yml has the same pins.' > requirements.lock
	$(HASHED) .venv-lock/used.txt >> requirements.lock
	.venv-lock/bin/python -m pip install --quiet --editable '.[notebook,docs]'
	$(LOCKED) | grep -vxFf .venv-lock/used.txt > .venv-lock/docs.txt
	echo '# What the extras notebook and docs need beside requirements.lock.' > requirements-docs.lock
	$(HASHED) .venv-lock/docs.txt >> requirements-docs.lock
	rm -rf .venv-lock
	$(PYTHON) workflow/environment.py

clean:
	rm -rf $(VENV) $(PEER) .snakemake site
