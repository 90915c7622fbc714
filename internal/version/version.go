// Package version says which gocat this is.
package version

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// tag is set by the linker: make build gives it what packaging/version prints.
var tag string

// Info is what gocat version prints.
type Info struct {
	Version string `json:"version"`   // a tag such as v0.2.0, with what came after it; (devel) if unknown
	Go      string `json:"go"`        // version of the Go toolchain that built it
	OS      string `json:"os"`        // as GOOS has it
	Arch    string `json:"arch"`      // as GOARCH has it
	ABI     []int  `json:"solo5_abi"` // versions of Solo5's ABI that it runs
}

// Get describes this build. A build by make has a version from the linker; one
// by go install has the module's, or that of the commit it was built from.
func Get() Info {
	i := Info{Version: tag, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH, ABI: []int{1, 2}}
	if i.Version != "" {
		return i
	}
	i.Version = "(devel)"
	if b, ok := debug.ReadBuildInfo(); ok && b.Main.Version != "" {
		i.Version = b.Main.Version
	}
	return i
}

// String is Get in one line.
func String() string {
	i := Get()
	return fmt.Sprintf("gocat %s for Solo5 ABI versions 1 and 2, built with %s", i.Version, i.Go)
}
