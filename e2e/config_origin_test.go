package e2e

import "testing"

// TestOriginForms has origins of other things than web sites, and all there are.
func TestOriginForms(t *testing.T) {
	const site = "https://app.example.com"
	list := func(origins ...string) []string { return origins }
	run(t, []table{
		origins("null", list("null"), list("null"), list("", "file://", site, "http://null", "http://chat.example.com")),
		origins("file", list("file://"), list("file://"), list("", "null", site, "http://file", "capacitor://localhost")),
		origins("capacitor", list("capacitor://localhost"), list("capacitor://localhost"),
			list("", "null", "file://", "http://localhost", "https://localhost", "ionic://localhost", "capacitor://app", "capacitor://localhost.evil.test")),
		origins("app", list("app://."), list("app://."), list("", "null", "app://a", "app://", "https://.", "file://")),
		origins("extensions", list("chrome-extension://*"), list("chrome-extension://abcdefghijklmnop", "chrome-extension://ponmlkjihgfedcba"),
			list("", "null", "chrome-extension://", "moz-extension://abcdefghijklmnop", "https://abcdefghijklmnop", site)),
		origins("any", list("any"), list("", "null", "file://", "capacitor://localhost", "app://.", "chrome-extension://abcdefghijklmnop", site, "http://chat.example.com"), nil),
		origins("any and more", list(site, "any"), list("", "null", "https://other.example.com", site), nil),
		origins("several", list("null", "file://", site), list("null", "file://", site), list("", "app://.", "http://app.example.com")),
		origins("none, for comparison", list("none"), list(""), list("null", "file://", "app://.")),
	})
}

// TestOriginIDN has entries with letters beyond ASCII. Browsers send such a host in its xn-- form (RFC 3492).
func TestOriginIDN(t *testing.T) {
	const sent = "https://xn--bcher-kva.example"
	list := func(origins ...string) []string { return origins }
	run(t, []table{
		origins("letters", list("https://bücher.example"), list(sent), list("", "https://bucher.example", "https://xn--bcher-kva.example.evil.test", "http://xn--bcher-kva.example")),
		origins("capitals", list("https://BÜCHER.example"), list(sent), list("https://bucher.example")),
		origins("as sent", list(sent), list(sent), list("https://bucher.example")),
		origins("several labels", list("https://münchen.例え.example:8443"),
			list("https://xn--mnchen-3ya.xn--r8jz45g.example:8443"), list("https://xn--mnchen-3ya.xn--r8jz45g.example", sent)),
		origins("below", list("https://*.bücher.example"), list("https://chat.xn--bcher-kva.example"), list(sent, "https://chat.bucher.example")),
	})
}

// TestConfigOrigin has entries that can match nothing, or everything where nobody expects it.
func TestConfigOrigin(t *testing.T) {
	entry := func(value, says string) mistake {
		return checking("allowedOrigins", []any{"https://app.example.com", value}).named(value).saying(says)
	}
	checkMistakes(t, []mistake{
		entry("ws://a.example", `allowedOrigins has "ws://a.example", must be written http://a.example`),
		entry("wss://a.example:8443", `allowedOrigins has "wss://a.example:8443", must be written https://a.example:8443`),
		entry("*", " any"),
		entry("https://*", "allowedOrigins has"),
		entry("http://*", "allowedOrigins has"),
		entry("https://*:8443", "allowedOrigins has"),
		entry("*://app.example.com", "allowedOrigins has"),
		entry("null://", "allowedOrigins has"),
		entry("samehost", "allowedOrigins has"),
	})
}
