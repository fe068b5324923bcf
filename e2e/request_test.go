package e2e

import (
	"encoding/base64"
	"slices"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
)

// requestRow is an upgrade and what the upstream must get of it.
type requestRow struct {
	name   string
	config object
	edits  []string            // of the client's upgrade
	want   map[string][]string // header lines at the upstream; nil wants none
	except string              // the engine for which the row does not hold
	only   string              // the only engine for which it does
}

func (r requestRow) check(t *testing.T, e engine.Engine) {
	if r.except == e.Name() || r.only != "" && r.only != e.Name() {
		return
	}
	t.Run(r.name, func(t *testing.T) {
		server := peerListen(t)
		gateway := forwardTo(t, e, server.endpoint()+"/ws", r.config)
		head := server.head(t, gateway, upgrade("GET /socket HTTP/1.1", r.edits...))
		for name, values := range r.want {
			if len(values) == 1 && values[0] == endpointHost {
				values = []string{server.addr}
			}
			if got := head.values(name); !slices.Equal(got, values) {
				t.Errorf("%s is %q, want %q", name, got, values)
			}
		}
	})
}

// endpointHost stands for the host and port that the endpoint names.
const endpointHost = "(endpoint)"

// lines is how the upstream's headers are spelled in a row.
type lines = map[string][]string

func TestRequestHeader(t *testing.T) {
	rows := []requestRow{
		{
			name: "end to end",
			edits: []string{
				"Cookie: session=1; theme=dark", "Authorization: Bearer mine", "Origin: https://app.example.com", "User-Agent: probe/1.0",
				"Accept-Language: de, en;q=0.5", "X-Own: first", "X-Own: second", "X-Latin: caf\xe9",
			},
			want: lines{
				"Cookie": {"session=1; theme=dark"}, "Authorization": {"Bearer mine"}, "Origin": {"https://app.example.com"},
				"User-Agent": {"probe/1.0"}, "Accept-Language": {"de, en;q=0.5"}, "X-Own": {"first", "second"}, "X-Latin": {"caf\xe9"},
			},
		},
		{
			name: "handshake",
			want: lines{
				"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, "Sec-WebSocket-Version": {"13"}, "Host": {endpointHost},
				"User-Agent": nil, "Origin": nil, "Cookie": nil, "Content-Length": nil, "Transfer-Encoding": nil,
				"Sec-WebSocket-Protocol": nil, "Sec-WebSocket-Extensions": nil, "Accept-Encoding": nil,
			},
		},
		{
			name: "hop by hop",
			edits: []string{
				"Connection: keep-alive, Upgrade, X-Hop", "Connection: x-other-hop", "X-Hop: 1", "X-Other-Hop: 1", "Keep-Alive: timeout=5",
				"Proxy-Connection: keep-alive", "Proxy-Authorization: Basic eDp5", "TE: trailers", "Trailer: X-Sum", "Content-Length: 0",
			},
			want: lines{
				"Connection": {"Upgrade"}, "X-Hop": nil, "X-Other-Hop": nil, "Keep-Alive": nil, "Proxy-Connection": nil,
				"Proxy-Authorization": nil, "TE": nil, "Trailer": nil, "Content-Length": nil,
			},
		},
		{
			name:  "upgrade list",
			edits: []string{"Upgrade: h2c, websocket"},
			want:  lines{"Upgrade": {"websocket"}},
		},
	}
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		for _, row := range rows {
			row.check(t, e)
		}
	})
}

func TestRequestForwarded(t *testing.T) {
	rows := []requestRow{
		{
			name:   "first proxy",
			except: "traefik", // which sets them itself, with a scheme of ws
			want:   lines{"X-Forwarded-For": {"127.0.0.1"}, "X-Forwarded-Host": {"chat.example.com"}, "X-Forwarded-Proto": {"http"}},
		},
		{
			name: "first proxy, Traefik",
			only: "traefik",
			want: lines{"X-Forwarded-For": {"127.0.0.1"}, "X-Forwarded-Host": {"chat.example.com"}, "X-Forwarded-Proto": {"ws"}},
		},
		{
			name: "behind others",
			edits: []string{
				"X-Forwarded-For: 203.0.113.7, 198.51.100.1", "X-Forwarded-Host: public.example.com", "X-Forwarded-Proto: https",
			},
			want: lines{
				"X-Forwarded-For":  {"203.0.113.7, 198.51.100.1, 127.0.0.1"},
				"X-Forwarded-Host": {"public.example.com"}, "X-Forwarded-Proto": {"https"},
			},
		},
		{
			name:  "two lines",
			edits: []string{"X-Forwarded-For: 203.0.113.7", "X-Forwarded-For: 198.51.100.1"},
			want:  lines{"X-Forwarded-For": {"203.0.113.7, 198.51.100.1, 127.0.0.1"}},
		},
	}
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		for _, row := range rows {
			row.check(t, e)
		}
	})
}

func TestRequestHeadersOption(t *testing.T) {
	rows := []requestRow{
		{
			name: "set, override, remove",
			config: object{"headers": object{
				"Authorization": "Bearer ours", "cookie": "", "X-OWN": "ours", "x-new": "new", "X-Absent": "", "Origin": "https://inner.example.com",
			}},
			edits: []string{
				"Authorization: Bearer mine", "Cookie: session=1", "X-Own: first", "X-Own: second", "Origin: https://app.example.com", "X-Other: 1",
			},
			want: lines{
				"Authorization": {"Bearer ours"}, "Cookie": nil, "X-Own": {"ours"}, "X-New": {"new"}, "X-Absent": nil,
				"Origin": {"https://inner.example.com"}, "X-Other": {"1"},
			},
		},
		{
			name: "forwarded",
			config: object{"headers": object{
				"X-Forwarded-For": "", "X-Forwarded-Host": "ours.example.com", "x-forwarded-proto": "wss", "User-Agent": "",
			}},
			edits: []string{"User-Agent: probe/1.0"},
			want: lines{
				"X-Forwarded-For": nil, "X-Forwarded-Host": {"ours.example.com"}, "X-Forwarded-Proto": {"wss"}, "User-Agent": nil,
			},
		},
		{
			name:   "host",
			config: object{"headers": object{"Host": "inner.example.com"}},
			want:   lines{"Host": {"inner.example.com"}, "X-Forwarded-Host": {"chat.example.com"}},
		},
		{
			name:   "host in lower case, over the client's",
			config: object{"headers": object{"host": "inner.example.com:81"}, "passHostHeader": true},
			want:   lines{"Host": {"inner.example.com:81"}},
		},
		{
			name:   "pass host",
			config: object{"passHostHeader": true},
			want:   lines{"Host": {"chat.example.com"}},
		},
		{
			name:   "pass no host",
			config: object{"passHostHeader": false},
			want:   lines{"Host": {endpointHost}},
		},
	}
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		for _, row := range rows {
			row.check(t, e)
		}
	})
}

// TestRequestKey wants a key of the gateway's own for each upstream.
func TestRequestKey(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		server := peerListen(t)
		gateway := forwardTo(t, e, server.endpoint(), nil)
		seen := []string{sampleKey}
		for range 3 {
			keys := server.head(t, gateway, upgrade("GET / HTTP/1.1")).values("Sec-WebSocket-Key")
			if len(keys) != 1 || slices.Contains(seen, keys[0]) {
				t.Fatalf("the keys are %q; seen before: %q", keys, seen)
			}
			seen = append(seen, keys[0])
			if nonce, err := base64.StdEncoding.DecodeString(keys[0]); err != nil || len(nonce) != 16 {
				t.Errorf("key %q does not stand for 16 bytes: %v", keys[0], err)
			}
		}
	})
}

// TestRequestSpelling is for upstreams that look for header names as the RFC spells them.
func TestRequestSpelling(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		server := peerListen(t)
		gateway := forwardTo(t, e, server.endpoint()+"/ws", nil)
		head := server.head(t, gateway, upgrade("GET / HTTP/1.1", offeredProtocol, offeredExtension))
		if want := "GET /ws HTTP/1.1"; head[0] != want {
			t.Errorf("the request line is %q, want %q", head[0], want)
		}
		for _, line := range []string{
			"Host: " + server.addr, "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
			"Sec-WebSocket-Key: " + head.values("Sec-WebSocket-Key")[0], offeredProtocol, offeredExtension,
		} {
			if !slices.Contains(head, line) {
				t.Errorf("no line is spelled %q:\n%q", line, head)
			}
		}
	})
}
