package main

import (
	_ "gocat/internal/raw" // entry jumps there
	"gocat/internal/tender"
)

// entry is the program's entry point: see entry_amd64.s.
//
//lint:ignore U1000 the linker calls it, when told to with -E
func entry()

// early is what entry tries before the Go runtime starts.
//
//lint:ignore U1000 entry uses it
var early = tender.Early

// entryPC returns the address of entry.
func entryPC() uintptr

// sealedEntryPC returns the address of sealedEntry, the entry point of a sealed hvt
// guest.
func sealedEntryPC() uintptr
