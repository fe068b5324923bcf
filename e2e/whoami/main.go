// Whoami stands in for the image traefik/whoami where no registry can be reached. It does what the examples use of that:
// a WebSocket echo at /echo, and everywhere else an answer that tells the WHOAMI_NAME. It listens on port 80, and ends
// with status 0 when it is told to stop, with the sessions that it has then.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	gorilla "github.com/gorilla/websocket"
)

func main() {
	stopped, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go func() { log.Fatal(http.ListenAndServe(":80", handler())) }()
	<-stopped.Done()
}

func handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", echo)
	mux.HandleFunc("/", func(rw http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(rw, "Name: %s\n", os.Getenv("WHOAMI_NAME"))
	})
	return mux
}

// echo sends every message back until the session ends.
func echo(rw http.ResponseWriter, req *http.Request) {
	upgrader := gorilla.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	conn, err := upgrader.Upgrade(rw, req, nil)
	if err != nil {
		return // Upgrade has answered
	}
	defer conn.Close()
	for {
		kind, message, err := conn.ReadMessage()
		if err != nil || conn.WriteMessage(kind, message) != nil {
			return
		}
	}
}
