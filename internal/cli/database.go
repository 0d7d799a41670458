package cli

import (
	"errors"
	"fmt"

	"lyftr/internal/store"
)

// databaseSetting is the setting of every command that opens the database.
type databaseSetting struct {
	DatabaseURL string `setting:"DATABASE_URL" default:"sqlite:///./data/app.db" placeholder:"URL" help:"Database: sqlite:///relative/path, sqlite:////absolute/path or postgres://user:password@host:5432/database."`
}

// check finds a URL that names no database.
func (d *databaseSetting) check() error {
	if _, err := store.ParseURL(d.DatabaseURL); err != nil {
		return usageError{err}
	}
	return nil
}

// explainInUse says what to do about a database that another process has open.
func explainInUse(err error) error {
	if errors.Is(err, store.ErrInUse) {
		return fmt.Errorf("%w: stop it, do this, and start it again", err)
	}
	return err
}
