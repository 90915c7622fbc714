package peer

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/guests"
	"gocat/internal/image"
	"gocat/internal/testhost"
)

// script makes a program that stands for a tender.
func script(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func answers(version, abi string) string {
	return "echo \"${0##*/} tender, version " + version + "\" >&2; echo 'ABI version " + abi + "' >&2"
}

func TestParse(t *testing.T) {
	one, two := script(t, "solo5-hvt", answers("v1.2.3", "2")), script(t, "renamed", answers("v1.2.3", "2"))
	spt := script(t, "solo5-spt", answers("v0.6.9", "1"))
	old := script(t, "solo5-hvt", "echo \"usage: ${0##*/} [ CORE OPTIONS ] KERNEL\" >&2; exit 1")
	tenders, err := Parse([]string{"solo5-hvt=" + one, "solo5-hvt=" + two, "solo5-spt=" + spt, "solo5-hvt=" + old})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []Tender{
		{"solo5-hvt", "solo5-hvt v1.2.3", image.HVT, "v1.2.3", 2, one},
		{"solo5-hvt", "solo5-hvt v1.2.3 (" + two + ")", image.HVT, "v1.2.3", 2, two},
		{"solo5-spt", "solo5-spt v0.6.9", image.SPT, "v0.6.9", 1, spt},
		{"solo5-hvt", "solo5-hvt", image.HVT, "", 1, old},
	} {
		if *tenders[i] != want {
			t.Errorf("%+v, want %+v", *tenders[i], want)
		}
	}
	got := tenders[0].Args("k", []string{"--net:a=@0"}, []string{"-l"})
	if want := []string{"solo5-hvt", "--net:a=@0", "--", "k", "-l"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	got = Gocat("/p", image.SPT).Args("k", nil, nil)
	if want := []string{"gocat", "run", "--backend=spt", "--", "k"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestParseErrors(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	good := "solo5-spt=" + script(t, "solo5-spt", answers("v1", "2"))
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{""}, "want solo5-hvt=PATH or solo5-spt=PATH"},
		{[]string{"solo5-hvt"}, "want solo5-hvt=PATH"},
		{[]string{"solo5-hvt="}, "want solo5-hvt=PATH"},
		{[]string{"solo5-xen=/bin/true"}, `"solo5-xen" is no tender`},
		{[]string{"solo5-hvt=/nonexistent"}, "there is no such file"},
		{[]string{"solo5-hvt=" + t.TempDir()}, "not a regular file"},
		{[]string{"solo5-hvt=" + plain}, "not executable"},
		{[]string{"solo5-hvt=" + script(t, "a", "echo nothing of the kind; exit 3")}, `it prints "nothing of the kind"`},
		{[]string{"solo5-hvt=" + script(t, "a", "")}, "it prints nothing"},
		{[]string{"solo5-hvt=" + script(t, "a", answers("v9", "7"))}, "an ABI version that gocat has no guests for"},
		{[]string{"solo5-hvt=" + script(t, "a", answers("v9", "x"))}, "an ABI version that gocat has no guests for"},
		{[]string{good, good}, "the same tender twice"},
	} {
		_, err := Parse(test.args)
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "--peer ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v, want %q", test.args, err, test.want)
		}
	}
}

func TestParseSolo5(t *testing.T) {
	solo5 := testhost.Solo5(t)
	tenders, err := Parse([]string{"solo5-hvt=" + solo5 + "/tenders/hvt/solo5-hvt", "solo5-spt=" + solo5 + "/tenders/spt/solo5-spt"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tender := range tenders {
		if !strings.HasPrefix(tender.Version, "v0.") {
			t.Errorf("%+v", tender)
		}
	}
}

// What a child opens is the image, for the ABI version that its tender takes.
func TestBundled(t *testing.T) {
	for _, tender := range []*Tender{Gocat("", image.SPT), Gocat("", image.HVT), {Target: image.HVT, ABI: 1}, {Target: image.SPT, ABI: 1}} {
		i, err := tender.Bundled(guests.Simple)
		if err != nil {
			t.Fatal(err)
		}
		defer i.Close()
		if i.Target != tender.Target || i.Version != tender.ABI {
			t.Errorf("%+v: the image is for %v, ABI %d", tender, i.Target, i.Version)
		}
		child, err := exec.Command("cat", i.Path()).Output()
		if err != nil {
			t.Fatal(err)
		}
		if want := testhost.Contents(t, i.file); string(child) != want || want == "" {
			t.Errorf("a child reads %d bytes of %d", len(child), len(want))
		}
	}
	if _, err := NewImage([]byte("text")); err == nil {
		t.Error("made an image of text")
	}
}

// A child does not outlive the thread that started it.
func TestAttr(t *testing.T) {
	type started struct {
		*os.Process
		err error
	}
	tender := &Tender{Path: "/bin/sleep"}
	child, end := make(chan started), make(chan bool)
	var start func()
	start = func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		if unix.Gettid() == os.Getpid() {
			go start()
			<-end // the main thread alone never ends, so it is kept busy
			return
		}
		p, err := tender.Start([]string{"sleep", "1000"}, nil)
		child <- started{p, err}
		<-end
	}
	go start()
	p := <-child
	if p.err != nil {
		t.Fatal(p.err)
	}
	defer p.Kill()
	if group, err := syscall.Getpgid(p.Pid); err != nil || group != p.Pid {
		t.Errorf("process group %d of %d: %v", group, p.Pid, err)
	}
	timer := time.AfterFunc(30*time.Second, func() { p.Signal(syscall.SIGTERM) })
	defer timer.Stop()
	close(end)
	state, err := p.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if ws := state.Sys().(syscall.WaitStatus); !ws.Signaled() || ws.Signal() != syscall.SIGKILL {
		t.Errorf("ended with %v", state)
	}
}
