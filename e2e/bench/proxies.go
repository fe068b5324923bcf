package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/wsfw/wsfw/e2e/engine"
)

// proxy is a program from the distribution that forwards sessions, with the configuration that its manual gives for
// WebSocket, and without a log of requests: Traefik by itself has none either.
type proxy struct {
	name    string
	file    string   // configuration, with LISTEN, its PORT, UPSTREAM and DIR in place of what a run has for them
	args    []string // likewise; the configuration is DIR/config
	version []string // command that tells the version; its program is the proxy's
	streams bool     // clients come over HTTP/2; DIR/pair is a certificate with its key
}

var proxies = []proxy{
	{
		name:    "nginx",
		args:    []string{"-p", "DIR", "-c", "DIR/config"},
		version: []string{"nginx", "-v"},
		file: `daemon off;
pid DIR/pid;
error_log stderr crit;
worker_processes auto;
worker_rlimit_nofile 20000;
events { worker_connections 16384; }
http {
  access_log off;
  client_body_temp_path DIR/body;
  proxy_temp_path DIR/proxy;
  fastcgi_temp_path DIR/fastcgi;
  uwsgi_temp_path DIR/uwsgi;
  scgi_temp_path DIR/scgi;
  server {
    listen LISTEN;
    location / {
      proxy_pass http://UPSTREAM;
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection upgrade;
      proxy_read_timeout 1h;
      proxy_send_timeout 1h;
    }
  }
}
`,
	},
	{
		name:    "haproxy",
		args:    []string{"-db", "-f", "DIR/config"},
		version: []string{"haproxy", "-v"},
		file:    haproxyFile("LISTEN"),
	},
	{
		name:    "haproxy-http2",
		streams: true,
		args:    []string{"-db", "-f", "DIR/config"},
		version: []string{"haproxy", "-v"},
		file:    haproxyFile("LISTEN ssl crt DIR/pair alpn h2,http/1.1"),
	},
	{
		name:    "caddy",
		args:    []string{"run", "--config", "DIR/config", "--adapter", "caddyfile"},
		version: []string{"caddy", "version"},
		file: `{
  admin off
  auto_https off
  log {
    level ERROR
  }
}
http://:PORT {
  bind 127.0.0.1
  reverse_proxy UPSTREAM
}
`,
	},
}

// system is the proxy as one.
func (p proxy) system() system {
	return system{name: p.name, start: p.start, versions: versionOf(p.version...)}
}

// start runs the program in a directory of its own.
func (p proxy) start(upstream string, _ bool) (*gateway, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "wsfw-"+p.name+"-")
	if err != nil {
		return nil, err
	}
	program, err := p.launch(dir, strings.NewReplacer("LISTEN", addr, "PORT", port, "UPSTREAM", upstream, "DIR", dir))
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	stop := func() {
		program.stop()
		os.RemoveAll(dir)
	}
	if err := program.awaitListening(addr); err != nil {
		said, _ := os.ReadFile(filepath.Join(dir, errorsFile)) // without it there is still what has gone wrong
		stop()
		return nil, fmt.Errorf("%w: %s", err, said)
	}
	if p.streams {
		addr = overHTTP2 + addr
	}
	return &gateway{addr: addr, pids: []int{program.pid()}, stop: stop}, nil
}

// errorsFile is what the program writes to its standard error, in its directory.
const errorsFile = "errors"

// launch starts the program with what stands for the run's own in its configuration and arguments.
func (p proxy) launch(dir string, own *strings.Replacer) (*program, error) {
	if err := os.WriteFile(filepath.Join(dir, "config"), []byte(own.Replace(p.file)), 0o644); err != nil {
		return nil, err
	}
	if p.streams {
		pair, err := engine.CertificatePEM()
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, "pair"), pair, 0o600); err != nil {
			return nil, err
		}
	}
	said, err := os.Create(filepath.Join(dir, errorsFile))
	if err != nil {
		return nil, err
	}
	defer said.Close()
	var args []string
	for _, arg := range p.args {
		args = append(args, own.Replace(arg))
	}
	cmd := exec.Command(p.version[0], args...)
	cmd.Dir, cmd.Stderr = dir, said
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	return launch(cmd)
}

// haproxyFile is the configuration of an HAProxy whose clients come by what is bound.
func haproxyFile(bind string) string {
	return `global
  maxconn 9000
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  timeout tunnel 1h
frontend clients
  bind ` + bind + `
  default_backend upstream
backend upstream
  server one UPSTREAM
`
}
