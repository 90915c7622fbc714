package image

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gocat/internal/testhost"
)

// exits42 is a guest that exits with a status it finds in its data.
func exits42(target Target, version uint32) Spec {
	s := Spec{Target: target, Version: version, Entry: 0x100004}
	text, data := []byte{0xcc, 0xcc, 0xcc, 0xcc}, []byte{42}
	switch target {
	case SPT:
		text = append(text,
			0x0f, 0xb6, 0x3c, 0x25, 0x00, 0x30, 0x10, 0x00, // movzbl 0x103000, %edi
			0xb8, 231, 0, 0, 0, // mov $SYS_exit_group, %eax
			0x0f, 0x05, // syscall
		)
	case HVT:
		data = make([]byte, 16) // struct hvt_hc_halt: cookie u64, exit_status i32
		data[8] = 42
		text = append(text,
			0xb8, 0x00, 0x30, 0x10, 0x00, // mov $0x103000, %eax
			0xba, 0x08, 0x05, 0x00, 0x00, // mov $0x508, %edx: HVT_HYPERCALL_HALT
			0xef, // out %eax, %dx
			0xf4, // hlt
		)
	}
	s.Segments = []SpecSegment{
		{Vaddr: 0x100000, Data: text, Prot: R | X},
		{Vaddr: 0x103000, Data: data, Memsz: 0x5000, Prot: R | W},
		{Vaddr: 0x108000, Memsz: 0x1000, Prot: R | W},
	}
	return s
}

// peerVersion is the ABI version of the images, and so of the tenders, in dir.
func peerVersion(t *testing.T, dir string, target Target) uint32 {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, "tests", "test_hello", "test_hello."+target.String()))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := Parse(f)
	if err != nil {
		t.Fatal(err)
	}
	return m.Version
}

// runPeer writes the image of s and runs it under Solo5's own tender.
func runPeer(t *testing.T, tender string, s Spec) (status int, output string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "guest")
	if err := os.WriteFile(path, mustEncode(t, s), 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, tender, "--mem=4", path).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if exit != nil {
		status = exit.ExitCode()
	}
	return status, string(out)
}

// TestPeerLoads runs images of Encode under Solo5's own tenders.
func TestPeerLoads(t *testing.T) {
	dir := testhost.Solo5(t)
	for _, target := range []Target{SPT, HVT} {
		t.Run(target.String(), func(t *testing.T) {
			if target == HVT {
				f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
				if err != nil {
					testhost.Skip(t, err.Error())
				}
				f.Close()
			}
			tender := filepath.Join(dir, "tenders", target.String(), "solo5-"+target.String())
			s := exits42(target, peerVersion(t, dir, target))
			if status, out := runPeer(t, tender, s); status != 42 {
				t.Errorf("exit status %d, expected 42: %s", status, out)
			}
			// The manifest arrives: an unattached device is named.
			s.Manifest = Manifest{{Type: Reserved}, {Name: "disk0", Type: Block}, {Name: "uplink", Type: Net}}
			status, out := runPeer(t, tender, s)
			if status != 1 || !strings.Contains(out, "'disk0' of type BLOCK_BASIC declared but not attached") {
				t.Errorf("exit status %d, expected 1 and the device's name: %s", status, out)
			}
			// The host's kernel refuses to execute it.
			path := filepath.Join(t.TempDir(), "guest")
			if err := os.WriteFile(path, mustEncode(t, s), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := exec.Command(path).Run(); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the host's kernel said %v, expected no interpreter", err)
			}
		})
	}
}
