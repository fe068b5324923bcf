package main

import (
	"fmt"
	"syscall"
)

// filesFor is how many files a process holds open for that many sessions: two for each, and some for itself.
func filesFor(sessions int) uint64 { return 2*uint64(sessions) + 256 }

// allowFiles raises the limit of files that this process may hold open, and with it that of those which it starts. Beyond
// the hard limit that is for the superuser.
func allowFiles(wanted uint64) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	hard := limit.Max
	limit.Cur, limit.Max = max(limit.Cur, wanted), max(limit.Max, wanted)
	// Where nothing is to be raised, too: Go has raised its own limit, and starts others with what it found.
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("a process needs %d open files, of which the hard limit is %d: %w", wanted, hard, err)
	}
	return nil
}
