//go:build !gocat_image

package net

import (
	"sync"
	"syscall"
	"time"
)

// A stand-in for the library kernel in tests of the package.

const maxDescriptors = 4096

var (
	theDevice *device
	settings  config

	hostMu      sync.Mutex
	descriptors [maxDescriptors]bool
	notified    = make(map[int]uint32) // events told of, by descriptor
)

func newDescriptor(least int, replace bool) (int, syscall.Errno) {
	const first = 3
	hostMu.Lock()
	defer hostMu.Unlock()
	if replace {
		descriptors[least] = true
		return least, 0
	}
	for fd := max(first, least); fd < maxDescriptors; fd++ {
		if !descriptors[fd] {
			descriptors[fd] = true
			delete(notified, fd)
			return fd, 0
		}
	}
	return -1, syscall.EMFILE
}

func closeDescriptor(fd int) {
	hostMu.Lock()
	defer hostMu.Unlock()
	descriptors[fd] = false
}

func notifyDescriptor(fd int, events uint32) {
	hostMu.Lock()
	defer hostMu.Unlock()
	notified[fd] |= events
}

func isOpen(fd uintptr) bool { return fd < 3 }

func setSocket(int, bool) {}

func told() uint32 { return 0 }

func pollOthers([]pollFD, time.Duration, uint32) (int, syscall.Errno) { return 0, syscall.ENOSYS }

// onStack would have to know: views are always copies.
func onStack(uintptr) bool { return true }

func exists(string) bool { return true }

func pipeOf(string) int64 { return -1 }
