# Every target sets up what it needs in local virtual environments, from Python 3.11+ and the package index alone.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet
LABEL_STUDIO := .venv-labelstudio/bin/label-studio
LABEL_STUDIO_EMPTY := .venv-labelstudio/empty

.PHONY: help demo test check crossval label-studio chromium image-check clean

help:
	@echo "make demo      train on the gold articles, print the report, tag a new text"
	@echo "make test      lint, types and all tests, against a real Label Studio server"
	@echo "make check     lint and types alone"
	@echo "make crossval  leave-one-article-out scores beside the baselines (about 25 minutes)"
	@echo "make label-studio  install a Label Studio server in an environment of its own"
	@echo "make chromium  install Chromium for the browser tests (apt-get)"
	@echo "make image-check  the container image's steps, without a container engine"

.venv/demo.stamp: pyproject.toml .ci/constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) install --constraint .ci/constraints.txt --editable '.[training]'
	@touch $@

.venv/test.stamp: .venv/demo.stamp
	$(PIP) install --constraint .ci/constraints.txt --editable '.[training,archives,baselines,labelstudio,lora,onnx,openvino,pretraining,ray,serve,spacy,sweep,tracking,dev]'
	@touch $@

# The server pins older versions of what we use, so it lives alone.
$(LABEL_STUDIO): annotations/requirements-server.txt
	$(PYTHON) -m venv .venv-labelstudio
	.venv-labelstudio/bin/pip --disable-pip-version-check --quiet install --requirement annotations/requirements-server.txt
	@touch $@

# Any of its commands builds its database, which takes a minute: servers begin with copies.
$(LABEL_STUDIO_EMPTY): $(LABEL_STUDIO)
	rm -rf $@.part && mkdir $@.part
	LABEL_STUDIO_BASE_DATA_DIR=$(CURDIR)/$@.part HOME=$(CURDIR)/$@.part COLLECT_ANALYTICS=false LATEST_VERSION_CHECK=false \
		SENTRY_DSN= FRONTEND_SENTRY_DSN= $(LABEL_STUDIO) version >$@.part/log 2>&1 || { cat $@.part/log; exit 1; }
	rm -rf $@ && mv $@.part $@

demo: .venv/demo.stamp
	$(BIN)/standpoint train configs/demo.yaml --force
	$(BIN)/standpoint tag docs/new-article.txt --model runs/demo/checkpoint --format text \
		--target "There are foreign fighters in the ranks of the Taliban."
	@$(BIN)/standpoint tag docs/new-article.txt --model runs/demo/checkpoint --html runs/demo/new-article.html \
		--target "There are foreign fighters in the ranks of the Taliban."

check: .venv/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: check $(LABEL_STUDIO_EMPTY)
	$(BIN)/pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

crossval: .venv/test.stamp
	$(BIN)/standpoint crossval configs/train.yaml output=runs/crossval --save benchmarks/results/crossval

label-studio: $(LABEL_STUDIO_EMPTY)

chromium:
	command -v chromium >/dev/null || { apt-get update -qq && \
		apt-get install -qq --no-install-recommends chromium fonts-dejavu fonts-noto-color-emoji; }

runs/demo/checkpoint:
	$(MAKE) demo

image-check: .venv/test.stamp runs/demo/checkpoint
	$(BIN)/python benchmarks/image_check.py --checkpoint runs/demo/checkpoint

clean:
	rm -rf .venv .venv-labelstudio runs build *.egg-info
