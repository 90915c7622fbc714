// Package traps makes system calls that a seccomp filter around the program traps
// fail with ENOSYS, in all threads. Without it the Go runtime ends the program
// with a page of registers. It still does so for a trapped call of its own before
// this package, one of the first, is initialised.
package traps

import _ "gocat/internal/raw" // its handler

func init() { install() }

// install makes package raw's handler that of SIGSYS.
func install()
