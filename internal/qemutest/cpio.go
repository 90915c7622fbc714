package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
)

// archive writes a cpio archive in the "newc" format, the one that Linux unpacks
// as its initial RAM disk (Documentation/driver-api/early-userspace/buffer-format).
type archive struct {
	w    io.Writer
	ino  uint32
	dirs map[string]bool // written already
	err  error           // the first one
}

// Bits of a file's mode (inode(7)).
const (
	modeDir     = 0o040000
	modeRegular = 0o100000
)

func newArchive(w io.Writer) *archive {
	return &archive{w: w, dirs: map[string]bool{".": true, "/": true}}
}

// dir writes a directory and those above it, unless they are there.
func (a *archive) dir(name string) {
	if name = path.Clean(name); !a.dirs[name] {
		a.dir(path.Dir(name))
		a.dirs[name] = true
		a.entry(name, modeDir|0o755, nil)
	}
}

// file writes a regular file and the directories above it.
func (a *archive) file(name string, perm fs.FileMode, data []byte) {
	a.dir(path.Dir(name))
	a.entry(name, modeRegular|uint32(perm.Perm()), data)
}

// host writes a copy of a file of the host.
func (a *archive) host(name, from string) {
	data, err := os.ReadFile(from)
	if err != nil {
		a.fail(err)
		return
	}
	st, err := os.Stat(from)
	if err != nil {
		a.fail(err)
		return
	}
	a.file(name, st.Mode(), data)
}

// close writes the archive's end and returns the first error of all.
func (a *archive) close() error {
	a.entry("TRAILER!!!", 0, nil)
	return a.err
}

func (a *archive) fail(err error) {
	if a.err == nil {
		a.err = err
	}
}

// entry writes a header of hexadecimal fields, the name with a NUL, and the
// contents; the latter two are padded to a multiple of four bytes.
func (a *archive) entry(name string, mode uint32, data []byte) {
	if a.err != nil {
		return
	}
	for len(name) > 0 && name[0] == '/' {
		name = name[1:]
	}
	a.ino++
	fields := [13]uint32{
		0: a.ino, 1: mode, 4: 1, // links
		6: uint32(len(data)), 11: uint32(len(name) + 1),
	}
	header := []byte("070701")
	for _, v := range fields {
		header = fmt.Appendf(header, "%08x", v)
	}
	header = append(header, name...)
	header = append(header, 0)
	for _, part := range [][]byte{header, data} {
		if _, err := a.w.Write(part); err != nil {
			a.fail(err)
			return
		}
		if _, err := a.w.Write(make([]byte, -len(part)&3)); err != nil {
			a.fail(err)
			return
		}
	}
}
