package wsfw

import (
	"net/http"
	"strings"
)

// offer is what a client offers the upstream to choose from, after our policy.
type offer struct {
	protocols  []string // in the client's order
	extensions []string // each with its parameters
	cut        bool     // policy took something away
	lines      string   // the header lines that say so
}

// noOffer is that of a client which leaves nothing to choose.
var noOffer = &offer{}

// compression are the offers that browsers make.
var compression = map[string]*offer{
	deflate:                              deflateOffer(deflate),
	deflate + "; client_max_window_bits": deflateOffer(deflate + "; client_max_window_bits"),
}

// deflate is the name of the one extension that there is (RFC 7692).
const deflate = "permessage-deflate"

// deflateOffer is the offer of that with some parameters.
func deflateOffer(extension string) *offer {
	o := &offer{extensions: []string{extension}}
	o.lines = o.spelled()
	return o
}

// offerOf is the client's offer, cut to what the settings allow; nil where there were subprotocols in it and none is left.
func (s *settings) offerOf(header http.Header) *offer {
	protocols, extensions := header[protocolHeader], header[extensionsHeader]
	if protocols == nil && !s.noCompression {
		usual := compression[strings.Join(extensions, ",")]
		if usual != nil {
			return usual
		}
	}
	o := &offer{extensions: listItems(extensions)}
	if s.noCompression && len(o.extensions) > 0 {
		o.extensions = nil
		o.cut = true
	}
	offered := listItems(protocols)
	s.offerProtocols(o, offered)
	if len(offered) > 0 && len(o.protocols) == 0 {
		return nil
	}
	o.lines = o.spelled()
	return o
}

// offerProtocols adds those subprotocols to o that the settings allow.
func (s *settings) offerProtocols(o *offer, offered []string) {
	if len(s.protocols) == 0 {
		o.protocols = offered
		return
	}
	for _, protocol := range offered {
		if contains(s.protocols, protocol) {
			o.protocols = append(o.protocols, protocol)
		}
	}
	o.cut = o.cut || len(o.protocols) < len(offered)
}

// onto is the request with this offer: req itself where nothing was cut.
func (o *offer) onto(req *http.Request) *http.Request {
	if !o.cut {
		return req
	}
	clone := req.Clone(req.Context())
	o.apply(clone.Header)
	return clone
}

// apply makes header, which is changed, carry the offer.
func (o *offer) apply(header http.Header) {
	setList(header, protocolHeader, o.protocols)
	setList(header, extensionsHeader, o.extensions)
}

// spelled is the offer as header lines.
func (o *offer) spelled() string {
	lines := ""
	if len(o.protocols) > 0 {
		lines = "Sec-WebSocket-Protocol: " + strings.Join(o.protocols, ", ") + "\r\n"
	}
	if len(o.extensions) > 0 {
		lines += "Sec-WebSocket-Extensions: " + strings.Join(o.extensions, ", ") + "\r\n"
	}
	return lines
}

// setList sets a header to a list, or removes it where the list is empty.
func setList(header http.Header, name string, items []string) {
	delete(header, name)
	if len(items) > 0 {
		header[name] = []string{strings.Join(items, ", ")}
	}
}
