package wsfw

import "time"

// sharing is into how many shares a full bucket is divided: it is looked at again when one has
// been used up, and by each call of relay, for a look costs an interpreted clock. After a pause
// between two looks up to a share of what came before it may pass beside a full bucket.
const sharing = 16

// A client's control frames, a second and at once: more than any application sends.
const (
	controlRate  = 100
	controlBurst = 1000
)

// bucket bounds a rate: a token bucket that is looked at now and then. Times count from the session's start.
type bucket struct {
	rate, depth float64 // tokens a second, and at most
	share       int     // of the tokens, that are given out together
	tokens      float64 // at a time,
	at          time.Duration
	counted     int64 // and what had come until then
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

// meter bounds the rate of t's messages by a full bucket, if a rate is set.
func meter(t *track, l *limits) {
	if l.messageRate <= 0 {
		return
	}
	t.metered = true
	t.bucket = bucket{rate: l.messageRate, depth: l.messageBurst, share: int(l.messageBurst / sharing), tokens: l.messageBurst}
	t.ceiling = 0
}

// allowMessages sets the ceiling of t's messages by its bucket, and returns how many may come until that is reached. A
// message takes its token when it ends, but has to find it there when it begins.
func allowMessages(t *track, needed int, now time.Duration) int {
	given := refill(&t.bucket, t.messages, needed, now)
	t.ceiling = t.messages + int64(given)
	return given
}

// allowControl is allowMessages for a control frame. It is false where there may be none.
func allowControl(t *track) bool {
	given := refill(&t.allowance, t.controls, 1, time.Since(t.opened))
	t.mostControls = t.controls + int64(given)
	return given > 0
}
