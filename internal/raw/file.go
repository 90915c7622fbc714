package raw

import (
	"io"

	"golang.org/x/sys/unix"
)

// File is an io.ReaderAt on a descriptor that it does not own.
type File struct{ FD int }

// ReadAt reads all of b, or fails: with io.EOF where the file ends before.
func (f *File) ReadAt(b []byte, off int64) (int, error) {
	n := 0
	for n < len(b) {
		k, err := Pread(f.FD, b[n:], off+int64(n))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return n, err
		}
		if k == 0 {
			return n, io.EOF
		}
		n += k
	}
	return n, nil
}
