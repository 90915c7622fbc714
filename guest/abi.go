package guest

import "gocat/internal/image"

//lint:file-ignore U1000 the routines use these, by the names that go_asm.h gives them

// Sizes in bytes.
const (
	stdinEntry = 8 + stdinHandle*104 // of the manifest up to the entry of stdin
	pipeBuf    = 4096                // PIPE_BUF: a write of so many to a pipe is never short
	pageSize   = image.PageSize
	cmdlineMax = 8191 // characters in a command line (HVT_CMDLINE_SIZE, SPT_CMDLINE_SIZE)
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

// FeatureFullWrites is a feature bit of gocat's own in struct hvt_boot_info: the
// tender's puts writes all that it is given, whatever it is connected to.
const FeatureFullWrites = 1 << 31

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

// The network ring (Solo5 hvt_ring.h, since v0.11).
const (
	featureRing = 1 << 0 // HVT_FEATURE_RING_IO
	ringPort    = 0x600  // wakes the tender
	ringSlots   = 1024
	ringNetRead = 2
)

// ring is shared with the tender. Its indices count up for ever.
type ring struct {
	entTail uint32 // requests made
	comHead uint32 // results taken
	_       [56]byte
	entHead uint32 // requests served: the tender's, as are the next two
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
	readSize uint64 // bytes to read at once
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
