package isolate

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"github.com/landlock-lsm/go-landlock/landlock"
	"golang.org/x/sys/unix"

	"gocat/internal/testhost"
)

func TestLayerNames(t *testing.T) {
	seen := map[string]bool{}
	for l := range layers {
		got, err := ParseLayer(l.String())
		if err != nil || got != l || seen[l.String()] {
			t.Errorf("%v: %v, %v", l, got, err)
		}
		seen[l.String()] = true
	}
	for _, name := range []string{"", "layer 19", "pid-ns", "time-ns", "Root"} {
		if l, err := ParseLayer(name); err == nil {
			t.Errorf("%q is %v", name, l)
		}
	}
}

func TestWanted(t *testing.T) {
	all := Set(1<<layers - 1)
	for _, test := range []struct {
		c    Config
		want Set
	}{
		{Config{}, basic},
		{Config{Mode: Auto, Cheap: CheapSPT}, CheapSPT},
		{Config{Mode: Full, Cheap: CheapSPT}, all &^ optional},
		{Config{Mode: Full, Require: Of(User, StoreBypass)}, all &^ Of(IndirectBranch, Cgroup)},
		{Config{Require: Of(Landlock)}, basic | Of(Landlock)},
		{Config{Require: Of(NetNS)}, basic | Of(NetNS, UserNS)}, // a user namespace permits the others
		{Config{Mode: Auto, Cheap: CheapHVT, Require: Of(Root)}, CheapHVT | Of(UserNS)},
		{Config{Require: Of(User)}, basic | Of(User, Capabilities)}, // the ones kept for the layers go too
	} {
		if got := test.c.Wanted(); got != test.want {
			t.Errorf("%+v: %v, want %v", test.c, got.Layers(), test.want.Layers())
		}
		for l := range layers {
			if test.c.Must(l) && !test.c.Wanted().Has(l) {
				t.Errorf("%+v: %v must hold but is not set up", test.c, l)
			}
			if test.c.Must(l) != (test.c.Require.Has(l) || test.c.Mode == Full && !optional.Has(l) || l == Capabilities && test.c.Require.Has(User)) {
				t.Errorf("%+v: Must(%v) is %v", test.c, l, test.c.Must(l))
			}
		}
	}
}

func TestOptions(t *testing.T) {
	var c Config
	if err := c.SetRequire("root,net-ns"); err != nil || c.Require != Of(Root, NetNS) {
		t.Errorf("%v, %v", c.Require.Layers(), err)
	}
	for _, v := range []string{"root,", "", "user", "root,cgroup"} {
		if c.SetRequire(v) == nil {
			t.Errorf("%q can be required", v)
		}
	}
	for v, want := range map[string][2]uint32{"0": {0, 0}, "1000": {1000, 1000}, "1:2": {1, 2}, "4294967294:0": {1<<32 - 2, 0},
		"root": {0, 0}, "7:root": {7, 0}, "root:8": {0, 8}} {
		if err := c.SetUser(v); err != nil || c.UID != want[0] || c.GID != want[1] || !c.Require.Has(User) {
			t.Errorf("%s: %d:%d, %v", v, c.UID, c.GID, err)
		}
	}
	for _, v := range []string{"", ":", "1:", ":1", "-1", "4294967295", "1:4294967295", "4294967296", "nosuchuser", "root:nosuchgroup", "root:", "nosuchuser:1", "1:2:3", " 1", "0x1"} {
		if c.SetUser(v) == nil {
			t.Errorf("%q is a user", v)
		}
	}
	for _, v := range []string{"", "0", "-1", "1.5", "4294967296"} {
		if c.SetCPUTime(v) == nil {
			t.Errorf("%q is a time", v)
		}
	}
}

// Reasons come from what a host says of itself.
func TestReasons(t *testing.T) {
	host := func(files map[string]string) Host {
		root := t.TempDir()
		for name, contents := range files {
			path := filepath.Join(root, "proc", name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(contents), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return ThisHost(root)
	}
	free := host(map[string]string{"self/status": "Name:\tx\nSeccomp:\t0\nSeccomp_filters:\t0\n", "sys/user/max_user_namespaces": "100\n"})
	filtered := host(map[string]string{"self/status": "Name:\tx\nSeccomp:\t2\n"})
	debian := host(map[string]string{"self/status": "Name:\tx\nSeccomp:\t0\n", "sys/kernel/unprivileged_userns_clone": "0\n"})
	ubuntu := host(map[string]string{"self/status": "Name:\tx\nSeccomp:\t0\n", "sys/kernel/apparmor_restrict_unprivileged_userns": "1\n"})
	forbidden := host(map[string]string{"self/status": "Name:\tx\nSeccomp:\t0\n", "sys/user/max_user_namespaces": "0\n"})
	for _, test := range []struct {
		host  Host
		layer Layer
		errno unix.Errno
		want  string
	}{
		{free, UserNS, unix.EPERM, "chroot, or a security module"},
		{filtered, UserNS, unix.EPERM, "the seccomp filter that gocat inherited"},
		{filtered, UserNS, unix.ENOSYS, "the seccomp filter that gocat inherited"},
		{debian, UserNS, unix.EPERM, "kernel.unprivileged_userns_clone is 0"},
		{ubuntu, NetNS, unix.EPERM, "kernel.apparmor_restrict_unprivileged_userns is 1"},
		{forbidden, UserNS, unix.ENOSPC, "user.max_user_namespaces is 0"},
		{free, NetNS, unix.ENOSPC, "a limit of /proc/sys/user"},
		{free, Securebits, unix.EPERM, "CAP_SETPCAP or a user namespace"},
		{free, CgroupNS, unix.EINVAL, "not in this kernel"},
		{free, Landlock, unix.ENOSYS, "not in this kernel"},
		{free, Landlock, unix.EOPNOTSUPP, "lsm="},
		{free, Root, unix.ENOENT, "/proc is not mounted"},
		{free, StoreBypass, unix.ENXIO, "this processor"},
		{free, Cgroup, unix.ENOENT, "no controller for a limit"},
		{free, Cgroup, unix.EACCES, "not delegated"},
		{free, Cgroup, unix.EBUSY, "can have no processes"},
		{Host{}, UserNS, unix.EPERM, "not permitted"},
		{free, Limits, unix.EBADF, "error 9"},
	} {
		if got := test.host.Reason(test.layer, test.errno); !strings.Contains(got, test.want) || strings.Contains(got, "\n") {
			t.Errorf("%v, %v: %q, want %q", test.layer, test.errno, got, test.want)
		}
	}
	if got := free.Reason(NetNS, unix.EPERM); strings.Contains(got, "seccomp") {
		t.Errorf("a filter that is not there is blamed: %q", got)
	}
	for version, want := range map[int]string{
		0: "on", 2: "on, as version 2 has it: not for truncating files, TCP ports, abstract sockets and signals, named sockets",
		8: "on, as version 8 has it: not for named sockets", LandlockVersion: "on", 12: "on",
	} {
		if got := (Host{Landlock: version}).On(Landlock); got != want {
			t.Errorf("Landlock %d: %q, want %q", version, got, want)
		}
	}
	// Messages are one line of the plan's, each with a reason.
	for l := range layers {
		for _, e := range Errors() {
			if (Host{}).Reason(l, e) == "" {
				t.Errorf("%v, %v: no reason", l, e)
			}
		}
	}
}

// The kernel knows all that LandlockRules asks for.
func TestLandlockRules(t *testing.T) {
	create := func(rules []byte, flags uintptr) (int, error) {
		var p unsafe.Pointer
		if rules != nil {
			p = unsafe.Pointer(&rules[0])
		}
		fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(p), uintptr(len(rules)), flags)
		if errno != 0 {
			return -1, errno
		}
		return int(fd), nil
	}
	version, err := create(nil, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if err != nil {
		testhost.Skip(t, "no Landlock: "+err.Error())
	}
	for v := 1; v <= min(version, LandlockVersion); v++ {
		for _, signals := range []bool{false, true} {
			fd, err := create(LandlockRules(v, signals), 0)
			if err != nil {
				t.Fatalf("version %d: %v", v, err)
			}
			unix.Close(fd)
		}
	}
}

// The rules of each version are those that go-landlock has for it.
func TestLandlockAgainstLibrary(t *testing.T) {
	for i, c := range []landlock.Config{landlock.V1, landlock.V2, landlock.V3, landlock.V4, landlock.V5, landlock.V6, landlock.V7, landlock.V8, landlock.V9} {
		want := binary.LittleEndian.AppendUint64(nil, uint64(c.HandledAccessFS))
		if c.HandledAccessNet != 0 {
			want = binary.LittleEndian.AppendUint64(want, uint64(c.HandledAccessNet))
		}
		if c.Scoped != 0 {
			want = binary.LittleEndian.AppendUint64(want, uint64(c.Scoped))
		}
		if got := LandlockRules(i+1, true); !bytes.Equal(got, want) {
			t.Errorf("version %d: % x, go-landlock has % x", i+1, got, want)
		}
	}
}
