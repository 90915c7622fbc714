package spt

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/image"
	"gocat/internal/plan"
	"gocat/internal/testhost"
	"gocat/internal/x86"
)

// TestLayout compares the numbers that the fault reporter's source repeats.
func TestLayout(t *testing.T) {
	testhost.Defines(t, "stub_amd64.s", map[string]uint64{
		"NAMES": textsBase, "LINE": lineBase, "GATE": gateAt, "HANDLER": handlerAt, "SYMBOLS": symbolsAt,
		"SYS_write": unix.SYS_WRITE, "SYS_getppid": unix.SYS_GETPPID, "SYS_exit_group": unix.SYS_EXIT_GROUP,
		"SIGILL": uint64(unix.SIGILL), "SIGTRAP": uint64(unix.SIGTRAP), "SIGBUS": uint64(unix.SIGBUS),
		"SIGFPE": uint64(unix.SIGFPE), "SIGSEGV": uint64(unix.SIGSEGV), "SIGTERM": uint64(unix.SIGTERM),
		"SIGSYS":          uint64(unix.SIGSYS),
		"TEXT_PROTECTION": textProtection, "TEXT_RAX": textRAX, "TEXT_RDI": textRDI, "TEXT_RSI": textRSI,
		"TEXT_RDX": textRDX, "TEXT_RIP": textRIP, "TEXT_AT": textAt, "TEXT_UNKNOWN": textUnknown, "TEXT_I386": textI386, "TEXT_X32": textX32, "TEXT_IN": textIn, "TEXT_CALLS": textCalls,
	})
}

// TestLayoutRestore does so for the code that enters a guest that has run before.
func TestLayoutRestore(t *testing.T) {
	testhost.Defines(t, "restore_amd64.s", map[string]uint64{
		"STATE": stateBase, "GENERAL": 48, "MASK": 160, "AREA": stateArea,
	})
	var w Warm
	for i := range w.Registers.General {
		w.Registers.General[i] = uint64(i + 1)
	}
	w.Registers.RIP, w.Registers.Flags, w.Processor.States, w.State = 100, 101, 102, []byte{103}
	var got []uint64
	state := w.state()
	for i := 0; i < 168; i += 8 {
		got = append(got, binary.LittleEndian.Uint64(state[i:]))
	}
	want := []uint64{x86.RBP + 1, 100, userCS, 101, x86.RSP + 1, userSS, x86.RAX + 1, x86.RBX + 1, x86.RCX + 1, x86.RDX + 1,
		x86.RSI + 1, x86.RDI + 1, 9, 10, 11, 12, 13, 14, 15, 16, 102}
	if !slices.Equal(got, want) || state[stateArea] != 103 {
		t.Errorf("registers\n %d, want\n %d", got, want)
	}
}

func TestStub(t *testing.T) {
	code, at := stubCode()
	if n := len(code) + len(plan.Stub()) + len(restoreCode()); n > symbolsAt-stubBase {
		t.Errorf("the stub has %d bytes, more than its page", n)
	}
	for _, gate := range []uint64{0, at.owned} {
		if !bytes.HasPrefix(code[gate:], syscallInstruction) {
			t.Errorf("at %#x is % x, not SYSCALL", gate, code[gate:gate+2])
		}
	}
	if at.owned < 3 || at.report <= at.owned || at.pass <= at.report || at.pass >= uint64(len(code)) {
		t.Errorf("entry points at %+v of %#x bytes", at, len(code))
	}
	t.Logf("%d and %d bytes", len(code), len(plan.Stub()))
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
		{"texts", textsBase, uint64(len(allTexts())), textsEnd},
		{"state", stateBase, stateSize, titleBase},
		{"registers", 0, stateArea + x86.AreaSize, stateSize},
		{"title", titleBase, MaxTitle + 1, planBase},
		{"plan", planBase, planRoom, image.MinAddr},
	} {
		if room.base+room.size > room.next {
			t.Errorf("%s at %#x, %#x bytes, reaches beyond %#x", room.name, room.base, room.size, room.next)
		}
	}
}

// allTexts is the reporter's table in one piece.
func allTexts() []byte { return bytes.Join(texts(), nil) }
