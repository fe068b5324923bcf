package wsfw

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Ushers see visits in to their sessions, and out. An interpreted call makes every value in the body of what it calls,
// which was most of what an opening handshake cost. So the common way through it is the body of one loop, whose values
// are made once for many visits, and what is seldom needed is done by other functions. It has goroutines of its own, for
// it takes a lot of stack, and a stack that has grown is kept for as long as it is in use.

// ushers are those of all middlewares.
var ushers = &staff{}

// arrivals are visits on their way to an usher, which is or will be free for each. One that is nil sends it away.
var arrivals = make(chan *visit)

// staff is who is there for arrivals.
type staff struct {
	free atomic.Int64 // those who have no visit, less those arrivals and dismissals that are theirs already

	mu    sync.Mutex
	there int         // of them all
	timer *time.Timer // relieves them; runs while there are any
}

// shift is how often ushers without a visit are sent away: soon, for they keep their stack and what their last visit
// has left, and not so soon that many who come at once each need another.
const shift = 250 * time.Millisecond

// init, for the initial value may not refer to what refers to ushers.
func init() {
	ushers.timer = time.AfterFunc(forever, func() {
		defer swallow()
		relieve(ushers)
	})
}

// relieve sends away who has no visit, and comes again while there is somebody.
func relieve(u *staff) {
	for u.free.Add(-1) >= 0 {
		arrivals <- nil
	}
	u.free.Add(1)
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.there > 0 {
		u.timer.Reset(shift)
	}
}

// attended has an usher see to a visit: at first it is taken to its session, which has begun then, and once that has
// ended it is seen out. It panics with what the usher has panicked with.
func attended(v *visit) {
	if ushers.free.Add(-1) < 0 {
		hire(ushers)
	}
	arrivals <- v
	<-v.done
	if v.panicked != nil {
		raise(v.panicked)
	}
}

// hire has one more usher, for an arrival that found none free.
func hire(u *staff) {
	u.free.Add(1)
	u.mu.Lock()
	u.there++
	if u.there == 1 {
		u.timer.Reset(shift)
	}
	u.mu.Unlock()
	go usher(&post{})
}

// post is where an usher stands.
type post struct {
	visit *visit // that it is with
}

// leavePost, deferred, follows an usher's end. Where that is a panic it is kept for the handler, and the visit has no
// session.
func leavePost(p *post) {
	r := recover()
	ushers.mu.Lock()
	ushers.there--
	ushers.mu.Unlock()
	if v := p.visit; v != nil {
		v.panicked = r
		v.session = nil
		v.done <- true
	}
}

// usher sees visits in and out, one after the other, until there is none for it. On the way in it checks the upgrade,
// does both opening handshakes, the upstream's first, and joins the connections. There is no session where it has given
// the client another answer than 101, or has left that to the handler, which passes requests on to next. A handshake
// with an upstream is kept within upgradeTimeout, and to the time that the client waits. On the way out it writes the
// session's record.
//
//nolint:funlen,gocognit,gocyclo,maintidx // see above
func usher(p *post) {
	defer leavePost(p)
	nonce, lines := make([]byte, 16), new(bytes.Buffer)
	limited := &io.LimitedReader{}
	reader := bufio.NewReaderSize(limited, answerBufferBytes)
	var refused *refusal
	var server any     // that the latest visit has come by,
	var around *roster // and its sessions
	var answer *http.Response
	var sum [sha1.Size]byte // acceptFor
	var proof string
	var client net.Conn
	var buffered *bufio.ReadWriter
	var source io.Reader
	var err error
	for {
		if last := p.visit; last != nil {
			p.visit = nil
			ushers.free.Add(1)
			last.done <- true
		}
		v := <-arrivals
		if v == nil {
			return
		}
		p.visit = v
		m, rw, req := v.middleware, v.rw, v.req

		// On the way out: the session is over.
		if v.session != nil {
			s := v.session
			end(s)
			now := time.Now()
			up, down, took := s.toUpstream, s.toClient, now.Sub(v.started)
			pulse := s.unpinged
			if s.pinged {
				pulse = pulsesOf(s)
			}
			logLine(&record{
				Time:         now.UTC().Format(timeLayout),
				Level:        "info",
				Plugin:       "wsfw",
				Message:      "websocket session",
				Name:         m.name,
				Client:       v.client,
				Upstream:     v.upstream,
				Path:         v.path,
				Subprotocol:  v.subprotocol,
				Duration:     float64((took+time.Millisecond/2)/time.Millisecond) / 1000,
				FromClient:   traffic{Frames: up.track.frames, Messages: up.track.messages, Bytes: up.bytes},
				FromUpstream: traffic{Frames: down.track.frames, Messages: down.track.messages, Bytes: down.bytes},
				Heartbeat:    pulse,
				EndedBy:      s.outcome.endedBy,
				Code:         s.outcome.code,
				Reason:       s.outcome.reason,
			})
			continue
		}

		// On the way in: the client asks for an upgrade.
		set, header, ctx := m.settings, req.Header, req.Context()
		v.started = time.Now()
		v.client = req.RemoteAddr
		v.path = req.URL.EscapedPath()
		if req.URL.RawPath != "" {
			v.path = sentPath(req.URL)
		}
		v.plain = usualRequest.MatchString(fmt.Sprintf(requestWords, req.Method, req.ProtoMajor, req.ProtoMinor, req.ContentLength,
			req.TransferEncoding, header["Upgrade"], header["Connection"], header[versionHeader], header[keyHeader],
			header["X-Forwarded-For"], header["X-Forwarded-Host"], header["X-Forwarded-Proto"]))
		if !v.plain || len(set.origins) > 0 || header[protocolHeader] != nil || header[extensionsHeader] != nil {
			refused = check(v, set, req)
			if refused != nil {
				refuse(rw, refused)
				continue
			}
		} else {
			v.offer = noOffer
		}
		if at := ctx.Value(http.ServerContextKey); at == nil || at != server {
			server = at
			around = rosterOf(ctx)
		}
		if around.shutdown.Err() != nil {
			refuse(rw, refuseRestart)
			continue
		}

		// There is a place for its session.
		ip, _, _ := net.SplitHostPort(req.RemoteAddr)
		v.ip = ip
		v.guest = ip
		l := set.limits
		if ip == "" || l.clientHeader != "" {
			v.guest = clientOf(req, l.clientHeader)
		}
		occupiedMu.Lock()
		room := occupied[m.name]
		if room == nil {
			room = newPlaces(m.name)
		}
		refused = nil
		if l.bounded {
			if l.maxConnections > 0 && room.all >= l.maxConnections {
				refused = refuseCrowd
			} else if l.maxPerClient > 0 && room.byClient[v.guest] >= l.maxPerClient {
				refused = refuseClient
			}
		}
		if refused == nil {
			room.all++
			room.byClient[v.guest]++
			v.places = room
		}
		occupiedMu.Unlock()
		if refused != nil {
			refuse(rw, refused)
			continue
		}
		if !set.forward {
			if set.inline {
				between(v, rw, req)
			} else {
				v.checked = v.offer.onto(req)
			}
			if v.session != nil {
				begin(v.session, around)
			}
			continue
		}

		// The upstream is asked for the same, and agrees.
		u := set.upstream
		e := u.endpoint
		if u.rules != nil {
			e = choose(u, req)
		}
		target, query := e.target, req.URL.RawQuery
		if query != "" || u.appendPath {
			full, ok := targetFor(u, e, restOf(v), query)
			if !ok {
				refuse(rw, refusePath)
				continue
			}
			target = full
		}
		v.upstream = e.label
		if e.secure {
			v.dialed, err = dialSecure(ctx, u, e)
		} else {
			v.dialed, err = u.dialer.DialContext(ctx, "tcp", e.address)
		}
		if err != nil {
			failUpstream(v, err)
			continue
		}
		conn := v.dialed
		if u.upgradeTimeout > 0 {
			_ = conn.SetDeadline(time.Now().Add(u.upgradeTimeout))
		}
		release := onDone(ctx, conn)
		_, _ = rand.Read(nonce)
		key := base64.StdEncoding.EncodeToString(nonce)
		sent, origin, host := header, "", e.host
		if !v.plain || ip == "" {
			sent = completed(v, req)
		} else if u.tellsSource {
			origin = "X-Forwarded-For: " + ip + "\r\n"
		}
		if u.passHost {
			host = req.Host
		}
		lines.Reset()
		_ = sent.WriteSubset(lines, u.withheld)
		_, err = fmt.Fprintf(conn, requestForm, target, host, key, v.offer.lines, origin, lines, u.tail)
		if err == nil {
			limited.R = conn
			limited.N = maxAnswerHeader
			reader.Reset(limited)
			//nolint:bodyclose // the body is read from the connection, which is closed
			answer, err = http.ReadResponse(reader, anyGet)
			if err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
				//nolint:bodyclose // as above
				answer, err = finalAnswer(reader, answer, err)
			}
		}
		release()
		if err != nil {
			failUpstream(v, err)
			continue
		}
		_ = conn.SetDeadline(never)
		if answer.StatusCode != http.StatusSwitchingProtocols {
			passOn(v, answer, limited)
			continue
		}
		agreed := answer.Header
		sum = sha1.Sum([]byte(key + keyGUID))
		proof = base64.StdEncoding.EncodeToString(sum[:])
		v.rules = set.rules
		v.agreed = fmt.Sprintf(answerWords, agreed["Upgrade"], agreed["Connection"], agreed[acceptHeader],
			agreed[protocolHeader], agreed[extensionsHeader]) == usualAnswer+proof+usualEnd
		if !v.agreed {
			err = verify(v, agreed, proof)
			if err != nil {
				failUpstream(v, err)
				continue
			}
		}

		// The client is told, and the connections are joined.
		added, withheld := rw.Header(), notToClient
		hijacker, ok := rw.(http.Hijacker)
		if ok {
			client, buffered, err = hijacker.Hijack()
		} else {
			client, buffered, err = http.NewResponseController(rw).Hijack()
		}
		if err != nil {
			reportClient(v, errNotHijackable)
			refuse(rw, refuseHijack)
			continue
		}
		v.taken = client
		source = client
		if buffered.Reader.Buffered() > 0 {
			source = after(early(buffered.Reader), client)
		}
		*buffered.Reader = spent // see takeOver
		if !v.agreed || len(added) > 0 {
			agreed = over(added, agreed)
			withheld = negotiated
		}
		lines.Reset()
		if v.chosen {
			writeNegotiated(lines, agreed)
		}
		_ = agreed.WriteSubset(lines, withheld)
		sum = sha1.Sum([]byte(header[keyHeader][0] + keyGUID))
		proof = base64.StdEncoding.EncodeToString(sum[:])
		_, err = fmt.Fprintf(client, switchingForm, proof, lines)
		if err != nil {
			reportClient(v, err)
			continue
		}
		near := &side{name: clientSide, conn: client, source: client, reader: source}
		far := &side{name: upstreamSide, conn: conn, source: conn, reader: conn}
		if reader.Buffered() > 0 {
			far.reader = after(early(reader), conn)
		}
		v.session = newSession(near, far, v.rules, set, m.report)
		begin(v.session, around)
	}
}
