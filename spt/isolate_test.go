package spt

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/isolate"
	"gocat/internal/plan"
	"gocat/internal/raw"
	"gocat/internal/testhost"
)

// layered writes an executable that sets up layers and then carries out more
// steps, as a guest would do without a system call policy.
func layered(t *testing.T, c isolate.Config, more func(*plan.Plan)) string {
	t.Helper()
	d := &descriptors{Plan: plan.New()}
	d.inherit()
	if err := d.attach(); err != nil {
		t.Fatal(err)
	}
	i := (&sealed{Config: &Config{Isolate: c}}).isolation(d)
	i.Begin()
	i.Must("no_new_privs", 0, unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	i.End()
	more(i.Plan)
	i.Try(unix.SYS_EXIT_GROUP, 0)
	s, err := i.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(publicDir(t), "layered")
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	err = s.Write(func(pieces [][]byte) error {
		for _, b := range pieces {
			if _, err := f.Write(b); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// nobody is who a process without privilege runs as.
var nobody = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}

// The layers one by one, each with an attack that it alone stops, and which
// works without it.
func TestLayersStop(t *testing.T) {
	open := func(want unix.Errno) func(*plan.Plan) {
		return func(p *plan.Plan) {
			p.Must("openat", plan.Errno(want), unix.SYS_OPENAT, unix.AT_FDCWD, raw.CString("/proc/version"), unix.O_RDONLY, 0)
		}
	}
	tests := []struct {
		layer  isolate.Layer
		attack func(*plan.Plan) // fails as it should with the layer
		always bool             // also without the layer
	}{
		{isolate.Root, open(unix.ENOENT), false},
		{isolate.Landlock, open(unix.EACCES), false},
		{isolate.Limits, open(unix.EMFILE), false},
		{isolate.Limits, func(p *plan.Plan) {
			p.Must("mmap", plan.Errno(unix.ENOMEM), unix.SYS_MMAP, 0, 4096, 0, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, plan.Exact, 0)
		}, false},
		{isolate.Limits, func(p *plan.Plan) {
			p.Must("fork", plan.Errno(unix.EAGAIN), unix.SYS_FORK)
		}, false},
		{isolate.Root, func(p *plan.Plan) { // nobody in a chroot may make a user namespace
			p.Must("unshare", plan.Errno(unix.EPERM), unix.SYS_UNSHARE, unix.CLONE_NEWUSER)
		}, false},
		{isolate.Landlock, func(p *plan.Plan) {
			p.Must("socket", 0, unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM, 0) // 0 is free
			p.Must("bind", plan.Errno(unix.EACCES), unix.SYS_BIND, 0, append([]byte{unix.AF_INET, 0}, make([]byte, 14)...), 16)
		}, false},
		{isolate.NetNS, func(p *plan.Plan) { // even the loopback interface is down
			p.Must("socket", 0, unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_DGRAM, 0)
			p.Must("connect", plan.Errno(unix.ENETUNREACH), unix.SYS_CONNECT, 0, []byte{unix.AF_INET, 0, 0, 9, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0}, 16)
		}, false},
		{isolate.UserNS, func(p *plan.Plan) { p.Must("getuid", 65534, unix.SYS_GETUID) }, true},
		{isolate.Securebits, func(p *plan.Plan) {
			p.Must("securebits", isolate.SecurebitsLocked, unix.SYS_PRCTL, unix.PR_GET_SECUREBITS)
			p.Must("unlocked", plan.Errno(unix.EPERM), unix.SYS_PRCTL, unix.PR_SET_SECUREBITS, 0)
		}, false},
		{isolate.BoundingSet, func(p *plan.Plan) {
			for n := range unix.CAP_LAST_CAP + 1 {
				p.Must("bounding set", 0, unix.SYS_PRCTL, unix.PR_CAPBSET_READ, n)
			}
		}, false},
		{isolate.Undumpable, func(p *plan.Plan) { p.Must("dumpable", 0, unix.SYS_PRCTL, unix.PR_GET_DUMPABLE) }, false},
	}
	for _, test := range tests {
		t.Run(test.layer.String(), func(t *testing.T) {
			c := isolate.Config{Require: isolate.Of(test.layer)}
			needUserNS(t)
			with := testhost.Command{Path: layered(t, c, test.attack), Attr: nobody}
			check(t, with.Run(t), 0, "", "")
			without := testhost.Command{Path: layered(t, isolate.Config{}, test.attack), Attr: nobody}
			if r := without.Run(t); !test.always && r.Status != 1 {
				t.Errorf("without the layer: %+v", r)
			}
		})
	}
}

// Root without capabilities is a user as all others.
func TestNoCapabilities(t *testing.T) {
	testhost.NeedRoot(t, "to have capabilities to lose")
	attack := func(p *plan.Plan) { p.Must("unshare", plan.Errno(unix.EPERM), unix.SYS_UNSHARE, unix.CLONE_NEWUTS) }
	with := testhost.Command{Path: layered(t, isolate.Config{Require: isolate.Of(isolate.Capabilities)}, attack)}
	check(t, with.Run(t), 0, "", "")
	without := testhost.Command{Path: layered(t, isolate.Config{}, attack)}
	check(t, without.Run(t), 1, "", "gocat: unshare\n")
}

// needUserNS skips t where nobody cannot make a user namespace.
func needUserNS(t *testing.T) {
	t.Helper()
	testhost.NeedRoot(t, "to become nobody")
	r := (&testhost.Command{Path: layered(t, isolate.Config{Require: isolate.Of(isolate.UserNS, isolate.UTSNS)}, func(*plan.Plan) {}), Attr: nobody}).Run(t)
	if r.Status != 0 {
		testhost.Skip(t, "no user namespaces: "+strings.TrimSpace(r.Stderr))
	}
}

// Every layer is set up with every other, whoever runs it, and whatever
// descriptors are free.
func TestFull(t *testing.T) {
	testhost.NeedRoot(t, "to become nobody")
	nothing := func(*plan.Plan) {}
	c := isolate.Config{Mode: isolate.Full}
	for name, attr := range map[string]*syscall.SysProcAttr{"root": nil, "nobody": nobody} {
		null := testhost.Null(t)
		for _, files := range [][]*os.File{nil, {nil, null, null}, {null, null, nil}, {null, null, null, null, nil, null}} {
			cmd := testhost.Command{Path: layered(t, c, nothing), Attr: attr, Files: files}
			if r := cmd.Run(t); r.Status != 0 || r.Stderr != "" {
				t.Errorf("%s, %d descriptors: %+v", name, len(files), r)
			}
		}
	}
	c.SetUser("1234:5678")
	as := func(p *plan.Plan) {
		p.Must("getuid", 65534, unix.SYS_GETUID) // as the namespace without users sees it
		p.Must("setuid", plan.Errno(unix.EINVAL), unix.SYS_SETUID, 0)
		p.Must("getgroups", 0, unix.SYS_GETGROUPS, 0, 0)
	}
	cmd := testhost.Command{Path: layered(t, c, as)}
	check(t, cmd.Run(t), 0, "", "")
	cmd = testhost.Command{Path: layered(t, c, as), Attr: nobody}
	check(t, cmd.Run(t), 1, "", "gocat: user: user does not hold: it takes CAP_SETUID and CAP_SETGID\n")
}
