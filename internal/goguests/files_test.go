package goguests

import (
	"testing"

	"gocat/internal/testhost"
)

// TestFiles has a program use the files that it takes along, and make some.
func TestFiles(t *testing.T) {
	under(t, func(t *testing.T, r runner) {
		for _, mem := range []string{"--mem=64", "--mem=512"} {
			r.check(t, r.command("files", []string{mem}).Run(t), testhost.Result{Stdout: "files: done\n"})
		}
	})
}
