package sample

import "math/bits"

// random is SplitMix64: one word of state, so that each message has a generator
// of its own at no cost. Source: https://prng.di.unimi.it/splitmix64.c
type random struct{ state uint64 }

const goldenGamma = 0x9e3779b97f4a7c15

// Uint64 returns 64 random bits.
func (r *random) Uint64() uint64 {
	r.state += goldenGamma
	return mix(r.state)
}

// below returns a number from 0 to n-1.
func (r *random) below(n int) int { return scale(r.Uint64(), n) }

// unit returns a number from 0 up to, but not, 1.
func (r *random) unit() float64 { return float64(r.Uint64()>>11) / (1 << 53) }

// scale maps 64 random bits to a number from 0 to n-1.
func scale(u uint64, n int) int {
	hi, _ := bits.Mul64(u, uint64(n))
	return int(hi)
}

// mix spreads the bits of x over the whole word; no two words have the same
// result.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// dice draws from a discrete distribution in constant time, by the alias method
// of A. J. Walker: each side shows itself or one other.
type dice []side

type side struct {
	keep  uint32 // the share of the side that is its own, of 2^32
	other uint32
}

// newDice returns dice that show i with a chance in proportion to weights[i].
func newDice(weights []float64) dice {
	n := len(weights)
	sum := 0.0
	for _, w := range weights {
		sum += w
	}
	d := make(dice, n)
	rest := make([]float64, n)
	var small, large []uint32
	for i, w := range weights {
		rest[i] = w / sum * float64(n)
		if rest[i] < 1 {
			small = append(small, uint32(i))
		} else {
			large = append(large, uint32(i))
		}
	}
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		d[s] = side{keep: uint32(rest[s] * (1 << 32)), other: l}
		rest[l] -= 1 - rest[s]
		if rest[l] < 1 {
			large = large[:len(large)-1]
			small = append(small, l)
		}
	}
	for _, i := range append(small, large...) {
		d[i] = side{keep: 1<<32 - 1, other: i} // what is left is 1 but for rounding
	}
	return d
}

// throw turns 64 random bits into a side.
func (d dice) throw(u uint64) int {
	i, fraction := bits.Mul64(u, uint64(len(d)))
	if s := d[i]; uint32(fraction>>32) >= s.keep {
		return int(s.other)
	}
	return int(i)
}
