package main

import (
	"debug/buildinfo"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/procfs"
	"github.com/wsfw/wsfw/e2e/engine"
)

// state is what the figures were measured on, with and when.
type state struct {
	Date     time.Time         `json:"date"`
	CPU      string            `json:"cpu"`
	Cores    int               `json:"cores"`
	Memory   uint64            `json:"memory"` // bytes
	Kernel   string            `json:"kernel"`
	Load     float64           `json:"load"` // average of the minute before
	Versions map[string]string `json:"versions"`
	Options  map[string]string `json:"options"` // the command's flags
}

// survey describes the machine and the programs of the systems.
func survey(systems []system) (state, error) {
	s := state{Date: time.Now().UTC(), Versions: map[string]string{"wsfw": revision()}, Options: map[string]string{}}
	if err := s.surveyMachine(); err != nil {
		return s, err
	}
	binary, err := engine.Binary()
	if err != nil {
		return s, err
	}
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return s, err
	}
	s.Versions["traefik"], s.Versions["go"] = info.Main.Version, strings.TrimPrefix(info.GoVersion, "go")
	for _, dep := range info.Deps {
		if dep.Path == "github.com/traefik/yaegi" {
			s.Versions["yaegi"] = dep.Version
		}
	}
	for _, one := range systems {
		if one.versions == nil {
			continue
		}
		versions, err := one.versions()
		if err != nil {
			return s, err
		}
		maps.Copy(s.Versions, versions)
	}
	return s, nil
}

// versionNumber is what is of interest in what programs tell of their versions.
var versionNumber = regexp.MustCompile(`\d+(\.\d+)+`)

// versionOf is what a command tells of the version of its program.
func versionOf(command ...string) func() (map[string]string, error) {
	return func() (map[string]string, error) {
		said, err := exec.Command(command[0], command[1:]...).CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("%v: %w", command, err)
		}
		return map[string]string{command[0]: versionNumber.FindString(string(said))}, nil
	}
}

// surveyMachine fills in what the kernel tells.
func (s *state) surveyMachine() error {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return err
	}
	cores, err := fs.CPUInfo()
	if err != nil {
		return err
	}
	memory, err := fs.Meminfo()
	if err != nil {
		return err
	}
	load, err := fs.LoadAvg()
	if err != nil {
		return err
	}
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return err
	}
	s.Cores, s.Load, s.Kernel = len(cores), load.Load1, strings.TrimSpace(string(kernel))
	if len(cores) > 0 {
		s.CPU = cores[0].ModelName
	}
	if memory.MemTotalBytes != nil {
		s.Memory = *memory.MemTotalBytes
	}
	return nil
}

// shortRevision is how much of a commit's name tells it from all others.
const shortRevision = 12

// revision is the commit that this program was built from, and with it the plugin.
func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	revision, changed := "unknown", ""
	for _, setting := range info.Settings {
		switch {
		case setting.Key == "vcs.revision":
			revision = setting.Value
		case setting.Key == "vcs.modified" && setting.Value == "true":
			changed = " with changes"
		}
	}
	return revision[:min(len(revision), shortRevision)] + changed
}

// String is the state in two lines.
func (s state) String() string { return s.machine() + "\n" + s.programs() }

// machine is when and on what the figures were measured.
func (s state) machine() string {
	return fmt.Sprintf("%s, %d cores of %s, %d GiB, Linux %s, load %.2f before",
		s.Date.Format(time.DateOnly), s.Cores, s.CPU, s.Memory>>30, s.Kernel, s.Load)
}

// programs are the versions.
func (s state) programs() string {
	var texts []string
	for _, name := range slices.Sorted(maps.Keys(s.Versions)) {
		texts = append(texts, name+" "+s.Versions[name])
	}
	return strings.Join(texts, ", ")
}
