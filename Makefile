# Each target installs what it needs. What comes from Go's module proxy is pinned in lint/go.mod, e2e/go.mod and the modules
# below e2e/traefik; what comes from npm, in e2e/peers and e2e/bench/fastify. Only e2e, soak and bench need npm and Debian's
# packages: they say so before they install any, and have to be root for it.

GOLANGCI := lint/.bin/golangci-lint
TRAPS    := lint/.bin/traps
YAEGI    := e2e/.bin/yaegi
SHARDS   := e2e/.bin/shards
GOTESTSUM := e2e/.bin/gotestsum
TRAEFIK  := e2e/.bin/traefik
TRAEFIK36 := e2e/.bin/traefik-3.6
DEMO     := e2e/.bin/demo
PEERS    := e2e/peers/node_modules/.package-lock.json
FASTIFY  := e2e/bench/fastify/node_modules/.package-lock.json

# What the suite runs of Debian's beside Go and Node, by command or file and package: network namespaces, a balancer, brokers,
# libraries, a browser, Prometheus, and Docker for the examples. Whatever is there already is used.
SUITE_PACKAGES := ip:iproute2 haproxy:haproxy mosquitto:mosquitto /usr/lib/rabbitmq/bin/rabbitmq-server:rabbitmq-server \
	$(foreach library,websockets tornado aiohttp uvicorn wsproto ipykernel,/usr/lib/python3/dist-packages/$(library):python3-$(library)) \
	/usr/lib/python3/dist-packages/jupyter_server:python3-jupyter-server \
	prometheus:prometheus chromium:chromium Xtigervnc:tigervnc-standalone-server websockify:websockify dockerd:docker.io docker-compose:docker-compose

# The proxies that the benchmark compares with.
BENCH_PACKAGES := nginx:nginx-light haproxy:haproxy caddy:caddy

# The cases that are run in the older Traefik, too: what depends on how Traefik routes, proxies, upgrades and shuts down. It
# cannot upgrade towards h2c.
CASES36 := ^Test(NonWebSocketPass|UpgradeTokens|Origin|Conversation|Drain|Echo|EntryPoint|Hijack|Inline|Kubernetes|LoginOrder|Order|Passed|Plugin|Reload|Service|Switching|Upstream|Via)

FUZZTIME ?= 5m
LISTEN   ?= 127.0.0.1:8080

# Without a target make prints the help.
.PHONY: help demo demo-build demo-traefik test e2e soak bench bench-quick bench-build bench-packages fuzz lint release-check fmt clean packages

## help: what there is to make, and how long it takes on 2 cores
help:
	@sed -n 's/^## \([^:]*\): /\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

## demo: the plugin interpreted in an embedded host, an echo upstream, a page to try it from (seconds once built)
demo: demo-build
	$(DEMO) -listen $(LISTEN)

## demo-traefik: the same in a real Traefik (the same; 4 min to build Traefik)
demo-traefik: demo-build $(TRAEFIK)
	$(DEMO) -listen $(LISTEN) -traefik $(TRAEFIK)

# Always built, for Go knows best what has changed; not go run, which turns a Ctrl-C into a failure.
demo-build:
	go build -C e2e -o .bin/demo ./demo

## test: the unit tests, compiled and interpreted, and the behaviour suite without Traefik (3 min)
# The race detector watches compiled code. Cases that are named TestExternal need more than Go; those that are named TestHeavy
# need the machine for themselves.
test: $(GOTESTSUM) $(YAEGI) $(SHARDS)
	$(GOTESTSUM) -- -race ./...
	@$(YAEGI) test . >e2e/.bin/interpreted.txt 2>&1 && echo "ok  	the same, interpreted" || { cat e2e/.bin/interpreted.txt; exit 1; }
	cd lint && ../$(GOTESTSUM) -- ./...
	cd e2e && $(RUN_SHARDS) -skip '$(NOT_IN_TEST)' compiled,race=. interpreted=. interpreted=demo

RUN_SHARDS := .bin/gotestsum --ignore-non-json-output-lines --raw-command -- .bin/shards
NOT_IN_TEST := ^Test(External|Heavy)

## e2e: the behaviour suite in a real Traefik, in an older one a part of it, and what needs Docker, Node, a browser and others (27 min, 8 more to build two Traefiks)
e2e: $(GOTESTSUM) $(SHARDS) $(TRAEFIK) $(TRAEFIK36) $(PEERS) $(FASTIFY) packages bench-packages
	cd e2e && WSFW_TRAEFIK=$(abspath $(TRAEFIK36)) $(RUN_SHARDS) -run '$(CASES36)' -skip '^TestServiceH2C$$' traefik=.
	cd e2e && $(RUN_SHARDS) -n 2 -cases 3 -run ^TestHeavy compiled,race=. interpreted=. traefik=.
	cd e2e && $(RUN_SHARDS) -run ^TestExternal compiled,race=. interpreted=. interpreted=demo
	cd e2e && $(RUN_SHARDS) -skip ^TestHeavy traefik=. traefik=demo traefik=bench

## soak: the suite's long runs, on its three engines (1 h or more)
# Those cases that WSFW_SOAK makes longer.
SOAKS := ^Test(HeavyDrain|HeavyFlood|HeavyMalformed|HeavyPingedConversations|HeavyStreams|RollingRestart|TransparencyRandom|TransparencySplits)$$

soak: $(GOTESTSUM) $(SHARDS) $(TRAEFIK) $(PEERS) packages
	cd e2e && WSFW_SOAK=1 $(RUN_SHARDS) -n 3 -timeout 2h -cases 1 -run '$(SOAKS)' compiled=. interpreted=. traefik=.

## bench: throughput, latency, memory, idle sessions and floods, beside Traefik by itself (110 min)
bench: bench-build $(FASTIFY) bench-packages
	e2e/.bin/bench -report e2e/bench/report.json -chart e2e/bench/bench.svg $(BENCHFLAGS)

## bench-quick: the most of that (3 min)
bench-quick: bench-build
	e2e/.bin/bench -rounds 2 -time 1s -connections 500 -rest 1s \
		-systems traefik,wsfw,wsfw-all,wsfw-tunnel,wsfw-inline \
		-workloads ping-pong,pipelined,push,64KiB,handshakes,session,memory $(BENCHFLAGS)

bench-build: $(TRAEFIK)
	go build -C e2e -buildvcs=auto -o .bin/bench ./bench

## fuzz: each fuzzer for FUZZTIME (40 min)
# Go's fuzzing may end with "context deadline exceeded" where its time is up (go.dev/issue/75804), so what
# counts as a failure is a failing input, which it writes into testdata.
fuzz:
	go test -run Fuzz .
	for fuzzer in FuzzParser FuzzRelay FuzzText FuzzCloseFrame FuzzSession FuzzVerifyJWT FuzzKeySet FuzzCarriers; do \
		go test -run '^$$' -fuzz $$fuzzer -fuzztime $(FUZZTIME) -fuzzminimizetime 5s . || test ! -e testdata || exit 1; \
	done

## release-check: all that a tag needs: make lint test e2e, and that version, date and documents agree (31 min)
release-check: lint test e2e
	.ci/release-check

## lint: golangci-lint over every module, what the interpreter gets wrong, and what does not fit into 32 bits (1 min once built)
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

# Go's build cache keeps what these have built, so that only the first time takes minutes.
$(TRAEFIK): e2e/traefik/main.go e2e/traefik/3.7/go.mod
	cd e2e && go run ./traefik 3.7 ../$@

$(TRAEFIK36): e2e/traefik/main.go e2e/traefik/3.6/go.mod
	cd e2e && go run ./traefik 3.6 ../$@

$(SHARDS): $(wildcard e2e/shards/*.go) e2e/go.mod
	go build -C e2e -o .bin/shards ./shards

$(GOTESTSUM): e2e/go.mod
	go build -C e2e -o .bin/gotestsum gotest.tools/gotestsum

$(PEERS): e2e/peers/package.json e2e/peers/package-lock.json
	npm --prefix e2e/peers ci --no-audit --no-fund
	touch $@

$(FASTIFY): e2e/bench/fastify/package.json e2e/bench/fastify/package-lock.json
	npm --prefix e2e/bench/fastify ci --no-audit --no-fund
	touch $@

packages:
	@e2e/packages $(SUITE_PACKAGES)

bench-packages:
	@e2e/packages $(BENCH_PACKAGES)
