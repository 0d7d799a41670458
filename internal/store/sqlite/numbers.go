package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"
)

// mostNumbers bounds the senders whose numbers are kept in memory.
const mostNumbers = 200_000

// number sees to it that numbers has the senders and recipients of all messages,
// and that the table phones has them.
func (x *indexer) number(messages []brief) error {
	if len(x.numbers) > mostNumbers {
		clear(x.numbers)
		x.complete = false
	}
	if !x.complete && x.nextNumber <= mostNumbers {
		if err := x.readNumbers(); err != nil {
			return err
		}
	}
	fresh := map[string]bool{}
	for i := range messages {
		for _, name := range []string{messages[i].from, messages[i].to} {
			if _, ok := x.numbers[name]; ok || fresh[name] {
				continue
			}
			found := false
			if !x.complete {
				var err error
				if found, err = x.readNumber(name); err != nil {
					return err
				}
			}
			if !found {
				fresh[name] = true
			}
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	// In their order, so that those that share a page of the index are written
	// together.
	names := slices.Sorted(maps.Keys(fresh))
	for _, name := range names {
		x.numbers[name] = x.nextNumber
		x.nextNumber++
	}
	for len(names) > 0 {
		err := x.step(func(ctx context.Context, c *sql.Conn) (err error) {
			names, err = x.insertNumbers(ctx, c, names)
			return err
		})
		if err != nil {
			clear(x.numbers) // what is not in the table has no number
			x.complete = false
			return err
		}
	}
	return nil
}

// readNumbers reads all numbers, so that a sender without one is known to be new.
func (x *indexer) readNumbers() error {
	rows, err := x.store.readDB.QueryContext(x.ctx, "SELECT msisdn, id FROM phones")
	if err != nil {
		return err
	}
	err = eachRowOf(rows, func(rows *sql.Rows) error {
		var name string
		var number uint32
		err := rows.Scan(&name, &number)
		x.numbers[name] = number
		return err
	})
	x.complete = err == nil
	return err
}

// readNumber reads the number of a sender into numbers, if it has one.
func (x *indexer) readNumber(name string) (found bool, err error) {
	var number uint32
	err = x.find.QueryRowContext(x.ctx, name).Scan(&number)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err == nil {
		x.numbers[name] = number
	}
	return err == nil, err
}

// numbersAtOnce is how many numbers one statement inserts.
const numbersAtOnce = 64

// insertNumbers writes the numbers of names until stepTime is over, and returns
// the names that are left.
func (x *indexer) insertNumbers(ctx context.Context, c *sql.Conn, names []string) ([]string, error) {
	const row = "(?, ?)"
	args := make([]any, 0, 2*numbersAtOnce)
	for begin := time.Now(); len(names) > 0 && time.Since(begin) < stepTime; {
		some := names[:min(numbersAtOnce, len(names))]
		args = args[:0]
		for _, name := range some {
			args = append(args, int64(x.numbers[name]), name)
		}
		query := "INSERT INTO phones (id, msisdn) VALUES " + row + strings.Repeat(", "+row, len(some)-1) //nolint:gosec // of question marks
		if _, err := c.ExecContext(ctx, query, args...); err != nil {
			return nil, err
		}
		names = names[len(some):]
	}
	return names, nil
}
