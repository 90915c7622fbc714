// Command tend is a minimal tender, for tests: [OPTION ...] IMAGE [ARG ...]. It is
// linked with -E main.entry.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"gocat/internal/device"
	"gocat/internal/image"
	"gocat/internal/raw"
	"gocat/kvmhvt"
)

//lint:ignore U1000 the linker calls it
func entry()

//lint:ignore U1000 entry uses it
var early = func(args []string) { tend(args[1:]) }

// main prints the error for which there is no guest.
func main() {
	err := tend(os.Args[1:])
	if err == nil {
		err = errors.New("a defect: the guest was not run early")
	}
	fmt.Fprintln(os.Stderr, "tender:", err)
	os.Exit(1)
}

func tend(args []string) error {
	c := raw.New[kvmhvt.Config]()
	*c = kvmhvt.Config{Guest: device.Guest{Memory: 16 << 20}, CPL: 3, Console: 1, Trace: kvmhvt.NoFD, Debug: kvmhvt.NoFD, KVM: kvmhvt.NoFD, Prog: "tender", Solo5: true, Failure: 1}
	o := raw.New[device.Options]()
	for len(args) > 0 && strings.HasPrefix(args[0], "--") {
		name, value, _ := strings.Cut(args[0], "=")
		var err error
		switch {
		case name == "--mem":
			c.Memory, err = strconv.ParseUint(value, 10, 64)
			c.Memory <<= 20
		case name == "--cpl":
			c.CPL, err = strconv.Atoi(value)
		case name == "--eof":
			c.EOF, err = device.ParseEOF(value)
		case name == "--ring":
			c.NetRing = true
		case name == "--unconfined":
			c.Confine = kvmhvt.ConfineNone
		case name == "--best-effort":
			c.Confine = kvmhvt.ConfineAvailable
		case name == "--gocat":
			c.Solo5 = false
		case name == "--deny":
			err = filter(value, uint32(unix.EPERM))
		case name == "--fake":
			err = filter(value, 0)
		case name == "--require":
			err = c.Isolate.SetRequire(value)
		case name == "--user":
			err = c.Isolate.SetUser(value)
		case name == "--tamper":
			c.Started = tamper
		case name == "--break-out":
			c.Started = func() { raw.Call(unix.SYS_GETPPID) }
		case name == "--fault":
			c.Started = func() { *(*byte)(unsafe.Pointer(nowhere)) = 1 }
		case name == "--index":
			c.Started = func() { beyond[len(os.Args)+9] = 1 }
		case name == "--verbose":
			c.Verbose = true
		case strings.HasPrefix(name, "--net:"):
			err = o.SetNet(args[0][len("--net:"):])
		case strings.HasPrefix(name, "--block:"):
			err = o.SetBlock(args[0][len("--block:"):])
		case strings.HasPrefix(name, "--block-sector-size:"):
			err = o.SetBlockSectorSize(args[0][len("--block-sector-size:"):])
		default:
			err = errors.New("unknown option " + name)
		}
		if err != nil {
			return err
		}
		args = args[1:]
	}
	fd, err := raw.Open(args[0], unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return fmt.Errorf("open %s: %w", args[0], err)
	}
	var st unix.Stat_t
	if err := raw.Fstat(fd, &st); err != nil {
		return err
	}
	if c.ELF, err = raw.MmapFile(fd, int(st.Size)); err != nil {
		return err
	}
	file := raw.New[bytes.Reader]()
	file.Reset(c.ELF)
	c.File = file
	if c.Image, err = image.Parse(file); err != nil {
		return err
	}
	set, err := device.Attach(c.Image.Manifest, o)
	if err != nil {
		return err
	}
	c.Devices = set.Devices
	c.Args = raw.Join(args[1:], " ")
	if !raw.Early() {
		return kvmhvt.Try(c)
	}
	return kvmhvt.Run(c)
}

var (
	nowhere *int
	beyond  [8]byte
)

// tamper is what a guest might do that has taken over a tender without a seccomp
// filter. It prints the result of each attempt.
func tamper() {
	say := func(name string, errno unix.Errno) {
		text := "<nil>"
		if errno != 0 {
			text = errno.Error()
		}
		raw.Write(2, raw.Bytes(raw.Concat(name, ": ", text, "\n")))
	}
	call := func(name string, nr uintptr, args ...uintptr) {
		_, errno := raw.Call(nr, args...)
		say(name, errno)
	}
	number := func(name string, nr uintptr, args ...uintptr) {
		n, errno := raw.Call(nr, args...)
		say(raw.Concat(name, " ", raw.Decimal(uint64(n))), errno)
	}
	_, err := raw.Open("/etc/passwd", unix.O_RDONLY)
	errno, _ := err.(unix.Errno)
	say("open", errno)
	call("unshare uts", unix.SYS_UNSHARE, unix.CLONE_NEWUTS)
	root := [2]byte{'/'}
	call("chroot", unix.SYS_CHROOT, uintptr(unsafe.Pointer(&root)))
	_, err = raw.Mmap(-1, 1<<12, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	errno, _ = err.(unix.Errno)
	say("mmap", errno)
	call("securebits", unix.SYS_PRCTL, unix.PR_SET_SECUREBITS, 0)
	number("dumpable", unix.SYS_PRCTL, unix.PR_GET_DUMPABLE)
	number("bounding", unix.SYS_PRCTL, unix.PR_CAPBSET_READ, unix.CAP_SYS_ADMIN)
	call("setuid", unix.SYS_SETRESUID, ^uintptr(0), 0, ^uintptr(0))
	number("dup", unix.SYS_DUP, 1) // 0 is closed and the one descriptor allowed
	call("dup", unix.SYS_DUP, 1)
}

// filter makes a system call give an error, or with 0 a success that it is not,
// from now on, as in a container.
func filter(number string, errno uint32) error {
	nr, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		return err
	}
	raw.Call(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1)
	code := [...]unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // the number
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(nr), Jf: 1},
		{Code: unix.BPF_RET, K: unix.SECCOMP_RET_ERRNO | errno},
		{Code: unix.BPF_RET, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	if _, errno := raw.Call(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog))); errno != 0 {
		return errno
	}
	return nil
}
