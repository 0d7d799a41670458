//go:build race

package sqlite

// killedRows is how many rows are adopted under a kill. The race detector makes
// each ten times as slow.
const killedRows = 3_000
