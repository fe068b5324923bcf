package wsfw

import (
	"encoding/binary"
	"unicode/utf8"
)

// Close codes, RFC 6455 section 7.4.1 and the IANA registry.
const (
	closeNormal      = 1000
	closeGoingAway   = 1001
	closeProtocol    = 1002
	closeNoStatus    = 1005 // never on the wire: a close frame without a code
	closeAbnormal    = 1006 // never on the wire: no close frame at all
	closeInvalidData = 1007
	closePolicy      = 1008
	closeTooBig      = 1009
	closeInternal    = 1011
	closeRestart     = 1012
	closeBadGateway  = 1014
)

// maxCloseReason is how many bytes of a reason fit behind the code.
const maxCloseReason = maxControl - 2

// walkClose ends the walk before a complete close frame, judged by RFC 6455 section 7.4.
func walkClose(t *track, frame []byte) {
	t.said = statusOf(frame)
	if t.judged {
		t.fault = t.said.fault
	}
	if t.fault == nil {
		t.closing = append([]byte(nil), frame...)
	}
}

// status is what a close frame says: code and reason, and what is wrong with them.
type status struct {
	code   int
	reason string
	fault  *fault
}

// usualStatus is what almost all close frames say, by their payload.
var usualStatus = map[string]*status{
	"": {code: closeNoStatus}, "\x03\xe8": {code: closeNormal}, "\x03\xe9": {code: closeGoingAway},
}

// statusOf is what a complete close frame says.
func statusOf(frame []byte) *status {
	payload := controlPayload(frame)
	known := usualStatus[string(payload)]
	if known != nil {
		return known
	}
	code, reason := closeStatus(payload)
	return &status{code: code, reason: reason, fault: judgeClose(payload)}
}

// judgeClose is the fault of a close frame's payload, unmasked, or nil.
func judgeClose(payload []byte) *fault {
	if len(payload) == 0 {
		return nil
	}
	if len(payload) == 1 || !mayBeSent(int(binary.BigEndian.Uint16(payload))) {
		return errCode
	}
	if !utf8.Valid(payload[2:]) {
		return errReason
	}
	return nil
}

// mayBeSent reports whether a close frame may carry code: RFC 6455 section 7.4.2
// with the codes that IANA has registered since (1012 to 1014).
func mayBeSent(code int) bool {
	if code >= 3000 {
		return code <= 4999
	}
	if code == 1004 || code == closeNoStatus || code == closeAbnormal {
		return false
	}
	return code >= closeNormal && code <= closeBadGateway
}

// closeStatus is the code and reason in the payload of a close frame, closeNoStatus where it has none (RFC 6455 section
// 7.1.5).
func closeStatus(payload []byte) (code int, reason string) {
	if len(payload) < 2 {
		return closeNoStatus, ""
	}
	return int(binary.BigEndian.Uint16(payload)), string(payload[2:])
}

// closeFrame is a close frame of ours, masked under a fresh key where it goes
// upstream. A reason that is too long is cut between two runes.
func closeFrame(code int, reason string, toUpstream bool) []byte {
	for len(reason) > maxCloseReason {
		_, size := utf8.DecodeLastRuneInString(reason)
		reason = reason[:len(reason)-size]
	}
	payload := binary.BigEndian.AppendUint16(nil, uint16(code))
	payload = append(payload, reason...)
	return controlFrame(opClose, payload, toUpstream)
}
