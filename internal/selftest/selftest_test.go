//go:debug updatemaxprocs=0
//go:debug containermaxprocs=0
package selftest

import (
	"os"
	"testing"

	_ "gocat/internal/hvt"
	"gocat/internal/tender"
)

// The test binary is also gocat run.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "run" {
		status, _ := tender.Main(os.Args[2:])
		os.Exit(status)
	}
	os.Exit(m.Run())
}

func attackWith(t *testing.T, of ...Setting) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if g := os.Getenv("GOCAT"); g != "" {
		self = g
	}
	count := map[string]int{}
	err = Run(self, Attacks(of...), func(r Result) {
		count[r.Group]++
		if r.Err != nil {
			t.Errorf("%v: %s: %s: %v; want %v", r.Setting, r.Group, r.Name, r.Err, r.Want)
		}
	})
	if err != nil {
		t.Error(err)
	}
	for g, n := range count {
		t.Logf("%5d %s", n, g)
	}
}

func TestSPT(t *testing.T)    { attackWith(t, SPT) }
func TestStrict(t *testing.T) { attackWith(t, Strict) }
func TestHVT(t *testing.T)    { attackWith(t, HVT) }
func TestCPL0(t *testing.T)   { attackWith(t, CPL0) }
