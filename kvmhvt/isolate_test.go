package kvmhvt

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/testhost"
)

// Each layer stops what it is there for, without the help of seccomp.
func TestLayersWithoutSeccomp(t *testing.T) {
	testhost.NeedRoot(t, "to have capabilities to lose")
	all := "root,uts-ns,net-ns,ipc-ns,cgroup-ns,mount-ns,limits,securebits,bounding-set,undumpable,landlock,capabilities"
	denied := fmt.Sprintf("--deny=%d", unix.SYS_SECCOMP)
	r := runTender(t, "--best-effort", "--require="+all, "--user=1234", denied, "--tamper", sleepless(t))
	want := []string{
		"open: no such file or directory", "unshare uts: operation not permitted", "chroot: operation not permitted",
		"mmap: cannot allocate memory", "securebits: operation not permitted", "dumpable 0: <nil>", "bounding 0: <nil>",
		"setuid: operation not permitted", "dup 0: <nil>", "dup: too many open files",
	}
	if r.status != 0 || r.stderr != strings.Join(want, "\n")+"\n" {
		t.Errorf("%+v, want\n%s", r, strings.Join(want, "\n"))
	}
	// Without the layers they succeed, except those that capabilities and
	// Landlock stop, which a tender has in any case.
	r = runTender(t, "--best-effort", denied, "--tamper", sleepless(t))
	for _, line := range []string{"open: permission denied", "mmap: <nil>", "dumpable 1: <nil>", "bounding 1: <nil>", "dup: <nil>"} {
		if !strings.Contains(r.stderr, line+"\n") {
			t.Errorf("without layers: %q lacks %q", r.stderr, line)
		}
	}
	// A layer that must hold is not done without, whatever --confine says.
	r = runTender(t, "--best-effort", "--require=root", fmt.Sprintf("--deny=%d", unix.SYS_CHROOT), sleepless(t))
	if r.status != 1 || !strings.HasPrefix(r.stderr, "tender: require: root does not hold: it takes CAP_SYS_CHROOT") {
		t.Errorf("%+v", r)
	}
}
