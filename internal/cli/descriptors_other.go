//go:build !unix

package cli

import "math"

// maxDescriptors is how many files and connections this process may have open:
// nothing limits them here.
func maxDescriptors() int { return math.MaxInt }
