package e2e

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wsfw/wsfw/e2e/wire"
)

// rawTimeout bounds one request with its answer.
const rawTimeout = 10 * time.Second

// raw spells a request: its lines as given, each with its CRLF, and the empty line that ends the head.
func raw(lines ...string) string {
	return strings.Join(lines, "\r\n") + "\r\n\r\n"
}

// sampleKey is the Sec-WebSocket-Key that a case sends unless it asks for another.
const sampleKey = wire.SampleKey

// upgrade spells a valid upgrade with edits. "Name: value" stands in for the valid line of that name, or is one
// more line; "!Name" drops the line.
func upgrade(start string, edits ...string) string {
	valid := []string{
		"Host: chat.example.com",
		"Upgrade: websocket",
		"Connection: Upgrade",
		"Sec-WebSocket-Key: " + sampleKey,
		"Sec-WebSocket-Version: 13",
	}
	lines := []string{start}
	for _, line := range valid {
		name, _, _ := strings.Cut(line, ":")
		if !slices.ContainsFunc(edits, func(edit string) bool { return names(edit, name) }) {
			lines = append(lines, line)
		}
	}
	for _, edit := range edits {
		if !strings.HasPrefix(edit, "!") {
			lines = append(lines, edit)
		}
	}
	return raw(lines...)
}

// names tells whether an edit is about the header of that name, in any case.
func names(edit, name string) bool {
	edited, _, _ := strings.Cut(strings.TrimPrefix(edit, "!"), ":")
	return strings.EqualFold(edited, name)
}

// exchange sends a request exactly as spelled, and returns the answer with its body read.
func exchange(t testing.TB, addr, request string) (*http.Response, string) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, rawTimeout)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(rawTimeout))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(request, " ")
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("reading the answer: %v", err)
	}
	defer resp.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(resp.Body); err != nil {
		t.Fatalf("reading the answer's body: %v", err)
	}
	return resp, body.String()
}
