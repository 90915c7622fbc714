package kvmhvt

import "gocat/internal/image"

// symbol appends the function that a guest address is in, as NAME+0xOFFSET, by
// the symbol table of an ELF image, and nothing when there is none. The image is
// hostile: it may be anything.
func (l *line) symbol(elf []byte, addr uint64) *line {
	name, offset := image.FunctionAt(elf, addr)
	if name == nil {
		return l
	}
	l.text(" in ")
	l.n += copy(l.b[l.n:], name)
	return l.text("+").hex(offset)
}
