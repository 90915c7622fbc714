package spt

import (
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/guests"
	"gocat/internal/isolate"
	"gocat/internal/plan"
	"gocat/internal/testhost"
)

// PR_SET_MDWE, since Linux 6.3, and PR_MDWE_REFUSE_EXEC_GAIN.
const setMDWE, refuseExecGain = 65, 1

// A host that forbids memory that is writable and executable forbids
// --x-exec-heap, and the message says so.
func TestExecHeapForbidden(t *testing.T) {
	u := probe(t, func(p *guests.Probe) { p.Do(p.Exit(guests.N(5))) })
	u.ExecHeap = true
	path := u.seal(t)
	forbid := testhost.Command{Path: layered(t, isolate.Config{}, func(p *plan.Plan) {
		p.Must("PR_SET_MDWE", 0, unix.SYS_PRCTL, setMDWE, refuseExecGain, 0, 0, 0)
		p.ExecPath("execve", path, p.Strings([]string{"guest"}))
	})}
	r := forbid.Run(t)
	if r.Stderr == "gocat: PR_SET_MDWE: invalid argument\n" {
		testhost.Skip(t, "the kernel has no PR_SET_MDWE")
	}
	check(t, r, 1, "", "gocat: could not map memory that is writable and executable: permission denied; a security module or PR_SET_MDWE may forbid it here\n")
}
