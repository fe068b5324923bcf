package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/wsfw/wsfw/e2e/engine"
)

// system is one way to run a gateway.
type system struct {
	name  string
	pings time.Duration // interval of its own pings; 0 for none

	// start runs it for an upstream, so that CPU profiles can be taken where profiled.
	start func(upstream string, profiled bool) (*gateway, error)

	sparesClients bool // only upstreams are pinged
	logins        bool // each client has one of its own, about which the upstream is asked

	// versions tells those of the programs besides Traefik, by name. It is nil where there are none.
	versions func() (map[string]string, error)
}

// gateway is a system at work.
type gateway struct {
	addr string // that clients dial
	pids []int  // of the processes that are measured, with all their children; none where peers meet directly
	stop func()

	token string // that clients log in with; empty: none

	// profile writes a CPU profile of that time. It is nil where the system has none to offer.
	profile func(ctx context.Context, d time.Duration, to io.Writer) error
}

// native is the name of the system that all others are compared with.
const native = "traefik"

// direct is the name of the system that is none.
const direct = "direct"

// systems are all that there are; those that ping do so at that interval.
func systems(interval time.Duration) []system {
	all := []system{
		{name: direct, start: func(upstream string, _ bool) (*gateway, error) {
			return &gateway{addr: upstream, stop: func() {}}, nil
		}},
		inTraefik(native, 0, nil),
		inTraefik("wsfw", 0, forward(object{})),
		inTraefik("wsfw-pings", interval, forward(object{
			"pingInterval": interval.String(), "pongTimeout": (interval / 2).String(),
		})),
		inTraefik("wsfw-all", interval, forward(everything(interval))),
		inTraefik("wsfw-tunnel", 0, forward(object{"mode": "tunnel"})),
		inTraefik("wsfw-utf8", 0, forward(object{"validate": "utf8"})),
		inTraefik("wsfw-limits", 0, forward(limits())),
		inTraefik("wsfw-inline", 0, inline(object{"validate": "frames"})),
		inTraefikBy(true, "wsfw-http2", 0, forward(object{})),
		inTraefik("wsfw-inline-limits", 0, inline(limits())),
		loggedIn("wsfw-hs256", jose.HS256), loggedIn("wsfw-es256", jose.ES256), revalidating(),
	}
	for _, p := range proxies {
		all = append(all, p.system())
	}
	return append(all, gorilla(interval), fastify(interval))
}

// limits are what keeps a flood away: the flooding clients of a workload count as one client.
func limits() object {
	return object{
		"maxMessageSize": "1MiB", "messageRate": 200,
		"maxConnectionsPerClient": 100, "clientHeader": roleHeader,
	}
}

// everything is every timer and every limit, none of which ends a session.
func everything(interval time.Duration) object {
	return object{
		"pingInterval": interval.String(), "pongTimeout": (interval / 2).String(),
		"maxInactivity": "1h", "maxLifetime": "24h",
		"maxFrameSize": "64MiB", "maxMessageSize": "64MiB", "messageRate": 1e6,
		"maxConnections": 50_000, "maxConnectionsPerClient": 50_000,
	}
}

type object = map[string]any

// config makes the plugin's options, for sessions to an upstream.
type config func(upstream string) object

// forward has the plugin connect to the upstream itself.
func forward(options object) config {
	return func(upstream string) object {
		full := object{"upstreamEndpoint": "ws://" + upstream}
		maps.Copy(full, options)
		return full
	}
}

// inline has the plugin stand before Traefik's service.
func inline(options object) config {
	return func(string) object { return options }
}

// inTraefik is a Traefik that forwards by itself, or with the plugin where there is a configuration for it.
func inTraefik(name string, pings time.Duration, options config) system {
	return inTraefikBy(false, name, pings, options)
}

// inTraefikBy is inTraefik whose clients come over HTTP/2 where streams is set.
func inTraefikBy(streams bool, name string, pings time.Duration, options config) system {
	start := func(upstream string, profiled bool) (*gateway, error) {
		setup := engine.Setup{
			Name: name, Next: "http://" + upstream, Streams: streams, Traefik: engine.Surroundings{NoProfiles: !profiled},
		}
		if options != nil {
			setup.Config = options(upstream)
		}
		addr, process, err := engine.Run(setup)
		if err != nil {
			return nil, err
		}
		if streams {
			addr = overHTTP2 + addr
		}
		profile := func(ctx context.Context, d time.Duration, to io.Writer) error {
			return fetch(ctx, fmt.Sprintf("%s/debug/pprof/profile?seconds=%.0f", process.API, d.Seconds()), to)
		}
		return &gateway{addr: addr, pids: []int{process.Pid}, stop: process.Stop, profile: profile}, nil
	}
	return system{name: name, pings: pings, start: start}
}

// fetch copies what a GET answers.
func fetch(ctx context.Context, url string, to io.Writer) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, resp.Status)
	}
	_, err = io.Copy(to, resp.Body)
	return err
}
