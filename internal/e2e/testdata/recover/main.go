// Command recover recovers from nil dereferences and from the use of other
// addresses that have no memory. With an argument it dies of one.
package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"unsafe"
)

type node struct {
	next *node
	v    int
}

// caught runs f and returns what it panicked with.
func caught(f func()) (err runtime.Error) {
	defer func() { err, _ = recover().(runtime.Error) }()
	f()
	return nil
}

var (
	absent *node
	none   func()
	nobody fmt.Stringer
	sink   int
)

// at reads from an address.
func at(addr uintptr) int { return **(**int)(unsafe.Pointer(&addr)) }

//go:noinline
func deep(n int) int {
	if n == 0 {
		return absent.v
	}
	return deep(n-1) + 1
}

func main() {
	if len(os.Args) > 1 {
		sink = absent.v
	}
	debug.SetPanicOnFault(true) // else bad addresses that are not nil end the program
	for round := range 100 {
		for _, c := range []struct {
			name string
			run  func()
		}{
			{"read", func() { sink = absent.v }},
			{"write", func() { absent.next = absent }},
			{"method", func() { _ = nobody.String() }},
			{"call", func() { none() }},
			{"deep", func() { sink = deep(round) }},
			{"above the memory", func() { sink = at(1 << 40) }},
			{"not canonical", func() { sink = at(1 << 63) }},
			{"goroutine", func() {
				var wg sync.WaitGroup
				var err runtime.Error
				wg.Go(func() { err = caught(func() { sink = absent.v }) })
				wg.Wait()
				panic(err)
			}},
			{"collection", func() {
				defer runtime.GC() // walks the stack of the panic
				sink = absent.v
			}},
		} {
			if err := caught(c.run); err == nil || !strings.Contains(err.Error(), "invalid memory address or nil pointer dereference") {
				fmt.Printf("%s: %v\n", c.name, err)
				os.Exit(1)
			}
		}
	}
	fmt.Println("recovered")
}
