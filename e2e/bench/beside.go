package main

import (
	_ "embed"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
)

// behindTraefik is a relay that stands beside Traefik, which takes it for its service. The command makes one for an
// upstream, to which the relay tells its address as the first line of its output.
func behindTraefik(name string, command func(upstream string) (*exec.Cmd, error)) system {
	start := func(upstream string, profiled bool) (*gateway, error) {
		cmd, err := command(upstream)
		if err != nil {
			return nil, err
		}
		beside, addr, err := launchListener(cmd)
		if err != nil {
			return nil, err
		}
		before, err := inTraefik(name, 0, nil).start(addr, profiled)
		if err != nil {
			beside.stop()
			return nil, err
		}
		before.pids = append(before.pids, beside.pid())
		stop := before.stop
		before.stop = func() {
			stop()
			beside.stop()
		}
		return before, nil
	}
	return system{name: name, start: start}
}

// gorilla is our own relay on gorilla/websocket.
func gorilla(interval time.Duration) system {
	s := behindTraefik("relay", func(upstream string) (*exec.Cmd, error) {
		return again(partRelay, "-upstream", upstream, "-interval", interval.String())
	})
	s.pings, s.versions = interval, gorillaVersion
	return s
}

// gorillaVersion is that of the library that this program was built with.
func gorillaVersion() (map[string]string, error) {
	const path = "github.com/gorilla/websocket"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return nil, errors.New("this program tells nothing of its build")
	}
	versions := map[string]string{}
	for _, dep := range info.Deps {
		if dep.Path == path {
			versions["gorilla/websocket"] = dep.Version
		}
	}
	return versions, nil
}

// fastify is @fastify/http-proxy, on Node. It pings upstreams only.
func fastify(interval time.Duration) system {
	s := behindTraefik("fastify", func(upstream string) (*exec.Cmd, error) {
		root, err := engine.Root()
		if err != nil {
			return nil, err
		}
		return exec.Command("node", filepath.Join(root, "e2e", "bench", "fastify", "proxy.js"),
			"--upstream", upstream, "--interval", strconv.FormatInt(interval.Milliseconds(), 10)), nil
	})
	s.pings, s.sparesClients = interval, true
	s.versions = fastifyVersions
	return s
}

//go:embed fastify/package.json
var fastifyPackage []byte

// fastifyVersions are those of Node and of the packages.
func fastifyVersions() (map[string]string, error) {
	versions, err := versionOf("node", "--version")()
	if err != nil {
		return nil, err
	}
	var pinned struct{ Dependencies map[string]string }
	if err := json.Unmarshal(fastifyPackage, &pinned); err != nil {
		return nil, err
	}
	maps.Copy(versions, pinned.Dependencies)
	return versions, nil
}

// partVariable is the environment variable that has this program be something else than the bench.
const partVariable = "WSFW_BENCH_PART"

// What else this program can be.
const (
	partCrew  = "crew"
	partRelay = "relay"
)

// playPart is what else this program is to be, until that ends. It reports false where it is the bench itself.
func playPart() bool {
	switch os.Getenv(partVariable) {
	case partCrew:
		serveCrew()
	case partRelay:
		serveRelay()
	default:
		return false
	}
	return true
}

// again is this program once more, as a part.
func again(part string, args ...string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), partVariable+"="+part)
	return cmd, nil
}
