package spt

import (
	"bufio"
	"bytes"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/image"
)

// TestLayout compares the numbers that the stub's source repeats.
func TestLayout(t *testing.T) {
	want := map[string]uint64{
		"BOOT": bootBase, "PLAN": planBase, "RECORDS": planBase + planHeader, "NAMES": textsBase, "LINE": lineBase, "TASKEND": taskEnd,
		"SYS_write": unix.SYS_WRITE, "SYS_munmap": unix.SYS_MUNMAP,
		"SYS_getppid": unix.SYS_GETPPID, "SYS_exit_group": unix.SYS_EXIT_GROUP,
		"SIGILL": uint64(unix.SIGILL), "SIGTRAP": uint64(unix.SIGTRAP), "SIGBUS": uint64(unix.SIGBUS),
		"SIGFPE": uint64(unix.SIGFPE), "SIGSEGV": uint64(unix.SIGSEGV), "SIGTERM": uint64(unix.SIGTERM),
		"SIGSYS":          uint64(unix.SIGSYS),
		"TEXT_PROTECTION": textProtection, "TEXT_RAX": textRAX, "TEXT_RDI": textRDI, "TEXT_RSI": textRSI,
		"TEXT_RDX": textRDX, "TEXT_RIP": textRIP, "TEXT_AT": textAt, "TEXT_UNKNOWN": textUnknown, "TEXT_CALLS": textCalls,
	}
	f, err := os.Open("stub_amd64.s")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 3 || words[0] != "#define" {
			continue
		}
		w, compared := want[words[1]]
		if !compared {
			continue
		}
		delete(want, words[1])
		if got, err := strconv.ParseUint(words[2], 0, 64); err != nil || got != w {
			t.Errorf("%s is %s in the stub's source, %#x in layout.go", words[1], words[2], w)
		}
	}
	if err := lines.Err(); err != nil || len(want) > 0 {
		t.Errorf("not defined in the stub's source: %v, %v", want, err)
	}
}

func TestStub(t *testing.T) {
	code, start, report := stubCode()
	if len(code) >= image.PageSize {
		t.Errorf("the stub has %d bytes, more than its page", len(code))
	}
	if code[0] != 0x0f || code[1] != 0x05 || code[2] == 0xc3 {
		t.Errorf("the stub begins with % x, not with SYSCALL, or it returns from there", code[:3])
	}
	if start < 3 || report <= start || report >= uint64(len(code)) {
		t.Errorf("entry at %#x and reporter at %#x of %#x bytes", start, report, len(code))
	}
	t.Logf("%d bytes", len(code))
}

// TestLayoutRooms checks that nothing in the layout overlaps.
func TestLayoutRooms(t *testing.T) {
	m := make(image.Manifest, image.MaxEntries)
	for _, room := range []struct {
		name             string
		base, size, next uint64
	}{
		{"stub", stubBase, image.PageSize, bootBase},
		{"boot info", bootBase, bootInfoSize + uint64(m.Size()) + cmdlineSize, lineBase},
		{"line", lineBase, lineSize, stackBase},
		{"stack", stackBase, stackSize, textsBase},
		{"texts", textsBase, uint64(len(allTexts())), planBase},
		{"plan", planBase, planRoom, image.MinAddr},
	} {
		if room.base+room.size > room.next {
			t.Errorf("%s at %#x, %#x bytes, reaches beyond %#x", room.name, room.base, room.size, room.next)
		}
	}
}

// allTexts is the reporter's table in one piece.
func allTexts() []byte { return bytes.Join(texts(), nil) }
