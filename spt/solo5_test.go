package spt

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/image"
	"gocat/internal/testhost"
)

// solo5Guests has what Solo5's tests.bats expects of its guests under spt, as
// far as they need no peer on a network.
var solo5Guests = map[string]struct {
	args   string
	status int
	output string // part of what it prints
}{
	"test_hello":          {"Hello_Solo5", 0, "SUCCESS\n"},
	"test_quiet":          {"--solo5:quiet", 0, "SUCCESS\n"},
	"test_output":         {"Output_Solo5", 0, ""},
	"test_globals":        {"", 0, "SUCCESS\n"},
	"test_exception":      {"", 139, ""},
	"test_zeropage":       {"", 139, ""},
	"test_xnow":           {"", 139, ""},
	"test_wnox":           {"", 139, ""},
	"test_notls":          {"", 139, ""},
	"test_tls":            {"", 0, "SUCCESS\n"},
	"test_ssp":            {"", 255, "Solo5: ABORT"},
	"test_fpu":            {"", 0, "SUCCESS\n"},
	"test_time":           {"", 0, "SUCCESS\n"},
	"test_seccomp":        {"", 159, ""},
	"test_blk":            {"", 0, "SUCCESS\n"},
	"test_mft_maxdevices": {"", 0, "SUCCESS\n"},
	"test_net_mtu":        {"", 0, "MTU is 9000"},
}

// TestSolo5 runs the guests of a Solo5 checkout, and compares each with its run
// under Solo5's own tender.
func TestSolo5(t *testing.T) {
	dir := testhost.Solo5(t)
	guests, err := filepath.Glob(filepath.Join(dir, "tests/test_*/test_*.spt"))
	if err != nil || len(guests) == 0 {
		t.Fatalf("no guests in %s: %v", dir, err)
	}
	tested := 0
	for _, path := range guests {
		name := strings.TrimSuffix(filepath.Base(path), ".spt")
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		img, err := image.Parse(strings.NewReader(string(b)))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		want, known := solo5Guests[name]
		net := len(img.Manifest) > 1 && img.Manifest[1].Type == image.Net
		if net && !known {
			continue
		}
		tested++
		t.Run(name, func(t *testing.T) {
			u := &unikernel{Image: b, Args: want.args}
			options := []string{"--mem=2"}
			if net {
				testhost.Netns(t)
				testhost.Tap(t, "tap0", unix.IFF_TAP|unix.IFF_NO_PI)
				testhost.Up(t, "tap0", 9000)
			}
			for _, e := range img.Manifest[1:] {
				if net {
					u.Net = append(u.Net, e.Name+"=tap0")
					options = append(options, "--net:"+e.Name+"=tap0")
					continue
				}
				disk := testhost.Disk(t, 64<<10)
				u.Block = append(u.Block, e.Name+"="+disk)
				options = append(options, "--block:"+e.Name+"="+disk)
			}
			// Solo5's tender first: it may have a reason not to run here.
			peer := testhost.Command{Path: filepath.Join(dir, "tenders/spt/solo5-spt")}
			peer.Args = append(append(options, path), strings.Fields(want.args)...)
			theirs := peer.Run(t)
			run := u.command(t)
			sealed := &testhost.Command{Path: u.seal(t)}
			for way, c := range map[string]*testhost.Command{"run": run, "sealed": sealed} {
				if way == "sealed" && (net || name == "test_time") {
					continue // it is told the MTU; takes five seconds
				}
				r := c.Run(t)
				if known && (r.Status != want.status || !strings.Contains(r.Stdout, want.output)) {
					t.Errorf("%s: status %d, want %d; stdout %q, stderr %q", way, r.Status, want.status, r.Stdout, r.Stderr)
				}
				if r.Status != theirs.Status || name != "test_time" && r.Stdout != theirs.Stdout {
					t.Errorf("%s: status %d, under Solo5's tender %d; stdout %q and %q", way, r.Status, theirs.Status, r.Stdout, theirs.Stdout)
				}
				if fault := r.Status > 128 && r.Status < 255; fault != (r.Stderr != "") {
					t.Errorf("%s: stderr %q", way, r.Stderr)
				}
			}
		})
	}
	if tested < 15 {
		t.Errorf("%d guests tested", tested)
	}
}
