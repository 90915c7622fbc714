package testhost

import (
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// nobody is a user that owns nothing.
const nobody = 65534

// Unprivileged runs f on this thread with an effective user that is not root,
// and so without capabilities.
func Unprivileged(t testing.TB, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		f()
		return
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	setEffectiveUser(t, nobody)
	defer setEffectiveUser(t, 0)
	f()
}

// setEffectiveUser changes this thread's effective user. The raw call is meant:
// the one in package syscall changes all threads.
func setEffectiveUser(t testing.TB, uid uintptr) {
	t.Helper()
	const keep = ^uintptr(0)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, keep, uid, keep); errno != 0 {
		t.Fatalf("setresuid: %v", errno)
	}
}

// Tmpfs mounts a tmpfs at dir, which only t's goroutine sees: like Netns, it
// gives the goroutine a namespace and a thread of its own for good.
func Tmpfs(t testing.TB, dir string) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		Skip(t, "cannot make a mount namespace: "+err.Error())
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatalf("make / private: %v", err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Fatalf("mount tmpfs: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
}

// Personalities that children inherit (linux/personality.h).
const (
	// FixedLayout puts the stack, the vdso and mappings where every process
	// without address space randomisation has them.
	FixedLayout = 0x0040000 // ADDR_NO_RANDOMIZE
	// PageZero maps page zero.
	PageZero = 0x0100000 // MMAP_PAGE_ZERO
)

// Personality runs f on a thread whose children have a personality.
func Personality(t testing.TB, personality uintptr, f func()) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	old, _, errno := unix.RawSyscall(unix.SYS_PERSONALITY, personality, 0, 0)
	if errno != 0 {
		t.Fatalf("personality: %v", errno)
	}
	defer unix.RawSyscall(unix.SYS_PERSONALITY, old, 0, 0)
	f()
}
