package guests

import (
	"fmt"
	"strconv"
	"unsafe"

	"gocat/internal/image"
	"gocat/internal/raw"
)

// Variant is a way of reading the standard input.
type Variant uint8

// The cats of mirage-cat.
const (
	// Simple reads packets, as through mirage-net: each at most the device's
	// MTU, with one write on the console for each.
	Simple Variant = iota + 1
	// Advanced reads as much as there is, up to 1 MiB per read.
	Advanced
)

// advancedSize is how much one read of Advanced takes, in bytes. A guest with
// less free memory reads as much as that.
const advancedSize = 1 << 20

// Flags in state, set by options.
const (
	flagNoBanner = 1 << iota
	flagNoNetif
	flagHelp
)

// States of the parser of options.
const (
	whenFirst = 1 << iota // only Solo5's own so far: they have to come first
	whenOwn               // among the cat's own
	whenValue             // the value of -l is due
)

// option is a word of the command line and what it does.
type option struct {
	size  uint8 // of text
	when  uint8 // states in which the word is legal
	then  uint8 // state after it
	clear uint8 // flags
	set   uint8 // flags
	text  [27]byte
}

// Cat returns the image of a unikernel that copies its network device "stdin"
// to its console until the device is at its end. It runs under Solo5's tenders
// of ABI version 2 as well.
//
// On its command line it takes Solo5's options --solo5:quiet, error, warn, info
// and debug, which have to come first, then `-l netif:quiet` (or
// `-lnetif:quiet`, `--logs=netif:quiet`, `--logs netif:quiet`) and --help. It
// exits with status 0 at end of file, 1 on an error of the device or the
// console, 64 on an argument that it does not know.
func Cat(target image.Target, variant Variant) ([]byte, error) {
	switch variant {
	case Simple:
		return cat(target, 0, false)
	case Advanced:
		return cat(target, advancedSize, false)
	}
	return nil, fmt.Errorf("guests: unknown variant %d of cat", variant)
}

// CatReading is Cat's Advanced, except that one read takes at most size bytes,
// and that it uses the network ring if ring is set. A tender that offers no ring
// is an error then.
func CatReading(target image.Target, size uint64, ring bool) ([]byte, error) {
	if size == 0 || size > maxInt64 {
		return nil, fmt.Errorf("guests: a cat that reads %d bytes at once", size)
	}
	if ring && target != image.HVT {
		return nil, fmt.Errorf("guests: no ring for target %v, only for hvt", target)
	}
	return cat(target, size, ring)
}

// cat makes a cat whose reads take at most readSize bytes, the MTU if that is
// 0.
func cat(target image.Target, readSize uint64, ring bool) ([]byte, error) {
	a := newAssembly()
	a.target(target)
	if ring {
		a.link.read = a.routine(hvtRingReadRoutine)
	}
	l := &a.link
	start := a.routine(catStartRoutine)
	l.options = a.routine(optionsRoutine)
	l.loop = a.routine(catLoopRoutine)
	l.finish = a.routine(catFinishRoutine)
	l.readSize = readSize
	l.optionTable = a.options()
	l.netif = a.template("INF [netif] Plugging into stdin with mac " + theMAC + " mtu " + dec + "\n")
	l.usage = a.template(usage)
	l.unknown = a.template("cat: cannot use argument '")
	l.unknownEnd = a.template("', see --help\n")
	l.failed = a.template("cat: cannot read stdin: error " + dec + "\n")
	l.exited = a.template("Solo5: solo5_exit(" + dec + ") called\n")

	// The banner tells of addresses that follow it and depend on its size.
	size := len(a.banner(linkBase, linkBase))
	end := pageUp(a.data(nil) + uint64(size) + 1)
	l.state = end
	l.heap = pageUp(end + uint64(unsafe.Sizeof(state{})))
	l.banner = a.template(a.banner(l.state, l.heap))
	return a.image(target, start, l.state, uint64(unsafe.Sizeof(state{})), image.Manifest{
		{Type: image.Reserved},
		stdinHandle: {Name: "stdin", Type: image.Net},
	}, 0, 0, 0)
}

// usage is what --help prints. Its line breaks are print's literals.
const usage = `usage: cat [--solo5:quiet|error|warn|info|debug] [-l netif:quiet] [--help]
Copies the network device "stdin" to the console until its end.
  --solo5:quiet   no banner; has to come first
  -l netif:quiet  no line about the device; also --logs=netif:quiet
`

// options places the table of options.
func (a *assembly) options() uint64 {
	var table [12]option
	n := 0
	add := func(text string, when, then, clear, set uint8) {
		o := option{size: uint8(len(text)), when: when, then: then, clear: clear, set: set}
		copy(o.text[:], text)
		table[n] = o
		n++
	}
	add("--solo5:quiet", whenFirst, whenFirst, 0, flagNoBanner)
	add("--solo5:error", whenFirst, whenFirst, 0, flagNoBanner)
	add("--solo5:warn", whenFirst, whenFirst, 0, flagNoBanner)
	add("--solo5:info", whenFirst, whenFirst, flagNoBanner, 0)
	add("--solo5:debug", whenFirst, whenFirst, flagNoBanner, 0)
	add("-l", whenFirst|whenOwn, whenValue, 0, 0)
	add("--logs", whenFirst|whenOwn, whenValue, 0, 0)
	add("netif:quiet", whenValue, whenOwn, 0, flagNoNetif)
	add("-lnetif:quiet", whenFirst|whenOwn, whenOwn, 0, flagNoNetif)
	add("--logs=netif:quiet", whenFirst|whenOwn, whenOwn, 0, flagNoNetif)
	add("--help", whenFirst|whenOwn, whenOwn, 0, flagHelp)
	return a.data(asBytes(&table)) // the last one is of size 0
}

// banner is the template of what Solo5's bindings say at the start, for an image
// whose bss and heap begin at the given addresses, of six digits each.
//
// MirageOS puts a date before the line about the device. Ours has none: a date
// takes a clock, which is more than the strict policy grants.
func (a *assembly) banner(bss, heap uint64) string {
	hex := func(n uint64) string {
		return raw.String(strconv.AppendUint(append(raw.Slice[byte](0, 18), "0x"...), n, 16))
	}
	span := func(name string, from, to uint64) string {
		return raw.Concat("Solo5: ", "          "[len(name):], name, " @ (", hex(from), " - ", hex(to-1), ")\n")
	}
	return raw.Concat("                            _\n"+
		"   __ _  ___   ___ __ _ ___| |_\n"+
		"  / _` |/ _ \\ / __/ _` |_   _|\n"+
		" | (_| | (_) | (_| (_| | | |_\n"+
		"  \\__, |\\___/ \\___\\__,_|  \\__|\n"+
		"  |___/\n"+
		"Solo5: Bindings version gocat, ABI 2\n"+
		"Solo5: Memory map: "+dec+" MB addressable:\n",
		span("reserved", 0, textBase),
		span("text", textBase, linkBase),
		span("rodata", linkBase, bss),
		span("data", bss, heap),
		"Solo5:       heap >= ", hex(heap), " < stack < 0x"+hex1+"\n")
}

// What stands for values in a template.
const (
	theMAC = string(rune(putMAC))
	dec    = string(rune(putDec))
	hex1   = string(rune(putHex + 1))
	hex2   = string(rune(putHex + 2))
)
