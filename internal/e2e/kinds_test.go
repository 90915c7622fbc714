package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"gocat/internal/abi"
	"gocat/internal/guests"
	"gocat/internal/image"
	"gocat/internal/testhost"
)

// descriptor makes one of a kind that the kernel has.
type descriptor struct {
	make     func() (int, error)
	writable bool // writing can succeed
}

// descriptors are those of all kinds that a caller may have by accident or malice,
// blocking.
var descriptors = map[string]descriptor{
	"eventfd":     {func() (int, error) { return unix.Eventfd(0, 0) }, true},
	"semaphore":   {func() (int, error) { return unix.Eventfd(0, unix.EFD_SEMAPHORE) }, true},
	"signalfd":    {func() (int, error) { return unix.Signalfd(-1, &unix.Sigset_t{}, 0) }, false},
	"timerfd":     {func() (int, error) { return unix.TimerfdCreate(unix.CLOCK_MONOTONIC, 0) }, false},
	"inotify":     {func() (int, error) { return unix.InotifyInit1(0) }, false},
	"fanotify":    {func() (int, error) { return unix.FanotifyInit(unix.FAN_CLASS_NOTIF, unix.O_RDONLY) }, false},
	"fanotify2":   {func() (int, error) { return unix.FanotifyInit(unix.FAN_CLASS_CONTENT, unix.O_RDONLY) }, true},
	"epoll":       {func() (int, error) { return unix.EpollCreate1(0) }, false},
	"pidfd":       {func() (int, error) { return unix.PidfdOpen(os.Getpid(), 0) }, false},
	"memfd":       {func() (int, error) { return unix.MemfdCreate("m", 0) }, true},
	"sealed":      {sealedMemfd, false},
	"secretmem":   {func() (int, error) { return unix.MemfdSecret(0) }, false},
	"userfaultfd": {func() (int, error) { return made(unix.SYS_USERFAULTFD, 0, 0, 0) }, false},
	"io_uring":    {ioUring, false},
	"bpf map":     {bpfMap, false},
	"bpf program": {bpfProgram, false},
	"perf_event":  {perfEvent, false},
	"landlock":    {landlockRuleset, false},
	"mqueue":      {messageQueue, false},
	"fsopen":      {func() (int, error) { return unix.Fsopen("tmpfs", 0) }, false},
	"seccomp":     {opened("/proc/self/seccomp_cache", unix.O_RDONLY), false},
	"null":        {opened("/dev/null", unix.O_RDWR), true},
	"zero":        {opened("/dev/zero", unix.O_RDONLY), false},
	"full":        {opened("/dev/full", unix.O_RDWR), false},
	"random":      {opened("/dev/random", unix.O_RDWR), true},
	"urandom":     {opened("/dev/urandom", unix.O_RDONLY), false},
	"kmsg":        {opened("/dev/kmsg", unix.O_RDONLY), false},
	"kvm":         {opened("/dev/kvm", unix.O_RDWR), false},
	"tun":         {opened("/dev/net/tun", unix.O_RDWR), false},
	"fuse":        {opened("/dev/fuse", unix.O_RDWR), false},
	"ptmx":        {opened("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY), true},
	"loop":        {opened("/dev/loop-control", unix.O_RDWR), false},
	"mounts":      {opened("/proc/self/mounts", unix.O_RDONLY), false},
	"status":      {opened("/proc/self/status", unix.O_RDONLY), false},
	"mem":         {opened("/proc/self/mem", unix.O_RDONLY), false},
	"pagemap":     {opened("/proc/self/pagemap", unix.O_RDONLY), false},
	"pressure":    {opened("/proc/pressure/cpu", unix.O_RDONLY), false},
	"sysfs":       {opened("/sys/kernel/uevent_seqnum", unix.O_RDONLY), false},
	"path":        {opened("/dev/null", unix.O_PATH), false},
	"folder":      {opened("/", unix.O_RDONLY), false},
	"ns":          {opened("/proc/self/ns/net", unix.O_RDONLY), false},
	"pipe":        {func() (int, error) { var p [2]int; err := unix.Pipe(p[:]); return p[0], err }, false},
	"packets":     {func() (int, error) { var p [2]int; err := unix.Pipe2(p[:], unix.O_DIRECT); return p[0], err }, false},
	"watch":       {func() (int, error) { var p [2]int; err := unix.Pipe2(p[:], unix.O_EXCL); return p[0], err }, false}, // O_NOTIFICATION_PIPE
	"netlink":     {socket(unix.AF_NETLINK, unix.SOCK_RAW, 0), true},
	"packet":      {socket(unix.AF_PACKET, unix.SOCK_RAW, 0x300), true},
	"udp":         {socket(unix.AF_INET, unix.SOCK_DGRAM, 0), true},
	"tcp":         {socket(unix.AF_INET, unix.SOCK_STREAM, 0), false},
	"unix":        {socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0), true},
	"alg":         {socket(unix.AF_ALG, unix.SOCK_SEQPACKET, 0), false},
	"vsock":       {socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0), false},
}

func opened(path string, flags int) func() (int, error) {
	return func() (int, error) { return unix.Open(path, flags, 0) }
}

func socket(domain, typ, protocol int) func() (int, error) {
	return func() (int, error) { return unix.Socket(domain, typ, protocol) }
}

// made is the result of a system call that makes a descriptor.
func made(nr, a, b, c uintptr) (int, error) {
	fd, _, errno := unix.Syscall(nr, a, b, c)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

func sealedMemfd() (int, error) {
	fd, err := unix.MemfdCreate("m", unix.MFD_ALLOW_SEALING)
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK)
	}
	return fd, err
}

func ioUring() (int, error) {
	var params [120]byte // struct io_uring_params
	return made(unix.SYS_IO_URING_SETUP, 4, uintptr(unsafe.Pointer(&params)), 0)
}

func bpfMap() (int, error) {
	attr := [32]uint32{2, 4, 8, 1} // BPF_MAP_TYPE_ARRAY, sizes of key and value, entries
	return made(unix.SYS_BPF, unix.BPF_MAP_CREATE, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
}

func bpfProgram() (int, error) {
	code := [...]uint64{0xb7, 0x95} // r0 = 0; exit
	license := []byte("ISC\x00")
	attr := [16]uint64{unix.BPF_PROG_TYPE_SOCKET_FILTER | 2<<32, uint64(uintptr(unsafe.Pointer(&code))), uint64(uintptr(unsafe.Pointer(&license[0])))}
	return made(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
}

func perfEvent() (int, error) {
	return unix.PerfEventOpen(&unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{})), Config: unix.PERF_COUNT_SW_CPU_CLOCK}, 0, -1, -1, 0)
}

func landlockRuleset() (int, error) {
	rights := uint64(unix.LANDLOCK_ACCESS_FS_EXECUTE)
	return made(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&rights)), unsafe.Sizeof(rights), 0)
}

func messageQueue() (int, error) {
	name, err := unix.BytePtrFromString("gocat-test-" + filepath.Base(os.Args[0]))
	if err != nil {
		return -1, err
	}
	fd, _, errno := unix.Syscall6(unix.SYS_MQ_OPEN, uintptr(unsafe.Pointer(name)), unix.O_RDWR|unix.O_CREAT, 0o600, 0, 0, 0)
	if errno != 0 {
		return -1, errno
	}
	unix.Syscall(unix.SYS_MQ_UNLINK, uintptr(unsafe.Pointer(name)), 0, 0)
	return int(fd), nil
}

// TestKinds has descriptors of the kernel's kinds as devices of guests that read
// them and write to them: gocat refuses them in one line, or neither waits, and what
// cannot be written says so. An error that no device has may end an hvt guest, in
// one line.
func TestKinds(t *testing.T) {
	const buffer, length = guests.Scratch + 0x1000, 8
	for _, target := range []image.Target{image.SPT, image.HVT} {
		needKVM(t, target.String())
		paths := map[bool]string{}
		for _, writable := range []bool{false, true} {
			p := guests.NewProbe(target, image.Entry{Name: "in", Type: image.Net})
			if target == image.SPT {
				p.Do(p.Syscall(unix.SYS_READ, guests.N(3), guests.N(buffer), guests.N(length)))
				write := p.Syscall(unix.SYS_WRITE, guests.N(3), guests.N(buffer), guests.N(length))
				if !writable {
					write = write.Differs(guests.N(length), 7)
				}
				p.Do(write)
			} else {
				words := []guests.Value{guests.N(1), guests.N(buffer), guests.N(length), guests.N(0)}
				p.Hypercall(abi.NetRead, guests.Scratch, words...)
				p.Hypercall(abi.NetWrite, guests.Scratch, words...)
				if !writable {
					p.Do(p.Move(guests.At32(guests.Scratch+24)).Differs(guests.N(0), 7))
				}
			}
			b, err := p.Image()
			if err != nil {
				t.Fatal(err)
			}
			paths[writable] = filepath.Join(t.TempDir(), "guest."+target.String())
			if err := os.WriteFile(paths[writable], b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for name, d := range descriptors {
			t.Run(target.String()+" "+name, func(t *testing.T) {
				if target == image.SPT && name == "ptmx" {
					return // reading it waits: docs/descriptors.md
				}
				fd, err := d.make()
				if err != nil {
					t.Logf("this host has none: %v", err)
					return
				}
				f := os.NewFile(uintptr(fd), name)
				defer f.Close()
				c := command("run", "--mem=2", "--net=in=@3", paths[d.writable])
				c.Files = []*os.File{testhost.Null(t), testhost.Memfd(t), testhost.Memfd(t), f}
				p := c.Start(t)
				stuck := time.AfterFunc(time.Minute, func() {
					t.Error("it waits")
					unix.Kill(p.Pid, unix.SIGKILL)
				})
				status := testhost.Status(p.Wait())
				stuck.Stop()
				said := testhost.Contents(t, c.Files[2])
				refused := status == 125 && strings.Count(said, "\n") == 1 && strings.HasPrefix(said, "gocat: ")
				ended := status == 1 && strings.Count(said, "\n") == 1 && strings.HasPrefix(said, "gocat: Fatal error when ")
				if !refused && !ended && (status != 0 || said != "") {
					t.Errorf("status %d, %q", status, said)
				}
			})
		}
	}
}
