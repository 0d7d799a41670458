# `make` alone prints the targets.

# How long each fuzz target runs, and how many rounds are measured: make fuzz FUZZTIME=5m
FUZZTIME ?= 3s
ROUNDS ?= 5
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMPOSE ?= docker compose

GOLANGCI_VERSION = v2.15.0
GOLANGCI = bin/golangci-lint-$(GOLANGCI_VERSION)

.DEFAULT_GOAL = help
export FUZZTIME

.PHONY: help build run test lint fuzz bench torture screenshots up down logs clean

help: ## Print the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

build: ## Build bin/lyftr, a static binary
	@CGO_ENABLED=0 go build -buildvcs=false -trimpath -ldflags '-s -w -X lyftr/internal/cli.version=$(VERSION)' -o bin/lyftr ./cmd/lyftr

run: build ## Build and serve on port 8000, with a development secret in .env
	@sh scripts/secret.sh
	@exec bin/lyftr serve

test: ## Pass every test and fuzz a little; installs the Debian packages that this needs
	@sh scripts/tools.sh
	go vet ./...
	@sh scripts/test.sh
	@sh scripts/fuzz.sh

lint: $(GOLANGCI) ## Check the format, go vet, golangci-lint and the API document
	@unformatted=$$(gofmt -l .) && test -z "$$unformatted" || { echo "run gofmt -w on:" $$unformatted >&2; exit 1; }
	go vet ./...
	$(GOLANGCI) run
	@sh scripts/openapi.sh

$(GOLANGCI):
	CGO_ENABLED=0 GOBIN='$(CURDIR)/bin' go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	@mv bin/golangci-lint $@

fuzz: ## Fuzz every target, each for FUZZTIME
	@sh scripts/fuzz.sh

bench: ## Measure in ROUNDS how many messages a second come in, for docs/BENCHMARKS.md; installs what tests need
	@sh scripts/tools.sh
	LYFTR_BENCH_TABLE='$(CURDIR)/docs/BENCHMARKS.md' go test -count=1 -run '^$$' -bench 'Ingest$$' -benchtime $(ROUNDS)x -timeout 1h ./e2e

torture: ## Kill it, cut its power, break its disk; TORTURE=regexp chooses a part
	@sh scripts/tools.sh
	@TORTURE='$(TORTURE)' LONG='$(LONG)' sh scripts/torture.sh

screenshots: ## Make the pictures in docs/screenshots anew; installs the fonts that this needs
	@sh scripts/screenshots.sh

up: ## Build the image and start it on port 8000, with docker compose
	VERSION='$(VERSION)' $(COMPOSE) up --build --detach

down: ## Stop it; the volume with the database stays
	$(COMPOSE) down

logs: ## Print its log, and follow it on a terminal
	@if [ -t 1 ]; then follow=--follow; fi; exec $(COMPOSE) logs --no-log-prefix $$follow api

clean: ## Remove what make built; the database and .env stay
	rm -rf bin
