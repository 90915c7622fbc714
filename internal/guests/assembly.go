// Package guests makes Solo5 unikernel images at run time: the two cats and the
// probe, a guest that tests drive.
//
// Their machine code is written in Go assembler and is part of this program. It
// is copied out of the running binary's text, routine by routine, and placed at
// fixed guest addresses together with a table that tells the routines where
// everything else is (regs_amd64.h says how they use it).
package guests

import (
	"fmt"
	"unsafe"

	"gocat/internal/image"
	"gocat/internal/raw"
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

// assembly is an image in the making.
type assembly struct {
	text, rodata []byte
	placed       [routines]uint64 // addresses of the routines in text
	link         link
	err          error
}

// newAssembly starts an image whose rodata begins with the link table.
func newAssembly() *assembly {
	a := raw.New[assembly]()
	a.text = raw.Slice[byte](0, linkBase-textBase)
	a.rodata = raw.Slice[byte](int(unsafe.Sizeof(link{})), image.PageSize)
	return a
}

// routine places the numbered routine, once, and returns its guest address.
func (a *assembly) routine(n uintptr) uint64 {
	if a.placed[n] != 0 {
		return a.placed[n]
	}
	start := routine(n)
	for size := range maxRoutine {
		if *(*uint64)(unsafe.Add(start, size)) == endMark {
			a.placed[n] = a.code(unsafe.Slice((*byte)(start), size))
			return a.placed[n]
		}
	}
	a.err = fmt.Errorf("guests: routine %d does not end within %d bytes", n, maxRoutine)
	return 0
}

// code places machine code and returns its guest address.
func (a *assembly) code(b []byte) uint64 {
	addr := textBase + uint64(len(a.text))
	a.text = raw.Append(a.text, b...)
	for len(a.text)%16 != 0 {
		a.text = raw.Append(a.text, 0xcc) // INT3
	}
	return addr
}

// data places constant data and returns its guest address, a multiple of 8.
func (a *assembly) data(b []byte) uint64 {
	for len(a.rodata)%8 != 0 {
		a.rodata = raw.Append(a.rodata, 0)
	}
	addr := linkBase + uint64(len(a.rodata))
	a.rodata = raw.Append(a.rodata, b...)
	return addr
}

// template places a template of print, whose line has to hold it with its values.
func (a *assembly) template(s string) uint64 {
	const values = 3 * 20 // digits
	if len(s)+values > len(state{}.line) {
		a.err = fmt.Errorf("guests: template of %d bytes, at most %d", len(s), len(state{}.line)-values)
	}
	return a.data(raw.CString(s))
}

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
		a.err = fmt.Errorf("guests: no guest is bundled for target %v, choose hvt or spt", t)
	}
	l.print = a.routine(printRoutine)
	l.digits = a.data([]byte("0123456789abcdef"))
}

// image encodes the image, with a bss of size bytes at address bss.
func (a *assembly) image(t image.Target, start, bss, size uint64, m image.Manifest, timer, fault, signals uint64) ([]byte, error) {
	if textBase+len(a.text) > linkBase {
		a.err = fmt.Errorf("guests: %d bytes of code, at most %d", len(a.text), linkBase-textBase)
	}
	if linkBase+uint64(len(a.rodata)) > bss {
		a.err = fmt.Errorf("guests: %d bytes of constants, at most %d", len(a.rodata), bss-linkBase)
	}
	if a.err != nil {
		return nil, a.err
	}
	copy(a.rodata, asBytes(&a.link))
	var data []byte
	if timer != 0 { // masked at the start
		data = make([]byte, timer-bss+1)
		data[timer-bss] = 1
	}
	return image.Encode(image.Spec{
		Target:  t,
		Version: 2,
		Entry:   start,
		Segments: []image.SpecSegment{
			{Vaddr: textBase, Data: a.text, Prot: image.R | image.X},
			{Vaddr: linkBase, Data: a.rodata, Prot: image.R},
			{Vaddr: bss, Data: data, Memsz: size, Prot: image.R | image.W},
		},
		Manifest: m,
		Timer:    timer,
		Fault:    fault,
		Signals:  signals,
	})
}

// asBytes returns the memory of *p, which is in the guest's byte order.
func asBytes[T any](p *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(p)), unsafe.Sizeof(*p))
}

func pageUp(n uint64) uint64 { return (n + image.PageSize - 1) &^ (image.PageSize - 1) }
