package kvmhvt

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"gocat/internal/guests"
	"gocat/internal/image"
	"gocat/internal/testhost"
)

// TestHugePages has guests whose image fills a huge page, and not quite: a tender asks
// for one for the former, and for both where they may use much memory.
func TestHugePages(t *testing.T) {
	needKVM(t)
	if _, err := os.Stat("/sys/kernel/mm/transparent_hugepage"); err != nil {
		testhost.Skip(t, "the kernel has no transparent huge pages")
	}
	const memory, rest = 64 << 20, 54 << 20 // without 8 MiB for the image and 2 at the top
	for name, c := range map[string]struct {
		size int
		want []uint64
	}{"full": {2 << 20, []uint64{2 << 20, rest}}, "small": {1 << 20, []uint64{rest}}} {
		t.Run(name, func(t *testing.T) {
			const filled = 4 << 20
			b, err := os.ReadFile(sleeper(t))
			if err != nil {
				t.Fatal(err)
			}
			b, err = guests.WithSegment(b, image.SpecSegment{Vaddr: filled, Data: bytes.Repeat([]byte{1}, c.size), Prot: image.R})
			cmd := tenderCommand(t, fmt.Sprintf("--mem=%d", memory>>20), write(t, b, err))
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Wait()
			defer cmd.Process.Kill()
			if n, err := out.Read(make([]byte, 6)); n == 0 {
				t.Fatal(err)
			}
			if got := hugePages(t, cmd.Process.Pid); !slices.Equal(got, c.want) {
				t.Errorf("huge pages are asked for in mappings of %d bytes, want %d", got, c.want)
			}
		})
	}
}

// hugePages returns the sizes in bytes of the mappings of a process for which huge pages
// are asked for.
func hugePages(t *testing.T, pid int) (sizes []uint64) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		t.Fatal(err)
	}
	var size uint64
	for line := range strings.Lines(string(b)) {
		var start, end uint64
		if n, _ := fmt.Sscanf(line, "%x-%x ", &start, &end); n == 2 {
			size = end - start
		}
		if flags, ok := strings.CutPrefix(line, "VmFlags:"); ok && slices.Contains(strings.Fields(flags), "hg") {
			sizes = append(sizes, size)
		}
	}
	return sizes
}
