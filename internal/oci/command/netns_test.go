package command_test

import (
	"os"

	"github.com/vishvananda/netns"
)

// nsHandle is an open namespace as netlink takes it.
func nsHandle(f *os.File) netns.NsHandle { return netns.NsHandle(f.Fd()) }
