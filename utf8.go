package wsfw

import (
	"bytes"
	"crypto/subtle"
	"unicode/utf8"
)

// utf8Validator checks the text of one direction while it passes (RFC 6455 section 8.1), in whatever pieces it comes. It
// never looks at single bytes, of which the interpreter does some ten million a second: payloads are unmasked and judged
// in bulk. Messages that come whole need none, see isText.
type utf8Validator struct {
	key   []byte // the current frame's masking key, twice; nil where that is not masked
	at    int    // where in the key the payload goes on, less than maskSize
	last  bool   // the current frame ends its message
	carry []byte // the bytes of a code point that has not ended yet, at most utf8.UTFMax-1
}

// isText reports whether a payload that has come whole is UTF-8. key is its masking key, empty where it has none.
func isText(payload, key []byte) bool {
	if len(key) == 0 {
		return utf8.Valid(payload)
	}
	size := len(payload)
	plain := bytes.Repeat(key, (size+maskSize-1)/maskSize)
	subtle.XORBytes(plain, plain, payload)
	return utf8.Valid(plain[:size])
}

// checkText checks more of the current text frame's payload, masked as it came; ends tells whether the frame ends there. Text
// that is no UTF-8 is a fault.
func checkText(p *parser, part []byte, ends bool) {
	v := p.text
	if size := len(part); len(v.key) > 0 && size > 0 {
		plain := bytes.Repeat(v.key[v.at:v.at+maskSize], (size+maskSize-1)/maskSize)
		subtle.XORBytes(plain, plain, part)
		v.at = (v.at + size) % maskSize
		part = plain[:size]
	}
	legal := len(v.carry) == 0 && utf8.Valid(part)
	if !legal {
		legal = goOn(v, part)
	}
	if ends {
		p.inText = false
		legal = legal && (!v.last || len(v.carry) == 0)
	}
	if !legal {
		p.fault = errText
	}
}

// goOn goes on with text that begins or ends inside a code point. It is false where that is no UTF-8.
func goOn(v *utf8Validator, text []byte) bool {
	for len(v.carry) > 0 && !utf8.FullRune(v.carry) {
		if len(text) == 0 {
			return true
		}
		v.carry = append(v.carry, text[0])
		text = text[1:]
	}
	legal := utf8.Valid(v.carry)
	whole := wholeRunes(text)
	v.carry = append(v.carry[:0], text[whole:]...)
	return legal && utf8.Valid(text[:whole])
}

// wholeRunes is how long text is without a code point at its end that has not ended yet.
func wholeRunes(text []byte) int {
	for at := len(text) - 1; at >= 0 && at > len(text)-utf8.UTFMax; at-- {
		if utf8.RuneStart(text[at]) && !utf8.FullRune(text[at:]) {
			return at
		}
	}
	return len(text)
}
