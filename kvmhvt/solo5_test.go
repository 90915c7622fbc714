package kvmhvt

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"gocat/internal/testhost"
)

// solo5Guest is the image of one of Solo5's own tests.
func solo5Guest(t testing.TB, name string) string {
	t.Helper()
	return filepath.Join(testhost.Solo5(t), "tests", "test_"+name, "test_"+name+".hvt")
}

// TestSolo5 runs Solo5's own tests that need no devices at both privilege
// levels, as its tests.bats does.
func TestSolo5(t *testing.T) {
	const fault = "host/guest translation fault"
	for _, tt := range []struct {
		name, arg  string
		status     int
		out, err   string
		onlyLevel3 bool // at level 0 pages cannot be kept from being executed
		native     bool // at level 0 only where KVM does not emulate it
	}{
		{name: "hello", arg: "Hello_Solo5", out: "SUCCESS"},
		{name: "quiet", arg: "--solo5:quiet", out: "SUCCESS"},
		{name: "output"},
		{name: "globals", out: "SUCCESS"},
		{name: "exception", status: 255, out: "ABORT"},
		{name: "zeropage", status: 255, out: "ABORT"},
		{name: "xnow", status: 1, err: fault},
		{name: "rnow", status: 1, err: fault},
		{name: "rnox", status: 1, err: fault, onlyLevel3: true},
		{name: "wnox", status: 1, err: fault, onlyLevel3: true},
		{name: "notls", status: 255, out: "ABORT"},
		{name: "tls", out: "SUCCESS"},
		{name: "ssp", status: 255, out: "ABORT"},
		{name: "fpu", out: "SUCCESS", native: true},
		{name: "time", out: "SUCCESS"},
	} {
		for _, cpl := range []string{"3", "0"} {
			t.Run(tt.name+"/cpl"+cpl, func(t *testing.T) {
				r := runTender(t, "--cpl="+cpl, "--mem=64", solo5Guest(t, tt.name), tt.arg)
				if cpl == "0" && tt.onlyLevel3 {
					if r.status != 1 || !strings.Contains(r.stdout, "FAILURE") {
						t.Errorf("%+v", r)
					}
					return
				}
				if cpl == "0" && tt.native && strings.Contains(r.stderr, "emulates privilege level 0") {
					if r.status != 1 {
						t.Errorf("%+v", r)
					}
					return
				}
				if r.status != tt.status || !strings.Contains(r.stdout, tt.out) || !strings.Contains(r.stderr, tt.err) {
					t.Errorf("got %+v", r)
				}
				if tt.name == "quiet" && strings.Contains(r.stdout, "Solo5:") {
					t.Errorf("not quiet: %q", r.stdout)
				}
			})
		}
	}
}

func TestSolo5LargeMemory(t *testing.T) {
	for _, mb := range []string{"2", "4", "512", "4096"} {
		r := runTender(t, "--mem="+mb, solo5Guest(t, "globals"))
		if mb == "2" {
			if r.status != 1 || !strings.Contains(r.stderr, "past the guest's memory of 2 MB") {
				t.Errorf("%s MB: %+v", mb, r)
			}
			continue
		}
		if r.status != 0 || !strings.Contains(r.stdout, "SUCCESS") {
			t.Errorf("%s MB: %+v", mb, r)
		}
	}
}

func TestSolo5Blocks(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(disk, make([]byte, 4<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	img := solo5Guest(t, "blk")
	for _, extra := range []string{"512", "4096"} {
		r := runTender(t, "--block:storage="+disk, "--block-sector-size:storage="+extra, img)
		if r.status != 0 || !strings.Contains(r.stdout, "SUCCESS") {
			t.Errorf("sectors of %s: %+v", extra, r)
		}
	}
	r := runTender(t, img)
	if r.status != 1 || !strings.Contains(r.stderr, "declared but not attached") {
		t.Errorf("without a disk: %+v", r)
	}
}

func TestSolo5MaxDevices(t *testing.T) {
	img := solo5Guest(t, "mft_maxdevices")
	dir := t.TempDir()
	var args []string
	for i := range 63 {
		disk := filepath.Join(dir, strconv.Itoa(i))
		if err := os.WriteFile(disk, make([]byte, 4096), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--block:storage"+strconv.Itoa(i)+"="+disk)
	}
	r := runTender(t, append(args, img)...)
	if r.status != 0 || !strings.Contains(r.stdout, "SUCCESS") {
		t.Errorf("%+v", r)
	}
}
