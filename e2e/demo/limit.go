package main

import (
	"io"
	"net"
	"net/http"
	"strings"
)

// limitRoute is the middleware that the limit's upgrades go to.
var limitRoute = scenario{ID: "limit", YAML: `
upstreamEndpoint: ws://PLAIN/echo
maxConnectionsPerClient: 2
maxConnections: 3
`}

// callers are the addresses from which the limit's upgrades come, one after the other: the third is one too many of its
// client, the last one too many of all.
func callers() []string {
	return []string{"127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.2"}
}

// told is what one of the callers is answered.
type told struct {
	From       string `json:"from"`
	Status     int    `json:"status"` // 0 where there is no answer
	RetryAfter string `json:"retryAfter,omitempty"`
	Text       string `json:"text"` // the answer's body, or why there is none
}

// reachLimit opens more sessions than the route lets in, and as many without wsfw, and tells how each upgrade was answered.
// All sessions have been closed by then.
func (h *host) reachLimit(rw http.ResponseWriter, _ *http.Request) {
	h.demo.crowded.Lock()
	defer h.demo.crowded.Unlock()
	addr := reachable(h.demo.addr)
	reply(rw, map[string][]told{
		withWsfw:    call(addr, question{route: limitRoute.ID}),
		withoutWsfw: call(addr, question{route: nativeRoute, suffix: "/echo"}),
	})
}

// call asks on behalf of all callers, and closes the sessions that come of it once the last has its answer.
func call(addr string, q question) []told {
	var answers []told
	var open []net.Conn
	for _, from := range callers() {
		answer, conn := q.callFrom(from, addr)
		answers = append(answers, answer)
		if conn != nil {
			open = append(open, conn)
		}
	}
	for _, conn := range open {
		hangUp(conn)
		conn.Close()
	}
	return answers
}

// callFrom asks on behalf of one caller. The connection is that of a session, or nil.
func (q question) callFrom(from, addr string) (told, net.Conn) {
	conn, _, resp, err := q.ask(from, addr) //nolint:bodyclose // the connection is closed instead
	if err != nil {
		return told{From: from, Text: err.Error()}, nil
	}
	answer := told{From: from, Status: resp.StatusCode, RetryAfter: resp.Header.Get("Retry-After")}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return answer, conn
	}
	defer conn.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, probeBody))
	answer.Text = strings.TrimSpace(string(body))
	if err != nil {
		answer.Text = err.Error()
	}
	return answer, nil
}

// reachable is an address that every one of the callers can dial: that of a server on all addresses is 127.0.0.1.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return addr
}
