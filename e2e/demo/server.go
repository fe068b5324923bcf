package main

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

// shutdownTimeout is how long requests may take to end by themselves.
const shutdownTimeout = 2 * time.Second

// quiet takes what net/http has to say about handshakes and proxied requests that fail, for here they fail on purpose.
var quiet = log.New(io.Discard, "", 0)

// server is an HTTP server that ends completely: net/http's own forgets connections that were taken over, and
// here these are most.
type server struct {
	addr    string
	http    *http.Server
	handler http.Handler

	mu   sync.Mutex
	busy map[net.Conn]bool // with a handler at work
	wait sync.WaitGroup    // for those handlers, and for Serve
}

// connKey is the context key of a request's connection.
type connKey struct{}

// serve runs handler behind listener until stop.
func serve(listener net.Listener, handler http.Handler) *server {
	s := &server{addr: listener.Addr().String(), handler: handler, busy: map[net.Conn]bool{}}
	s.http = &http.Server{
		Handler:           http.HandlerFunc(s.track),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          quiet,
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, conn)
		},
	}
	s.wait.Go(func() { _ = s.http.Serve(listener) })
	return s
}

// track knows a connection for as long as its handler runs, which for a WebSocket is as long as it lives.
func (s *server) track(rw http.ResponseWriter, req *http.Request) {
	conn, _ := req.Context().Value(connKey{}).(net.Conn)
	s.mu.Lock()
	s.busy[conn] = true
	s.mu.Unlock()
	s.wait.Add(1)
	defer func() {
		s.mu.Lock()
		delete(s.busy, conn)
		s.mu.Unlock()
		s.wait.Done()
	}()
	s.handler.ServeHTTP(rw, req)
}

// stop lets requests end, cuts the connections that remain, and returns when every handler has.
func (s *server) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	_ = s.http.Shutdown(ctx)
	s.http.Close()
	s.mu.Lock()
	for conn := range s.busy {
		conn.Close()
	}
	s.mu.Unlock()
	s.wait.Wait()
}
