package sqlite

import (
	"errors"
	"slices"
	"testing"

	"lyftr/internal/message"
)

func feed(t *testing.T, s *Store, after string, limit int) message.FeedPage {
	t.Helper()
	page, err := s.Feed(t.Context(), after, limit)
	if err != nil {
		t.Fatal(err)
	}
	return page
}

func idsOf(page message.FeedPage) []string {
	ids := []string{}
	for _, m := range page.Messages {
		ids = append(ids, m.ID)
	}
	return ids
}

func TestFeedPlan(t *testing.T) {
	s, _ := open(t, newPath(t), Options{})
	save(t, s, "a", "b", "c")
	first := feed(t, s, "", 1)
	read := plans(t, s, func() { feed(t, s, first.Next, 10) })
	if len(read) != 1 {
		t.Fatalf("a page takes %d statements: %q", len(read), read)
	}
	wantPlan(t, "a page of the feed", read[0], []string{"SEARCH messages USING INTEGER PRIMARY KEY (rowid>?)"}, fullSort, tableScan)

	// At the end nothing is read.
	end := feed(t, s, first.Next, 10).Next
	none := plans(t, s, func() {
		feed(t, s, end, 10)
		feed(t, s, message.FeedLatest, 10)
		feed(t, s, first.Next, 0)
	})
	if len(none) > 0 {
		t.Errorf("at the end of the feed it reads %q", none)
	}
}

// TestFeedAfterRestore: a position from after the copy that took the file's
// place would skip what gets those ids now.
func TestFeedAfterRestore(t *testing.T) {
	path := newPath(t)
	s, shut := open(t, path, Options{})
	save(t, s, "a", "b")
	shut()
	older := copyDatabase(t, path)
	s, _ = open(t, path, Options{})
	known := feed(t, s, "", 1).Next
	atCopy := feed(t, s, message.FeedLatest, 1).Next
	save(t, s, "c", "d")
	ahead := feed(t, s, message.FeedLatest, 1).Next

	restored, _ := open(t, older, Options{})
	for _, limit := range []int{0, 1, 10} {
		if page, err := restored.Feed(t.Context(), ahead, limit); !errors.Is(err, message.ErrBadCursor) {
			t.Errorf("a position ahead of the file, limit %d: got %q, %v", limit, idsOf(page), err)
		}
	}
	wantEqual(t, "behind a position that both have", []string{"b"}, idsOf(feed(t, restored, known, 10)))
	save(t, restored, "e")
	wantEqual(t, "behind the copy's end", []string{"e"}, idsOf(feed(t, restored, atCopy, 10)))
}

// TestFeedBeforeCount: a reader may see a commit before the writer has counted
// it; his position is good all the same.
func TestFeedBeforeCount(t *testing.T) {
	s, _ := open(t, newPath(t), Options{})
	save(t, s, "a", "b")
	counted := feed(t, s, "", 1).Next // so far
	s.lastID.Add(-1)
	s.committing.Store(true)
	wantEqual(t, "behind what is counted", []string{"b"}, idsOf(feed(t, s, counted, 10)))
	page := feed(t, s, "", 10)
	wantEqual(t, "with what is not counted yet", []string{"a", "b"}, idsOf(page))
	for _, limit := range []int{0, 10} {
		again := feed(t, s, page.Next, limit)
		wantEqual(t, "behind it", []string{}, idsOf(again))
		wantEqual(t, "the position", page.Next, again.Next)
	}
	s.lastID.Add(1)
	s.committing.Store(false)
	save(t, s, "c")
	wantEqual(t, "later", []string{"c"}, idsOf(feed(t, s, page.Next, 10)))
}

// TestFeedDuringCommit: from before a commit until after it the feed does not
// take what is counted for all that there is.
func TestFeedDuringCommit(t *testing.T) {
	path := newPath(t)
	s, _ := open(t, path, Options{})
	save(t, s, "a")
	release := holdWriteLock(t, path)
	saving := begin(t, s, "b")
	waitFor(t, "the commit has begun", s.committing.Load)
	release()
	wantOutcomes(t, "b", <-saving, message.Outcome{})
	waitFor(t, "the commit is over", func() bool { return !s.committing.Load() })
}

// TestFeedRemoved: what was removed is not there, and what was behind it is.
func TestFeedRemoved(t *testing.T) {
	path := newPath(t)
	s, shut := open(t, path, Options{})
	save(t, s, "a", "b", "c", "d", "e")
	whole := feed(t, s, "", 10)
	shut()
	db := plain(t, path)
	mustExec(t, db, "DELETE FROM messages WHERE message_id IN ('b', 'd', 'e')")
	mustExec(t, db, "UPDATE counters SET value = 5 WHERE name = 'last_id'")
	mustExec(t, db, "UPDATE counters SET value = 3 WHERE name = 'removed'")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s, _ = open(t, path, Options{})
	want := [][]string{{"c"}, {"c"}, {}, {}, {}} // behind each of the five
	for i, p := range whole.Positions {
		wantEqual(t, "behind "+whole.Messages[i].ID, want[i], idsOf(feed(t, s, p, 10)))
	}
	end := feed(t, s, whole.Positions[2], 10).Next
	wantEqual(t, "the position behind what was removed", whole.Next, end)
	save(t, s, "f")
	for i, p := range whole.Positions {
		wantEqual(t, "behind "+whole.Messages[i].ID+", later", slices.Concat(want[i], []string{"f"}), idsOf(feed(t, s, p, 10)))
	}
}
