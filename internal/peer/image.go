package peer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"gocat/internal/guests"
	"gocat/internal/image"
)

// Image is a guest image as a file without a name, which is gone when this
// process is. Close it after the last tender has opened it.
type Image struct {
	*image.Image
	file *os.File
}

// NewImage puts an image where a tender can open it.
func NewImage(b []byte) (*Image, error) {
	parsed, err := image.Parse(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	fd, err := unix.MemfdCreate("guest", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	i := &Image{parsed, os.NewFile(uintptr(fd), "guest")}
	if _, err := i.file.Write(b); err != nil {
		i.Close()
		return nil, fmt.Errorf("write to a memfd: %w", err)
	}
	return i, nil
}

// Path is the image's path for a child of this process.
func (i *Image) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), i.file.Fd()) }

// Close releases the image.
func (i *Image) Close() error { return i.file.Close() }

// Bundled returns the image of a bundled cat as the tender takes it: one of ABI
// version 1 differs from one of 2 in its note alone, for what the cats use of
// Solo5's interface is the same in both.
func (t *Tender) Bundled(variant guests.Variant) (*Image, error) {
	b, err := guests.Cat(t.Target, variant)
	if err != nil {
		return nil, err
	}
	return t.Image(b)
}

// Image is NewImage of a guest of package guests, for the ABI version that the
// tender takes. It changes b.
func (t *Tender) Image(b []byte) (*Image, error) {
	if t.ABI == 1 {
		if err := setABI1(b); err != nil {
			return nil, err
		}
	}
	return NewImage(b)
}

// abiNote is the head of a note of type ABI1: sizes of name and description,
// type, name with its padding. The target and the version follow, 32 bits each.
const abiNote = "\x06\x00\x00\x00\x10\x00\x00\x00ABI1Solo5\x00\x00\x00"

// setABI1 changes the version in an image's note to 1.
func setABI1(b []byte) error {
	at := bytes.Index(b, []byte(abiNote))
	if at < 0 || at+len(abiNote)+8 > len(b) {
		return errors.New("the bundled cat has no note with its ABI version")
	}
	binary.LittleEndian.PutUint32(b[at+len(abiNote)+4:], 1)
	return nil
}

// CatArgs returns the arguments that make a cat, MirageOS's or a bundled one,
// print nothing but its input.
func CatArgs() []string { return []string{"--solo5:quiet", "-l", "netif:quiet"} }
