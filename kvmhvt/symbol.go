package kvmhvt

import (
	"bytes"
	"runtime/debug"
	"strconv"

	"gocat/internal/image"
)

// Symbol returns the function that a guest address is in, as NAME+0xOFFSET, by
// the symbol table of an ELF image, or "" when there is none. The image is
// hostile: it may be anything. It may also be a mapping of a file that has
// become shorter since.
func Symbol(elf []byte, addr uint64) (name string) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if recover() != nil { // reading past the end of the mapped file
			name = ""
		}
	}()
	function, offset := image.FunctionAt(bytes.NewReader(elf), addr)
	if function == "" {
		return ""
	}
	return function + "+0x" + strconv.FormatUint(offset, 16)
}
