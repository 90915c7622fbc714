// Package solo5 is Solo5's interface (solo5.h) for programs that gocat build
// compiles into unikernels: devices, waiting, clocks, the console.
//
// Most programs need none of it: they read /dev/solo5/NAME with package os, sleep
// with package time and print with package fmt. The functions here are what lies
// below, one call each, without Go's network poller in between.
//
// On anything but a unikernel every function fails with ErrNotUnikernel.
package solo5

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"gocat/internal/abi"
)

// Errors of this package; those of devices are system call errors, such as
// syscall.EINVAL and syscall.EIO for Solo5's SOLO5_R_EINVAL and SOLO5_R_EUNSPEC.
var (
	// ErrNotUnikernel is the error of a program that runs on Linux.
	ErrNotUnikernel = errors.New("solo5: this program is not a unikernel")
	// ErrAgain says that a device has no input now (SOLO5_R_AGAIN).
	ErrAgain = errors.New("solo5: no input now")
	// ErrNoDevice says that the manifest has no such device of the type.
	ErrNoDevice = errors.New("solo5: no such device")
)

// Target is the tender that an image is for.
type Target uint64

// Targets.
const (
	HVT Target = abi.TargetHVT
	SPT Target = abi.TargetSPT
)

// String returns "hvt" or "spt".
func (t Target) String() string {
	switch t {
	case HVT:
		return "hvt"
	case SPT:
		return "spt"
	}
	return "no target"
}

// Info is what a unikernel knows of itself.
type Info struct {
	Target    Target
	Memory    uint64 // bytes of guest memory, the program and page zero included
	HeapStart uint64 // address where free memory began at the start
	HeapEnd   uint64 // address where it ends, below the first stack
	// Tick is the processor time after which a timer interrupts the program, so
	// that its other goroutines go on whatever one of them does. It is 0 where
	// there is no timer: then a loop without calls keeps the others from running.
	Tick time.Duration
}

// ReadInfo returns what the unikernel knows of itself.
func ReadInfo() (Info, error) {
	var words [5]uint64
	_, _, e := syscall.RawSyscall(abi.CallInfo, uintptr(unsafe.Pointer(&words)), 0, 0)
	if err := failure(e); err != nil {
		return Info{}, err
	}
	return Info{Target(words[0]), words[1], words[2], words[3], time.Duration(words[4])}, nil
}

// failure is the error of an error number of the library kernel.
func failure(e syscall.Errno) error {
	switch e {
	case 0:
		return nil
	case syscall.ENOSYS:
		return ErrNotUnikernel
	case syscall.EAGAIN:
		return ErrAgain
	case syscall.ENOENT:
		return ErrNoDevice
	}
	return e
}

// Type is the type of a device.
type Type uint32

// Types of devices (Solo5 mft_abi.h).
const (
	Block Type = abi.DeviceBlock
	Net   Type = abi.DeviceNet
)

// Handle names a device to Solo5: its index in the manifest, 1 to 63.
type Handle uint8

// Device is a device that the manifest declares, and what the tender attached.
type Device struct {
	Handle Handle
	Name   string
	Type   Type

	MAC net.HardwareAddr // Net: 6 bytes
	MTU int              // Net: bytes of payload, without the Ethernet header

	Capacity  uint64 // Block: bytes
	BlockSize int    // Block: bytes, what every transfer has
}

// Devices returns the devices of the manifest in its order.
func Devices() ([]Device, error) {
	var devices []Device
	for h := Handle(1); h < abi.MaxEntries; h++ {
		var b [abi.EntrySize]byte
		_, _, e := syscall.RawSyscall(abi.CallDevice, uintptr(h), uintptr(unsafe.Pointer(&b)), 0)
		err := failure(e)
		if errors.Is(err, ErrNoDevice) {
			break
		}
		if err != nil {
			return nil, err
		}
		devices = append(devices, parse(h, b[:]))
	}
	return devices, nil
}

func parse(h Handle, b []byte) Device {
	le := binary.LittleEndian
	name, _, _ := bytes.Cut(b[abi.EntryName:abi.EntryType], []byte{0})
	d := Device{Handle: h, Name: string(name), Type: Type(le.Uint32(b[abi.EntryType:]))}
	switch d.Type {
	case Net:
		d.MAC = bytes.Clone(b[abi.EntryMAC:abi.EntryMTU])
		d.MTU = int(le.Uint16(b[abi.EntryMTU:]))
	case Block:
		d.Capacity = le.Uint64(b[abi.EntryCapacity:])
		d.BlockSize = int(le.Uint16(b[abi.EntryBlockSize:]))
	}
	return d
}

// Acquire returns the device of a name and type (solo5_net_acquire,
// solo5_block_acquire).
func Acquire(name string, t Type) (Device, error) {
	devices, err := Devices()
	if err != nil {
		return Device{}, err
	}
	for _, d := range devices {
		if d.Name == name && d.Type == t {
			return d, nil
		}
	}
	return Device{}, ErrNoDevice
}

// NetRead reads one packet, or what there is of a stream, into p, and returns its
// size (solo5_net_read). A packet longer than p is cut. 0 without an error is the
// end of the device's input. ErrAgain says that there is no input now.
func NetRead(h Handle, p []byte) (int, error) {
	return transfer(abi.CallNetRead, h, p)
}

// NetWait is NetRead, except that it waits for input and keeps the goroutine's
// thread meanwhile: this costs less than the poller that package os waits with,
// and is for programs that have nothing else to do.
func NetWait(h Handle, p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	r, _, e := syscall.Syscall(abi.CallWaitRead, uintptr(h), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
	runtime.KeepAlive(p)
	if e != 0 {
		return 0, failure(e)
	}
	return int(r), nil
}

// NetWrite sends p as one packet, of at most the MTU and an Ethernet header on a
// tap (solo5_net_write). On a stream it may write less, and returns how much.
func NetWrite(h Handle, p []byte) (int, error) {
	return transfer(abi.CallNetWrite, h, p)
}

func transfer(call uintptr, h Handle, p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	r, _, e := syscall.RawSyscall(call, uintptr(h), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
	runtime.KeepAlive(p)
	if e != 0 {
		return 0, failure(e)
	}
	return int(r), nil
}

// BlockRead reads the block at offset, a multiple of the block size, into p, whose
// length is the block size (solo5_block_read). Otherwise, and past the end of the
// device, the error is syscall.EINVAL.
func BlockRead(h Handle, offset uint64, p []byte) error {
	return blockTransfer(abi.CallBlockRead, h, offset, p)
}

// BlockWrite writes p to the block at offset, on the terms of BlockRead
// (solo5_block_write).
func BlockWrite(h Handle, offset uint64, p []byte) error {
	return blockTransfer(abi.CallBlockWrite, h, offset, p)
}

func blockTransfer(call uintptr, h Handle, offset uint64, p []byte) error {
	if len(p) == 0 {
		return syscall.EINVAL
	}
	_, _, e := syscall.RawSyscall6(call, uintptr(h), uintptr(offset), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), 0, 0)
	runtime.KeepAlive(p)
	return failure(e)
}

// Set is a set of handles: bit n stands for handle n.
type Set uint64

// Yield waits until a network device of the set has input, or until the time has
// passed, and returns those that have (solo5_yield). Other goroutines run
// meanwhile.
func Yield(timeout time.Duration, set Set) (Set, error) {
	deadline := int64(0)
	if timeout > 0 {
		deadline = Monotonic() + int64(timeout)
	}
	r, _, e := syscall.Syscall(abi.CallYield, uintptr(deadline), uintptr(set), 0)
	if e != 0 {
		return 0, failure(e)
	}
	return Set(r), nil
}

// Snapshot lets gocat seal --warm-asked take a snapshot of the unikernel here, when all
// its other goroutines wait, and returns immediately where nobody takes one. It returns
// whether the unikernel is a clone now: one that was started from the snapshot.
//
// In a clone the random state of Go's runtime, and with it that of packages math/rand,
// crypto/rand and hash/maphash, is new. What the program derived from randomness
// earlier is not: the program must derive it again where clones must not share it.
func Snapshot() (clone bool, err error) {
	for {
		r, _, e := syscall.Syscall(abi.CallSnapshot, 0, 0, 0)
		if e != syscall.EINTR {
			return r == 1, failure(e)
		}
	}
}

// Monotonic is a clock that never goes back, in ns since some point before the
// start (solo5_clock_monotonic).
func Monotonic() int64 { return clock(1) }

// Wall is the time in ns since 1970 in UTC (solo5_clock_wall). Under hvt it is
// asked of the tender once in a second, and counted on in between.
func Wall() int64 { return clock(0) }

func clock(id uintptr) int64 {
	var ts syscall.Timespec
	syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, id, uintptr(unsafe.Pointer(&ts)), 0)
	return ts.Nano()
}

// ConsoleWrite writes p on the console, in pieces if need be
// (solo5_console_write).
func ConsoleWrite(p []byte) error {
	for len(p) > 0 {
		n, err := syscall.Write(1, p)
		if err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// Exit ends the unikernel with a status of 0 to 255, without running deferred
// functions (solo5_exit).
func Exit(status int) {
	syscall.Exit(status)
}

// Abort ends the unikernel with status 255, as Solo5's bindings do after a fault
// (solo5_abort).
func Abort() {
	syscall.Exit(255)
}
