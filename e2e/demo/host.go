package main

import (
	"embed"
	"encoding/json"
	"io/fs"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// files is the page: its text, style and scripts.
//
//go:embed page
var files embed.FS

// policy keeps the page to what its host serves.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:"

// host serves the page and what the page asks for.
type host struct {
	demo  *demo
	lines *journal
}

// newHost is the demo's front: routes takes the scenarios' paths, and is nil where Traefik does.
func newHost(d *demo, lines *journal, routes http.Handler) http.Handler {
	h := &host{demo: d, lines: lines}
	mux := http.NewServeMux()
	mux.Handle("GET /", pages())
	mux.HandleFunc("GET /scenarios", h.scenarios)
	mux.HandleFunc("GET /lines", h.after)
	mux.HandleFunc("GET /probe", h.probe)
	mux.HandleFunc("GET /acts", h.about)
	mux.HandleFunc("GET /live", h.watch)
	mux.HandleFunc("POST /live/{session}/{side}/{act}", h.perform)
	mux.HandleFunc("POST /limit", h.reachLimit)
	mux.HandleFunc("GET /restart", h.restart)
	return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		if routes != nil && strings.HasPrefix(req.URL.Path, routePrefix) {
			routes.ServeHTTP(rw, req)
			return
		}
		mux.ServeHTTP(rw, req)
	})
}

// pages serves the files.
func pages() http.Handler {
	root, err := fs.Sub(files, "page")
	if err != nil {
		panic(err) // the name is a constant
	}
	server := http.FileServerFS(root)
	return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		rw.Header().Set("Cache-Control", "no-store")
		rw.Header().Set("Content-Security-Policy", policy)
		server.ServeHTTP(rw, req)
	})
}

func (h *host) scenarios(rw http.ResponseWriter, _ *http.Request) {
	reply(rw, map[string]any{"gateway": h.demo.gateway, "prefix": routePrefix, "scenarios": h.demo.scenarios})
}

// after is what the plugin wrote about a route after a line that the page has seen.
func (h *host) after(rw http.ResponseWriter, req *http.Request) {
	number, _ := strconv.Atoi(req.FormValue("after")) // 0 is from the beginning
	entries, last := h.lines.after(req.FormValue("route"), number)
	reply(rw, map[string]any{"last": last, "entries": entries})
}

// probe asks on the page's behalf, of the demo's own routes only.
func (h *host) probe(rw http.ResponseWriter, req *http.Request) {
	q := question{
		route:  req.FormValue("route"),
		suffix: req.FormValue("suffix"),
		origin: req.FormValue("origin"),
		offer:  req.FormValue("offer"),
	}
	i := slices.IndexFunc(h.demo.scenarios, func(s scenario) bool { return s.ID == q.route })
	if i < 0 {
		http.Error(rw, "There is no such route.", http.StatusNotFound)
		return
	}
	q.plain = h.demo.scenarios[i].Plain
	got, err := probe(h.demo.addr, q)
	if err != nil {
		http.Error(rw, err.Error(), http.StatusBadGateway)
		return
	}
	reply(rw, got)
}

func reply(rw http.ResponseWriter, value any) {
	rw.Header().Set("Content-Type", "application/json")
	rw.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(rw).Encode(value)
}
