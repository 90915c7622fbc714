package compare

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/device"
	"gocat/internal/image"
	"gocat/internal/peer"
	"gocat/internal/testhost"
)

// script makes a tender that is one of gocat's by its kind, and a shell script.
// It has the guest's console on standard output, as all tenders have.
func script(t *testing.T, text string) *peer.Tender {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tender")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return peer.Gocat(path, image.SPT)
}

func simple(t *testing.T) *Guest {
	t.Helper()
	g, err := LoadGuest("simple", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

// try runs a script on one source under one policy.
func try(t *testing.T, tender *peer.Tender, source string, eof device.EOF, timeout time.Duration) *Run {
	t.Helper()
	rep, err := Compare(context.Background(), &Options{Sources: []string{source}, Tenders: []*peer.Tender{tender},
		Guests: []*Guest{simple(t)}, Policies: []device.EOF{eof}, Jobs: 1, Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	return rep.Runs[0]
}

// Every source delivers its data and its end to a cat, and a cat that does as it
// should is never found wrong.
func TestSources(t *testing.T) {
	cat := script(t, "exec cat")
	for _, s := range Sources() {
		if s.Name == "tap" {
			continue // cat reads descriptor 0
		}
		t.Run(s.Name, func(t *testing.T) {
			r := try(t, cat, s.Name, device.EOFAuto, time.Minute)
			want := Waits
			if s.Ends || s.Name == "dgram-empty" {
				want = Ends
			}
			if r.Kind != want || r.delivered() != "" || r.Violation != "" || !r.clean() || r.tone() != good {
				t.Errorf("%+v", r)
			}
			if s.Name != "null" && s.Name != "pipe-empty" && r.Received == 0 {
				t.Error("nothing was sent")
			}
		})
	}
}

// What processes do is observed, and what gocat does not document is found.
func TestOutcomes(t *testing.T) {
	for _, test := range []struct {
		name, script, source string
		eof                  device.EOF
		words                string
		violation            bool
	}{
		{"status", "cat; exit 3", "pipe-slow", device.EOFAuto, "ends with 3", true},
		{"status 1 without a word", "cat; exit 1", "pipe-slow", device.EOFAuto, "ends with 1", true},
		{"refused", "echo 'gocat: no such thing' >&2; echo usage >&2; exit 1", "pipe", device.EOFAuto, "refused", true},
		{"refused as documented", "echo 'gocat: --eof=again: no' >&2; exit 1", "pipe", device.EOFAgain, "refused", false},
		{"gave up", "cat; echo 'gocat: bad hypercall' >&2; exit 1", "file", device.EOFAuto, "died", true},
		{"signal", "cat; kill -SEGV $$", "stream", device.EOFAuto, "died of SIGSEGV", true},
		{"tail lost", "head -c 100; cat >/dev/null", "pipe-slow", device.EOFAuto, "ends, 6900 bytes lost", true},
		{"middle lost", "head -c 1400; head -c 1400 >/dev/null; cat", "pipe-slow", device.EOFAuto, "ends, 1400 bytes lost", true},
		{"nothing", "cat >/dev/null", "pipe-slow", device.EOFAuto, "ends, nothing delivered", true},
		{"altered", "tr a b", "file", device.EOFAuto, "ends, data altered", true},
		{"more", "cat; echo more", "file", device.EOFAuto, "ends, data altered", true},
		{"hangs", "cat; exec sleep 1000", "pipe-slow", device.EOFAuto, "hangs", true},
		{"hangs without reading", "exec sleep 1000", "pipe", device.EOFAuto, "hangs, nothing delivered", true},
		{"spins", "cat; while :; do :; done", "null", device.EOFAuto, "spins", true},
		{"ends too early", "head -c 1348577", "pipe-open", device.EOFAuto, "ends", true},
		{"is late", "sleep 1; cat", "pipe", device.EOFAuto, "ends", false},
	} {
		tender := script(t, test.script) // all before the first runs: nobody forks while one is written
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := try(t, tender, test.source, test.eof, time.Minute)
			if r.words() != test.words || (r.Violation != "") != test.violation {
				t.Errorf("%q, violation %q: %+v", r.words(), r.Violation, r.Outcome)
			}
			switch r.Kind {
			case Refused:
				if !strings.HasPrefix(r.Message, "gocat: ") || strings.Contains(r.Message, "usage") {
					t.Errorf("message %q", r.Message)
				}
			case Spins:
				if r.CPU < 0.5 {
					t.Errorf("%+v", r.Outcome)
				}
			case Hangs:
				if r.CPU > 0.1 {
					t.Errorf("%+v", r.Outcome)
				}
			case Ends:
				if r.After <= 0 {
					t.Errorf("ended %v after the end", r.After)
				}
			}
		})
	}
}

// A run ends when its time is over, whatever it is at.
func TestTimeout(t *testing.T) {
	start := time.Now()
	r := try(t, script(t, "while :; do echo again; sleep 0.01; done"), "null", device.EOFAuto, 2*time.Second)
	if took := time.Since(start); r.Kind != Stopped || r.Violation == "" || took < 2*time.Second || took > 30*time.Second {
		t.Errorf("%+v after %v", r, took)
	}
}

// When the context ends, so do the processes, and Compare.
func TestCancel(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	time.AfterFunc(time.Second, cancel)
	_, err := Compare(ctx, &Options{Sources: []string{"pipe-open", "dgram", "null"}, Guests: []*Guest{simple(t)}, Jobs: 3, Timeout: time.Minute,
		Tenders: []*peer.Tender{script(t, "echo $$ >"+dir+"/$$; exec sleep 1000")}, Policies: []device.EOF{device.EOFAuto}})
	if err != context.Canceled {
		t.Errorf("error %v", err)
	}
	started, err := os.ReadDir(dir)
	if err != nil || len(started) == 0 {
		t.Fatalf("%d were started: %v", len(started), err)
	}
	for _, e := range started {
		if _, err := os.Stat("/proc/" + e.Name()); err == nil {
			t.Errorf("process %s was left behind", e.Name())
		}
	}
}

// Without KVM, and for a guest of another target, the rest goes on.
// A script that does not become the tender leaves it to nobody.
func TestWrapper(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	// It holds standard output, of which nothing but its end would tell.
	r := try(t, script(t, "sleep 1000 & echo $! >"+pids+"; cat"), "pipe", device.EOFAuto, time.Minute)
	if r.words() != "ends" {
		t.Errorf("%+v", r)
	}
	b, err := os.ReadFile(pids)
	if err != nil {
		t.Fatal(err)
	}
	stat := "/proc/" + strings.TrimSpace(string(b)) + "/stat"
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		b, err := os.ReadFile(stat)
		if err != nil || strings.Contains(string(b), ") Z ") {
			break
		}
		if time.Since(start) > time.Minute {
			t.Fatalf("left behind: %s", b)
		}
	}
}

func TestNotRun(t *testing.T) {
	tender := script(t, "exec cat")
	hvt := *tender
	hvt.Kind, hvt.Name, hvt.Target = "gocat-hvt", "gocat hvt", image.HVT
	g, err := LoadGuest(imageFile(t, image.SPT, image.Entry{Name: "in", Type: image.Net}), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	rep, err := Compare(context.Background(), &Options{Sources: []string{"null"}, Tenders: []*peer.Tender{tender, &hvt}, Guests: []*Guest{simple(t), g},
		Policies: []device.EOF{device.EOFAuto}, Jobs: 1, Timeout: time.Minute, NoHVT: os.ErrNotExist})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range rep.Runs {
		got = append(got, r.words()+": "+r.Message)
	}
	want := "ends: |ends: |not run: file does not exist|not run: image is built for spt"
	if strings.Join(got, "|") != want || len(rep.Violations()) != 0 {
		t.Errorf("%q, want %q", strings.Join(got, "|"), want)
	}
}

// imageFile makes an image that declares the devices.
func imageFile(t *testing.T, target image.Target, devices ...image.Entry) string {
	t.Helper()
	b, err := image.Encode(image.Spec{Target: target, Version: 2, Entry: 0x100000,
		Segments: []image.SpecSegment{{Vaddr: 0x100000, Prot: image.R | image.X, Data: []byte{0x90}}},
		Manifest: append(image.Manifest{{Type: image.Reserved}}, devices...)})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadGuest(t *testing.T) {
	a, b := image.Entry{Name: "a", Type: image.Net}, image.Entry{Name: "b", Type: image.Net}
	for _, test := range []struct {
		path, net string
		want      string // "" for success
	}{
		{imageFile(t, image.SPT, a), "", ""},
		{imageFile(t, image.HVT, a, b), "b", ""},
		{imageFile(t, image.SPT), "", "no network device"},
		{imageFile(t, image.SPT, a, b), "", "2 network devices (a, b): choose one with --net"},
		{imageFile(t, image.SPT, a, b), "c", `no network device "c", but a, b`},
		{imageFile(t, image.SPT, a, image.Entry{Name: "disk", Type: image.Block}), "", `block device "disk"`},
		{"/nonexistent", "", "no such file"},
		{t.TempDir(), "", "not a regular file"},
		{os.Args[0], "", "Solo5"},
	} {
		g, err := LoadGuest(test.path, test.net, nil)
		if test.want != "" {
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if test.net != "" && (g.Net != test.net || len(g.Idle) != 1 || g.Idle[0] != "a") {
			t.Errorf("%+v", g)
		}
		g.Close()
	}
}

// A guest of the user's gets its input on the named device, and something that
// is silent on the others.
func TestIdle(t *testing.T) {
	g, err := LoadGuest(imageFile(t, image.SPT, image.Entry{Name: "a", Type: image.Net}, image.Entry{Name: "b", Type: image.Net}), "b", []string{"--x"})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	// The arguments go to the console; then a read of 3 has to wait.
	tender := script(t, `echo "$@" | sed 's|/proc/.*/fd/[0-9]*|IMAGE|' >&2; cat <&3`)
	rep, err := Compare(context.Background(), &Options{Sources: []string{"null"}, Tenders: []*peer.Tender{tender}, Guests: []*Guest{g},
		Policies: []device.EOF{device.EOFZero}, Jobs: 1, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	r := rep.Runs[0]
	if r.Kind != Hangs || r.Violation != "" {
		t.Errorf("%+v", r)
	}
	if want := "run --backend=spt --net:b=@0 --eof=zero --net:a=@3 -- IMAGE --x"; r.Message != want {
		t.Errorf("%q, want %q", r.Message, want)
	}
}

// A tender with a tap has an interface that works, alone in its namespace.
func TestTap(t *testing.T) {
	testhost.NeedRoot(t, "to make taps")
	// It sees its interface and ends, so that nothing is delivered.
	r := try(t, script(t, "cat /proc/net/dev >&2; exit 1"), "tap", device.EOFAuto, time.Minute)
	if r.Kind != Refused {
		t.Errorf("%+v", r)
	}
	onThread(func() {
		i, err := openTap()
		if err != nil {
			t.Error(err)
			return
		}
		defer i.close()
		b, err := os.ReadFile("/proc/thread-self/net/dev")
		if err != nil || !strings.Contains(string(b), tapName+":") || strings.Count(string(b), ":") != 2 { // and lo
			t.Errorf("%v:\n%s", err, b)
		}
		if _, err := i.writer.Write(i.data[:frameSize]); !errors.Is(err, unix.ENOBUFS) {
			t.Errorf("without a reader: %v", err)
		}
		fd := testhost.OpenTap(t, tapName, 0x1002) // IFF_TAP, IFF_NO_PI
		tap := os.NewFile(uintptr(fd), "tap")
		defer tap.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		go i.feed(ctx)
		got, frame := "", make([]byte, 2000)
		for len(got) < len(i.data) {
			n, err := tap.Read(frame)
			if err != nil || n != frameSize {
				t.Errorf("%d bytes: %v", n, err)
				return
			}
			got += string(frame[:n])
		}
		if got != string(i.data) {
			t.Error("frames were altered")
		}
	})
}
