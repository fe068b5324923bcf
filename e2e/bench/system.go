package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/wsfw/wsfw/e2e/engine"
)

// system is one way to run a gateway.
type system struct {
	name  string
	pings time.Duration // interval of its own pings to both sides; 0 for none
	start func(upstream string) (*gateway, error)
}

// gateway is a system at work.
type gateway struct {
	addr string // that clients dial
	pid  int    // of the process that is measured
	stop func()

	// profile writes a CPU profile of that time. It is nil where the system has none to offer.
	profile func(ctx context.Context, d time.Duration, to io.Writer) error
}

// native is the name of the system that all others are compared with.
const native = "traefik"

// systems are all that there are; those that ping do so at that interval.
func systems(interval time.Duration) []system {
	return []system{
		inTraefik(native, 0, nil),
		inTraefik("wsfw", 0, object{}),
		inTraefik("wsfw-pings", interval, object{
			"pingInterval": interval.String(), "pongTimeout": (interval / 2).String(),
		}),
		inTraefik("wsfw-pings-limits", interval, object{
			"pingInterval": interval.String(), "pongTimeout": (interval / 2).String(),
			"maxInactivity": "1h", "maxLifetime": "24h",
		}),
	}
}

type object = map[string]any

// inTraefik is a Traefik that forwards by itself, or through the plugin where there are options for it.
func inTraefik(name string, pings time.Duration, options object) system {
	start := func(upstream string) (*gateway, error) {
		addr, process, err := engine.Run(engine.Setup{
			Name: name, Next: "http://" + upstream, Config: forwardingTo(upstream, options),
		})
		if err != nil {
			return nil, err
		}
		profile := func(ctx context.Context, d time.Duration, to io.Writer) error {
			return fetch(ctx, fmt.Sprintf("%s/debug/pprof/profile?seconds=%.0f", process.API, d.Seconds()), to)
		}
		return &gateway{addr: addr, pid: process.Pid, stop: process.Stop, profile: profile}, nil
	}
	return system{name: name, pings: pings, start: start}
}

// forwardingTo is the options with their upstream, nil where there are none.
func forwardingTo(upstream string, options object) object {
	if options == nil {
		return nil
	}
	config := object{"upstreamEndpoint": "ws://" + upstream}
	for key, value := range options {
		config[key] = value
	}
	return config
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
