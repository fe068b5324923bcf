package wsfw

import "time"

// sharing is into how many shares a full bucket is divided: it is looked at again when one has
// been used up, and by each call of relay, for a look costs an interpreted clock. After a pause
// between two looks up to a share of what came before it may pass beside a full bucket.
const sharing = 16

// bucket bounds the rate of a client's messages: a token bucket that is looked at now and
// then. Times count from the session's start.
type bucket struct {
	rate, depth float64 // tokens a second, and at most
	share       int     // of the tokens, that are given out together
	tokens      float64 // at a time,
	at          time.Duration
	counted     int64 // and messages until then
}

// meter bounds the rate of t's messages by a full bucket, if a rate is set.
func meter(t *track, l *limits) {
	if l.messageRate <= 0 {
		return
	}
	t.metered = true
	t.bucket = bucket{rate: l.messageRate, depth: l.messageBurst, share: int(l.messageBurst / sharing), tokens: l.messageBurst}
	t.ceiling = 0
}

// refill sets the ceiling of t's messages so that, if there are tokens for that, as many may
// come as are needed and a share besides, and returns how many may come until it is reached.
// A message takes its token when it ends, but has to find it there when it begins.
func refill(t *track, needed int, now time.Duration) int {
	b := &t.bucket
	b.tokens += (now-b.at).Seconds()*b.rate - float64(t.messages-b.counted)
	if b.tokens > b.depth {
		b.tokens = b.depth
	}
	b.at = now
	b.counted = t.messages
	given := int(b.tokens)
	if given > needed+b.share {
		given = needed + b.share
	}
	t.ceiling = t.messages + int64(given)
	return given
}
