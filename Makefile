# Everything that people and the CI do here goes through these targets; `make help` lists them.
# Needed: Go, a C compiler (SQLite is written in C), GNU make 4 or newer, bash and git. What `make check` uses beyond
# these it builds once, into .cache.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

export CGO_ENABLED := 1

# Meant to be set on the command line, as in: make test TEST_FLAGS='-run Failover'
TEST_TIMEOUT ?= 15m
TEST_FLAGS ?=
TEST_FORMAT ?= pkgname # of gotestsum; standard-verbose is that of go test -v
BENCH ?= .
BENCH_FLAGS ?= -benchmem
FUZZ_TIME ?= 10s

SOURCES := $(wildcard domain ports adapters app cmd)

# Tools. Their version and Go's are part of the file name, so that a new one of either builds them anew.
GO_VERSION := $(shell go env GOVERSION)
GOLANGCI_VERSION := v2.15.0
GOVULNCHECK_VERSION := v1.9.0
GOTESTSUM_VERSION := v1.13.0
TOOLS := $(CURDIR)/.cache/bin
# adapters/console/chromiumtest has the same version of axe-core.
AXE_VERSION := 4.14.1
AXE_SHA256 := 29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c
AXE := $(CURDIR)/.cache/axe-core-$(AXE_VERSION)/axe.min.js
GOLANGCI := $(TOOLS)/golangci-lint-$(GOLANGCI_VERSION)-$(GO_VERSION)
GOVULNCHECK := $(TOOLS)/govulncheck-$(GOVULNCHECK_VERSION)-$(GO_VERSION)
GOTESTSUM := $(TOOLS)/gotestsum-$(GOTESTSUM_VERSION)-$(GO_VERSION)
export GOLANGCI_LINT_CACHE := $(CURDIR)/.cache/golangci-lint

##@ Use

.PHONY: help
help: ## this list
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / { printf "%s%s\n", (n++ ? "\n" : ""), substr($$0, 5) } \
		/^[a-z]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: compiler ## the server, with SQLite (./switchyard.db) and two simulated workers
	go run ./cmd/switchyard serve --simulated-workers 2

.PHONY: demo
demo: compiler ## the whole user journey against an embedded server, told in this terminal
	go run ./cmd/switchyard demo

.PHONY: build
build: compiler ## the binary, bin/switchyard
	go build -o bin/switchyard ./cmd/switchyard

##@ Test

.PHONY: test
test: compiler servers browser axe $(GOTESTSUM) ## every test, under the race detector (TEST_FLAGS='-run Name')
	@$(call run_tests,test,$(RACE) -timeout $(TEST_TIMEOUT) $(TEST_FLAGS) $(PACKAGES))

# -short has random tests make a fifth of their runs.
.PHONY: quick
quick: compiler $(GOTESTSUM) ## the tests that need no server, random ones shortened, without the race detector
	@packages=$$($(SERVERLESS)); \
	$(call run_tests,quick,-short -vet=off -timeout $(TEST_TIMEOUT) $(TEST_FLAGS) $$packages)

# RAPID_CHECKS is how many inputs a property test checks (100 if it is not set), FAULT_SEEDS how many seeds a test of
# random faults runs (25). `make test`, `make quick` and `go test` follow them too. Whatever takes many minutes belongs
# in nightly. -count=1: Go's test cache does not see that RAPID_CHECKS has changed.
NIGHTLY_CHECKS ?= 2000
NIGHTLY_SEEDS ?= 1000
NIGHTLY_TIMEOUT ?= 3h
NIGHTLY_CHAOS ?= 10m
NIGHTLY_FUZZ ?= 2m
NIGHTLY_HISTORY ?= 10000000

.PHONY: nightly
nightly: compiler servers browser axe $(GOTESTSUM) ## every test with many random runs, chaos, fuzz, 10 million messages, 5,000 streams (some hours)
	@export RAPID_CHECKS=$(NIGHTLY_CHECKS) FAULT_SEEDS=$(NIGHTLY_SEEDS); \
	$(call run_tests,nightly,$(RACE) -count=1 -timeout $(NIGHTLY_TIMEOUT) $(TEST_FLAGS) $(PACKAGES))
	$(MAKE) chaos DURATION=$(NIGHTLY_CHAOS)
	$(MAKE) fuzz FUZZ_TIME=$(NIGHTLY_FUZZ)
	HISTORY_ROWS=$(NIGHTLY_HISTORY) go test -p 1 -run '^$$' -bench History -benchtime 20x -timeout $(NIGHTLY_TIMEOUT) ./adapters/sqlite ./adapters/postgres
	go test -run '^$$' -bench Dashboard -benchtime 5x ./app/server/consoletest
	go test -run '^$$' -bench Streams -benchtime 1x -timeout $(NIGHTLY_TIMEOUT) ./app/server

# Without SEED it comes from the clock. What the processes wrote is kept in .cache/chaos. CHAOS_FLAGS=-race finds races too,
# but a machine with few cores is then too slow for 300 sessions; `make test` has a short run with fewer of them.
SEED ?= 0
DURATION ?= 2m
CHAOS_FLAGS ?=

.PHONY: chaos
chaos: compiler servers ## the fault test with real processes, in full (SEED=1 DURATION=2m)
	@mkdir -p .cache/chaos
	go test $(CHAOS_FLAGS) -v -timeout 0 -run '^TestChaos$$' -artifacts -outputdir $(CURDIR)/.cache/chaos \
		./cmd/switchyard -chaos.seed=$(SEED) -chaos.duration=$(DURATION)

# The end-to-end benchmark drives a whole server: it comes last, apart from the micro benchmarks.
END_TO_END := app/server

.PHONY: bench
bench: compiler servers ## micro benchmarks of every package, then the end-to-end one (BENCH=Regexp)
	go test -run '^$$' -bench '$(BENCH)' $(BENCH_FLAGS) $$(go list ./... | grep -v '/$(END_TO_END)$$')
	go test -run '^$$' -bench '$(BENCH)' $(BENCH_FLAGS) ./$(END_TO_END)

.PHONY: servers
servers: ## PostgreSQL and Redis for the tests, from the system's packages if they are missing
	@if $(SERVED); then exit 0; fi; \
	echo 'Tests run servers of their own; PostgreSQL or Redis is missing: installing them.'; \
	$(call install_servers) || true; \
	$(SERVED) || { echo 'PostgreSQL (initdb, postgres) and Redis (redis-server) are needed: install postgresql and redis-server (or what your system calls them) as root, or put the folders of their programs into PATH. Their services need not run.'; exit 1; }

.PHONY: browser
browser: ## Chromium for the tests of the console, from the system's packages if it is missing
	@if $(BROWSER); then exit 0; fi; \
	echo 'The console is tested in Chromium, which is missing: installing it.'; \
	$(call install_browser) || true; \
	$(BROWSER) || { echo 'Chromium is needed: install chromium (or what your system calls it) as root, put its program into PATH, or name it in CHROMIUM.'; exit 1; }

.PHONY: axe
axe: $(AXE) ## axe-core, which looks for what keeps people from using the console

# CONSOLE_SHOTS makes the test of every page write pictures.
SCREENSHOTS := $(CURDIR)/.cache/screenshots

.PHONY: screenshots
screenshots: compiler browser axe ## a picture of every page of the console, 1280 and 390 pixels wide, light and dark, in .cache/screenshots
	@rm -rf $(SCREENSHOTS)
	CONSOLE_SHOTS=$(SCREENSHOTS) go test -count=1 -run 'EveryPage' ./app/server/consoletest
	@echo "The pictures are in $(SCREENSHOTS)."

.PHONY: fuzz
fuzz: compiler ## every Fuzz target for a moment each (FUZZ_TIME=10s)
	@targets=$$(grep -rEo --include='*_test.go' '^func Fuzz[[:alnum:]_]*' $(SOURCES) || true); \
	[ -n "$$targets" ] || { echo 'There is no Fuzz target.'; exit 0; }; \
	while IFS=: read -r file target; do \
		target=$${target#func }; \
		echo "$$target in $${file%/*}"; \
		go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZ_TIME) "./$${file%/*}" </dev/null; \
	done <<<"$$targets"

##@ Change

.PHONY: generate
generate: compiler ## write the generated files anew
	go generate ./...

.PHONY: check
check: format vet lint layering generated tidy vulnerabilities ## all of the following

##@ Check, part by part

.PHONY: format
format: ## gofmt would change no file
	@files=$$(gofmt -l $(SOURCES)); \
	[ -z "$$files" ] || { echo 'These files are not formatted; gofmt -w does it:'; echo "$$files"; exit 1; }

.PHONY: vet
vet: compiler ## go vet is content
	go vet ./...

.PHONY: lint
lint: compiler $(GOLANGCI) ## golangci-lint is content; what it looks for, and why, is in .golangci.yml
	$(GOLANGCI) run ./...

.PHONY: layering
layering: ## packages import only what their layer may
	@bash .ci/layering

# Generates in a copy of the sources, with what was generated before taken out of it. So nobody's tree changes, work that
# is not committed yet does not count as a difference, and a file that nothing generates any more does.
GENERATED := ports/mocks

.PHONY: generated
generated: compiler ## the generated files are those that `make generate` writes
	@copy=$$(mktemp -d); trap 'rm -rf "$$copy"' EXIT; \
	cp -R go.mod go.sum $(SOURCES) "$$copy"; \
	{ grep -rlE '^// Code generated .* DO NOT EDIT\.$$' $(GENERATED) 2>/dev/null || true; } | while read -r file; do rm "$$copy/$$file"; done; \
	(cd "$$copy" && go generate ./...); \
	for place in $(GENERATED); do \
		mkdir -p "$$copy/$$place"; \
		diff -ruN "$$place" "$$copy/$$place" || { \
			echo "$$place is not what 'make generate' writes: run it, and remove what it no longer writes."; exit 1; }; \
	done

.PHONY: tidy
tidy: ## go.mod and go.sum name what the code imports, no more and no less
	@go mod tidy -diff || { echo "go.mod or go.sum is not tidy; 'go mod tidy' does it."; exit 1; }

# Asks the database for one package first, so that whoever has no way to it can check everything else.
.PHONY: vulnerabilities
vulnerabilities: compiler $(GOVULNCHECK) ## no known vulnerability is reached, as far as the database can be
	@if error=$$( \
		$(GOVULNCHECK) -mode query -json stdlib@$(GO_VERSION) 2>&1 >/dev/null & probe=$$!; \
		{ sleep 10; kill $$probe; } >/dev/null 2>&1 & watchdog=$$!; \
		wait $$probe && result=0 || result=$$?; kill $$watchdog 2>/dev/null || true; exit $$result); \
	then $(GOVULNCHECK) ./...; \
	else echo "Known vulnerabilities are NOT CHECKED: the database did not answer within 10 s. $$error"; \
	fi

# What the targets above need.

# The detector costs seconds for each password that bcrypt hashes, and nothing is shared in that loop. `make vet` is
# thorough where `go test` would vet in passing.
RACE := -race -gcflags=golang.org/x/crypto/blowfish=-race=false -vet=off

# How long a program that was built with the detector waits at its end for races of other goroutines; a second without
# this, for each package and each server that the tests of the program start.
export GORACE ?= atexit_sleep_ms=50

# The slowest first, so that no processor is left idle at the end.
PACKAGES := ./cmd/... ./app/... ./...

# Prints the packages whose tests start neither servers nor the built program.
SERVERLESS = go list -f '{{$$path := .ImportPath}}{{if or .TestGoFiles .XTestGoFiles}}{{$$path}} {{join .TestImports " "}} {{join .XTestImports " "}}{{end}}' ./... | \
	awk '!/postgrestest|redistest|chromiumtest|\/cmd\// { print $$1 }'

# Runs `go test` with the arguments $(2). Prints failures in full, then how long the packages and the slowest tests
# took, then how many tests passed and failed. Exits as `go test` does. $(1) names the log of events in .cache.
run_tests = mkdir -p .cache; events=.cache/$(1).json; \
	$(GOTESTSUM) --format $(TEST_FORMAT) --format-icons text --format-hide-empty-pkg --jsonfile $$events -- $(2) && result=0 || result=$$?; \
	printf '\n=== Seconds by package\n'; \
	awk -F '"' '!/"Test":/ && /"Elapsed":/ && /"Action":"(pass|fail)"/ { \
			for (i = 2; i < NF; i += 2) { if ($$i == "Package") name = $$(i + 2); if ($$i == "Elapsed") seconds = $$(i + 1) } \
			gsub(/[^0-9.]/, "", seconds); printf "%8.1f %s\n", seconds, name }' $$events | sort -rn; \
	printf '\n=== Slowest tests\n'; \
	$(GOTESTSUM) tool slowest --num 10 --threshold 10ms --jsonfile $$events; \
	awk '/"Test":/ && /"Action":"pass"/ { passed++ } /"Test":/ && /"Action":"fail"/ { failed++ } \
		END { printf "\n=== %d tests passed, %d failed\n", passed, failed }' $$events; \
	exit $$result

$(GOLANGCI):
	@$(call install,golangci-lint,github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION))

$(GOTESTSUM):
	@$(call install,gotestsum,gotest.tools/gotestsum@$(GOTESTSUM_VERSION))

$(GOVULNCHECK):
	@$(call install,govulncheck,golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION))

# $(1) is the binary's name, $(2) the package and its version. Built beside its place, so that a half-done one never
# counts. GOFLAGS is for our own code.
install = echo 'Building $(2), once; this takes a minute or two.'; \
	mkdir -p $(@D)/new; GOBIN=$(@D)/new GOFLAGS= CGO_ENABLED=0 go install $(2); mv $(@D)/new/$(1) $@

COMPILES = printf '\#include <stdlib.h>\n' | $$(go env CC) -fsyntax-only -x c - >/dev/null 2>&1

.PHONY: compiler
compiler:
	@if $(COMPILES); then exit 0; fi; \
	if command -v apt-get >/dev/null; then \
		echo 'No C compiler works here: installing gcc and libc6-dev.'; \
		apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends gcc libc6-dev || true; \
	fi; \
	$(COMPILES) || { echo 'A C compiler and the C library headers are needed for SQLite: install gcc and libc6-dev (or what your system calls them), or name another compiler in CC.'; exit 1; }

# Where PostgreSQL is looked for is what adapters/postgres/postgrestest knows too.
SERVED = { command -v initdb || compgen -G '/usr/lib/postgresql/*/bin/initdb' || compgen -G '/usr/libexec/postgresql*/initdb' || \
	compgen -G '/usr/pgsql-*/bin/initdb' || compgen -G '/opt/homebrew/opt/postgresql*/bin/initdb'; } >/dev/null 2>&1 && \
	command -v redis-server >/dev/null

# What adapters/console/chromiumtest looks for.
BROWSER = { [ -n "$${CHROMIUM:-}" ] && command -v "$$CHROMIUM" || command -v chromium || command -v chromium-browser || \
	command -v google-chrome || command -v google-chrome-stable || command -v chrome; } >/dev/null 2>&1

define install_browser
if command -v apt-get >/dev/null; then apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends chromium fonts-dejavu-core; \
elif command -v apk >/dev/null; then apk add --quiet chromium font-dejavu; \
elif command -v dnf >/dev/null; then dnf -q -y install chromium; \
elif command -v brew >/dev/null; then brew install --quiet --cask chromium; \
else false; fi
endef

# npm fetches it; nothing of npm is needed to build or to run the program.
$(AXE):
	@command -v npm >/dev/null || { echo 'npm fetches axe-core, and is missing: installing it.'; \
		if command -v apt-get >/dev/null; then apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends npm; fi || true; }; \
	command -v npm >/dev/null || { echo 'npm is needed to fetch axe-core: install npm (or what your system calls it) as root.'; exit 1; }; \
	work=$$(mktemp -d); trap 'rm -rf "$$work"' EXIT; \
	(cd "$$work" && npm pack --silent axe-core@$(AXE_VERSION) >/dev/null && tar -xzf axe-core-*.tgz); \
	echo "$(AXE_SHA256)  $$work/package/axe.min.js" | sha256sum -c --quiet; \
	mkdir -p $(@D); mv "$$work/package/axe.min.js" $@

# Debian starts what it installs as a service, unless there is a policy against that.
define install_servers
if command -v apt-get >/dev/null; then \
	policy=/usr/sbin/policy-rc.d; \
	if [ ! -e $$policy ] && printf '#!/bin/sh\nexit 101\n' >$$policy; then chmod +x $$policy; trap "rm -f $$policy" EXIT; fi; \
	apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends postgresql redis-server; \
elif command -v apk >/dev/null; then apk add --quiet postgresql redis; \
elif command -v dnf >/dev/null; then dnf -q -y install postgresql-server redis; \
elif command -v brew >/dev/null; then brew install --quiet postgresql redis; \
else false; fi
endef
