# SPDX-License-Identifier: GPL-2.0-or-later
# A thin front for meson and ninja.
#
#   make            builds build/torpor
#   make demo       installs what is missing, builds, saves and restores a program before your eyes
#   make demo-migration  moves a redis under load from one network to another one
#   make check      installs what is missing, builds, runs every test
#   make check-programs  saves and restores real programs, ROUNDS=10 times each
#   make check-modes  every live subject again with filters, increments, servers ...: long
#   make check-increments  long chains of increments of random memory workloads
#   make check-validator  CASES=4000 mutated images: the validator beside real restores
#   make check-properties  PROPERTIES=3000 random examples for each property of the Python library
#   make bench      measures, beside criu where that is installed
#   make install    to PREFIX (/usr/local), below DESTDIR if that is set
#   make uninstall  takes away what make install brought
#   make build-deps installs missing Debian packages of the build (as root)
#   make deps       those of the tests, too

PREFIX ?= /usr/local
CASES ?= 4000
ROUNDS ?= 10
PROPERTIES ?= 3000
FIRST ?= 0
BUILD := build
# The system's Python: the one Debian's packages belong to.
PYTHON := /usr/bin/python3

.PHONY: all demo demo-migration check check-programs check-modes check-increments check-validator check-properties bench install uninstall deps build-deps clean

all: build-deps $(BUILD)/build.ninja
	ninja -C $(BUILD)

build-deps:
	@tools/install-packages.sh build

deps:
	@tools/install-packages.sh

$(BUILD)/build.ninja:
	meson setup $(BUILD) . --prefix=$(PREFIX)

demo: build-deps $(BUILD)/build.ninja
	ninja -C $(BUILD) torpor
	tools/demo.sh $(BUILD)/torpor

demo-migration: build-deps $(BUILD)/build.ninja
	@tools/install-packages.sh build redis-server iproute2 util-linux
	ninja -C $(BUILD) torpor
	tools/demo-migration.py $(BUILD)/torpor

# The tests of a file run one after the other, files side by side.
check: deps all
	$(PYTHON) -m pytest --numprocesses $(shell nproc) --dist loadfile tests

check-programs: all
	@tools/install-packages.sh programs
	PROGRAMS=all ROUNDS=$(ROUNDS) $(PYTHON) -m pytest tests/live/programs tests/live/test_mariadb.py

check-modes: deps all
	TORPOR_MODES=all $(PYTHON) -m pytest tests/modes tests/faults/test_attacks.py \
		tests/validator/test_sealed.py

check-increments: deps all
	INCREMENT_SEEDS=40 $(PYTHON) -m pytest tests/increments

check-validator: deps all
	$(PYTHON) tests/validator/harness.py --cases $(CASES) --first $(FIRST) \
		--page docs/VALIDATOR-figures.md

check-properties: deps all
	PROPERTIES=$(PROPERTIES) $(PYTHON) -m pytest tests/python/test_properties.py

bench: deps all
	$(PYTHON) tests/perf/bench.py
	$(PYTHON) tests/perf/filters.py
	$(PYTHON) tests/perf/increments.py --mib 512
	$(PYTHON) tests/perf/lazy.py
	$(PYTHON) tests/perf/verdicts.py

install: all
	meson configure $(BUILD) --prefix=$(PREFIX)
	meson install -C $(BUILD)

# Python keeps what it compiled beside the package: it goes first, or the folders would stay.
uninstall:
	@sed -n 's,/torpor/__init__\.py$$,/torpor,p' $(BUILD)/meson-logs/install-log.txt | \
		while read -r package; do \
			[ ! -d "$$package" ] || find "$$package" -name __pycache__ -prune -exec rm -r {} +; \
		done
	ninja -C $(BUILD) uninstall

clean:
	rm -rf $(BUILD)
