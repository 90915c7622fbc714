// Package fd is a network device of a unikernel used as what it often is: a
// descriptor that the tender inherited, a pipe or a file.
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
// something. At the end of the file it returns 0 and no error, as read(2) does.
func (f *FD) Read(p []byte) (int, error) { return solo5.NetWait(f.dev.Handle, p) }

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

// Reader returns f as an io.Reader, whose end is io.EOF.
func (f *FD) Reader() io.Reader { return reader{f} }

type reader struct{ f *FD }

func (r reader) Read(p []byte) (int, error) {
	n, err := r.f.Read(p)
	if n == 0 && err == nil && len(p) > 0 {
		err = io.EOF
	}
	return n, err
}
