//go:build !linux

package engine

import "os/exec"

// DieWithParent does nothing where the kernel offers no such tie.
func DieWithParent(*exec.Cmd) {}
