package wsfw

import (
	"errors"
	"math"
	"net/textproto"
	"strconv"
	"strings"
	"time"
)

// limits are the bounds of a session. Zero is off, but for closeTimeout and drainTimeout.
type limits struct {
	pingInterval  time.Duration
	pingClient    bool
	pingUpstream  bool
	pongTimeout   time.Duration // longest silence of a pinged side
	maxInactivity time.Duration // longest time without a data frame in either direction
	maxLifetime   time.Duration // longest session, before it is spread
	writeTimeout  time.Duration // longest time that a side may block a write
	closeTimeout  time.Duration // longest wait for what a close frame has to bring about
	drainTimeout  time.Duration // over how long closes at a shutdown are spread

	maxFrameSize   int     // payload of a data frame, bytes
	maxMessageSize int     // payload of a message as on the wire, bytes
	messageRate    float64 // data messages of a client a second
	messageBurst   float64 // and at once

	maxConnections int    // sessions of the middleware,
	maxPerClient   int    // of one of its clients,
	clientHeader   string // who is told by this header of the request; empty: by its address

	// What follows from these: see settled.
	tick, doubt time.Duration // workTick and lastChance
	patience    time.Duration // maxInactivity; forever where that is off
	bounded     bool          // there are only so many places
	timed       bool          // a session has to be judged when something is due,
	punctual    bool          // which may be before it is pinged
	unpinged    *pulses       // in the record of a session that was not pinged yet
	briefest    time.Duration // lifetime of a session,
	spread      uint64        // by how much, in nanoseconds, others are longer at most
}

const (
	// quietTick is how often a pump at work looks up where no option asks for more:
	// often enough to give back the buffer of a session that has gone quiet.
	quietTick = 10 * time.Second

	// forever is when something is due that is not. Times count from a session's start.
	forever = time.Duration(1<<63 - 1)

	// maxDoubt bounds lastChance: as long as a process that has stood still may need to hear
	// what came meanwhile.
	maxDoubt = 250 * time.Millisecond
)

// least and most are the shortest and the longest time that a session can keep. The longest
// leaves room for sums.
const (
	least = 10 * time.Millisecond
	most  = 100 * 365 * 24 * time.Hour
)

// limits parses the bounds of a session.
func (m *mistakes) limits(c *Config) limits {
	target := m.oneOf("pingTarget", c.PingTarget, "both", "client", "upstream")
	l := limits{
		pingInterval:  m.period("pingInterval", c.PingInterval),
		pingClient:    target != "upstream",
		pingUpstream:  target != "client",
		pongTimeout:   m.period("pongTimeout", c.PongTimeout),
		maxInactivity: m.period("maxInactivity", c.MaxInactivity),
		maxLifetime:   m.period("maxLifetime", c.MaxLifetime),
		writeTimeout:  m.period("writeTimeout", c.WriteTimeout),
		closeTimeout:  m.duration("closeTimeout", c.CloseTimeout),
		drainTimeout:  m.duration("drainTimeout", c.DrainTimeout),

		maxFrameSize:   m.size("maxFrameSize", c.MaxFrameSize),
		maxMessageSize: m.size("maxMessageSize", c.MaxMessageSize),
		maxConnections: m.count("maxConnections", c.MaxConnections),
		maxPerClient:   m.count("maxConnectionsPerClient", c.MaxConnectionsPerClient),
		clientHeader:   m.clientHeader(c),
	}
	l.messageRate, l.messageBurst = m.rate(c)
	if l.closeTimeout == 0 {
		m.add("closeTimeout", "may not be off, for a peer that never answers would never be let go; 5s is the default")
	}
	if l.pingInterval > 0 {
		return l
	}
	if l.pongTimeout > 0 {
		m.add("pongTimeout", "needs pingInterval: a peer that is not pinged may be silent for as long as it likes")
	}
	if target != "both" {
		m.add("pingTarget", "needs pingInterval: without it nobody is pinged")
	}
	return l
}

// settled has the limits know what follows from them, which no session has to find out again.
func (l limits) settled() *limits {
	l.tick = l.workTick()
	l.doubt = l.lastChance()
	l.patience = later(0, l.maxInactivity)
	l.bounded = l.maxConnections > 0 || l.maxPerClient > 0
	l.timed = l.maxLifetime > 0 || l.maxInactivity > 0 || l.pongTimeout > 0
	l.briefest = l.maxLifetime - l.maxLifetime/10
	l.spread = uint64(l.maxLifetime/5) + 1
	l.unpinged = l.noPulses()
	first := l.patience
	if l.maxLifetime > 0 && l.briefest < first {
		first = l.briefest
	}
	l.punctual = l.timed && (l.pingInterval == 0 || first <= 2*l.pingInterval)
	return &l
}

// period is a duration that a session has to keep, at least one that it can.
func (m *mistakes) period(key, value string) time.Duration {
	d := m.duration(key, value)
	if d > 0 && d < least {
		m.add(key, "is %s, too short to be kept; the shortest is %v, 0 is off", value, least)
	}
	if d > most {
		m.add(key, "is %s, longer than any session will last; 0 is off", value)
	}
	return d
}

// workTick is how often a pump at work has to look up: what it then finds out is at most this
// much older than its option says.
func (l limits) workTick() time.Duration {
	tick := quietTick
	if l.writeTimeout > 0 && l.writeTimeout/4 < tick {
		tick = l.writeTimeout / 4
	}
	if l.maxInactivity > 0 && l.maxInactivity/8 < tick {
		tick = l.maxInactivity / 8
	}
	return tick
}

// later is d after a time, and forever where d is off.
func later(at, d time.Duration) time.Duration {
	if d <= 0 {
		return forever
	}
	return at + d
}

// lastChance is how long a side that owes a pong is listened to once more before it is given up.
func (l limits) lastChance() time.Duration {
	chance := l.pongTimeout / 8
	if chance > maxDoubt {
		return maxDoubt
	}
	if chance < least {
		return least
	}
	return chance
}

// sizeUnits are what a size may end with, and how many bytes each is.
var sizeUnits = []struct {
	suffix string
	bytes  int
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}}

// size is a number of bytes, such as 64KiB; empty and 0 are off.
func (m *mistakes) size(key, value string) int {
	if value == "" {
		return 0
	}
	digits, unit := value, 1
	for _, u := range sizeUnits {
		if strings.HasSuffix(value, u.suffix) {
			digits = strings.TrimSuffix(value, u.suffix)
			unit = u.bytes
		}
	}
	number, err := strconv.Atoi(digits)
	if errors.Is(err, strconv.ErrRange) || err == nil && number > maxFrame/unit {
		m.add(key, "is %s, larger than any frame; 0 is off", value)
		return 0
	}
	if err != nil {
		m.add(key, "is %q, must be a number of bytes, or one of KiB, MiB or GiB such as 64KiB; 0 is off", value)
		return 0
	}
	return m.count(key, number*unit)
}

// count is a number of things; 0 is off.
func (m *mistakes) count(key string, value int) int {
	if value < 0 {
		m.add(key, "is %d, must not be negative; 0 is off", value)
		return 0
	}
	return value
}

// mostMessages is the largest rate and burst of messages: more than one session can have.
const mostMessages = 1e9

// rate is the rate of a client's messages, a second, and how many may come at once.
func (m *mistakes) rate(c *Config) (rate, burst float64) {
	rate = c.MessageRate
	burst = float64(m.count("messageBurst", c.MessageBurst))
	if math.IsNaN(rate) || rate < 0 || rate > mostMessages {
		m.add("messageRate", "is %v, must be a number of messages a second from 0 (off) to %v", rate, mostMessages)
		return 0, 0
	}
	if burst > mostMessages {
		m.add("messageBurst", "is %v, more than one session can have; the most is %v", burst, mostMessages)
	}
	if burst > 0 && rate == 0 {
		m.add("messageBurst", "needs messageRate: without it messages are free")
	}
	if burst == 0 {
		burst = math.Max(rate, 1)
	}
	return rate, burst
}

// clientHeader is the header that tells one client from another.
func (m *mistakes) clientHeader(c *Config) string {
	name := strings.TrimSpace(c.ClientHeader)
	if name == "" {
		return ""
	}
	if !isToken(name) {
		m.add("clientHeader", "is %q, which is no header name", name)
	}
	if c.MaxConnectionsPerClient == 0 {
		m.add("clientHeader", "needs maxConnectionsPerClient: without it clients are not told apart")
	}
	return textproto.CanonicalMIMEHeaderKey(name)
}
