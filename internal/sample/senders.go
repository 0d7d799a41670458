package sample

import (
	"math"
	"strings"

	"lyftr/internal/message"
)

// senders are the people who write, the busiest first. They do not depend on
// the seed.
type senders struct {
	numbers  string // one behind the other
	ends     []uint32
	language []uint8
	dice     dice
}

// The activity of senders falls with their rank by this power. The shift keeps
// the busiest of a hundred thousand at one message in two hundred.
const (
	activityPower = 0.9
	activityShift = 12
)

func newSenders(n int, all []*vocabulary) *senders {
	s := &senders{ends: make([]uint32, 1, n+1), language: make([]uint8, n)}
	var numbers strings.Builder
	numbers.Grow(n * len("+911234567890"))
	weights := make([]float64, n)
	for i := range n {
		weights[i] = math.Pow(float64(i+1+activityShift), -activityPower)
		// Multiples of the golden ratio are spread so evenly that each language
		// gets its share of the busy and of the quiet.
		_, u := math.Modf((float64(i) + 0.5) * math.Phi)
		language := 0
		for u -= all[0].language.share; u >= 0 && language < len(all)-1; u -= all[language].language.share {
			language++
		}
		s.language[i] = uint8(language)
		countries := all[language].countries
		numbers.WriteByte('+')
		numbers.WriteString(countries[scale(mix(uint64(i)), len(countries))])
		// The factor has no divisor in common with a thousand million: no two
		// senders have the same nine digits.
		national := (uint64(i)*618_033_989 + 271_828_183) % 1_000_000_000
		for d := uint64(100_000_000); d > 0; d /= 10 {
			numbers.WriteByte('0' + byte(national/d%10))
		}
		s.ends = append(s.ends, uint32(numbers.Len()))
	}
	s.numbers = numbers.String()
	s.dice = newDice(weights)
	return s
}

// number returns the number of the sender of a rank, the first being 0.
func (s *senders) number(rank int) string { return s.numbers[s.ends[rank]:s.ends[rank+1]] }

// sourceOf is the source of all messages of the sender of a rank.
func sourceOf(rank int) string {
	switch n := scale(mix(uint64(rank)+goldenGamma), 20); {
	case n < 12:
		return message.SourceNative
	case n < 17:
		return "whatsapp"
	case n < 19:
		return "twilio"
	}
	return "standard"
}

// Businesses get messages; these are numbers that nobody has.
const (
	businesses     = 20
	businessPrefix = "+141555501"
)

func newRecipients() ([]string, dice) {
	numbers, weights := make([]string, businesses), make([]float64, businesses)
	for i := range numbers {
		numbers[i] = businessPrefix + string([]byte{'0' + byte(i/10), '0' + byte(i%10)})
		weights[i] = 1 / float64(i+2)
	}
	return numbers, newDice(weights)
}
