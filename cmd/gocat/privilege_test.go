package main

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/testhost"
)

// copyWith copies the program, or another, into a directory that everyone can
// enter, with a mode and an owner.
func copyWith(t *testing.T, from string, mode uint32, uid, gid int) string {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	letIn(dir)
	path := filepath.Join(dir, "copy")
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, uid, gid); err != nil {
		t.Fatal(err)
	}
	if err := unix.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// letIn lets everybody into a directory and those above it, which keep what they have
// otherwise: /tmp is for all to write, and sticky.
func letIn(dir string) {
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil && info.Mode()&0o055 != 0o055 {
			os.Chmod(dir, info.Mode()|0o055)
		}
	}
}

// A copy of gocat that execve gives privileges refuses to do anything with them,
// and so does a sealed guest.
func TestPrivileged(t *testing.T) {
	testhost.NeedRoot(t, "to give a program privileges")
	var nosuid unix.Statfs_t
	if unix.Statfs(t.TempDir(), &nosuid) == nil && nosuid.Flags&unix.ST_NOSUID != 0 {
		testhost.Skip(t, "the temporary directory's file system ignores set-user-ID")
	}
	const other = 12345
	sealed := filepath.Join(t.TempDir(), "sealed")
	gocat(t, "seal", "-o", sealed).wantSuccess(t)
	nobody := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	run := func(path string, attr *syscall.SysProcAttr, args ...string) (status int, stdout, stderr string) {
		cmd := exec.Command(path, args...)
		cmd.Stdin, cmd.SysProcAttr = strings.NewReader("hello\n"), attr
		var out, err strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &err
		cmd.Run()
		return cmd.ProcessState.ExitCode(), out.String(), err.String()
	}
	for name, c := range map[string]struct {
		mode     uint32
		uid, gid int
		attr     *syscall.SysProcAttr
	}{
		"set-user-ID root":   {0o4755, 0, 0, nobody},
		"set-user-ID other":  {0o4755, other, 0, nil},
		"set-group-ID root":  {0o2755, 0, 0, nobody},
		"set-group-ID other": {0o2755, 0, other, nil},
	} {
		path := copyWith(t, program, c.mode, c.uid, c.gid)
		for args, want := range map[string]int{"run": 125, "run --backend=hvt": 125, "version": 1, "inspect x": 1} {
			status, stdout, stderr := run(path, c.attr, strings.Fields(args)...)
			if status != want || stdout != "" || stderr != "gocat: "+errPrivileged.Error()+"\n" {
				t.Errorf("%s: %s: status %d, %q, %q", name, args, status, stdout, stderr)
			}
		}
		status, stdout, stderr := run(copyWith(t, sealed, c.mode, c.uid, c.gid), c.attr)
		if status != 125 || stdout != "" || !strings.HasPrefix(stderr, "gocat: this program is set-user-ID or set-group-ID: ") {
			t.Errorf("%s: sealed: status %d, %q, %q", name, status, stdout, stderr)
		}
	}
	// File capabilities (struct vfs_cap_data, version 2, effective), which root has anyway.
	path := copyWith(t, program, 0o755, 0, 0)
	caps := binary.LittleEndian.AppendUint32(nil, 0x02000001)
	caps = binary.LittleEndian.AppendUint32(caps, 1<<unix.CAP_NET_ADMIN)
	if err := unix.Setxattr(path, "security.capability", append(caps, make([]byte, 12)...), 0); err != nil {
		testhost.Skip(t, "no file capabilities: "+err.Error())
	}
	if status, stdout, stderr := run(path, nobody, "run"); status != 125 || stdout != "" || stderr != "gocat: "+errPrivileged.Error()+"\n" {
		t.Errorf("file capabilities: status %d, %q, %q", status, stdout, stderr)
	}
	if status, stdout, stderr := run(path, nil, "run"); status != 0 || stdout != "hello\n" || stderr != "" {
		t.Errorf("file capabilities, root: status %d, %q, %q", status, stdout, stderr)
	}
	// Capabilities that the caller hands on are the caller's.
	ambient := *nobody
	ambient.AmbientCaps = []uintptr{unix.CAP_NET_ADMIN}
	if status, stdout, stderr := run(copyWith(t, program, 0o755, 0, 0), &ambient, "run"); status != 0 || stdout != "hello\n" || stderr != "" {
		t.Errorf("ambient capabilities: status %d, %q, %q", status, stdout, stderr)
	}
}
