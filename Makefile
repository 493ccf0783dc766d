# `make demo` and `make test` do all the set-up they need, on a fresh Debian machine too.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

TEST_PACKAGES := rabbitmq-server:rabbitmq-server nginx:nginx-light chromium:chromium chromedriver:chromium-driver \
	ceph-mon:ceph-mon ceph-osd:ceph-osd radosgw:radosgw ip:iproute2 mkfs.ext4:e2fsprogs mkfs.xfs:xfsprogs losetup:mount fusermount3:fuse3 openssl:openssl curl:curl prometheus:prometheus locale-gen:locales systemd-analyze:systemd \
	/usr/share/fonts/truetype/wqy/wqy-microhei.ttc:fonts-wqy-microhei
SOAK_PACKAGES := cc:gcc
BENCH_PACKAGES := rabbitmq-server:rabbitmq-server nginx:nginx-light curl:curl aria2c:aria2 rclone:rclone openssl:openssl taskset:util-linux

.PHONY: demo test setup lint types bench budget coverage docs man reference translations release soak fuzz wheel packages clean

demo: .venv/installed           ## a bucket on localhost, pulled before your eyes
	$(BIN)/bucketpull demo

# A test waits about as long as it computes: three at a time keep two cores busy.
test: packages .venv/dev        ## every test; on a fresh machine it installs what they need first
	$(BIN)/python -m pytest -m "not soak" -n 3 --dist loadfile

setup: .venv/dev                ## the virtual environment of a developer

lint: .venv/dev                 ## style, format, layers, dead code
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports && $(BIN)/vulture

types: .venv/dev                ## mypy, strict
	$(BIN)/mypy

bench: .venv/bench              ## bucketpull, its peers and the limit, side by side
	scripts/system-packages $(BENCH_PACKAGES) && $(BIN)/python -m benchmarks

budget: .venv/dev              ## each stage's CPU an object beside its budget
	$(BIN)/python -m benchmarks.budget

coverage: .venv/dev             ## branch coverage of coordinator and agent, each by its own tests: at least 95 %
	for part in coordinator agent; do \
		$(BIN)/python -m coverage run --branch --include="src/bucketpull/$$part/*" -m pytest -q -m "not soak" tests/$$part && \
		$(BIN)/python -m coverage report --show-missing --fail-under 95 || exit 1; done

translations: .venv/dev         ## the catalogue of what --help says in Chinese, compiled
	$(BIN)/python -m scripts.translations

docs: .venv/dev                 ## the documentation, into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

soak: packages .venv/dev        ## the long tests: hundreds of kills, long histories, disks of 200,000 objects
	scripts/system-packages $(SOAK_PACKAGES) && $(BIN)/python -m pytest -m soak -o faulthandler_timeout=0 -o tmp_path_retention_policy=failed

fuzz: .venv/dev                 ## bytes that nobody sane would write, for SECONDS (60) a target; what fails is kept in tests/fuzz/corpus
	$(PIP) install -q -c constraints.txt --group fuzz && $(BIN)/python -m tests.fuzz $(SECONDS)

wheel: .venv/dev                ## dist/*.whl, as it would be published
	rm -rf dist && $(BIN)/python -m hatchling build

release: .venv/release          ## dist/: wheel, source archive, hashes and bill of materials, built twice and checked
	scripts/release

clean:
	rm -rf .venv build dist site demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

packages:
	@scripts/system-packages $(TEST_PACKAGES)

.venv/created: constraints.txt scripts/create-venv
	PYTHON=$(PYTHON) scripts/create-venv .venv && touch $@

.venv/installed: .venv/created pyproject.toml
	$(PIP) install -q --no-build-isolation -c constraints.txt -e '.[all]' && touch $@

.venv/dev: .venv/installed
	$(PIP) install -q -c constraints.txt --group dev && touch $@

# aws-cli wants a botocore of its own, so it gets an environment of its own.
.venv/bench: .venv/installed
	$(PIP) install -q -c constraints.txt --group bench
	$(BIN)/python -m venv .venv/aws && .venv/aws/bin/pip --disable-pip-version-check install -q awscli==1.46.3 && touch $@

.venv/release: .venv/dev
	$(PIP) install -q -c constraints.txt --group release && touch $@

reference man: .venv/dev        ## the pages that are made from the code: manual, commands, settings, reasons, metrics
	$(BIN)/python -m scripts.reference
