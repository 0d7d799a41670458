//go:build !race

package sqlite

// killedRows is how many rows are adopted under a kill.
const killedRows = 50_000
