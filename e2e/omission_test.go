package e2e

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
)

// linesASecond is how many lines about refusals of one reason a middleware may write in a second.
const linesASecond = 10

// TestRefusedLinesOmitted refuses so many requests at once that most leave no line. The next line counts them.
func TestRefusedLinesOmitted(t *testing.T) {
	const burst = 300
	eachRegime(t, func(t *testing.T, e engine.Engine, r regime) {
		gateway := e.Start(t, r.setup(peerDeadAddr(t), nil))
		other := e.Start(t, r.setup(peerDeadAddr(t), nil))
		refuseAll(t, gateway, burst)

		// Neither another reason nor another middleware has to do with that.
		client := peerDial(t, gateway, upgrade("GET /key HTTP/1.1", "!Sec-WebSocket-Key"))
		client.refusal(t, http.StatusBadRequest)
		client.expectLine(t, gateway, "/key", "bad_key")
		client = peerDial(t, other, plainTo(1))
		client.refusal(t, http.StatusUpgradeRequired)
		checkRefused(t, other, client, "/1", http.StatusUpgradeRequired, "no_upgrade")

		refused := burst
		await(t, settleTimeout, func() string {
			refused++
			peerDial(t, gateway, plainTo(refused)).refusal(t, http.StatusUpgradeRequired)
			for _, line := range gateway.Lines() {
				if refusalNumber(line) > burst {
					return ""
				}
			}
			return fmt.Sprintf("after %d refusals no line tells of one of the last %d: %v", refused, refused-burst, gateway.Lines())
		})
		checkOmitted(t, gateway, burst)
	})
}

// plainTo is the i-th request for a page. Its path tells which.
func plainTo(i int) string {
	return raw("GET /"+strconv.Itoa(i)+" HTTP/1.1", "Host: chat.example.com")
}

// refuseAll sends that many requests, one behind the other, before it reads the first answer.
func refuseAll(t *testing.T, gateway *engine.Gateway, count int) {
	t.Helper()
	var requests strings.Builder
	for i := 1; i <= count; i++ {
		requests.WriteString(plainTo(i))
	}
	client := peerDial(t, gateway, requests.String())
	for range count {
		client.refusal(t, http.StatusUpgradeRequired)
	}
}

// expectLine wants a line about this client's refusal, with no word of others.
func (p *peerConn) expectLine(t *testing.T, gateway *engine.Gateway, path, reason string) {
	t.Helper()
	for {
		line := gateway.Wait(t, refusedMessage)
		if line["reason"] != reason {
			continue
		}
		checkLine(t, line, object{"client": p.LocalAddr().String(), "path": path})
		if line["omitted"] != nil {
			t.Errorf("the line tells of others that were left out: %v", line)
		}
		return
	}
}

// refusalNumber is which of the requests for pages a line is about; 0 where it is about another.
func refusalNumber(line object) int {
	path, _ := line["path"].(string)
	number, err := strconv.Atoi(strings.TrimPrefix(path, "/"))
	if err != nil {
		return 0
	}
	return number
}

// checkOmitted wants lines about the first refusals, not about all of a burst, and each to count those left out since the
// line before it.
func checkOmitted(t *testing.T, gateway *engine.Gateway, burst int) {
	t.Helper()
	told, inBurst, lines := 0, 0, 0
	for _, line := range gateway.Lines() {
		number := refusalNumber(line)
		if number == 0 {
			continue
		}
		omitted, _ := line["omitted"].(float64)
		if lines < linesASecond && omitted > 0 {
			t.Errorf("line %d tells of refusals left out: %v", lines+1, line)
		}
		lines++
		told += 1 + int(omitted)
		if told != number {
			t.Fatalf("the lines up to refusal %d tell of %d: %v", number, told, line)
		}
		if number <= burst {
			inBurst++
		}
	}
	if inBurst < linesASecond || inBurst >= burst {
		t.Errorf("%d refusals at once leave %d lines, want %d or some more", burst, inBurst, linesASecond)
	}
}
