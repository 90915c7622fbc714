package kvmhvt

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestConfined looks at a tender from outside while its guest runs.
func TestConfined(t *testing.T) {
	secret := must(t)(os.Open("/etc/passwd"))
	defer secret.Close()
	cmd := tenderCommand(t, sleeper(t))
	r, w := must2(t)(os.Pipe())
	defer r.Close()
	cmd.Stdout, cmd.ExtraFiles = w, []*os.File{secret, secret}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close() // so that reading ends if the tender does
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	if n, err := r.Read(make([]byte, 6)); n != 6 {
		t.Fatal(err)
	}
	dir := fmt.Sprintf("/proc/%d", cmd.Process.Pid)
	tasks, err := filepath.Glob(dir + "/task/*/status")
	if err != nil {
		t.Fatal(err)
	}
	// Some kernels show a thread of KVM's, which never runs the process's code.
	tasks = slices.DeleteFunc(tasks, func(task string) bool {
		name, _ := os.ReadFile(filepath.Dir(task) + "/comm")
		return strings.HasPrefix(string(name), "kvm-nx-lpage")
	})
	if len(tasks) != 1 {
		t.Fatalf("%d threads", len(tasks))
	}
	for _, task := range tasks {
		b, err := os.ReadFile(task)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{
			"NoNewPrivs:\t1\n", "Seccomp:\t2\n", "Seccomp_filters:\t1\n", "CapEff:\t0000000000000000\n",
			"CapPrm:\t0000000000000000\n", "CapInh:\t0000000000000000\n", "CapAmb:\t0000000000000000\n",
		} {
			if !strings.Contains(string(b), want) {
				t.Errorf("%s lacks %q", task, want)
			}
		}
	}
	fds, err := os.ReadDir(dir + "/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		link, _ := os.Readlink(dir + "/fd/" + fd.Name())
		switch {
		case fd.Name() == "1" || fd.Name() == "2":
		case strings.HasPrefix(link, "anon_inode:"): // processor, wait set, timer
			if strings.Contains(link, "kvm-vm") {
				t.Errorf("descriptor %s is still %s", fd.Name(), link)
			}
		default:
			t.Errorf("descriptor %s is still %s", fd.Name(), link)
		}
	}
}

// TestLayers shows that each layer is reported, and that a call outside the
// policy kills.
func TestLayers(t *testing.T) {
	r := runTender(t, "--verbose", sleepless(t))
	for _, layer := range []string{"no_new_privs", "capabilities", "descriptors", "seccomp"} {
		if !strings.Contains(r.stderr, ": "+layer+": on") {
			t.Errorf("%s does not hold: %q", layer, r.stderr)
		}
	}
	if !strings.Contains(r.stderr, ": landlock: ") || r.status != 0 {
		t.Errorf("%+v", r)
	}
	if r := runTender(t, "--break-out", sleepless(t)); r.status != 128+int(unix.SIGSYS) {
		t.Errorf("a forbidden call: %+v", r)
	}
	// A defect in the tender is one line, and a documented status.
	if r := runTender(t, "--fault", sleepless(t)); r.status != 128+int(unix.SIGSEGV) || !strings.HasPrefix(r.stderr, "tender: defect in the tender: SIGSEGV at address 0x0, rip=0x") || strings.Count(r.stderr, "\n") != 1 {
		t.Errorf("a fault: %+v", r)
	}
	if r := runTender(t, "--index", sleepless(t)); r.status != 128+int(unix.SIGSEGV) || !strings.HasPrefix(r.stderr, "tender: defect in the tender: SIGSEGV") || strings.Count(r.stderr, "\n") != 1 {
		t.Errorf("an index out of range: %+v", r)
	}
}

// TestFailsClosed shows that a layer that cannot be had keeps the guest from
// starting, unless the user says otherwise.
func TestFailsClosed(t *testing.T) {
	img := sleepless(t)
	for layer, nr := range map[string]int{
		"capabilities": unix.SYS_CAPSET, "landlock": unix.SYS_LANDLOCK_CREATE_RULESET, "seccomp": unix.SYS_SECCOMP,
	} {
		denied := fmt.Sprintf("--deny=%d", nr)
		r := runTender(t, denied, img)
		if r.status != 1 || !strings.HasPrefix(r.stderr, "tender: confine the tender: "+layer+": ") || strings.Count(r.stderr, "\n") != 1 {
			t.Errorf("%s: %+v", layer, r)
		}
		r = runTender(t, denied, "--best-effort", "--verbose", img)
		if r.status != 0 || strings.Count(r.stderr, ": on") < 3 || strings.Contains(r.stderr, ": "+layer+": on") {
			t.Errorf("%s, best effort: %+v", layer, r)
		}
	}
}

// TestFaked shows that a layer is not believed to hold because the kernel, or a
// filter in front of it, says so.
func TestFaked(t *testing.T) {
	img := sleepless(t)
	for layer, nr := range map[string]int{
		"no_new_privs": unix.SYS_PRCTL, "capabilities": unix.SYS_CAPSET, "descriptors": unix.SYS_CLOSE_RANGE,
		"landlock": unix.SYS_LANDLOCK_RESTRICT_SELF, "seccomp": unix.SYS_SECCOMP,
	} {
		faked := fmt.Sprintf("--fake=%d", nr)
		r := runTender(t, faked, img)
		if r.status != 1 || !strings.HasPrefix(r.stderr, "tender: confine the tender: "+layer+": ") || !strings.Contains(r.stderr, "does not hold") || strings.Count(r.stderr, "\n") != 1 {
			t.Errorf("%s: %+v", layer, r)
		}
		r = runTender(t, faked, "--best-effort", "--verbose", img)
		if r.status != 0 || strings.Contains(r.stderr, ": "+layer+": on") {
			t.Errorf("%s, best effort: %+v", layer, r)
		}
	}
	for layer, nr := range map[string]int{"limits": unix.SYS_PRLIMIT64, "undumpable": unix.SYS_PRCTL} {
		r := runTender(t, fmt.Sprintf("--fake=%d", nr), "--require="+layer, img)
		if r.status != 1 || !strings.Contains(r.stderr, "does not hold") || strings.Count(r.stderr, "\n") != 1 {
			t.Errorf("%s: %+v", layer, r)
		}
	}
}
