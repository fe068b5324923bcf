package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Bounds of a probe: its time, and how much of an answer's body is shown.
const (
	probeTimeout = 10 * time.Second
	probeBody    = 16 << 10
)

// question is one request by hand, for browsers tell a page nothing about an upgrade that failed.
type question struct {
	route  string // a scenario's
	suffix string // path and query below the route
	origin string // none where empty
	offer  string // Sec-WebSocket-Protocol, none where empty
	plain  bool   // ask for no upgrade
}

// answer is what came of it. Heads are as they went over the wire.
type answer struct {
	Request string `json:"request"`
	Status  int    `json:"status"`
	Head    string `json:"head"`
	Body    string `json:"body"`
}

// head spells the request, for a server at addr.
func (q question) head(addr string) (string, error) {
	target := routePrefix + q.route + q.suffix
	if strings.ContainsFunc(target+q.origin+q.offer, func(r rune) bool { return r < ' ' || r == 0x7f }) || strings.Contains(target, " ") {
		return "", errors.New("a request's line holds no spaces and no control characters")
	}
	if _, err := url.ParseRequestURI(target); err != nil {
		return "", err
	}
	lines := []string{"GET " + target + " HTTP/1.1", "Host: " + addr}
	if q.origin != "" {
		lines = append(lines, "Origin: "+q.origin)
	}
	if q.plain {
		return strings.Join(append(lines, "Connection: close"), "\r\n") + "\r\n\r\n", nil
	}
	key := base64.StdEncoding.EncodeToString([]byte("sixteen bytes..."))
	lines = append(lines, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: "+key,
		"Sec-WebSocket-Extensions: permessage-deflate")
	if q.offer != "" {
		lines = append(lines, "Sec-WebSocket-Protocol: "+q.offer)
	}
	return strings.Join(lines, "\r\n") + "\r\n\r\n", nil
}

// send connects to the server at addr, from an IP address of this machine's or any where that is empty, and asks. It returns
// the connection, with probeTimeout to answer, and the request's head.
func (q question) send(from, addr string) (net.Conn, string, error) {
	head, err := q.head(addr)
	if err != nil {
		return nil, "", err
	}
	dialer := net.Dialer{Timeout: probeTimeout}
	if from != "" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	conn, err := dialer.Dial("tcp", addr)
	if err != nil {
		return nil, "", err
	}
	conn.SetDeadline(time.Now().Add(probeTimeout))
	if _, err := io.WriteString(conn, head); err != nil {
		conn.Close()
		return nil, "", err
	}
	return conn, head, nil
}

// ask has the head of an answer read. Where that is a 101, what is read next from the returned reader is the session's.
func (q question) ask(from, addr string) (net.Conn, *bufio.Reader, *http.Response, error) {
	conn, _, err := q.send(from, addr)
	if err != nil {
		return nil, nil, nil, err
	}
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		conn.Close()
		return nil, nil, nil, fmt.Errorf("reading the answer: %w", err)
	}
	return conn, in, resp, nil
}

// dial opens a session, which has no deadline.
func (q question) dial(from, addr string) (net.Conn, *bufio.Reader, error) {
	conn, in, resp, err := q.ask(from, addr) //nolint:bodyclose // the connection is closed instead
	if err != nil {
		return nil, nil, err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		conn.Close()
		return nil, nil, fmt.Errorf("the upgrade is answered %s", resp.Status)
	}
	conn.SetDeadline(time.Time{})
	return conn, in, nil
}

// probe asks the server at addr. A session that comes of it is closed again.
func probe(addr string, q question) (*answer, error) {
	conn, head, err := q.send("", addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	var seen bytes.Buffer
	resp, err := http.ReadResponse(bufio.NewReader(io.TeeReader(conn, &seen)), nil)
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	defer resp.Body.Close()
	raw, _, _ := strings.Cut(seen.String(), "\r\n\r\n")
	body, err := io.ReadAll(io.LimitReader(resp.Body, probeBody))
	if resp.StatusCode == http.StatusSwitchingProtocols {
		hangUp(conn)
	}
	return &answer{Request: strings.TrimSpace(head), Status: resp.StatusCode, Head: raw, Body: string(body)}, err
}

// hangUp closes a session as RFC 6455 section 7.1.2 wants it, so that its record says so.
func hangUp(conn net.Conn) {
	_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
	// FIN and close, masked, two bytes: 1000 under a key of zeros.
	if _, err := conn.Write([]byte{0x88, 0x82, 0, 0, 0, 0, 0x03, 0xE8}); err == nil {
		_, _ = io.Copy(io.Discard, conn)
	}
}
