// Package fd uses a unikernel's network device as what it often is: a
// descriptor that the tender inherited, such as a pipe or a file.
package fd

import (
	"fmt"
	"io"

	"gocat/guest/solo5"
)

// FD is an open device.
type FD struct{ dev solo5.Device }

// Open opens the network device of a name.
func Open(name string) (*FD, error) {
	d, err := solo5.Acquire(name, solo5.Net)
	if err != nil {
		return nil, fmt.Errorf("device %q: %w", name, err)
	}
	return &FD{d}, nil
}

// Device is what the manifest and the tender say of it.
func (f *FD) Device() solo5.Device { return f.dev }

// Read reads what there is, at most len(p) bytes, waiting until there is
// something. At the end of the file the error is io.EOF.
func (f *FD) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := solo5.NetWait(f.dev.Handle, p)
	if n == 0 && err == nil {
		err = io.EOF
	}
	return n, err
}

// Write writes all of p.
func (f *FD) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		n, err := solo5.NetWrite(f.dev.Handle, p[done:])
		if err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}
