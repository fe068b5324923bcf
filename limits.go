package wsfw

import "time"

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

	// mostClosing is the longest closeTimeout.
	mostClosing = 24 * time.Hour
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

// mostMessages is the largest rate and burst of messages: more than one session can have.
const mostMessages = 1_000_000_000
