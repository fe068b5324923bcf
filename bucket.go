package wsfw

import "time"

// bucket bounds the rate of a client's messages: a token bucket that is looked at once a
// chunk. Times count from the session's start.
type bucket struct {
	rate, depth float64 // tokens a second, and at most
	tokens      float64 // at a time,
	at          time.Duration
	counted     int64 // and messages until then
}

// newBucket is a full one, nil where no rate is set.
func newBucket(l *limits) *bucket {
	if l.messageRate <= 0 {
		return nil
	}
	return &bucket{rate: l.messageRate, depth: l.messageBurst, tokens: l.messageBurst}
}

// refill sets the ceiling of t's messages, and returns how many may come until it is reached.
// A message takes its token when it ends, but has to find it there when it begins.
func refill(t *track, now time.Duration) int {
	b := t.bucket
	b.tokens += (now-b.at).Seconds()*b.rate - float64(t.messages-b.counted)
	if b.tokens > b.depth {
		b.tokens = b.depth
	}
	b.at = now
	b.counted = t.messages
	whole := int64(b.tokens)
	t.ceiling = t.messages + whole
	return int(whole)
}
