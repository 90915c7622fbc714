package kvmhvt

import (
	"errors"
	"io/fs"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/testhost"
)

// TestWithoutKVM runs tenders where /dev/kvm is missing, is something else, or
// may not be opened.
func TestWithoutKVM(t *testing.T) {
	testhost.NeedRoot(t, "to hide /dev/kvm")
	for _, tt := range []struct{ name, prepare, want string }{
		{"missing", "mount -t tmpfs none /dev", "KVM: open /dev/kvm: no such file or directory: load the module"},
		{"something else", "mount --bind /dev/null /dev/kvm", "is not KVM's device"},
		{"not permitted", "mount -t tmpfs -o nodev none /dev && mknod /dev/kvm c 10 232", "KVM: open /dev/kvm: permission denied: join the group"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := tenderCommand(t, sleepless(t))
			shell, err := exec.LookPath("sh")
			if err != nil {
				testhost.Skip(t, err.Error())
			}
			cmd.Args = append([]string{"sh", "-c", "(" + tt.prepare + ") 2>&1 || exit 99; exec \"$0\" \"$@\"", cmd.Path}, cmd.Args[1:]...)
			cmd.Path = shell
			cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
			r := runCommand(t, cmd)
			if r.status == 99 {
				testhost.Skip(t, "cannot "+tt.prepare+": "+r.stdout)
			}
			if r.status != 1 || !strings.Contains(r.stderr, tt.want) || strings.Count(r.stderr, "\n") != 1 {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestError(t *testing.T) {
	err := error(&Error{"open /dev/kvm", unix.ENOENT, openAdvice(unix.ENOENT)})
	if !errors.Is(err, fs.ErrNotExist) || !errors.Is(err, unix.ENOENT) {
		t.Errorf("%v is not what it says", err)
	}
	for _, e := range []unix.Errno{unix.EACCES, unix.ENODEV, unix.ENXIO} {
		if openAdvice(e) == "" {
			t.Errorf("no advice for %v", e)
		}
	}
	if createAdvice(unix.EBUSY) == "" {
		t.Error("no advice for a busy processor")
	}
}
