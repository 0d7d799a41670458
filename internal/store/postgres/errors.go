package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"lyftr/internal/message"
)

// SQLSTATEs that are decided on, from the appendix of PostgreSQL's manual:
// https://www.postgresql.org/docs/current/errcodes-appendix.html
const (
	serializationFailure = "40001"
	deadlockDetected     = "40P01"
	lockNotAvailable     = "55P03"
	readOnlyTransaction  = "25006"
	tooManyConnections   = "53300"
	adminShutdown        = "57P01"
	crashShutdown        = "57P02"
	cannotConnectNow     = "57P03"
	queryCanceled        = "57014"
)

// errReadOnly is the error of what a store that is open for reading cannot do.
var errReadOnly = errors.New("the database was opened for reading only")

// unknown is the error of a commit of which the server did not say how it ended:
// the messages are stored once or not at all.
type unknown struct{ cause error }

func (e *unknown) Error() string {
	return "the connection was lost in a commit, which may or may not have happened: " + e.cause.Error()
}

func (e *unknown) Unwrap() error { return e.cause }

func pgError(err error) (*pgconn.PgError, bool) {
	return errors.AsType[*pgconn.PgError](err)
}

func code(err error) string {
	if e, ok := pgError(err); ok {
		return e.Code
	}
	return ""
}

// fatal reports whether the server ended the connection with the error.
func fatal(e *pgconn.PgError) bool {
	return e.SeverityUnlocalized == "FATAL" || e.SeverityUnlocalized == "PANIC"
}

// mayPass reports whether an error of connecting is one of a server that starts,
// stops, fails over or is full.
func mayPass(err error) bool {
	switch code(err) {
	case cannotConnectNow, adminShutdown, crashShutdown, tooManyConnections, readOnlyTransaction:
		return true
	case "":
	default:
		return false
	}
	if lookup, ok := errors.AsType[*net.DNSError](err); ok {
		return lookup.IsTemporary || lookup.IsTimeout
	}
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, pgconn.ErrReadOnlyConnection)
}

// again reports whether a transaction that failed with the error was undone, and
// may succeed when it is run again at once.
func again(err error) bool {
	switch code(err) {
	case serializationFailure, deadlockDetected, lockNotAvailable, readOnlyTransaction:
		return true
	}
	return false
}

// ofRow reports whether the server does not take one of the rows.
func ofRow(err error) bool {
	c := code(err)
	return strings.HasPrefix(c, "22") || strings.HasPrefix(c, "23") || strings.HasPrefix(c, "54")
}

// readError is the error of a read.
func readError(ctx context.Context, what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, message.ErrBadCursor), errors.Is(err, message.ErrNotFound), errors.Is(err, message.ErrTooManyBuckets):
		return err
	case errors.Is(ctx.Err(), context.Canceled):
		// Whoever asked has gone.
		return fmt.Errorf("%s: %w: %w", what, message.ErrUnavailable, context.Canceled)
	case ctx.Err() != nil || code(err) == queryCanceled:
		return fmt.Errorf("%s: %w: the read took too long: %w", what, message.ErrUnavailable, err)
	}
	return fmt.Errorf("%s: %w: %w", what, message.ErrUnavailable, err)
}
