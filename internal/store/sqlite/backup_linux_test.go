package sqlite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestBackupFullDisk: a backup that does not fit is refused before it begins or
// fails when the space ends, says so, and leaves nothing; the one that was there
// stays.
func TestBackupFullDisk(t *testing.T) { withOwnMounts(t, backupFullDisk) }

func backupFullDisk(t *testing.T) {
	path := newPath(t)
	s, _ := open(t, path, Options{})
	for i := range 200 {
		if err := saveLong(t, s, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	copyLog(t, s)
	disk := mountSmall(t, "1m")
	destination := filepath.Join(disk, "backup.db")
	wantBackupError(t, path, destination, BackupOptions{}, "not enough space in "+disk)

	if err := syscall.Mount("none", disk, "tmpfs", syscall.MS_REMOUNT, "size=16m"); err != nil {
		t.Fatal(err)
	}
	if _, err := Backup(t.Context(), path, destination, BackupOptions{}); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(destination)
	if err != nil {
		t.Fatal(err)
	}
	filled := false
	fill := func(int64, int64) {
		if filled {
			return
		}
		filled = true
		f, err := os.Create(filepath.Join(disk, "other"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for err == nil {
			_, err = f.Write(make([]byte, 1<<16))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
	_, err = Backup(t.Context(), path, destination, BackupOptions{Replace: true, Progress: fill})
	wantErrorWith(t, "Backup while the disk is filled", err, "no space left in "+disk)
	wantEqual(t, "files", []string{"backup.db", "other"}, names(t, disk))
	if after, err := os.Stat(destination); err != nil || !os.SameFile(before, after) {
		t.Errorf("the backup that was there: %v", err)
	}
	if _, err := CheckBackup(t.Context(), destination); err != nil {
		t.Errorf("the backup that was there: %v", err)
	}
	save(t, s, "after")
}

// TestBackupReadOnly: a database in a folder in which nothing can be written is
// backed up, with its log and without.
func TestBackupReadOnly(t *testing.T) { withOwnMounts(t, backupReadOnly) }

func backupReadOnly(t *testing.T) {
	path := newPath(t)
	s, shut := open(t, path, Options{})
	save(t, s, "a", "b")
	killed := copyDatabase(t, path)
	if size(t, killed+"-wal") == 0 {
		t.Fatal("the killed store left no log")
	}
	shut()
	for what, path := range map[string]string{"killed": killed, "stopped": path} {
		dir := filepath.Dir(path)
		if err := syscall.Mount(dir, dir, "", syscall.MS_BIND, ""); err != nil {
			t.Fatalf("%s: %v", cannotMount, err)
		}
		if err := syscall.Mount("none", dir, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
			t.Fatalf("%s: %v", cannotMount, err)
		}
		before := names(t, dir)
		destination, summary := mustBackup(t, path)
		wantEqual(t, what+": messages", int64(2), summary.Messages)
		wantEqual(t, what+": files of the backup", []string{"backup.db"}, names(t, filepath.Dir(destination)))
		wantEqual(t, what+": files of the database", before, names(t, dir))
		s, shut := open(t, destination, Options{})
		wantEqual(t, what+": IDs", []string{"a", "b"}, listedIDs(t, s))
		shut()
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Fatal(err)
		}
	}
}
