package main

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/isolate"
	"gocat/internal/testhost"
)

// A filter around gocat that answers calls with success, and does not make them,
// keeps the guest from starting without a required layer, and never makes gocat
// report a layer that is not in effect.
func TestAnswered(t *testing.T) {
	testhost.NeedRoot(t, "to become another user")
	const answered = isolate.Answered
	for _, test := range []struct {
		options string
		nr      uint32
		want    string // the line without which nothing runs
		said    string // or the line beside a guest that runs
	}{
		{"", unix.SYS_SECCOMP, "could not install the seccomp filter: " + answered, ""},
		{"-v", unix.SYS_SECCOMP, "could not install the seccomp filter: " + answered, ""},
		{"--profile=strict --quiet-faults", unix.SYS_SECCOMP, "could not install the seccomp filter: " + answered, ""},
		{"", unix.SYS_PRCTL, "could not set no_new_privs: " + answered, ""},
		{"--isolate=none", unix.SYS_PRCTL, "could not set no_new_privs: " + answered, ""},
		{"", unix.SYS_CLOSE_RANGE, "could not close inherited descriptors: " + answered, ""},
		{"-v", unix.SYS_CAPSET, "", "confinement: capabilities: off: " + answered},
		{"--require=capabilities", unix.SYS_CAPSET, "--require: capabilities does not hold: " + answered, ""},
		{"--isolate=full", unix.SYS_CAPSET, "--isolate=full: capabilities does not hold: " + answered, ""},
		{"--require=landlock", unix.SYS_LANDLOCK_RESTRICT_SELF, "--require: landlock does not hold: " + answered, ""},
		{"--require=landlock", unix.SYS_LANDLOCK_CREATE_RULESET, "--require: landlock does not hold: " + answered, ""},
		{"-v", unix.SYS_PRLIMIT64, "", "confinement: limits: off: " + answered},
		{"--require=limits", unix.SYS_PRLIMIT64, "--require: limits does not hold: " + answered, ""},
		{"--require=user-ns", unix.SYS_UNSHARE, "--require: user-ns does not hold: " + answered, ""},
		{"--isolate=full", unix.SYS_UNSHARE, "--isolate=full: user-ns does not hold: " + answered, ""},
		{"--require=root", unix.SYS_CHROOT, "--require: root does not hold: " + answered, ""},
		{"--require=root", unix.SYS_CHDIR, "--require: root does not hold: " + answered, ""},
		{"--require=root,mount-ns", unix.SYS_FCHDIR, "--require: root does not hold: " + answered, ""},
		{"--require=root,mount-ns", unix.SYS_CHROOT, "--require: root does not hold: " + answered, ""},
		{"--user=12345", unix.SYS_SETRESUID, "--user: user does not hold: " + answered, ""},
		{"--user=0:5", unix.SYS_SETRESGID, "--user: user does not hold: " + answered, ""},
		{"--user=0", unix.SYS_GETRESUID, "--user: user does not hold: " + answered, ""},
	} {
		t.Run(test.options+" "+strings.Fields(test.want + test.said)[0], func(t *testing.T) {
			c := call{args: append([]string{"run", "--backend=spt"}, strings.Fields(test.options)...), stdin: strings.NewReader("hello\n"), dir: "/"}
			r := c.filtered(t, test.nr, unix.SECCOMP_RET_ERRNO)
			if test.want == "" {
				if r.status != 0 || r.stdout != "hello\n" || !strings.Contains(r.stderr, "gocat: "+test.said+"\n") {
					t.Errorf("%+v", r)
				}
				return
			}
			last := r.stderr[strings.LastIndex(strings.TrimSuffix(r.stderr, "\n"), "\n")+1:]
			if r.status != 125 || r.stdout != "" || last != "gocat: "+test.want+"\n" || strings.Contains(r.stderr, "seccomp: on") {
				t.Errorf("%+v", r)
			}
		})
	}
}
