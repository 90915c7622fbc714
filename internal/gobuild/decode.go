package gobuild

// vectorLength returns the length in bytes of an instruction that x86asm does
// not know, or 0: those with VEX and EVEX prefixes, and some of the two-byte and
// three-byte opcodes (Intel SDM vol. 2, chapter 2 and appendix A). None of them
// enters a host's kernel.
func vectorLength(b []byte) int {
	at := 0
	byteAt := func(i int) byte {
		if i < len(b) {
			return b[i]
		}
		return 0
	}
	opmap := byte(0)
	switch byteAt(0) {
	case 0xc5:
		opmap, at = 1, 2
	case 0xc4:
		opmap, at = byteAt(1)&0x1f, 3
	case 0x62:
		opmap, at = byteAt(1)&7, 4
	default:
		for at < 4 && isPrefix(byteAt(at)) {
			at++
		}
		if byteAt(at) != 0x0f {
			return 0
		}
		at++
		switch byteAt(at) {
		case 0x38:
			opmap = 2
			at++
		case 0x3a:
			opmap = 3
			at++
		case 0x01, 0xc7, 0x0d, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f:
			opmap = 1
		default:
			return 0
		}
	}
	op := byteAt(at)
	at++
	immediate := 0
	switch opmap {
	case 1:
		switch op {
		case 0x77: // VZEROUPPER, VZEROALL have no operands
			return fits(at, b)
		case 0x70, 0x71, 0x72, 0x73, 0xc2, 0xc4, 0xc5, 0xc6:
			immediate = 1
		}
	case 2:
	case 3:
		immediate = 1
	default:
		return 0
	}
	return fits(at+operandLength(b, at)+immediate, b)
}

func isPrefix(c byte) bool { return c == 0x66 || c == 0xf2 || c == 0xf3 || c&0xf0 == 0x40 }

func fits(n int, b []byte) int {
	if n > len(b) {
		return 0
	}
	return n
}

// operandLength is the length of the ModRM byte at b[at] and what it announces.
func operandLength(b []byte, at int) int {
	if at >= len(b) {
		return 1
	}
	mod, rm := b[at]>>6, b[at]&7
	if mod == 3 {
		return 1
	}
	n := 1
	base := rm
	if rm == 4 { // SIB
		n++
		if at+1 < len(b) {
			base = b[at+1] & 7
		}
	}
	switch {
	case mod == 1:
		n++
	case mod == 2, base == 5:
		n += 4
	}
	return n
}
