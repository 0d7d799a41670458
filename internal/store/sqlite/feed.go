package sqlite

import (
	"context"
	"database/sql"
	"encoding/binary"

	"lyftr/internal/message"
)

// feedSQL is served by the primary key.
const feedSQL = "SELECT " + fullColumns + ", id FROM messages WHERE id > ? ORDER BY id LIMIT ?"

// Feed implements message.Store. The order of storing is that of the ids: the
// one writer gives them out, and commits are in their order, so that nothing
// ever turns up before an id that was seen.
func (s *Store) Feed(ctx context.Context, after string, limit int) (page message.FeedPage, err error) {
	// While a commit is on its way others may see it before it is counted. What is
	// committed up to last is in the snapshot that is read below.
	settled := !s.committing.Load()
	last := s.lastID.Load()
	if s.queue == nil {
		// Opened for reading: it is others who store.
		err = s.read(ctx, "feed", func(ctx context.Context, tx *sql.Tx) (err error) {
			last, _, err = countMessages(ctx, tx)
			return err
		})
		if err != nil {
			return message.FeedPage{}, err
		}
	}
	id, err := s.feedID(after, last)
	if err != nil {
		return message.FeedPage{}, err
	}
	if id == last && settled || id <= last && limit == 0 {
		// At the end, where most readers are most of the time: no need to read.
		return message.FeedPage{Next: s.feedPosition(id), More: id < last}, nil
	}
	err = s.read(ctx, "feed", func(ctx context.Context, tx *sql.Tx) error {
		if id > last {
			// The commit was seen before last was counted up; or else the
			// position is of a later time, and the file was replaced by an older
			// copy. Its ids are given out a second time then, so that going on
			// would skip messages.
			ever, _, err := countMessages(ctx, tx)
			if err != nil {
				return err
			}
			if id > ever {
				return message.ErrBadCursor
			}
		}
		page, err = s.feedPage(ctx, tx, id, limit)
		return err
	})
	if err != nil {
		return message.FeedPage{}, err
	}
	if n := len(page.Positions); n > 0 {
		page.Next = page.Positions[n-1]
	} else {
		page.Next = s.feedPosition(max(id, last)) // what is missing up to last was removed
	}
	return page, nil
}

// feedPage reads the messages behind an id.
func (s *Store) feedPage(ctx context.Context, tx *sql.Tx, id int64, limit int) (page message.FeedPage, err error) {
	rows, err := tx.QueryContext(ctx, feedSQL, id, limit)
	if err != nil {
		return message.FeedPage{}, err
	}
	defer rows.Close()
	for size := 0; rows.Next(); {
		m, err := scanFull(rows, &id)
		if err != nil {
			return message.FeedPage{}, err
		}
		page.Messages = append(page.Messages, m)
		page.Positions = append(page.Positions, s.feedPosition(id))
		if m.Text != nil {
			size += len(*m.Text)
		}
		size += len(m.Raw)
		if page.More = len(page.Messages) == limit || size >= message.MaxFeedBytes; page.More {
			break
		}
	}
	return page, rows.Err()
}

// feedPositionSize is the size of a position's payload: the id of the message
// that it is behind.
const feedPositionSize = 8

func (s *Store) feedPosition(id int64) string {
	return message.SignFeedPosition(s.cursorKey, binary.BigEndian.AppendUint64(nil, uint64(id)))
}

// feedID returns the id behind which a position is, or message.ErrBadCursor.
func (s *Store) feedID(position string, last int64) (int64, error) {
	switch position {
	case "":
		return 0, nil
	case message.FeedLatest:
		return last, nil
	}
	payload, err := message.OpenFeedPosition(s.cursorKey, position)
	if err != nil {
		return 0, err
	}
	if len(payload) != feedPositionSize {
		return 0, message.ErrBadCursor
	}
	return int64(binary.BigEndian.Uint64(payload)), nil
}

// Changed implements message.Store.
func (s *Store) Changed() <-chan struct{} { return s.changed.Wait() }
