package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

// upstream is every WebSocket server behind the demo's gateway.
type upstream struct {
	plain  *server      // ws://
	secure *server      // wss://, with a certificate that only caFile vouches for
	silent net.Listener // takes connections and says nothing, for nobody accepts them
	caFile string
}

// startUpstream runs the servers; dir takes the certificate, and s the live sessions.
func startUpstream(dir string, s *stage) (*upstream, error) {
	certificate, caFile, err := issue(dir)
	if err != nil {
		return nil, err
	}
	var listeners [3]net.Listener
	for i := range listeners {
		if listeners[i], err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return nil, err
		}
	}
	secured := tls.NewListener(listeners[1], &tls.Config{Certificates: []tls.Certificate{certificate}})
	handler := upstreamHandler(s)
	return &upstream{
		plain:  serve(listeners[0], handler),
		secure: serve(secured, handler),
		silent: listeners[2],
		caFile: caFile,
	}, nil
}

func (u *upstream) stop() {
	u.silent.Close()
	u.secure.stop()
	u.plain.stop()
}

// behaviour is what an upstream does in a session. The connection is closed, without a close frame, when it returns.
type behaviour func(conn *websocket.Conn, req *http.Request)

// upstreamHandler has one path for each way to behave.
func upstreamHandler(s *stage) http.Handler {
	mux := http.NewServeMux()
	for path, behave := range map[string]behaviour{
		"/echo":    echo,
		"/report/": report,
		"/eu":      greet("This is the upstream in the EU."),
		"/us":      greet("This is the upstream in the US."),
		"/chat":    report,
		"/deflate": report,
		"/stay":    onMessage(stay),
		"/deaf":    onMessage(deaf),
		"/kick":    onMessage(kick),
		"/vanish":  onMessage(vanish),
		"/broken":  onMessage(sendBroken),
		"/latin":   onMessage(sendLatin),
		"/mute":    echoMute,
		"/stuck":   stuck,
	} {
		mux.Handle(path, behave)
	}
	mux.HandleFunc("/private", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("WWW-Authenticate", `Bearer realm="demo"`)
		http.Error(rw, "The upstream wants a token.", http.StatusUnauthorized)
	})
	mux.Handle("/live", s.upstreamOf(withWsfw))
	mux.Handle(routePrefix+nativeRoute, s.upstreamOf(withoutWsfw))
	mux.Handle(routePrefix+nativeRoute+"/echo", behaviour(echo))
	mux.HandleFunc(routePrefix, ownService)
	return mux
}

// ownService stands behind the routers, where requests go that wsfw leaves alone.
func ownService(rw http.ResponseWriter, req *http.Request) {
	if websocket.IsWebSocketUpgrade(req) {
		greet("This is the router's own service.").ServeHTTP(rw, req)
		return
	}
	fmt.Fprintf(rw, "The router's own service answers %s %s.\n", req.Method, req.URL.Path)
}

// ServeHTTP upgrades the connection and has it treated.
func (b behaviour) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	upgrader := websocket.Upgrader{
		Subprotocols:      []string{"chat.v2", "chat.v1"},
		EnableCompression: req.URL.Path == "/deflate",
		CheckOrigin:       func(*http.Request) bool { return true },
	}
	conn, err := upgrader.Upgrade(rw, req, nil)
	if err != nil {
		return // Upgrade has answered
	}
	defer conn.Close()
	b(conn, req)
}

// echo sends every message back; gorilla answers pings and the close.
func echo(conn *websocket.Conn, _ *http.Request) {
	for echoOne(conn) {
	}
}

func echoOne(conn *websocket.Conn) bool {
	kind, message, err := conn.ReadMessage()
	return err == nil && conn.WriteMessage(kind, message) == nil
}

// greet says a sentence before it echoes.
func greet(sentence string) behaviour {
	return func(conn *websocket.Conn, req *http.Request) {
		say(conn, sentence)
		echo(conn, req)
	}
}

func say(conn *websocket.Conn, text string) {
	_ = conn.WriteMessage(websocket.TextMessage, []byte(text)) // where this fails, so does the next read
}

// report tells the request that arrived, and what was agreed upon, before it echoes.
func report(conn *websocket.Conn, req *http.Request) {
	say(conn, describe(req)+"\nagreed subprotocol: "+orNone(conn.Subprotocol())+"\nagreed compression: "+agreedCompression(req))
	echo(conn, req)
}

func describe(req *http.Request) string {
	lines := []string{}
	for name, values := range req.Header {
		if name != "Sec-Websocket-Key" && name != "Connection" && name != "Upgrade" {
			lines = append(lines, name+": "+strings.Join(values, ", "))
		}
	}
	slices.Sort(lines)
	return "The upstream got\n" + req.Method + " " + req.RequestURI + "\nHost: " + req.Host + "\n" + strings.Join(lines, "\n")
}

// agreedCompression repeats gorilla's decision, which it tells nobody: deflate, where it is offered and enabled.
func agreedCompression(req *http.Request) string {
	if req.URL.Path == "/deflate" && strings.Contains(req.Header.Get("Sec-WebSocket-Extensions"), "permessage-deflate") {
		return "permessage-deflate"
	}
	return orNone("")
}

func orNone(value string) string {
	if value == "" {
		return "none"
	}
	return value
}

// onMessage echoes the first message, and then does something else.
func onMessage(act func(conn *websocket.Conn)) behaviour {
	return func(conn *websocket.Conn, _ *http.Request) {
		if echoOne(conn) {
			act(conn)
		}
	}
}

// stay answers pings for three seconds more, and closes.
func stay(conn *websocket.Conn) {
	end := time.AfterFunc(3*time.Second, func() {
		frame := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "three seconds are over")
		_ = conn.WriteControl(websocket.CloseMessage, frame, time.Now().Add(time.Second))
	})
	defer end.Stop()
	echo(conn, nil)
}

// deaf takes what comes and answers nothing, not even pings, until the connection is taken from it.
func deaf(conn *websocket.Conn) {
	_, _ = io.Copy(io.Discard, conn.NetConn())
}

// kick closes with a code of the application's own and waits for the answer.
func kick(conn *websocket.Conn) {
	frame := websocket.FormatCloseMessage(4001, "kicked")
	_ = conn.WriteControl(websocket.CloseMessage, frame, time.Now().Add(time.Second))
	_, _, _ = conn.ReadMessage()
}

// vanish does nothing: the connection is closed next.
func vanish(*websocket.Conn) {}

// sendBroken sends a frame with a bit set that no extension has been agreed upon for (RFC 6455 section 5.2), and
// waits for what comes of it.
func sendBroken(conn *websocket.Conn) {
	_, _ = conn.NetConn().Write([]byte{0xC1, 0x02, 'h', 'i'})
	_, _, _ = conn.ReadMessage()
}

// sendLatin sends text that is not UTF-8 (RFC 6455 section 5.6), and waits for what comes of it.
func sendLatin(conn *websocket.Conn) {
	_ = conn.WriteMessage(websocket.TextMessage, []byte("caf\xe9"))
	_, _, _ = conn.ReadMessage()
}

// echoMute echoes but leaves a close frame without an answer, until the connection is taken from it.
func echoMute(conn *websocket.Conn, req *http.Request) {
	conn.SetCloseHandler(func(int, string) error { return nil })
	echo(conn, req)
	_, _ = conn.NetConn().Read(make([]byte, 1))
}

// stuck reads nothing until the session is over. It has a look now and then, for a connection that is not read
// does not tell when its peer is gone.
func stuck(conn *websocket.Conn, req *http.Request) {
	if tcp, ok := conn.NetConn().(*net.TCPConn); ok {
		_ = tcp.SetReadBuffer(16 << 10)
	}
	for range 60 {
		time.Sleep(time.Second)
		ping := time.Now().Add(100 * time.Millisecond)
		if conn.WriteControl(websocket.PingMessage, nil, ping) != nil {
			return
		}
	}
}
