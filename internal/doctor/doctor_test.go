//go:debug updatemaxprocs=0
//go:debug containermaxprocs=0
package doctor

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"gocat/internal/tender"
	"gocat/internal/testhost"
	"gocat/kvmhvt"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "run" { // as gocat does
		status, _ := tender.Main(os.Args[2:], nil)
		os.Exit(status)
	}
	if len(os.Args) > 2 && os.Args[1] == "doctor" && os.Args[2] == "--probe-calls" {
		if err := ProbeCalls(os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// gocat is the program, for hvt guests, once it is built.
var gocat string

// self runs this binary as gocat.
func self(input []byte, args ...string) (Outcome, error) {
	exe, err := os.Executable()
	if slices.Contains(args, "--backend=hvt") {
		exe = gocat
	}
	if err != nil {
		return Outcome{}, err
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(exe, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &stdout, &stderr
	err = cmd.Run()
	out := Outcome{Stdout: stdout.Bytes(), Stderr: stderr.Bytes()}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		out.Status, err = exit.ExitCode(), nil
		if ws := exit.Sys().(syscall.WaitStatus); ws.Signaled() {
			out.Status = 128 + int(ws.Signal())
		}
	}
	return out, err
}

func TestThisHost(t *testing.T) {
	gocat = testhost.Gocat(t)
	h := &Host{Root: "/", Gocat: self}
	names := map[string]bool{}
	for _, r := range h.Check() {
		t.Logf("%v %s: %v", r.Status, r.Check, r)
		if r.Check == "" || r.Found == "" || names[r.Check] || strings.Contains(r.String(), "\n") {
			t.Errorf("%+v", r)
		}
		names[r.Check] = true
		if r.Check == "hvt guest" && (r.Status == OK) != (kvmhvt.Available() == nil) {
			t.Errorf("%v %v, but kvmhvt says %v", r.Status, r, kvmhvt.Available())
		}
		if r.Status == Fail {
			testhost.Skip(t, "spt guests cannot run here: "+r.Check+": "+r.String())
		}
	}
	if out, err := self(nil, "doctor", "--probe-calls"); err != nil || strings.Count(string(out.Stdout), " allowed\n") != len(needed()) {
		t.Errorf("without a filter, the probe says %q, %v", out.Stdout, err)
	}
}

// tree makes a directory of files.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, contents := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(contents), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestChecks(t *testing.T) {
	type files = map[string]string
	const sysctl = "proc/sys/"
	for _, test := range []struct {
		name   string
		check  func(*Host) Result
		files  files
		status Status
		want   string
	}{
		{"memfd 0", (*Host).memfd, files{sysctl + "vm/memfd_noexec": "0\n"}, OK, "may execute"},
		{"memfd 1", (*Host).memfd, files{sysctl + "vm/memfd_noexec": "1\n"}, OK, "may execute"},
		{"memfd 2", (*Host).memfd, files{sysctl + "vm/memfd_noexec": "2\n"}, Fail, "sysctl vm.memfd_noexec=1, or gocat seal"},
		{"memfd old", (*Host).memfd, files{"proc/self/fd/0": ""}, OK, "nothing restricts"},
		{"memfd unknown", (*Host).memfd, nil, Warn, "unknown"},
		{"mmap_min_addr", (*Host).mmapMinAddr, files{sysctl + "vm/mmap_min_addr": "65536\n"}, OK, "65536"},
		{"mmap_min_addr high", (*Host).mmapMinAddr, files{sysctl + "vm/mmap_min_addr": "65537\n"}, Fail, "sysctl vm.mmap_min_addr=65536"},
		{"overcommit", (*Host).overcommit, files{sysctl + "vm/overcommit_memory": "1\n"}, OK, "they touch"},
		{"overcommit 2", (*Host).overcommit, files{sysctl + "vm/overcommit_memory": "2\n"}, Warn, "small --mem"},
		{"sealed vdso", (*Host).systemMappings, files{"proc/self/smaps": "7f00 [stack]\nVmFlags: rd\n7fff [vdso]\nSize: 8 kB\nVmFlags: rd ex sl \nff [vsyscall]\n"}, Warn, "stays mapped"},
		{"vdso", (*Host).systemMappings, files{"proc/self/smaps": "7fff [vdso]\nVmFlags: rd ex\nff [other]\nVmFlags: sl\n"}, OK, "not sealed"},
		{"no proc", (*Host).proc, nil, Warn, "mount -t proc"},
		{"pipes", (*Host).pipes, files{sysctl + "fs/pipe-max-size": "1048576", sysctl + "fs/pipe-user-pages-soft": "16384"}, OK, "64 pipes"},
		{"small pipes", (*Host).pipes, files{sysctl + "fs/pipe-max-size": "65536", sysctl + "fs/pipe-user-pages-soft": "16384"}, Warn, "sysctl fs.pipe-max-size=1048576"},
		{"few pipes", (*Host).pipes, files{sysctl + "fs/pipe-max-size": "1048576", sysctl + "fs/pipe-user-pages-soft": "511"}, Warn, "pipe-user-pages-soft="},
		{"pipes unlimited", (*Host).pipes, files{sysctl + "fs/pipe-max-size": "1048576", sysctl + "fs/pipe-user-pages-soft": "0"}, OK, "can be widened"},
		{"seccomp", (*Host).seccompActions, files{sysctl + "kernel/seccomp/actions_avail": "kill_process kill_thread trap errno allow\n"}, OK, "filters"},
		{"seccomp old", (*Host).seccompActions, files{sysctl + "kernel/seccomp/actions_avail": "kill_thread trap errno allow\n"}, Fail, "no action kill_process"},
		{"seccomp none", (*Host).seccompActions, nil, Warn, "CONFIG_SECCOMP_FILTER"},
		{"no filter", (*Host).inheritedFilter, files{"proc/self/status": "Name:\tx\nSeccomp:\t0\n"}, OK, "none"},
		{"no_new_privs", (*Host).noNewPrivs, files{"proc/self/status": "NoNewPrivs:\t1\n"}, OK, "set already"},
		{"kvm none", (*Host).KVM, nil, Warn, "kvm_intel or kvm_amd"},
		{"kvm a file", (*Host).KVM, files{"dev/kvm": ""}, Warn, "API version"},
		{"kvm_intel", (*Host).kvmKind, files{"sys/module/kvm_intel/x": "", "proc/cpuinfo": "processor: 0\nflags\t: fpu vmx hypervisor\n"}, OK, "VT-x), nested"},
		{"kvm_amd", (*Host).kvmKind, files{"sys/module/kvm_amd/x": "", "proc/cpuinfo": "processor: 0\nflags\t: fpu svm\n"}, OK, "AMD-V): guests run natively"},
		{"kvm_pvm", (*Host).kvmKind, files{"sys/module/kvm_pvm/x": ""}, OK, "so does CPUID: guests see the host's processor"},
		{"kvm other", (*Host).kvmKind, nil, Warn, "unknown kind"},
		{"no tun", (*Host).taps, nil, Warn, "modprobe tun"},
		{"user namespaces", (*Host).userNamespaces, files{sysctl + "user/max_user_namespaces": "5", sysctl + "kernel/unprivileged_userns_clone": "0"}, OK, "at most 5, by root only"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := test.check(&Host{Root: tree(t, test.files)})
			if r.Status != test.status || !strings.Contains(r.String(), test.want) {
				t.Errorf("%v %v; want %v and %q", r.Status, r, test.status, test.want)
			}
		})
	}
}

func TestRelease(t *testing.T) {
	for release, want := range map[string]Result{
		"4.19.0-amd64":    {Status: Fail, Remedy: "use Linux 5.9 or later"},
		"5.8.1":           {Status: Fail, Remedy: "use Linux 5.9 or later"},
		"5.9":             {Means: "has close_range; its memfds are all executable (MFD_EXEC is of 6.3)"},
		"5.10.0-30-amd64": {Means: "has close_range; its memfds are all executable (MFD_EXEC is of 6.3)"},
		"6.3-rc1":         {Means: "has close_range and MFD_EXEC"},
		"10.0.1":          {Means: "has close_range and MFD_EXEC"},
		"gnu":             {Status: Warn, Means: "not a version that gocat understands"},
	} {
		r := judgeRelease(release)
		if r.Found != "Linux "+release || r.Status != want.Status || r.Remedy != want.Remedy || want.Means != "" && r.Means != want.Means {
			t.Errorf("%s: %+v, want %+v", release, r, want)
		}
	}
}

// A guest that does not run, or loses data, fails the check if it is an spt one.
func TestGuests(t *testing.T) {
	for want, gocat := range map[string]func([]byte, ...string) (Outcome, error){
		"no such program": func([]byte, ...string) (Outcome, error) { return Outcome{}, errors.New("no such program") },
		"status 159: guest killed; to fix it": func([]byte, ...string) (Outcome, error) {
			return Outcome{Status: 159, Stderr: []byte("gocat: guest killed\nmore\n")}, nil
		},
		"lost data": func(in []byte, _ ...string) (Outcome, error) { return Outcome{Stdout: in[1:]}, nil },
	} {
		h := &Host{Gocat: gocat}
		if r := h.sptGuest(); r.Status != Fail || !strings.Contains(r.String(), want) {
			t.Errorf("spt: %v %v; want FAIL and %q", r.Status, r, want)
		}
		if r := h.hvtGuest(); r.Status != Warn || !strings.Contains(r.String(), want) {
			t.Errorf("hvt: %v %v; want WARN and %q", r.Status, r, want)
		}
	}
	for backend, check := range map[string]func(*Host) Result{"spt": (*Host).sptGuest, "hvt": (*Host).hvtGuest} {
		h := &Host{Gocat: func(in []byte, args ...string) (Outcome, error) {
			if strings.Join(args, " ") != "run --backend="+backend {
				t.Errorf("%s: gocat %q", backend, args)
			}
			return Outcome{Stdout: in}, nil
		}}
		if r := check(h); r.Status != OK || r.Means != backend+" guests work" {
			t.Errorf("%v %v", r.Status, r)
		}
	}
}

func TestInheritedFilter(t *testing.T) {
	const filtered = "Seccomp:\t2\nSeccomp_filters:\t3\n"
	const errno, kill = 0x50000, 0x80000000 // SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS
	for _, test := range []struct {
		name   string
		nr     uint32
		action uint32
		status Status
		want   string
	}{
		{"harmless", unix.SYS_REBOOT, errno | uint32(unix.EPERM), OK, "3 seccomp filters were inherited: it allows all"},
		{"refused", unix.SYS_MEMFD_CREATE, errno | uint32(unix.EPERM), Fail, "it forbids memfd_create (operation not permitted)"},
		{"replaced", unix.SYS_CLOSE_RANGE, errno | uint32(unix.ENOSYS), OK, "3 seccomp filters were inherited: it allows all"},
		{"unknown", unix.SYS_TIMERFD_CREATE, errno | uint32(unix.ENOSYS), Fail, "it forbids timerfd_create (" + unix.ENOSYS.Error() + ")"},
		{"killed", unix.SYS_EXECVEAT, kill, Fail, "it kills gocat at execveat"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := &Host{Root: tree(t, map[string]string{"proc/self/status": filtered})}
			h.Gocat = func(input []byte, args ...string) (out Outcome, err error) {
				done := make(chan bool)
				go func() {
					defer close(done)
					runtime.LockOSThread() // never unlocked: the filter ends with the thread
					if err = deny(test.nr, test.action); err == nil {
						out, err = self(input, args...)
					}
				}()
				<-done
				return out, err
			}
			if r := h.inheritedFilter(); r.Status != test.status || !strings.Contains(r.String(), test.want) {
				t.Errorf("%v %v; want %v and %q", r.Status, r, test.status, test.want)
			}
			guest, want := h.sptGuest(), test.status
			if guest.Status != want {
				t.Errorf("the guest under the filter: %v %v; want %v", guest.Status, guest, want)
			}
		})
	}
}

// deny installs a filter in this thread and its children: action for one call.
func deny(nr, action uint32) error {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 0, Jf: 1, K: nr},
		{Code: unix.BPF_RET, K: action},
		{Code: unix.BPF_RET, K: 0x7fff0000},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog))); errno != 0 {
		return errno
	}
	return nil
}

func TestStatus(t *testing.T) {
	for s, want := range map[Status]string{OK: "OK", Warn: "WARN", Fail: "FAIL", 9: "status 9"} {
		if b, err := s.MarshalText(); string(b) != want || err != nil {
			t.Errorf("%q, %v; want %q", b, err, want)
		}
	}
}
