# Zenith: git-like branches for stock PostgreSQL. "make help" lists the targets.

SHELL := /bin/bash
.DEFAULT_GOAL := all

PG_MAJOR := 15
PG_CONFIG ?= /usr/lib/postgresql/$(PG_MAJOR)/bin/pg_config
BUILD := build
PREFIX ?= /usr/local

CXX := g++
CXXSTD := -std=c++20
OPT ?= -O2 -g
WARN := -Wall -Wextra -Werror
# Everything from outside comes in by -isystem so that only our own code must be free of warnings.
OUTSIDE_INCLUDES = -isystem $(shell $(PG_CONFIG) --includedir 2>/dev/null)
# spdlog formats with Debian's libfmt instead of its bundled copy.
DEFINES := -D_GNU_SOURCE -DSPDLOG_SHARED_LIB -DSPDLOG_COMPILED_LIB -DSPDLOG_FMT_EXTERNAL
CXXFLAGS_ALL = $(CXXSTD) $(OPT) $(WARN) $(DEFINES) -fno-omit-frame-pointer -pthread -I. $(OUTSIDE_INCLUDES) $(SANITIZE)
LDFLAGS_ALL = -pthread -Wl,--as-needed $(SANITIZE)
LIBS := -lspdlog -lfmt -lpq -lzstd

# ---- folders and what each may use (the table is also checked by .ci/check_includes) ------------
FOLDERS := common/base common/pgformat common/pagestream common/pgwire common/pqclient common/repo \
	pageserver/wal_decoder pageserver/native_redo pageserver/layers pageserver/wal_ingest \
	pageserver/reconstruct pageserver/redo pageserver/wal_receiver pageserver/timelines \
	pageserver/base_backup pageserver/page_service pageserver/inspect pageserver/testing zenith_cli zenith_cli/commands

# Archives a folder's unit tests are linked with, itself excluded: a forbidden call does not link.
USES_common/base :=
USES_common/pgformat := common/base
USES_common/pagestream := common/pgformat common/base
USES_common/pgwire := common/base
USES_common/pqclient := common/base
USES_common/repo := common/base
USES_pageserver/wal_decoder := pageserver/testing common/pgformat common/base
USES_pageserver/native_redo := pageserver/testing pageserver/wal_decoder common/pgformat common/base
USES_pageserver/layers := pageserver/testing common/pgformat common/base
USES_pageserver/wal_ingest := pageserver/testing pageserver/layers pageserver/native_redo \
	pageserver/wal_decoder common/pgformat common/base
USES_pageserver/reconstruct := pageserver/testing pageserver/native_redo pageserver/layers \
	pageserver/wal_decoder common/pgformat common/base
USES_pageserver/redo := pageserver/testing pageserver/wal_decoder common/pgformat common/base
USES_pageserver/wal_receiver := pageserver/testing pageserver/wal_ingest pageserver/layers \
	pageserver/native_redo pageserver/wal_decoder common/pqclient common/pgformat common/base
USES_pageserver/timelines := pageserver/testing pageserver/wal_receiver pageserver/wal_ingest \
	pageserver/native_redo pageserver/layers pageserver/wal_decoder common/repo common/pqclient \
	common/pgformat common/base
USES_pageserver/base_backup := pageserver/testing pageserver/timelines pageserver/wal_receiver \
	pageserver/reconstruct pageserver/wal_ingest pageserver/native_redo pageserver/layers \
	pageserver/wal_decoder common/repo common/pqclient common/pgformat common/base
USES_pageserver/page_service := pageserver/testing pageserver/base_backup pageserver/timelines \
	pageserver/wal_receiver pageserver/reconstruct pageserver/wal_ingest pageserver/native_redo \
	pageserver/layers pageserver/wal_decoder common/repo common/pgwire common/pagestream \
	common/pqclient common/pgformat common/base
USES_pageserver/inspect := pageserver/testing pageserver/redo pageserver/timelines \
	pageserver/wal_receiver pageserver/reconstruct pageserver/wal_ingest pageserver/native_redo \
	pageserver/layers pageserver/wal_decoder common/repo common/pqclient common/pgformat common/base
USES_pageserver/testing := common/pgformat common/base
USES_zenith_cli := common/repo common/pqclient common/base
USES_zenith_cli/commands := zenith_cli common/repo common/pqclient common/base

archive = $(BUILD)/lib/$(subst /,_,$(1)).a
main_files := pageserver/main.cpp zenith_cli/main.cpp
sources = $(filter-out %_test.cpp %_fuzz.cpp %_bench.cpp $(main_files),$(wildcard $(1)/*.cpp))
tests = $(wildcard $(1)/*_test.cpp)
objects = $(patsubst %.cpp,$(BUILD)/obj/%.o,$(1))

define folder_rules
$(call archive,$(1)): $(call objects,$(call sources,$(1)))
	@mkdir -p $$(@D)
	@rm -f $$@
	ar rcs $$@ $$^
ifneq ($(call tests,$(1)),)
UNIT_TESTS += $(BUILD)/test/$(subst /,_,$(1))_test
$(BUILD)/test/$(subst /,_,$(1))_test: $(call objects,$(call tests,$(1))) $(call archive,$(1)) $(foreach f,$(USES_$(1)),$(call archive,$(f)))
	@mkdir -p $$(@D)
	$$(CXX) $$(LDFLAGS_ALL) -o $$@ $(call objects,$(call tests,$(1))) -Wl,--start-group $(call archive,$(1)) $(foreach f,$(USES_$(1)),$(call archive,$(f))) -Wl,--end-group -lgtest -lgtest_main $$(LIBS)
endif
endef
$(foreach f,$(FOLDERS),$(eval $(call folder_rules,$(f))))

PAGESERVER_FOLDERS := pageserver/page_service pageserver/inspect $(filter-out pageserver/testing,$(USES_pageserver/page_service)) pageserver/redo
CLI_FOLDERS := zenith_cli/commands $(USES_zenith_cli/commands)

.PHONY: help deps all programs extension install quickstart check check-unit check-regress check-postgres \
	check-pages check-sqlsmith check-rounds \
	bench bench-storage bench-layers fuzz clean
help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

# Goals that need the dependencies are made by a make of their own after deps, with all processors
# unless the caller said how many.
JOBS ?= $(shell nproc)
STEP = @$(MAKE) --no-print-directory $(if $(filter -j%,$(MAKEFLAGS)),,-j$(JOBS))
# Installing as an ordinary user goes through sudo; "make install SUDO=" does without.
SUDO ?= $(if $(filter 0,$(shell id -u)),,sudo)

quickstart: ## install what is missing, build, install, run a demonstration and leave it running
	@.ci/deps.sh
	$(STEP) install
	@PG_CONFIG=$(PG_CONFIG) .ci/quickstart.sh $(PREFIX)/bin/zenith

check: ## the same set-up, then all tests
	@.ci/deps.sh
	@.ci/check_includes
	$(STEP) install
	$(STEP) check-unit
	$(STEP) check-regress
	$(STEP) check-postgres
	@echo "make check: all tests passed"

deps: ## install what is missing from Debian's packages (as root or through sudo)
	@.ci/deps.sh

all: programs extension ## build the page server, the CLI and the extension (the default)

programs: $(BUILD)/bin/pageserver $(BUILD)/bin/zenith

$(BUILD)/bin/pageserver: $(BUILD)/obj/pageserver/main.o $(foreach f,$(PAGESERVER_FOLDERS),$(call archive,$(f)))
	@mkdir -p $(@D)
	$(CXX) $(LDFLAGS_ALL) -o $@ $< -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(LIBS)

$(BUILD)/bin/zenith: $(BUILD)/obj/zenith_cli/main.o $(foreach f,$(CLI_FOLDERS),$(call archive,$(f)))
	@mkdir -p $(@D)
	$(CXX) $(LDFLAGS_ALL) -o $@ $< -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(LIBS)

extension: ## build contrib/zenith with PGXS
	$(MAKE) -C contrib/zenith PG_CONFIG=$(PG_CONFIG)

$(BUILD)/obj/%.o: %.cpp
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS_ALL) -MMD -MP -c -o $@ $<

# The one C++ file that sees the server headers: it proves our constants against them.
$(BUILD)/obj/common/pgformat/pg_headers_check.o: OUTSIDE_INCLUDES += -isystem $(shell $(PG_CONFIG) --includedir-server 2>/dev/null)

install: all ## install zenith and pageserver (PREFIX=/usr/local) and the extension (through sudo)
	$(SUDO) install -d $(DESTDIR)$(PREFIX)/bin
	$(SUDO) install -m 755 $(BUILD)/bin/zenith $(BUILD)/bin/pageserver $(DESTDIR)$(PREFIX)/bin
	$(SUDO) $(MAKE) -C contrib/zenith install PG_CONFIG=$(PG_CONFIG) DESTDIR=$(DESTDIR)

check-regress: install ## run the pg_regress suites of regress/ against real computes
	@PG_CONFIG=$(PG_CONFIG) ZENITH=$(PREFIX)/bin/zenith regress/run_regress.sh

# SUITE=core, isolation, contrib, pl, dump or all; see the script for its variables.
check-postgres: SUITE ?= core
check-postgres: install ## run PostgreSQL's own suites (SUITE=...) on a compute and on a plain server
	@SUITE=$(SUITE) PG_CONFIG=$(PG_CONFIG) ZENITH=$(PREFIX)/bin/zenith regress/check_postgres.sh

check-sqlsmith: install ## random SQL against a compute for SECONDS=600 (installs the package sqlsmith)
	@PG_CONFIG=$(PG_CONFIG) ZENITH=$(PREFIX)/bin/zenith regress/sqlsmith.sh $(or $(SECONDS),600)

check-rounds: install ## ROUNDS=1000 of start, work, stop or kill on nested branches, all compared with a model
	@PG_CONFIG=$(PG_CONFIG) ZENITH=$(PREFIX)/bin/zenith regress/nested_rounds.sh $(or $(ROUNDS),1000)

CHECK_PAGES_FOLDERS := common/pagestream common/pqclient common/pgformat common/base
$(BUILD)/test/check_pages: $(call objects,$(wildcard regress/check_pages/*.cpp)) $(foreach f,$(CHECK_PAGES_FOLDERS),$(call archive,$(f)))
	@mkdir -p $(@D)
	$(CXX) $(LDFLAGS_ALL) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(LIBS)

check-pages: install $(BUILD)/test/check_pages ## compare every page with a plain standby's (WORKLOADS=name...)
	@PG_CONFIG=$(PG_CONFIG) ZENITH=$(PREFIX)/bin/zenith regress/check_pages.sh $(WORKLOADS)

bench: install ## compare a compute with a plain server on this machine, side by side
	@PG_CONFIG=$(PG_CONFIG) ZENITH=$(PREFIX)/bin/zenith regress/bench.sh

bench-storage: install ## measure what history costs: bytes written, memory, restarts, branches
	@PG_CONFIG=$(PG_CONFIG) ZENITH=$(PREFIX)/bin/zenith regress/bench_storage.sh

fuzz: ## fuzz every decoder of outside bytes (FUZZ_SECONDS=60 each; needs clang)
	$(MAKE) -C pageserver/fuzz run

check-unit: extension $(UNIT_TESTS) ## run the unit tests
	@set -e; for t in $(UNIT_TESTS); do echo "== $$t"; $$t --gtest_brief=1; done; echo "unit tests passed"

bench-layers: $(BUILD)/bench/delta_layer_bench ## measure layer files: restart, memory, bytes, reads
	$< 5000000 1
	$< 5000000 16

$(BUILD)/bench/delta_layer_bench: $(BUILD)/obj/pageserver/layers/delta_layer_bench.o $(foreach f,pageserver/layers common/pgformat common/base,$(call archive,$(f)))
	@mkdir -p $(@D)
	$(CXX) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

clean: ## remove everything that was built
	rm -rf $(BUILD)
	-$(MAKE) -C contrib/zenith PG_CONFIG=$(PG_CONFIG) clean

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)
