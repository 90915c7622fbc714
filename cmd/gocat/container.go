package main

import (
	"fmt"
	"os"
	"syscall"

	"gocat/internal/beside"
	"gocat/internal/tender"
)

// becomeRuntime replaces the process by the container runtime, where that did not
// happen before the Go runtime was initialised. It returns only on error.
func becomeRuntime() error {
	path, err := beside.Program(tender.RuntimeProgram)
	if err != nil {
		return fmt.Errorf("containers take %w", err)
	}
	return fmt.Errorf("%s: %w", path, syscall.Exec(path, os.Args, os.Environ()))
}
