package guests

import (
	"unsafe"

	"gocat/internal/abi"
	"gocat/internal/image"
)

//lint:file-ignore U1000 the routines use these, by the names that go_asm.h gives them

// The structures here have the layout that package abi has the numbers of.
const (
	_ = -(unsafe.Offsetof(hvtBoot{}.boot.memSize) ^ abi.HVTBootMemory)
	_ = -(unsafe.Offsetof(hvtBoot{}.cmdline) ^ abi.HVTBootCmdline)
	_ = -(unsafe.Offsetof(hvtBoot{}.manifest) ^ abi.HVTBootManifest)
	_ = -(unsafe.Offsetof(hvtBoot{}.features) ^ abi.HVTBootFeatures)
	_ = -(unsafe.Offsetof(hvtBoot{}.ring) ^ abi.HVTBootRing)
	_ = -(unsafe.Sizeof(hvtBoot{}) ^ abi.HVTBootSize)
	_ = -(unsafe.Offsetof(sptBoot{}.cmdline) ^ abi.SPTBootCmdline)
	_ = -(unsafe.Offsetof(sptBoot{}.manifest) ^ abi.SPTBootManifest)
	_ = -(unsafe.Offsetof(sptBoot{}.epollFD) ^ abi.SPTBootEpollFD)
	_ = -(unsafe.Offsetof(sptBoot{}.timerFD) ^ abi.SPTBootTimerFD)
	_ = -(unsafe.Sizeof(sptBoot{}) ^ abi.SPTBootSize)
	_ = -(unsafe.Offsetof(entry{}.typ) ^ abi.EntryType)
	_ = -(unsafe.Offsetof(entry{}.mac) ^ abi.EntryMAC)
	_ = -(unsafe.Offsetof(entry{}.mtu) ^ abi.EntryMTU)
	_ = -(unsafe.Offsetof(entry{}.hostFD) ^ abi.EntryHostFD)
	_ = -(unsafe.Offsetof(entry{}.attached) ^ abi.EntryAttached)
	_ = -(unsafe.Sizeof(entry{}) ^ abi.EntrySize)
	_ = -(unsafe.Offsetof(ring{}.entTail) ^ abi.RingEntTail)
	_ = -(unsafe.Offsetof(ring{}.comHead) ^ abi.RingComHead)
	_ = -(unsafe.Offsetof(ring{}.entHead) ^ abi.RingEntHead)
	_ = -(unsafe.Offsetof(ring{}.comTail) ^ abi.RingComTail)
	_ = -(unsafe.Offsetof(ring{}.kick) ^ abi.RingKick)
	_ = -(unsafe.Offsetof(ring{}.entries) ^ abi.RingEntries)
	_ = -(unsafe.Sizeof(ring{}) ^ abi.RingSize)
	_ = -(unsafe.Sizeof(ringEntry{}) ^ abi.RingEntrySize)
	_ = -(unsafe.Sizeof(ringResult{}) ^ abi.RingResultSize)
)

// Sizes in bytes.
const (
	stdinEntry = abi.ManifestHeader + stdinHandle*abi.EntrySize // of the manifest up to the entry of stdin
	pipeBuf    = 4096                                           // PIPE_BUF: a write of so many to a pipe is never short
	pageSize   = image.PageSize
	cmdlineMax = abi.CmdlineSize - 1 // characters in a command line
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
	_         uint32 // features of the guest
	ring      uint64 // address of struct ring, if there is one
}

// sptBoot is struct spt_boot_info (Solo5 spt_abi.h).
type sptBoot struct {
	boot
	cmdline  uint64
	manifest uint64
	epollFD  int32
	timerFD  int32
}

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

// featureFullWrites lets a guest write everything in one call.
const featureFullWrites = abi.FeatureFullWrites

// Hypercalls and their arguments (Solo5 hvt_abi.h).
const (
	hvtPort        = abi.HypercallPort
	hvtCallPuts    = abi.Puts
	hvtCallPoll    = abi.Poll
	hvtCallNetRead = abi.NetRead
	hvtCallHalt    = abi.Halt
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

// The network ring (Solo5 hvt_ring.h, since v0.11).
const (
	featureRing = abi.FeatureRing
	ringPort    = abi.RingPort
	ringSlots   = abi.RingSlots
	ringNetRead = abi.RingNetRead
)

// ring is shared with the tender. Its indices count up for ever.
type ring struct {
	entTail uint32 // requests made
	comHead uint32 // results taken
	_       [56]byte
	entHead uint32 // requests served: the tender's, like the next two
	comTail uint32 // results given
	kick    uint32 // it sleeps
	_       [52]byte
	entries [ringSlots]ringEntry
	results [ringSlots]ringResult
}

type ringEntry struct {
	operation, handle uint32
	data              uint64
	size, id          uint32
	_                 uint64
}

type ringResult struct {
	id   uint32
	ret  int32
	size uint32
	_    uint32
}

// solo5_result_t (Solo5 solo5.h).
const (
	solo5OK    = abi.ResultOK
	solo5Again = abi.ResultAgain
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
	readSize    uint64 // bytes per read; 0: the MTU

	optionTable uint64 // []option, ended by one of size 0
	digits      uint64 // "0123456789abcdef"
	// Templates for print.
	banner, netif, usage, unknown, unknownEnd, failed, exited uint64

	// The probe's.
	value           uint64 // routine
	steps, stepsEnd uint64 // []Step
}

// state is the bss of a guest.
type state struct {
	device   uint64 // address of stdin's entry in the manifest
	flags    uint64 // options given
	word     uint64 // address of an argument that is not legal
	wordSize uint64 // bytes; 0 when all are
	readSize uint64 // bytes per read
	ringNext uint64 // requests made

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

// stepValues counts the values from Code to R9.
const stepValues = 8

// probeState is the bss of a probe.
type probeState struct {
	state
	boot   uint64             // address of the boot info
	step   uint64             // address of the step
	values [stepValues]uint64 // of the step, then its result
	result uint64
	entry  [entryRegs]uint64
	stack  [1024]byte
}
