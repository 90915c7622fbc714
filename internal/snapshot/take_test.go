package snapshot

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/abi"
	"gocat/internal/device"
	"gocat/internal/guests"
	"gocat/internal/image"
	"gocat/internal/testhost"
	"gocat/internal/x86"
	"gocat/spt"
)

// config is a guest that waits for its device, the reading end of a pipe, and then
// exits with status 7.
func config(t *testing.T) *spt.Config {
	t.Helper()
	r, _ := testhost.Pipe(t)
	if _, err := unix.FcntlInt(r.Fd(), unix.F_SETFD, 0); err != nil {
		t.Fatal(err)
	}
	p := guests.NewProbe(image.SPT, image.Entry{Name: "in", Type: image.Net})
	p.Do(p.Syscall(unix.SYS_EPOLL_PWAIT, guests.Boot32(abi.SPTBootEpollFD), guests.N(guests.Scratch), guests.N(1),
		guests.N(1<<32-1), guests.N(0), guests.N(0)).Equals(guests.N(1), 2), p.Exit(guests.N(7)))
	b, err := p.Image()
	if err != nil {
		t.Fatal(err)
	}
	file := bytes.NewReader(b)
	img, err := image.Parse(file)
	if err != nil {
		t.Fatal(err)
	}
	return &spt.Config{Failure: 1, Name: "waiter", Guest: device.Guest{Image: img, File: file, Memory: 4 << 20,
		Devices: []device.Device{{Handle: 1, Name: "in", Type: image.Net, FD: int(r.Fd()), Inherited: true, MTU: 1500}}}}
}

// sealed takes a snapshot of the guest, lets change make another of it, and returns the
// executable's path.
func sealed(t *testing.T, c *spt.Config, change func(*spt.Warm)) (string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "warm")
	return path, When{}.Take(c, func(w *spt.Warm) error {
		change(w)
		c.Warm = w
		defer func() { c.Warm = nil }()
		syscall.ForkLock.RLock()
		defer syscall.ForkLock.RUnlock()
		f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o700)
		if err != nil {
			return err
		}
		defer f.Close()
		return spt.Seal(c, f)
	})
}

// start runs the executable with the end of input in the device's place.
func start(t *testing.T, c *spt.Config, path string) testhost.Result {
	t.Helper()
	r, w := testhost.Pipe(t)
	w.Close()
	out, stderr := testhost.Memfd(t), testhost.Memfd(t)
	files := []*os.File{testhost.Null(t), out, stderr}
	for len(files) < c.Devices[0].FD {
		files = append(files, nil)
	}
	cmd := testhost.Command{Path: path, Files: append(files, r)}
	p := cmd.Start(t)
	return testhost.Result{Status: testhost.Status(p.Wait()), Stdout: testhost.Contents(t, out), Stderr: testhost.Contents(t, stderr)}
}

// TestHost starts a snapshot on this host, and ones that were made on others.
func TestHost(t *testing.T) {
	c := config(t)
	here := x86.ThisProcessor()
	group, bit := -1, 0
	for i := range x86.Groups {
		for b, name := range x86.Groups[i].Names {
			if name != "" && here.Features[i]>>b&1 == 0 {
				group, bit = i, b
			}
		}
	}
	if group < 0 {
		t.Fatal("this processor has every feature there is")
	}
	lacks := "gocat: this processor lacks " + x86.Groups[group].Names[bit] + ", which the guest has found on another\n"
	for name, test := range map[string]struct {
		change func(*spt.Warm)
		want   testhost.Result
	}{
		"the same":         {func(*spt.Warm) {}, testhost.Result{Status: 7}},
		"started anew":     {func(w *spt.Warm) { w.Boot[1]++ }, testhost.Result{Status: 7}},
		"unknown":          {func(w *spt.Warm) { w.Boot = [2]uint64{} }, testhost.Result{Status: 7}},
		"another":          {func(w *spt.Warm) { w.Boot[0]++; w.Processor.Features[group] |= 1 << bit }, testhost.Result{Status: 1, Stderr: lacks}},
		"another, unknown": {func(w *spt.Warm) { w.Boot = [2]uint64{}; w.Processor.Features[group] |= 1 << bit }, testhost.Result{Status: 1, Stderr: lacks}},
		"other layout": {func(w *spt.Warm) { w.Boot[0]++; w.Processor.Last += 64 }, testhost.Result{Status: 1,
			Stderr: "gocat: this processor stores its registers (XSAVE) otherwise than the one that the guest has run on\n"}},
	} {
		path, err := sealed(t, c, test.change)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := start(t, c, path); got != test.want {
			t.Errorf("%s:\n got %+v\nwant %+v", name, got, test.want)
		}
	}
}

// TestRefused has snapshots that no guest of the image can have come to.
func TestRefused(t *testing.T) {
	c := config(t)
	for says, change := range map[string]func(*spt.Warm){
		"where it has no code":    func(w *spt.Warm) { w.Registers.RIP = guests.Scratch },
		"no code":                 func(w *spt.Warm) { w.Registers.RIP = 0x10000 },
		"flags 0x":                func(w *spt.Warm) { w.Registers.Flags |= 1 << 8 },
		"which no guest has":      func(w *spt.Warm) { w.Registers.Flags |= 3 << 12 },
		"segment registers":       func(w *spt.Warm) { w.Registers.CS = 0x23 },
		"no guest has":            func(w *spt.Warm) { w.Registers.GS = 3 },
		"a segment's base":        func(w *spt.Warm) { w.Registers.FSBase = 1 << 63 },
		"a time that is none":     func(w *spt.Warm) { w.Alarm[3] = 1e9 },
		"is damaged":              func(w *spt.Warm) { w.State[x86.LegacySize+8] = 1 },
		"floating point":          func(w *spt.Warm) { w.State = w.State[:512] },
		"did not have":            func(w *spt.Warm) { w.State[x86.LegacySize] |= 4; w.Processor.States &^= 4 },
		"none of the guest's":     func(w *spt.Warm) { w.Memory[0].Addr = 0x10000 },
		"bytes: none":             func(w *spt.Warm) { w.Memory[len(w.Memory)-1].Size += c.Memory },
		"not pages in order":      func(w *spt.Warm) { w.Memory[1].Addr = w.Memory[0].Addr },
		"bytes: not pages":        func(w *spt.Warm) { w.Memory[0].Size-- },
		"0x1000 bytes: not pages": func(w *spt.Warm) { w.Memory[0].Addr, w.Memory[0].Size = ^uint64(0xfff), 4096 },
	} {
		path, err := sealed(t, c, change)
		if err == nil || !strings.Contains(err.Error(), says) || !strings.HasPrefix(err.Error(), "snapshot: ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", says, err)
		}
		if st, err := os.Stat(path); err == nil && st.Size() > 0 {
			t.Errorf("%s: %d bytes were written", says, st.Size())
		}
	}
}

// TestEnded has a guest that does not wait.
func TestEnded(t *testing.T) {
	c := config(t)
	c.Devices[0].FD = 999
	_, err := sealed(t, c, func(*spt.Warm) {})
	if e, ok := errors.AsType[*Ended](err); !ok || e.Started || e.Status != 1 {
		t.Errorf("%v", err)
	}
}
