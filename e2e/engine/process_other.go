//go:build !linux

package engine

import "os/exec"

// dieWithParent does nothing where the kernel offers no such tie.
func dieWithParent(*exec.Cmd) {}
