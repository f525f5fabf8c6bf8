# `make` lists the targets. Nothing is decided here: each target is a command.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
TOOL    := go tool -modfile=internal/tools/go.mod
BUILD   := go build -ldflags "-s -w -X main.version=$(VERSION)"
KILLS   ?= 20
SEEDS   ?= 500

# One set of flags for everything, so that nothing is compiled twice. nomsgpack
# leaves out a codec of gin that nobody asks for and that is slow to compile.
export CGO_ENABLED := 0
export GOFLAGS     := $(GOFLAGS) -trimpath -tags=nomsgpack

.DEFAULT_GOAL := help
.PHONY: alerts bench build chaos demo generate help hooks lint run schemathesis sim test verify

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/hishamos (server and operator) and bin/hish (client)
	@mkdir -p bin
	$(BUILD) -o bin/ ./cmd/hishamos ./cmd/hish

run: build ## build, then run everything on this machine until Ctrl-C
	@exec bin/hishamos up

demo: build ## build, run the stock workflow on a sample once, stop everything
	@exec bin/hishamos up --demo

test: ## vet, then run every test, and whole nodes again without the express lane; with a JDK and Maven also on a real Kafka broker
	go vet ./...
	@mkdir -p bin && go build -o bin/testenv ./internal/testenv
	go test -vet=off -tags planted,nomsgpack ./cmd/hishamos -run TestPlanted -count=1
	@exec bin/testenv -vet=off -timeout=20m $(TESTFLAGS) ./... -- HISHAMOS_EXPRESS=off -vet=off -timeout=20m $(TESTFLAGS) ./cmd/hishamos -kills=8 -seeds=600

bench: build ## measure the hot paths; docs/reference/performance.md says what the figures mean
	go test -run '^$$' -bench . -benchtime 2s ./internal/checkpoint ./internal/relay ./projections ./domain/run
	bin/hishamos bench append

chaos: ## kill processes KILLS times under load and compare every promise
	@mkdir -p bin
	go test -v ./cmd/hishamos -run TestChaos -count=1 -timeout=4h -kills=$(KILLS) -chaos-report=$(CURDIR)/bin/chaos.json

sim: ## run the whole engine from SEEDS seeds in virtual time, with crashes
	go test ./cmd/hishamos -run TestSimulation -count=1 -timeout=60m -seeds=$(SEEDS)

schemathesis: build ## ask a real server 5,000 things its description says or forbids
	internal/tools/schemathesis.sh

lint: ## vet, staticcheck, exhaustive switches over unions, format: the fast gate
	go vet ./...
	$(TOOL) staticcheck ./...
	$(TOOL) go-check-sumtype -default-signifies-exhaustive=false ./...
	@unformatted=$$($(TOOL) gofumpt -l .); test -z "$$unformatted" || { echo "not formatted (gofumpt -w):"; echo "$$unformatted"; exit 1; }

alerts: ## check what Prometheus and Alertmanager are given, and let every alert fire
	go -C internal/tools/alerts run . $(CURDIR)/deploy
	go -C internal/tools/alerts test .

generate: ## write the schemas, the AsyncAPI document and the reference pages
	go run ./internal/generate
	go generate ./...

verify: ## fail if `make generate` would change anything
	go run ./internal/generate -verify

hooks: ## run `make lint` before each commit of this clone
	git config core.hooksPath internal/tools/hooks
