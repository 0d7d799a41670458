package transfer

import (
	"context"
	"fmt"
	"time"

	"lyftr/internal/message"
)

// runStatuses copies every status, in the order of Store.WalkStatuses.
func (c *Copier) runStatuses(ctx context.Context) error {
	c.Statuses, c.StatusesSince = StatusCounts{}, time.Now()
	var batch []message.Status
	size := 0
	var failed error // of a save
	save := func() error {
		if len(batch) > 0 {
			failed = c.saveStatuses(context.WithoutCancel(ctx), batch)
		}
		// A store may still be reading what it was given.
		batch, size = nil, 0
		return failed
	}
	err := c.From.WalkStatuses(ctx, func(s message.Status) error {
		batch = append(batch, s)
		if size += len(s.Raw); len(batch) < copyMessages && size < copyBytes {
			return nil
		}
		if err := save(); err != nil {
			return err
		}
		return ctx.Err()
	})
	switch {
	case failed != nil:
		return failed
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("%w: %w", ErrCopyRead, err)
	}
	return save()
}

func (c *Copier) saveStatuses(ctx context.Context, statuses []message.Status) error {
	outcomes, err := c.To.Save(ctx, nil, statuses)
	if err != nil {
		return err
	}
	for _, o := range outcomes {
		if o.Duplicate {
			c.Statuses.Duplicates++
		} else {
			c.Statuses.Created++
		}
	}
	if c.OnSaved != nil {
		c.OnSaved()
	}
	return nil
}
