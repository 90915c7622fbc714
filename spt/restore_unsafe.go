package spt

//lint:file-ignore U1000 the functions in restore_amd64.s know one another

import "unsafe"

// In restore_amd64.s. Only restoreText is ever called in this process.
func restore()
func restoreEnd()
func restoreText() (addr unsafe.Pointer, size uintptr)

// restoreCode returns the machine code that enters a guest that has run before. It is
// the program's own text: valid for ever, and not to be written to.
func restoreCode() []byte {
	addr, size := restoreText()
	return unsafe.Slice((*byte)(addr), size)
}
