package bench

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/sys/unix"
)

// data is what is copied: dataSize random bytes in a memfd, repeated.
type data struct {
	file *memfd
	b    []byte // the file, mapped
}

const dataSize = 64 << 20

// chunk is how many bytes one splice or read moves.
const chunk = 1 << 20

func newData() (*data, error) {
	m, err := newMemfd("data")
	if err != nil {
		return nil, err
	}
	d := &data{file: m}
	if err = unix.Ftruncate(m.fd, dataSize); err == nil {
		d.b, err = unix.Mmap(m.fd, 0, dataSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err != nil {
		m.close()
		return nil, fmt.Errorf("make %d bytes of data: %w", dataSize, err)
	}
	rand.NewChaCha8([32]byte{5}).Read(d.b)
	return d, nil
}

func (d *data) close() {
	unix.Munmap(d.b)
	d.file.close()
}

// produce splices n bytes of data into a pipe and closes it.
func (d *data) produce(p *pipe, n int64) error {
	defer p.closeWrite()
	for done := int64(0); done < n; {
		off := done % dataSize
		size := min(chunk, dataSize-off, n-done)
		k, err := retry(func() (int, error) {
			k, err := unix.Splice(d.file.fd, &off, p.w, nil, int(size), 0)
			return int(k), err
		})
		if err != nil {
			return fmt.Errorf("splice into its input after %d of %d bytes: %w", done, n, err)
		}
		done += int64(k)
	}
	return nil
}

// consumed is what became of a cat's output.
type consumed struct {
	bytes int64
	at    time.Time // when the last of the bytes expected came, or the output's end
	err   error
}

// consume takes a cat's output until its end: by splice(2) to null, or, to
// verify, by comparing it with the data. It tells once when n bytes have come and
// once at the end.
func (d *data) consume(p *pipe, n int64, null int, verify bool, tell chan<- consumed) {
	var c consumed
	var buf []byte
	if verify {
		buf = make([]byte, chunk)
	}
	told := false
	for c.err == nil {
		k, err := retry(func() (int, error) {
			if verify {
				return unix.Read(p.r, buf)
			}
			k, err := unix.Splice(p.r, nil, null, nil, chunk, 0)
			return int(k), err
		})
		if err != nil {
			c.err = fmt.Errorf("read its output: %w", err)
			break
		}
		if k == 0 {
			break
		}
		if verify {
			c.err = d.compare(buf[:k], c.bytes)
		}
		if c.bytes += int64(k); c.bytes >= n && !told {
			told = true
			c.at = time.Now()
			tell <- c
		}
	}
	if !told {
		c.at = time.Now()
		tell <- c
	}
	tell <- c
}

// compare compares output at an offset with the data.
func (d *data) compare(b []byte, off int64) error {
	for len(b) > 0 {
		want := d.b[off%dataSize:]
		k := min(len(b), len(want))
		if !bytes.Equal(b[:k], want[:k]) {
			for i := range k {
				if b[i] != want[i] {
					return fmt.Errorf("wrong output: byte %d is %#02x, not %#02x", off+int64(i), b[i], want[i])
				}
			}
		}
		b, off = b[k:], off+int64(k)
	}
	return nil
}
