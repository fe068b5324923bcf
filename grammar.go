package wsfw

// What a header's first byte means to the direction that it stands in. The data
// frames come first, up to classEnd.
const (
	classWhole    = iota // a message in one frame
	classStart           // the first fragment of a message
	classMiddle          // a fragment that neither starts nor ends its message
	classEnd             // the last fragment of a message
	classControl         // close, ping, pong
	classUnjudged        // only where frames are not validated: a frame that no rule allows
	classIllegal

	// classText is added to the class of a data frame whose payload is to be checked.
	classText = 8
)

// grammar is which header may follow which: the class of every first byte between two
// messages, and while a fragmented message, or one of text, waits for its end. Legality is
// a look-up, since an interpreted comparison costs as much as an interpreted index.
type grammar struct {
	between, within, withinText []byte

	// How long a frame is that starts with two bytes, where it is a message of its own that may
	// go on unseen: noStride where it is not, extended16 where a length of 16 bits follows. For
	// an unmasked direction and a masked one. Where text is checked, these are what a frame of it
	// has, and frames of messages that are not checked have unchecked added.
	strides, maskedStrides [][]int
}

// Strides of frames that have none, or none of their own: all lead out of any buffer.
const (
	unchecked  = 1 << 28
	extended16 = 1 << 29 // the length stands behind these two bytes
	noStride   = 1 << 30
	extended64 = noStride + 1 // for all but large messages as noStride
)

// Rows of strides: of the first bytes that are no message, and of those that are.
var (
	noRow        = newRow()
	stride       = newStrides(0, 2)
	maskedStride = newStrides(maskBit, 2+maskSize)

	noStrides = strideTable(nil, nil)
)

// The grammars that a session may be under. compressed allows RSV1 on the first
// frame of a message (RFC 7692 section 6); extended allows every reserved bit, for
// extensions that wsfw does not know; lax allows whatever can be walked over.
var (
	plain      = newGrammar(0, false)
	compressed = newGrammar(rsv1Bit, false)
	extended   = newGrammar(rsvBits, false)
	lax        = newGrammar(rsvBits, true)

	// These have text checked, but for compressed messages.
	plainText      = spelled(plain)
	compressedText = spelled(compressed)
)

// newGrammar makes the grammar that allows the reserved bits in rsv. A lax one
// has no illegal header.
func newGrammar(rsv byte, isLax bool) *grammar {
	g := &grammar{between: make([]byte, 256), within: make([]byte, 256)}
	g.withinText = g.within
	for i := 0; i < 256; i++ {
		first := byte(i)
		g.between[i] = classify(first, rsv, false)
		g.within[i] = classify(first, rsv, true)
		if isLax {
			g.between[i] = relaxed(g.between[i])
			g.within[i] = relaxed(g.within[i])
		}
	}
	return measured(g)
}

// newRow is a row of second bytes that no message has.
func newRow() []int {
	row := make([]int, 256)
	for i := range row {
		row[i] = noStride
	}
	return row
}

// newStrides is the row for a message whose second header byte has these bits beside the
// length, and whose header has that many bytes.
func newStrides(bits, header int) []int {
	row := newRow()
	for length := 0; length < 126; length++ {
		row[bits+length] = header + length
	}
	row[bits+126] = extended16
	row[bits+127] = extended64
	return row
}

// measured is g with its strides.
func measured(g *grammar) *grammar {
	g.strides = strideTable(g.between, stride)
	g.maskedStrides = strideTable(g.between, maskedStride)
	return g
}

// strideTable has row for each first byte that is a message by these classes.
func strideTable(classes []byte, row []int) [][]int {
	table := make([][]int, 256)
	for i := range table {
		table[i] = noRow
		if i < len(classes) && classes[i] == classWhole {
			table[i] = row
		}
	}
	return table
}

// textStrides is the strideTable of a grammar that has text checked.
func textStrides(classes []byte, row []int) [][]int {
	others := newRow()
	for i, step := range row {
		if step != noStride {
			others[i] = step + unchecked
		}
	}
	table := strideTable(classes, others)
	for i, class := range classes {
		if class == classWhole+classText {
			table[i] = row
		}
	}
	return table
}

// spelled is g with the frames of uncompressed text messages marked as such.
func spelled(g *grammar) *grammar {
	marked := &grammar{between: append([]byte(nil), g.between...), within: g.within, withinText: append([]byte(nil), g.within...)}
	for _, first := range []byte{opText, finBit | opText} {
		marked.between[first] += classText
	}
	for _, first := range []byte{opContinuation, finBit | opContinuation} {
		marked.withinText[first] += classText
	}
	marked.strides = textStrides(marked.between, stride)
	marked.maskedStrides = textStrides(marked.between, maskedStride)
	return marked
}

// relaxed turns an illegal class into one that can be walked over.
func relaxed(class byte) byte {
	if class == classIllegal {
		return classUnjudged
	}
	return class
}

// classify judges a header's first byte by RFC 6455 sections 5.2, 5.4 and 5.5.
// within tells whether a fragmented message waits for its end.
func classify(first, rsv byte, within bool) byte {
	fin := first&finBit != 0
	reserved := first & rsvBits
	opcode := first & 0x0F
	if reserved&^rsv != 0 {
		return classIllegal // "MUST be 0 unless an extension is negotiated"
	}
	if opcode&controlBit != 0 {
		// "Control frames ... MUST NOT be fragmented", and "MAY be injected in
		// the middle of a fragmented message". RFC 7692 sets no bit on them.
		if !fin || opcode > opPong || reserved == rsv1Bit && rsv == rsv1Bit {
			return classIllegal
		}
		return classControl
	}
	if opcode == opContinuation {
		// RFC 7692 section 6.1: RSV1 stands on a message's first frame only.
		if !within || reserved == rsv1Bit && rsv == rsv1Bit {
			return classIllegal
		}
		if fin {
			return classEnd
		}
		return classMiddle
	}
	if within || opcode > opBinary {
		return classIllegal // "fragments of one message MUST NOT be interleaved"
	}
	if fin {
		return classWhole
	}
	return classStart
}
