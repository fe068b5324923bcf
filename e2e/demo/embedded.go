package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httputil"
	"strings"

	"github.com/wsfw/wsfw/e2e/engine"
	"gopkg.in/yaml.v3"
)

const (
	// routePrefix is the path below which every scenario has its route.
	routePrefix = "/ws/"

	// nativeRoute is the route without the plugin: what it would be without wsfw.
	nativeRoute = "native"
)

// embedded routes to the scenarios' middlewares, all interpreted in this process.
type embedded map[string]http.Handler

// newEmbedded loads the plugin in root and makes a middleware of each scenario's configuration.
func newEmbedded(root string, list []scenario, up *upstream) (embedded, error) {
	plugin, err := engine.Load(root)
	if err != nil {
		return nil, fmt.Errorf("interpreting the plugin: %w", err)
	}
	next := service(up.plain.addr)
	routes := embedded{nativeRoute: next}
	for _, s := range list {
		config := map[string]any{}
		if err := yaml.Unmarshal([]byte(s.YAML), &config); err != nil {
			return nil, fmt.Errorf("scenario %s: %w", s.ID, err)
		}
		handler, err := plugin.Handler(context.Background(), next, config, s.ID)
		if err != nil {
			return nil, fmt.Errorf("scenario %s: %w", s.ID, err)
		}
		routes[s.ID] = handler
	}
	return routes, nil
}

// service stands for Traefik's own service behind a router.
func service(addr string) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", addr
			r.SetXForwarded()
		},
		ErrorLog:  quiet,
		Transport: &http.Transport{DisableKeepAlives: true},
	}
}

// ServeHTTP takes the route by its segment of the path. No [http.ServeMux], for that tidies paths up before the
// plugin has seen them.
func (e embedded) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	id, _, _ := strings.Cut(strings.TrimPrefix(req.URL.Path, routePrefix), "/")
	handler := e[id]
	if handler == nil {
		http.NotFound(rw, req)
		return
	}
	handler.ServeHTTP(rw, req)
}
