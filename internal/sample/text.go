package sample

import (
	"strconv"
	"unicode"
	"unicode/utf8"
)

// Of a hundred thousand messages so many have no text, an empty one, or nothing
// but emoji.
const (
	outOf     = 100_000
	noText    = 2000
	emptyText = 300
	onlyEmoji = 700
)

// appendText appends a message's text, if it has one.
func (g *Generator) appendText(b []byte, r *random, v *vocabulary) (_ []byte, has bool) {
	switch n := r.below(outOf); {
	case n < noText:
		return b, false
	case n < noText+emptyText:
		return b, true
	case n < noText+emptyText+onlyEmoji:
		for range 1 + r.below(3) {
			b = appendEmoji(b, r)
		}
		return b, true
	}
	b = v.appendSentence(b, r)
	switch r.below(40) {
	case 0, 1:
		b = appendOrder(append(b, ' '), r)
	case 2:
		b = appendPrice(append(b, ' '), r)
	case 3:
		b = appendLink(append(b, ' '), r)
	}
	if r.below(8) == 0 {
		b = appendEmoji(append(b, ' '), r)
	}
	return b, true
}

func (v *vocabulary) appendSentence(b []byte, r *random) []byte {
	u := r.Uint64() // of which each choice below takes some bits
	start := len(b)
	n := int(v.lengths[u&0xff])
	for i := range n {
		w := r.Uint64() // its low bits hardly matter to the dice
		switch {
		case i == 0:
		case w&0xff < 10:
			b = append(b, v.comma...)
		default:
			b = append(b, v.space...)
		}
		b = append(b, v.word(v.dice.throw(w))...)
	}
	if u>>8&1 == 0 {
		b = capitalize(b, start)
	}
	if u>>9&1 == 0 {
		b = append(b, v.stops[u>>10%uint64(len(v.stops))]...)
	}
	return b
}

// capitalize makes the character at start upper case if that has as many bytes.
func capitalize(b []byte, start int) []byte {
	c, size := utf8.DecodeRune(b[start:])
	if upper := unicode.ToUpper(c); upper != c && utf8.RuneLen(upper) == size {
		utf8.EncodeRune(b[start:], upper)
	}
	return b
}

func appendEmoji(b []byte, r *random) []byte {
	const emoji = "🙏👍😊😂🎉🔥😍🙂😢💯🚚📦" // of four bytes each
	i := r.below(len(emoji)/4) * 4
	if r.below(6) == 0 {
		return append(b, "❤️"...)
	}
	return append(b, emoji[i:i+4]...)
}

func appendOrder(b []byte, r *random) []byte {
	return strconv.AppendInt(append(b, "#A"...), int64(10_000_000+r.below(90_000_000)), 10)
}

func appendPrice(b []byte, r *random) []byte {
	currencies := [...]string{"₹", "$", "€", "£", "R$"}
	b = append(b, currencies[r.below(len(currencies))]...)
	b = strconv.AppendInt(b, int64(1+r.below(4999)), 10)
	return append(b, ".00"...)
}

func appendLink(b []byte, r *random) []byte {
	b = append(b, "https://example.com/o/"...)
	return strconv.AppendUint(b, r.Uint64()>>24, 36)
}
