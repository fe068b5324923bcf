package engine

import (
	"os/exec"
	"syscall"
)

// DieWithParent has the kernel end the process with this one: a test binary that runs into its time-out has no
// chance to.
func DieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
