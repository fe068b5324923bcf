# Each target installs what it needs: from Go's module proxy, where the tools are pinned in
# lint/go.mod, e2e/go.mod and e2e/traefik/go.mod; from npm, pinned in e2e/peers and e2e/bench/fastify; and
# from Debian, for which it has to be root, unless that is there already.

GOLANGCI := lint/.bin/golangci-lint
TRAPS    := lint/.bin/traps
YAEGI    := e2e/.bin/yaegi
TRAEFIK  := e2e/.bin/traefik
DEMO     := e2e/.bin/demo
PEERS    := e2e/peers/node_modules/.package-lock.json
FASTIFY  := e2e/bench/fastify/node_modules/.package-lock.json

# What the suite runs beside Go and Node: network namespaces, a balancer, applications, and Docker for the examples.
PACKAGES := iproute2 haproxy mosquitto rabbitmq-server python3-websockets chromium docker.io docker-compose

FUZZTIME ?= 5m
LISTEN   ?= 127.0.0.1:8080

# Without a target make prints the help.
.PHONY: help demo demo-build demo-traefik test e2e soak bench bench-quick bench-build bench-packages fuzz lint fmt clean packages

## help: what there is to make
help:
	@sed -n 's/^## //p' $(firstword $(MAKEFILE_LIST))

## demo: the plugin interpreted in an embedded host, an echo upstream, a page to try it from
demo: demo-build
	$(DEMO) -listen $(LISTEN)

## demo-traefik: the same in a real Traefik (the first time it builds one, about 10 minutes)
demo-traefik: demo-build $(TRAEFIK)
	$(DEMO) -listen $(LISTEN) -traefik $(TRAEFIK)

# Always built, for Go knows best what has changed; not go run, which turns a Ctrl-C into a failure.
demo-build:
	go build -C e2e -o .bin/demo ./demo

## test: everything that needs no Traefik
# The race detector watches compiled code, and the first upgrades of an interpreter (TestFirstAtOnce).
# The demo hosts the plugin interpreted.
test: $(YAEGI) $(TRAPS) $(PEERS) packages
	go test -race ./...
	$(YAEGI) test .
	cd lint && go test ./...
	cd e2e && WSFW_ENGINES=compiled go test -race -count=1 -timeout 20m .
	cd e2e && WSFW_ENGINES=interpreted go test -count=1 -timeout 20m ./...

## e2e: the behaviour suite on its three engines, a real Traefik among them
e2e: $(TRAEFIK) $(PEERS) $(FASTIFY) packages bench-packages
	cd e2e && go test -count=1 -timeout 45m ./...

## soak: the same with its long runs
soak: $(TRAEFIK) $(PEERS) $(FASTIFY) packages bench-packages
	cd e2e && WSFW_SOAK=1 go test -count=1 -timeout 4h ./...

## bench: throughput, latency, memory, idle sessions and floods, beside Traefik by itself
bench: bench-build $(FASTIFY) bench-packages
	e2e/.bin/bench -report e2e/bench/report.json -chart e2e/bench/bench.svg $(BENCHFLAGS)

## bench-quick: the most of that, in less than 3 minutes
bench-quick: bench-build
	e2e/.bin/bench -rounds 2 -time 1s -connections 500 -rest 1s \
		-systems traefik,wsfw,wsfw-all,wsfw-tunnel,wsfw-inline \
		-workloads ping-pong,pipelined,push,64KiB,handshakes,session,memory $(BENCHFLAGS)

bench-build: $(TRAEFIK)
	go build -C e2e -buildvcs=auto -o .bin/bench ./bench

## fuzz: each fuzzer for FUZZTIME
# Go's fuzzing may end with "context deadline exceeded" where its time is up (go.dev/issue/75804), so what
# counts as a failure is a failing input, which it writes into testdata.
fuzz:
	go test -run Fuzz .
	for fuzzer in FuzzParser FuzzRelay FuzzText FuzzCloseFrame FuzzSession; do \
		go test -run '^$$' -fuzz $$fuzzer -fuzztime $(FUZZTIME) -fuzzminimizetime 5s . || test ! -e testdata || exit 1; \
	done

## lint: golangci-lint over every module, what the interpreter gets wrong, and what does not fit into 32 bits
lint: $(GOLANGCI) $(TRAPS)
	GOARCH=386 go vet ./...
	GOARCH=arm go vet .
	$(TRAPS) .
	$(GOLANGCI) run ./...
	cd e2e && ../$(GOLANGCI) run ./...
	cd lint && ../$(GOLANGCI) run ./...

fmt: $(GOLANGCI)
	$(GOLANGCI) fmt ./...
	cd e2e && ../$(GOLANGCI) fmt ./...
	cd lint && ../$(GOLANGCI) fmt ./...

clean:
	rm -rf lint/.bin e2e/.bin e2e/peers/node_modules e2e/bench/fastify/node_modules

$(GOLANGCI): lint/go.mod
	go build -C lint -o .bin/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint

$(TRAPS): lint/go.mod $(wildcard lint/*.go lint/traps/*.go)
	go build -C lint -o .bin/traps .

$(YAEGI): e2e/go.mod
	go build -C e2e -o .bin/yaegi github.com/traefik/yaegi/cmd/yaegi

$(TRAEFIK): e2e/traefik/go.mod
	go build -C e2e/traefik -o ../.bin/traefik github.com/traefik/traefik/v3/cmd/traefik

$(PEERS): e2e/peers/package.json e2e/peers/package-lock.json
	npm --prefix e2e/peers ci --no-audit --no-fund
	touch $@

$(FASTIFY): e2e/bench/fastify/package.json e2e/bench/fastify/package-lock.json
	npm --prefix e2e/bench/fastify ci --no-audit --no-fund
	touch $@

# The proxies that the benchmark compares with. Debian would have nginx and Caddy serve on port 80 at once.
bench-packages:
	@command -v nginx >/dev/null && command -v haproxy >/dev/null && command -v caddy >/dev/null || { \
		apt-get update -q && DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
		apt-get install -qy --no-install-recommends nginx-light haproxy caddy; }

# Debian would start the servers among them at once.
packages:
	@dpkg -s $(PACKAGES) >/dev/null 2>&1 || { \
		apt-get update -q && DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -qy --no-install-recommends $(PACKAGES); }
