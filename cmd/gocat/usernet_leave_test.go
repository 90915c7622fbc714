package main

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/usernet"
)

// Neither an empty packet nor the end of a guest, which look the same at first, ends the
// network's process, confined as it is.
func TestUserNetworkLeaving(t *testing.T) {
	spec := fmt.Sprint("user,network=leave", os.Getpid())
	one, other := joinUserNetwork(t, 1, spec), joinUserNetwork(t, 2, spec)
	if _, err := unix.Write(one.fd, []byte{}); err != nil {
		t.Fatal(err)
	}
	if !one.answers() {
		t.Error("after an empty packet the guest is not served")
	}
	unix.Shutdown(one.fd, unix.SHUT_RDWR)
	// The first address is free again when the guest has left.
	until(t, "the guest has left", func() bool {
		g, r := tryUserNetwork(t, 1, call.run, usernet.Request{Spec: spec})
		if g != nil {
			unix.Shutdown(g.fd, unix.SHUT_RDWR)
		}
		return g != nil && r.status == 0
	})
	if !other.answers() {
		t.Error("after its neighbour's end a guest is not served")
	}
}
