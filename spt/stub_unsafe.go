package spt

//lint:file-ignore U1000 the functions in stub_amd64.s know one another

import "unsafe"

// In stub_amd64.s. Only stubText is ever called in this process.
func stub()
func stubOwned()
func stubDie()
func stubExit()
func stubReport()
func stubPass()
func stubRefused()
func appendText()
func appendHex()
func appendFunction()
func stubEnd()
func stubText() (addr unsafe.Pointer, size, owned, report, pass, refused uintptr)

// stubEntries are offsets in the reporter's code.
type stubEntries struct {
	owned  uint64 // the write of the reporter of a guest with handlers of its own
	report uint64 // fault reporter
	pass   uint64 // signal handler that goes on in the guest's own

	refused uint64 // SIGSYS handler until there is a guest
}

// stubCode returns the reporter's machine code and the offsets in it. The code is
// the program's own text: it is valid for ever and must not be written to.
func stubCode() (code []byte, at stubEntries) {
	addr, size, owned, report, pass, refused := stubText()
	return unsafe.Slice((*byte)(addr), size), stubEntries{uint64(owned), uint64(report), uint64(pass), uint64(refused)}
}
