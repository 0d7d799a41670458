//go:build race

package sqlite

// killedRows is how many rows are adopted under a kill. The race detector makes
// each ten times as slow, so that these take as long as 50 000 without it.
const killedRows = 5_000
