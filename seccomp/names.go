package seccomp

import "strings"

//go:generate go run ./internal/gennames

// SyscallName returns the name of x86-64 system call nr, or "" when it has none
// that is known.
func SyscallName(nr uint32) string {
	rest := names
	for ; nr > 0 && rest != ""; nr-- {
		rest = rest[strings.IndexByte(rest, 0)+1:]
	}
	name, _, _ := strings.Cut(rest, "\x00")
	return name
}

// SyscallNumber returns the number of the x86-64 system call with the given
// name, and whether there is one.
func SyscallNumber(name string) (uint32, bool) {
	if name == "" {
		return 0, false
	}
	nr := uint32(0)
	for rest := names; rest != ""; nr++ {
		var this string
		this, rest, _ = strings.Cut(rest, "\x00")
		if this == name {
			return nr, true
		}
	}
	return 0, false
}

// NameTable returns the table of names: NUL-terminated, back to back,
// from system call 0 up, with an empty name where there is no call. The name of
// number n follows the n-th NUL; past the end of the table nothing is known.
func NameTable() string { return names }
