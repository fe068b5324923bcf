package e2e

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
)

// targetTable is requests to one gateway, by their target, and the targets that the upstream must get.
type targetTable struct {
	name     string
	endpoint string // the URL's path and query
	options  object
	rows     map[string]string
	inside   map[string]string // rows for in-process engines only: Traefik changes these targets before any middleware
}

var targetTables = []targetTable{
	{
		name: "fixed to nothing", endpoint: "",
		rows: map[string]string{"/": "/", "/a/b": "/", "/?x=1": "/?x=1", "/a?x=1": "/?x=1", "/../a": "/"},
	},
	{
		name: "fixed", endpoint: "/ws", options: object{"upstreamPath": "fixed", "path": "/socket"},
		rows: map[string]string{"/socket": "/ws", "/socket/": "/ws", "/socket/a%20b": "/ws", "/socket/a?x=1": "/ws?x=1"},
	},
	{
		name: "fixed with a slash", endpoint: "/ws/",
		rows: map[string]string{"/": "/ws/", "/a": "/ws/"},
	},
	{
		name: "fixed and escaped", endpoint: "/ws%20/a%2Fb/%C3%BC;c",
		rows: map[string]string{"/": "/ws%20/a%2Fb/%C3%BC;c"},
	},
	{
		name: "appended to nothing", endpoint: "", options: object{"upstreamPath": "append"},
		rows: map[string]string{"/": "/", "/a": "/a", "/a/": "/a/", "/a/b?x=1": "/a/b?x=1"},
	},
	{
		name: "appended to a slash", endpoint: "/", options: object{"upstreamPath": "append"},
		rows: map[string]string{"/": "/", "/a": "/a", "/a/": "/a/"},
	},
	{
		name: "appended", endpoint: "/ws", options: object{"upstreamPath": "append"},
		rows: map[string]string{"/": "/ws", "/a": "/ws/a", "/a/": "/ws/a/", "/a/b": "/ws/a/b"},
	},
	{
		name: "appended below a path", endpoint: "/ws", options: object{"upstreamPath": "append", "path": "/socket"},
		rows: map[string]string{
			"/socket": "/ws", "/socket/": "/ws/", "/socket/a": "/ws/a", "/socket/a/": "/ws/a/", "/socket/socket": "/ws/socket",
			"/%73ocket/a": "/ws/a", "/socket?x=1": "/ws?x=1",
		},
	},
	{
		name: "appended below a path with a slash", endpoint: "/ws", options: object{"upstreamPath": "append", "path": "/socket/"},
		rows: map[string]string{"/socket": "/ws", "/socket/": "/ws/", "/socket/a": "/ws/a"},
	},
	{
		name: "appended to a path with a slash", endpoint: "/ws/", options: object{"upstreamPath": "append", "path": "/socket"},
		rows: map[string]string{"/socket": "/ws/", "/socket/": "/ws/", "/socket/a": "/ws/a", "/socket/a/": "/ws/a/"},
	},
	{
		name: "appended below a deeper, escaped path", endpoint: "/ws", options: object{"upstreamPath": "append", "path": "/my app/v%31"},
		rows: map[string]string{"/my%20app/v1/a": "/ws/a", "/my%20app/v1": "/ws"},
	},
	{
		name: "appended as sent", endpoint: "/ws", options: object{"upstreamPath": "append", "path": "/socket"},
		rows: map[string]string{
			"/socket/a%20b": "/ws/a%20b", "/socket/a%2Fb": "/ws/a%2Fb", "/socket/%C3%BC": "/ws/%C3%BC", "/socket/a//b": "/ws/a//b",
			"/socket//a": "/ws//a", "/socket/a//": "/ws/a//", "/socket/a;b=c": "/ws/a;b=c", "/socket/%3Fx%23y": "/ws/%3Fx%23y",
			"/socket/a+b,c@d:e!$&'()*~": "/ws/a+b,c@d:e!$&'()*~", "/socket/a|b^[c]": "/ws/a|b^[c]", "/socket/%25": "/ws/%25",
			"/socket/.../..a": "/ws/.../..a",
		},
		inside: map[string]string{
			"/socket/a%2fb": "/ws/a%2fb", "/socket/%c3%bc": "/ws/%c3%bc", "/socket/\xc3\xbc": "/ws/\xc3\xbc",
			"/socket/%61%2E%2Eb": "/ws/%61%2E%2Eb",
		},
	},
	{
		name: "query", endpoint: "/ws?token=a%20b&token=c",
		rows: map[string]string{
			"/": "/ws?token=a%20b&token=c", "/?x=1": "/ws?token=a%20b&token=c&x=1", "/?token=mine": "/ws?token=a%20b&token=c&token=mine",
		},
	},
	{
		name: "query as sent", endpoint: "/ws",
		rows: map[string]string{
			"/?a=1&a=2&b":         "/ws?a=1&a=2&b",
			"/?q=a+b%20c%26&=&&x": "/ws?q=a+b%20c%26&=&&x",
			"/?%zz=100%&[]=|":     "/ws?%zz=100%&[]=|",
			"/?a=\xc3\xbc&b=%C3":  "/ws?a=\xc3\xbc&b=%C3",
			"/?a?b=/../c":         "/ws?a?b=/../c",
		},
		inside: map[string]string{"/?a=1;b=2": "/ws?a=1;b=2"},
	},
}

func TestTarget(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		for _, table := range targetTables {
			t.Run(table.name, func(t *testing.T) {
				server := peerListen(t)
				gateway := forwardTo(t, e, server.endpoint()+table.endpoint, table.options)
				table.check(t, server, gateway, table.rows)
				if e.Name() != "traefik" {
					table.check(t, server, gateway, table.inside)
				}
			})
		}
	})
}

func (table targetTable) check(t *testing.T, server *peerUpstream, gateway *engine.Gateway, rows map[string]string) {
	for sent, want := range rows {
		if got := server.head(t, gateway, upgrade("GET "+sent+" HTTP/1.1")).target(); got != want {
			t.Errorf("%s goes to %s, want %s", sent, got, want)
		}
	}
}

// TestTargetClimbs is about paths that would leave what they are appended to.
func TestTargetClimbs(t *testing.T) {
	targets := []string{
		"/socket/..", "/socket/../a", "/socket/a/../..", "/socket/./a", "/socket/.", "/socket/%2e%2e/a", "/socket/%2E.", "/socket/a/.%2e/",
		"/socket/%2e", "/socket//../a",
	}
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		gateway := forwardTo(t, e, "ws://"+peerDeadAddr(t)+"/ws", object{"upstreamPath": "append", "path": "/socket"})
		for _, target := range targets {
			t.Run(target, func(t *testing.T) {
				peerDial(t, gateway, upgrade("GET "+target+" HTTP/1.1")).refusal(t, http.StatusBadRequest)
			})
		}
	})
}

// targetNamed runs an upstream that refuses everybody and tells its name.
func targetNamed(t *testing.T, name string) (endpoint string) {
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("X-Upstream", name)
		rw.WriteHeader(http.StatusForbidden)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestUpstreamRules(t *testing.T) {
	rows := []struct {
		name   string
		target string
		edits  []string
		want   string
	}{
		{name: "nothing", want: "default"},
		{name: "header", edits: []string{"X-Tenant: one"}, want: "header"},
		{name: "header in other case", edits: []string{"x-TENANT: one"}, want: "header"},
		{name: "header's second line", edits: []string{"X-Tenant: two", "X-Tenant: one"}, want: "header"},
		{name: "other value", edits: []string{"X-Tenant: One"}, want: "default"},
		{name: "longer value", edits: []string{"X-Tenant: one, two"}, want: "default"},
		{name: "query", target: "?tenant=one", want: "query"},
		{name: "query's second value", target: "?tenant=two&tenant=one", want: "query"},
		{name: "escaped query", target: "?a=b&ten%61nt=%6Fne", want: "query"},
		{name: "query in other case", target: "?Tenant=one", want: "default"},
		{name: "cookie", edits: []string{"Cookie: a=b; tenant=one"}, want: "cookie"},
		{name: "cookie in a second line", edits: []string{"Cookie: a=b", "Cookie: tenant=one"}, want: "cookie"},
		{name: "other cookie", edits: []string{"Cookie: a=one; tenant=two"}, want: "default"},
		{name: "header before query", target: "?tenant=one", edits: []string{"X-Tenant: one"}, want: "header"},
		{name: "query before cookie", target: "?tenant=one", edits: []string{"Cookie: tenant=one"}, want: "query"},
		{name: "first of two", target: "?beta=yes", edits: []string{"X-Beta: yes"}, want: "beta"},
		{name: "host", edits: []string{"Host: one.example.com"}, want: "host"},
	}
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		rule := func(by, name, value, upstream string) object {
			return object{by: name, "value": value, "upstreamEndpoint": targetNamed(t, upstream)}
		}
		gateway := forwardTo(t, e, targetNamed(t, "default"), object{"upstreamRules": []object{
			rule("header", "x-tenant", "one", "header"),
			rule("query", "tenant", "one", "query"),
			rule("cookie", "tenant", "one", "cookie"),
			rule("header", "X-Beta", "yes", "beta"),
			rule("query", "beta", "yes", "beta too late"),
			rule("header", "Host", "one.example.com", "host"),
		}})
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				resp, _ := exchange(t, gateway.Addr, upgrade("GET /"+row.target+" HTTP/1.1", row.edits...))
				if got := resp.Header.Get("X-Upstream"); got != row.want {
					t.Errorf("the upstream is %q (status %d), want %q", got, resp.StatusCode, row.want)
				}
			})
		}
	})
}

// TestUpstreamRuleTarget wants path and query of the endpoint that a rule picks.
func TestUpstreamRuleTarget(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		server := peerListen(t)
		gateway := forwardTo(t, e, "ws://"+peerDeadAddr(t)+"/default?from=default", object{
			"upstreamPath": "append",
			"upstreamRules": []object{
				{"query": "beta", "value": "yes", "upstreamEndpoint": server.endpoint() + "/beta?from=rule"},
			},
		})
		head := server.head(t, gateway, upgrade("GET /a?beta=yes HTTP/1.1"))
		if got, want := head.target(), "/beta/a?from=rule&beta=yes"; got != want {
			t.Errorf("the target is %s, want %s", got, want)
		}
		if got := head.values("Host"); len(got) != 1 || got[0] != server.addr {
			t.Errorf("Host is %q, want %q", got, server.addr)
		}
	})
}
