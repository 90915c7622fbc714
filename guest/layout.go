// Package guest makes Solo5 unikernel images at run time: the two cats and the
// probe, a guest that tests drive.
//
// Their machine code is written in Go assembler and is part of this program. It
// is copied out of the running binary's text, routine by routine, and placed at
// fixed guest addresses together with a table that tells the routines where
// everything else is (regs_amd64.h says how they use it).
package guest

import (
	"errors"
	"fmt"
	"unsafe"

	"gocat/internal/image"
)

// Guest addresses. The bss follows the rodata, and the heap the bss.
const (
	textBase = image.MinAddr
	linkBase = textBase + 0x1000 // start of the rodata; the text has to end before
)

// endMark follows each routine: "GCAT_END" in memory. It is no part of it.
const endMark = 0x444e455f54414347

// maxRoutine bounds a routine's size in bytes.
const maxRoutine = 4096

// Sizes in bytes.
const (
	stdinEntry = 8 + stdinHandle*104 // of the manifest up to the entry of stdin
	pipeBuf    = 4096                // PIPE_BUF: a write of so many to a pipe is never short
	cmdlineMax = 8191                // characters in a command line (HVT_CMDLINE_SIZE, SPT_CMDLINE_SIZE)
	maxInt64   = 1<<63 - 1
)

// stdinHandle is the handle of the cat's device: its index in the manifest.
const stdinHandle = 1

// boot is what struct hvt_boot_info and struct spt_boot_info begin with.
type boot struct {
	memSize   uint64 // bytes
	kernelEnd uint64
}

// hvtBoot is struct hvt_boot_info (Solo5 hvt_abi.h, v0.12).
type hvtBoot struct {
	boot
	cycleFreq uint64 // Hz
	cmdline   uint64
	manifest  uint64
	features  uint32 // of the tender; older ones than v0.11 have their manifest here
}

// sptBoot is struct spt_boot_info (Solo5 spt_abi.h).
type sptBoot struct {
	boot
	cmdline  uint64
	manifest uint64
	epollFD  int32
	timerFD  int32
}

// hvtFullWrites is a feature bit of gocat's own in struct hvt_boot_info: the
// tender's puts writes all that it is given, whatever it is connected to.
const hvtFullWrites = 1 << 31

// entry is struct mft_entry (Solo5 mft_abi.h) of a network device.
type entry struct {
	name     [68]byte
	typ      uint32
	mac      [6]byte
	mtu      uint16
	_        uint64
	hostFD   int32
	_        uint32
	attached bool
}

// Hypercalls and their arguments (Solo5 hvt_abi.h).
const (
	hvtPort        = 0x500 // HVT_HYPERCALL_PIO_BASE
	hvtCallPuts    = 2
	hvtCallPoll    = 3
	hvtCallNetRead = 7
	hvtCallHalt    = 8
)

type hvtPuts struct{ data, size uint64 }

type hvtPoll struct {
	timeout uint64 // ns
	ready   uint64
	ret     int32
}

type hvtNetRead struct {
	handle, data, size uint64
	ret                int32
}

type hvtHalt struct {
	cookie uint64
	status int32
}

// solo5_result_t (Solo5 solo5.h).
const (
	solo5OK    = 0
	solo5Again = 1
)

// link is the table at the start of the rodata: addresses, unless noted.
type link struct {
	// Routines of the target.
	read, write, wait, exit uint64
	// Routines of the guest.
	print, options, loop, finish uint64

	state       uint64 // struct state, the bss
	heap        uint64 // free memory from here on
	cmdlinePtr  uint64 // offset in the boot info
	manifestPtr uint64 // offset in the boot info
	readSize    uint64 // bytes to read at once; 0: the MTU

	optionTable uint64 // []option, ended by one of size 0
	digits      uint64 // "0123456789abcdef"
	// Templates for print.
	banner, netif, usage, unknown, unknownEnd, failed, exited uint64
}

// state is the bss of a guest.
type state struct {
	device   uint64 // address of stdin's entry in the manifest
	flags    uint64 // options given
	word     uint64 // address of an argument that is not legal
	wordSize uint64 // bytes; 0 when all are
	readSize uint64 // bytes to read at once

	num        [4]uint64 // values for print
	mac        uint64    // address, for print
	scratch    [24]byte  // digits of a number
	scratchEnd [0]uint64
	line       [1024]byte // print's

	args  [4]uint64 // of a hypercall
	event [2]uint64 // struct epoll_event, 12 bytes
	stack [256]byte // grows down from the end
}

// What stands for a value in a template of print; num is state's.
const (
	putNUL = iota // end of the template
	putMAC
	putDec              // +n: num[n] in decimal, n < 3
	putHex = putDec + 3 // +n: num[n] in hexadecimal, n < 3
	putEnd = putHex + 3 // other control characters, '\n' first, stand for themselves
)

// assembly is an image in the making.
type assembly struct {
	text, rodata []byte
	link         link
	err          error
}

// newAssembly starts an image whose rodata begins with the link table.
func newAssembly() *assembly {
	return &assembly{rodata: make([]byte, unsafe.Sizeof(link{}))}
}

// routine places the numbered routine and returns its guest address.
func (a *assembly) routine(n uintptr) uint64 {
	start := routine(n)
	for size := range maxRoutine {
		if *(*uint64)(unsafe.Add(start, size)) == endMark {
			return a.code(unsafe.Slice((*byte)(start), size))
		}
	}
	a.err = fmt.Errorf("guest: routine %d does not end within %d bytes", n, maxRoutine)
	return 0
}

// code places machine code and returns its guest address.
func (a *assembly) code(b []byte) uint64 {
	addr := textBase + uint64(len(a.text))
	a.text = append(a.text, b...)
	for len(a.text)%16 != 0 {
		a.text = append(a.text, 0xcc) // INT3
	}
	return addr
}

// data places constant data and returns its guest address, a multiple of 8.
func (a *assembly) data(b []byte) uint64 {
	for len(a.rodata)%8 != 0 {
		a.rodata = append(a.rodata, 0)
	}
	addr := linkBase + uint64(len(a.rodata))
	a.rodata = append(a.rodata, b...)
	return addr
}

// template places a template of print.
func (a *assembly) template(s string) uint64 { return a.data([]byte(s + "\x00")) }

// dataEnd is the guest address of the page past the rodata: the bss.
func (a *assembly) dataEnd() uint64 { return pageUp(linkBase + uint64(len(a.rodata))) }

// target places the target's routines and sets what else depends on it.
func (a *assembly) target(t image.Target) {
	l := &a.link
	switch t {
	case image.HVT:
		l.read, l.write = a.routine(hvtReadRoutine), a.routine(hvtWriteRoutine)
		l.wait, l.exit = a.routine(hvtWaitRoutine), a.routine(hvtExitRoutine)
		l.cmdlinePtr = uint64(unsafe.Offsetof(hvtBoot{}.cmdline))
		l.manifestPtr = uint64(unsafe.Offsetof(hvtBoot{}.manifest))
	case image.SPT:
		l.read, l.write = a.routine(sptReadRoutine), a.routine(sptWriteRoutine)
		l.wait, l.exit = a.routine(sptWaitRoutine), a.routine(sptExitRoutine)
		l.cmdlinePtr = uint64(unsafe.Offsetof(sptBoot{}.cmdline))
		l.manifestPtr = uint64(unsafe.Offsetof(sptBoot{}.manifest))
	default:
		a.err = fmt.Errorf("guest: no guest is bundled for target %v, choose hvt or spt", t)
	}
	l.print = a.routine(printRoutine)
	l.digits = a.data([]byte("0123456789abcdef"))
}

// image encodes the image. Its bss is at a.dataEnd(); nothing may be placed
// once that was used.
func (a *assembly) image(t image.Target, start uint64, bss uint64, m image.Manifest) ([]byte, error) {
	if textBase+len(a.text) > linkBase {
		a.err = errors.New("guest: the text runs into the rodata")
	}
	if a.err != nil {
		return nil, a.err
	}
	copy(a.rodata, asBytes(&a.link))
	return image.Encode(image.Spec{
		Target:  t,
		Version: 2,
		Entry:   start,
		Segments: []image.SpecSegment{
			{Vaddr: textBase, Data: a.text, Prot: image.R | image.X},
			{Vaddr: linkBase, Data: a.rodata, Prot: image.R},
			{Vaddr: a.dataEnd(), Memsz: bss, Prot: image.R | image.W},
		},
		Manifest: m,
	})
}

// asBytes returns the memory of *p, which is in the guest's byte order.
func asBytes[T any](p *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(p)), unsafe.Sizeof(*p))
}

func pageUp(n uint64) uint64 { return (n + image.PageSize - 1) &^ (image.PageSize - 1) }
