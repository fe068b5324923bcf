package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/wsfw/wsfw/e2e/engine"
)

// machineEnv tells a test that it runs in a machine of its own.
const machineEnv = "WSFW_E2E_MACHINE"

// boot makes, out of new namespaces, a machine with no line to others: with ports, an /etc and a /run of its own. Its
// argument is an empty directory, and then the command to run there. What that leaves ends with it.
const boot = `set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/run"
mount -t overlay -o "lowerdir=/etc,upperdir=$1/upper,workdir=$1/work" overlay /etc
mount --bind "$1/run" /run
ip link set lo up
shift
exec "$@"`

// onOwnMachine runs a test with a real Traefik in a process of its own, as root of a machine that has just been booted:
// there examples have the ports, names and files that they ask for.
func onOwnMachine(t *testing.T, run func(t *testing.T)) {
	t.Helper()
	eachTraefik(t, func(t *testing.T, _ engine.Engine) {
		if os.Getenv(machineEnv) != "" {
			run(t)
			return
		}
		if _, err := engine.Binary(); err != nil { // there it could not be built: no line leads out of the machine
			t.Fatal(err)
		}
		machine := exec.CommandContext(t.Context(), "unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc",
			"sh", "-c", boot, "boot", t.TempDir(),
			os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1", "-test.timeout=5m", "-test.v")
		machine.Env = append(os.Environ(), machineEnv+"=yes")
		engine.DieWithParent(machine)
		output, err := machine.CombinedOutput()
		t.Logf("on its own machine:\n%s", output)
		if err != nil {
			t.Error(err)
		}
	})
}

// named gives the machine names for its own loopback addresses, one each.
func named(t *testing.T, hosts ...string) {
	t.Helper()
	var lines strings.Builder
	for i, host := range hosts {
		fmt.Fprintf(&lines, "127.0.1.%d %s\n", i+1, host)
	}
	addHosts(t, lines.String())
}

// addHosts adds lines to the machine's own /etc/hosts.
func addHosts(t *testing.T, lines string) {
	t.Helper()
	file, err := os.OpenFile("/etc/hosts", os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteString(lines); err != nil {
		t.Fatal(err)
	}
}
