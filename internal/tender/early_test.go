package tender

import (
	"os"
	"runtime/debug"
	"strconv"
	"testing"

	"gocat/internal/device"
	"gocat/internal/guests"
	"gocat/internal/image"
	"gocat/internal/raw"
	"gocat/internal/testhost"
	"gocat/spt"
)

// What a usual start does before it writes the guest allocates nothing: else it
// cannot happen before the Go runtime's start.
func TestEarlyAllocates(t *testing.T) {
	// The arena holds pointers that the garbage collector does not see.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	b, err := guests.Cat(image.SPT, guests.Simple)
	if err != nil {
		t.Fatal(err)
	}
	kernel := t.TempDir() + "/cat.spt"
	if err := os.WriteFile(kernel, b, 0o644); err != nil {
		t.Fatal(err)
	}
	pipe, _ := testhost.Pipe(t)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(kernel)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	defer file.Close()
	for _, f := range []*os.File{pipe, null, file} {
		net := "stdin=@" + strconv.Itoa(int(f.Fd()))
		for _, args := range [][]string{
			{"--net", net, kernel},
			{"--mem=2", "--net:" + net, "--net-mac:stdin=02:00:00:00:00:01", "--net-mtu=stdin=9000", "--profile=strict", "--", kernel, "--solo5:quiet", "-l", "netif:quiet"},
			{"--backend=spt", "--net", net},
			{"--guest=simple", "--eof=zero", "--quiet-faults", "--net", net},
		} {
			start := func() error {
				inv, err := Parse(args, table[:])
				if err != nil {
					return err
				}
				inv.Devices.AllowCloexec = true
				g, err := inv.Load()
				if err != nil {
					return err
				}
				defer g.Close()
				set, err := device.Attach(g.Image.Manifest, &g.Devices)
				if err != nil {
					return err
				}
				defer set.Close()
				c, err := g.SPT(set)
				if err != nil {
					return err
				}
				_, err = spt.Policy(c) // lays it all out
				return err
			}
			n := testing.AllocsPerRun(1, func() {
				raw.Begin()
				defer raw.Undo()
				err = start()
			})
			if err != nil || n != 0 {
				t.Errorf("%q: %v allocations, %v", args, n, err)
			}
		}
	}
}
