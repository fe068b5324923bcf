package wsfw

import (
	"net/netip"
	"strings"
	"sync"
	"time"
)

// limits are the bounds of a session, and of how many there are. Zero is off, but for closeTimeout and drainTimeout.
type limits struct {
	pingInterval  time.Duration
	pingClient    bool
	pingUpstream  bool
	pongTimeout   time.Duration // longest silence of a pinged peer
	maxInactivity time.Duration // longest time without a data frame in either direction
	maxLifetime   time.Duration // longest session, before it is spread
	writeTimeout  time.Duration // longest time that a peer may block a write
	closeTimeout  time.Duration // longest wait for what a close frame has to bring about
	drainTimeout  time.Duration // over how long closes at a shutdown are spread

	restartCode      int // close code for the client at a shutdown
	upstreamLostCode int // and where its upstream is lost

	maxFrameSize   int     // payload of a data frame, bytes
	maxMessageSize int     // payload of a message as on the wire, bytes
	messageRate    float64 // data messages of a client a second
	messageBurst   float64 // and at once, at least one

	maxConnections int    // sessions of the middleware,
	maxPerClient   int    // of one of its clients,
	clientHeader   string // who is told by this header of the request; empty: by its address

	// What follows from these: see settled.
	tick      time.Duration // how often a pump at work looks up
	grace     time.Duration // how long a peer that is overdue is listened to once more
	idleLimit time.Duration // maxInactivity; forever where that is off
	bounded   bool          // the number of sessions is
	timed     bool          // something may be due for a session before it closes
	unpinged  *pulses       // in the record of a session that was not pinged yet
	briefest  time.Duration // lifetime of a session,
	spread    uint64        // by how much, in nanoseconds, others are longer at most
}

const (
	// quietTick is how often a pump at work looks up where no option asks for more: often enough to give back the buffer
	// of a session that has gone quiet.
	quietTick = 10 * time.Second

	// maxGrace bounds grace: as long as a process that stood still may need to hear what came meanwhile.
	maxGrace = 250 * time.Millisecond

	// minDuration and maxDuration bound what a session can keep. The longest leaves room for sums.
	minDuration     = 10 * time.Millisecond
	maxDuration     = 100 * 365 * 24 * time.Hour
	maxCloseTimeout = 24 * time.Hour

	// maxCount is the largest number of sessions, and of messages a second and at once: more than there can be.
	maxCount = 1_000_000_000
)

// settled has the limits know what follows from them, which no session has to find out again.
func (l limits) settled() *limits {
	if l.restartCode == 0 {
		l.restartCode = closeRestart
	}
	if l.upstreamLostCode == 0 {
		l.upstreamLostCode = closeBadGateway
	}
	l.tick = l.workTick()
	l.grace = clamped(l.pongTimeout/8, minDuration, maxGrace)
	l.idleLimit = later(0, l.maxInactivity)
	l.bounded = l.maxConnections > 0 || l.maxPerClient > 0
	l.timed = l.maxLifetime > 0 || l.maxInactivity > 0 || l.pingInterval > 0
	l.briefest = l.maxLifetime - l.maxLifetime/10
	l.spread = uint64(l.maxLifetime/5) + 1
	l.unpinged = l.noPulses()
	return &l
}

// workTick is how often a pump at work has to look up: what it then finds out is at most this much older than its option
// says.
func (l limits) workTick() time.Duration {
	tick := quietTick
	for _, bound := range []time.Duration{l.writeTimeout / 4, l.maxInactivity / 8, l.pongTimeout / 4} {
		if bound > 0 && bound < tick {
			tick = bound
		}
	}
	return tick
}

// clamped is d, but at least and at most something else.
func clamped(d, lowest, highest time.Duration) time.Duration {
	if d < lowest {
		return lowest
	}
	if d > highest {
		return highest
	}
	return d
}

// later is d after a time, and forever where d is off.
func later(at, d time.Duration) time.Duration {
	if d <= 0 {
		return forever
	}
	return at + d
}

// connCounts has how many sessions there are, by the name of their middleware and by clientKey, so a reload, which makes
// new middlewares, changes nothing. They count from the request on, and whether there are limits or not, for a reload may
// bring some.
var (
	connCountsMu sync.Mutex
	connCounts   = map[string]int{}
)

// countConn has an upgrade's session count, unless there are too many, or there is to be none any more.
func countConn(u *upgrade, l *limits) *refusal {
	if u.server.shutdown.Err() != nil {
		return refuseRestart
	}
	name := u.middleware.name
	client := u.ip
	if client == "" || l.maxPerClient > 0 {
		client = clientOf(u, l)
	}
	key := name + "\n" + client
	connCountsMu.Lock()
	if l.bounded {
		refused := tooMany(l, name, key)
		if refused != nil {
			connCountsMu.Unlock()
			return refused
		}
	}
	connCounts[name]++
	connCounts[key]++
	connCountsMu.Unlock()
	u.clientKey = key
	return nil
}

// tooMany is why there may be no more sessions of the middleware called name, or of its client with this key, or nil. Needs
// connCountsMu.
func tooMany(l *limits, name, key string) *refusal {
	if l.maxConnections > 0 && connCounts[name] >= l.maxConnections {
		return refuseFull
	}
	if l.maxPerClient > 0 && connCounts[key] >= l.maxPerClient {
		return refuseClientFull
	}
	return nil
}

// uncountConn undoes countConn.
func uncountConn(name, clientKey string) {
	connCountsMu.Lock()
	for _, key := range []string{name, clientKey} {
		connCounts[key]--
		if connCounts[key] == 0 {
			delete(connCounts, key)
		}
	}
	connCountsMu.Unlock()
}

// clientOf tells clients apart: by a header of the request, or by their address where it has none.
func clientOf(u *upgrade, l *limits) string {
	if values := u.req.Header[l.clientHeader]; len(values) > 0 {
		return l.clientHeader + ": " + strings.Join(values, ", ")
	}
	if u.ip == "" {
		return u.req.RemoteAddr
	}
	return clientNetwork(u.ip)
}

// clientNetwork is an IPv4 address, or the /64 of an IPv6 one, for one client has as many addresses as that. An IPv4
// address in IPv6's form is that address; link-local ones, which share a single network, are told apart.
func clientNetwork(ip string) string {
	addr, err := netip.ParseAddr(ip)
	if err != nil || addr.Is4() || addr.IsLinkLocalUnicast() {
		return ip
	}
	if addr.Is4In6() {
		return addr.Unmap().String()
	}
	prefix, _ := addr.Prefix(64) // which each IPv6 address has
	return prefix.String()
}

// sharing is into how many shares a full bucket is divided: it is looked at again when one has been used up, and by each
// call of relay, for a look costs an interpreted clock. After a pause between two looks up to a share of what came before
// it may pass beside a full bucket.
const sharing = 16

// A client's control frames, a second and at once: more than any application sends.
const (
	controlRate  = 100
	controlBurst = 1000
)

// bucket bounds a rate: a token bucket that is looked at now and then. Times count from the session's start.
type bucket struct {
	rate, depth float64       // tokens a second, and at most
	share       int           // of the tokens, that are given out together
	tokens      float64       // that there were
	at          time.Duration // then,
	counted     int64         // and what had come until then
}

// refill adds what has flowed into the bucket until now, and takes out what has come since, of which there are counted in
// all. It returns how many more may come now: if there are tokens for that, as many as are needed and a share besides.
func refill(b *bucket, counted int64, needed int, now time.Duration) int {
	b.tokens += (now-b.at).Seconds()*b.rate - float64(counted-b.counted)
	if b.tokens > b.depth {
		b.tokens = b.depth
	}
	b.at = now
	b.counted = counted
	given := int(b.tokens)
	if given > needed+b.share {
		given = needed + b.share
	}
	return given
}

// meter bounds the rates of a client's messages, if that is set, and of its control frames, by full buckets.
func meter(p *parser, l *limits) {
	if l.messageRate > 0 {
		p.metered = true
		p.bucket = newBucket(l.messageRate, l.messageBurst)
		p.ceiling = 0
	}
	if !p.judged {
		return
	}
	rate := float64(controlRate)
	if l.pingInterval > 0 && l.pingClient {
		rate += 1 / l.pingInterval.Seconds() // the pongs that we ask for
	}
	p.allowance = newBucket(rate, controlBurst)
	p.maxControls = 0
}

// newBucket makes a full one.
func newBucket(rate, depth float64) bucket {
	return bucket{rate: rate, depth: depth, share: int(depth / sharing), tokens: depth}
}

// allowMessages sets the ceiling of p's messages by its bucket, and returns how many may come until that is reached. A
// message takes its token when it ends, but has to find it there when it begins.
func allowMessages(p *parser, needed int, now time.Duration) int {
	given := refill(&p.bucket, p.messages, needed, now)
	p.ceiling = p.messages + int64(given)
	return given
}

// allowControl is allowMessages for a control frame. It is false where there may be none.
func allowControl(p *parser) bool {
	given := refill(&p.allowance, p.controls, 1, time.Since(p.opened))
	p.maxControls = p.controls + int64(given)
	return given > 0
}
