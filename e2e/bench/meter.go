package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
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
	if u.gateway, u.resident, err = s.gateway.used(); err != nil {
		return u, err
	}
	for _, c := range []*crew{s.clients, s.upstream} {
		used, err := cpuTime(c.pid)
		if err != nil {
			return u, err
		}
		u.peers += used
	}
	if u.bench, err = cpuTime(os.Getpid()); err != nil {
		return u, err
	}
	u.idle, err = usedByNobody()
	return u, err
}

// used is the CPU time of all the gateway's processes, and their resident sets now.
func (g *gateway) used() (seconds, resident float64, err error) {
	processes, err := g.processes()
	if err != nil {
		return 0, 0, err
	}
	for _, p := range processes {
		used, err := cpuTime(p.PID)
		if err != nil {
			return 0, 0, err
		}
		stat, err := p.Stat()
		if err != nil {
			return 0, 0, err
		}
		seconds += used
		resident += float64(stat.ResidentMemory())
	}
	return seconds, resident, nil
}

// processes are the gateway's own, and those that they have begun.
func (g *gateway) processes() (procfs.Procs, error) {
	all, err := procfs.AllProcs()
	if err != nil {
		return nil, err
	}
	children := map[int]procfs.Procs{}
	var found procfs.Procs
	for _, p := range all {
		if slices.Contains(g.pids, p.PID) {
			found = append(found, p)
		} else if stat, err := p.Stat(); err == nil { // else it has ended meanwhile, and is none of ours
			children[stat.PPID] = append(children[stat.PPID], p)
		}
	}
	if len(found) != len(g.pids) {
		return nil, fmt.Errorf("of the gateway's processes %v only %v are there", g.pids, found)
	}
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i].PID]...)
	}
	return found, nil
}

// cpuTime is what a process has used, by its own clock: that of /proc goes by hundredths of a second.
func cpuTime(pid int) (seconds float64, err error) {
	const scheduled = 2 // CPUCLOCK_SCHED: what clock_getcpuclockid(3) asks for
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|scheduled), &t); err != nil {
		return 0, fmt.Errorf("the CPU time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()).Seconds(), nil
}

// forgetPeak has the kernel measure the peaks of all resident sets anew.
func (g *gateway) forgetPeak() error {
	processes, err := g.processes()
	if err != nil {
		return err
	}
	for _, p := range processes {
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.PID), []byte("5"), 0); err != nil {
			return err
		}
	}
	return nil
}

// peak is how large the resident sets have been at most, in bytes.
func (g *gateway) peak() (bytes float64, err error) {
	processes, err := g.processes()
	if err != nil {
		return 0, err
	}
	for _, p := range processes {
		status, err := p.NewStatus()
		if err != nil {
			return 0, err
		}
		bytes += float64(status.VmHWM)
	}
	return bytes, nil
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
