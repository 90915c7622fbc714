package spt

//lint:file-ignore U1000 the functions in stub_amd64.s know one another

import "unsafe"

// In stub_amd64.s. Only stubText is ever called in this process.
func stub()
func stubStart()
func stubReport()
func appendText()
func appendHex()
func stubEnd()
func stubText() (addr unsafe.Pointer, size, start, report uintptr)

// stubCode returns the stub's machine code and the offsets in it of its entry
// point and of its fault reporter. The code is the program's own text: it is
// valid for ever and must not be written to.
func stubCode() (code []byte, start, report uint64) {
	addr, size, s, r := stubText()
	return unsafe.Slice((*byte)(addr), size), uint64(s), uint64(r)
}

// readOnly returns the bytes of s without a copy. They must not be written to.
func readOnly(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
