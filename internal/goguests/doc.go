// Package goguests tests Go programs as unikernels, under gocat and, where
// GOCAT_SOLO5 names a built Solo5 checkout, under Solo5's own tenders.
//
// GOCAT names the gocat to test and GOCAT_IMAGES a directory with the images of
// Programs; without them the tests build both. With GOCAT_BIG they repeat what
// must never fail a hundred times.
package goguests

import "os"

// Programs are the packages that the tests run as unikernels, by the names of
// their images without .spt or .hvt, and the network device that each declares,
// if any.
var Programs = []Program{
	{"hello", "gocat/examples/hello", ""},
	{"stress", "gocat/examples/stress", ""},
	{"advanced", "gocat/guest/cat/advanced", "stdin"},
	{"simple", "gocat/guest/cat/simple", "stdin"},
	{"busy", "gocat/internal/goguests/busy", ""},
	{"sockets", "gocat/internal/goguests/sockets", ""},
	{"signals", "gocat/internal/goguests/signals", ""},
	{"files", "gocat/internal/goguests/files", ""},
}

// Program is one of them.
type Program struct{ Name, Package, Net string }

// BuildArgs are the arguments with which gocat builds p for a target, spt or hvt,
// into a file.
func (p Program) BuildArgs(target, file string) []string {
	args := []string{"build", "--target", target, "-o", file}
	if p.Net != "" {
		args = append(args, "--net", p.Net)
	} else {
		args = append(args, "--loopback")
	}
	if p.Name == "files" {
		dir := "internal/goguests"
		if _, err := os.Stat(dir); err != nil { // not at the root of the module: tests run in a package
			dir = "../goguests"
		}
		args = append(args, "--files", dir+":/srv")
	}
	return append(args, p.Package)
}
