package main

import (
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/prometheus/procfs"
)

// usage is what processes have taken of the machine, all times in seconds of one core.
type usage struct {
	at       time.Time
	gateway  float64 // since the process began
	peers    float64 // both sides together
	bench    float64 // this process
	idle     float64 // all cores together, since the machine began
	resident float64 // bytes of memory that the gateway holds now
}

// read is the usage up to now.
func (s *stage) read() (usage, error) {
	u := usage{at: time.Now()}
	var err error
	if u.gateway, u.resident, err = usedBy(s.gateway.pid); err != nil {
		return u, err
	}
	for _, c := range []*crew{s.clients, s.upstream} {
		used, _, err := usedBy(c.pid)
		if err != nil {
			return u, err
		}
		u.peers += used
	}
	if u.bench, _, err = usedBy(os.Getpid()); err != nil {
		return u, err
	}
	u.idle, err = usedByNobody()
	return u, err
}

// usedBy is the CPU time of a process, and its resident set now.
func usedBy(pid int) (seconds, resident float64, err error) {
	process, err := procfs.NewProc(pid)
	if err != nil {
		return 0, 0, err
	}
	stat, err := process.Stat()
	if err != nil {
		return 0, 0, err
	}
	return stat.CPUTime(), float64(stat.ResidentMemory()), nil
}

// forgetPeak has the kernel measure the peak of a process's resident set anew.
func forgetPeak(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}

// peak is how large a process's resident set has been at most, in bytes.
func peak(pid int) (float64, error) {
	process, err := procfs.NewProc(pid)
	if err != nil {
		return 0, err
	}
	status, err := process.NewStatus()
	return float64(status.VmHWM), err
}

// usedByNobody is how long all cores together have been idle. The kernel knows that exactly, while what it tells of all
// processes together is an estimate that misses who wakes up only briefly.
func usedByNobody() (seconds float64, err error) {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return 0, err
	}
	stat, err := fs.Stat()
	if err != nil {
		return 0, err
	}
	return stat.CPUTotal.Idle + stat.CPUTotal.Iowait, nil
}

// load are the figures of what has been used between two readings, in per cent of one core. What others used, the kernel's
// own work for the network among them, tells how far the first can be trusted.
func load(from, to usage) []measurement {
	elapsed := to.at.Sub(from.at).Seconds()
	gateway, peers, bench := to.gateway-from.gateway, to.peers-from.peers, to.bench-from.bench
	others := float64(runtime.NumCPU())*elapsed - (to.idle - from.idle) - gateway - peers - bench
	return []measurement{
		{"cpu", "% of a core", 100 * gateway / elapsed},
		{"peers' cpu", "% of a core", 100 * peers / elapsed},
		{"others' cpu", "% of a core", 100 * others / elapsed},
	}
}
