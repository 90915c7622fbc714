package device

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/image"
)

// manifest makes a manifest as the image package would.
func manifest(devices ...Declared) image.Manifest {
	m := image.Manifest{{Type: image.Reserved}}
	for _, d := range devices {
		m = append(m, image.Entry{Name: d.Name, Type: d.Type})
	}
	return m
}

// options makes Options out of flag and argument pairs.
func options(t *testing.T, args ...string) *Options {
	t.Helper()
	o := new(Options)
	for i := 0; i < len(args); i += 2 {
		if err := setters(o)[args[i]](args[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

// descriptors maps the open descriptors to what they are and to their flags.
// The directory's own descriptor is left out.
func descriptors(t *testing.T) map[string]string {
	t.Helper()
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		t.Fatal(err)
	}
	open := make(map[string]string)
	for _, n := range names {
		target, err := os.Readlink("/proc/self/fd/" + n)
		if err != nil || strings.HasPrefix(target, "/proc/") && strings.HasSuffix(target, "/fd") {
			continue
		}
		info, err := os.ReadFile("/proc/self/fdinfo/" + n)
		if err != nil {
			continue
		}
		_, flags, _ := strings.Cut(string(info), "flags:")
		flags, _, _ = strings.Cut(flags, "\n")
		open[n] = target + flags
	}
	return open
}

// unchanged returns a function that fails t if a descriptor was opened, closed
// or changed its flags since.
func unchanged(t *testing.T) func() {
	t.Helper()
	before := descriptors(t)
	return func() {
		t.Helper()
		after := descriptors(t)
		for n, what := range before {
			if after[n] != what {
				t.Errorf("descriptor %s was %s, now %q", n, what, after[n])
			}
		}
		for n, what := range after {
			if _, ok := before[n]; !ok {
				t.Errorf("descriptor %s (%s) was left open", n, what)
			}
		}
	}
}

// disk makes a sparse file of size bytes.
func disk(t *testing.T, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return path
}

// pipe makes a pipe without FD_CLOEXEC, as a shell leaves it to a command.
func pipe(t *testing.T) (r, w int) {
	t.Helper()
	var fds [2]int
	if err := unix.Pipe(fds[:]); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[0]); unix.Close(fds[1]) })
	return fds[0], fds[1]
}

func TestAttach(t *testing.T) {
	r, _ := pipe(t)
	path := disk(t, 8192)
	check := unchanged(t)
	m := manifest(Declared{"store", image.Block}, Declared{"stdin", image.Net}, Declared{"store", image.Net})
	null, err := unix.Open("/dev/null", unix.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Attach(m, options(t,
		"net", "stdin=@"+itoa(r), "net-mtu", "stdin=65535",
		"net", "store=@"+itoa(null), "net-mac", "store=02:00:00:00:00:07",
		"block", "store="+path, "block-sector-size", "store=4096"))
	if err != nil {
		t.Fatal(err)
	}

	block, stdin, store := s.Devices[0], s.Devices[1], s.Devices[2]
	if block.FD <= 2 || block.Kind != Disk || block.Capacity != 8192 || block.BlockSize != 4096 || !block.Writable || block.Path != path {
		t.Errorf("block: %+v", block)
	}
	if stdin.FD != r || !stdin.Inherited || stdin.Kind != Pipe || stdin.MTU != 65535 || stdin.Writable {
		t.Errorf("stdin: %+v", stdin)
	}
	if stdin.MAC[0]&3 != 2 {
		t.Errorf("random MAC %x is not a locally administered unicast address", stdin.MAC)
	}
	if store.FD != null || store.Kind != Null || store.MTU != DefaultMTU || !store.Writable || store.MAC != [6]byte{2, 0, 0, 0, 0, 7} {
		t.Errorf("store: %+v", store)
	}
	want := manifest(Declared{"store", image.Block}, Declared{"stdin", image.Net}, Declared{"store", image.Net})
	for _, d := range s.Devices {
		e := &want[d.Handle]
		e.Attached, e.HostFD = true, int32(d.FD)
		e.MAC, e.MTU, e.Capacity, e.BlockSize = d.MAC, d.MTU, d.Capacity, d.BlockSize
	}
	for i := range want {
		if m[i] != want[i] {
			t.Errorf("entry %d:\n got %+v\nwant %+v", i, m[i], want[i])
		}
	}

	s.Close()
	s.Close()
	if s.Devices[0].FD != -1 {
		t.Errorf("after Close: block has descriptor %d", s.Devices[0].FD)
	}
	unix.Close(null)
	check()
}

// Two guests started at the same time must not share an address.
func TestRandomMAC(t *testing.T) {
	seen := make(map[[6]byte]bool)
	for range 1000 {
		mac, err := randomMAC()
		if err != nil {
			t.Fatal(err)
		}
		if mac[0]&3 != 2 || seen[mac] {
			t.Fatalf("MAC %x after %d others", mac, len(seen))
		}
		seen[mac] = true
	}
}

// Every failure leaves the manifest and the descriptors as they were.
func TestAttachFails(t *testing.T) {
	r, w := pipe(t)
	good, odd, empty := disk(t, 4096), disk(t, 4096+512), disk(t, 0)
	missing := filepath.Join(t.TempDir(), "missing")
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	read, write := "in=@"+itoa(r), "in=@"+itoa(w)
	for _, test := range []struct {
		want string
		args []string
	}{
		{"declared but not attached: block 'disk', net 'in'", nil},
		{"not attached: block 'disk'", []string{"net", read, "block-sector-size", "disk=512"}},
		{"not attached: net 'in'", []string{"block", "disk=" + good, "net-mac", "in=02:00:00:00:00:01"}},
		{"Resource not declared in manifest: 'disk': no such net device; it declares block 'disk', net 'in'", []string{"net-mtu", "disk=100"}},
		{"Resource not declared in manifest: 'x'", []string{"net", read, "block", "x=" + good}},
		{"is not readable: it is open for writing only", []string{"net", write, "block", "disk=" + good}},
		{"descriptor 2147483647 is not open", []string{"net", "in=@2147483647", "block", "disk=" + good}},
		{"Backing storage size must be block aligned (4096 bytes)", []string{"net", read, "block", "disk=" + odd, "block-sector-size", "disk=4096"}},
		{"Backing storage must be at least 1 block (512 bytes)", []string{"net", read, "block", "disk=" + empty}},
		{"no such file", []string{"net", read, "block", "disk=" + missing}},
		{"is a directory", []string{"net", read, "block", "disk=/"}},
		{"is a FIFO", []string{"net", read, "block", "disk=" + fifo}},
		{"is a character device", []string{"net", read, "block", "disk=/dev/ptmx"}},
		{"file name too long", []string{"net", read, "block", "disk=" + strings.Repeat("a", 5000)}},
		{"no interface \"gocat-none\"", []string{"net", "in=gocat-none", "block", "disk=" + good}},
	} {
		// The disk comes first, so that it is open when the tap fails.
		m := manifest(Declared{"disk", image.Block}, Declared{"in", image.Net})
		o := options(t, test.args...)
		check := unchanged(t)
		_, err := Attach(m, o)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: error %v, want one with %q", test.args, err, test.want)
			continue
		}
		check()
		checkLine(t, err)
		if m[1] != (image.Entry{Name: "disk", Type: image.Block}) || m[2] != (image.Entry{Name: "in", Type: image.Net}) {
			t.Errorf("%q: changed the manifest: %+v", test.args, m)
		}
	}
}

// Callers find out which devices are missing, and which is not declared.
func TestAttachErrors(t *testing.T) {
	_, err := Attach(manifest(Declared{"stdin", image.Net}, Declared{"b", image.Block}), nil)
	var missing *NotAttachedError
	if !errors.As(err, &missing) || !slices.Equal(missing.Devices, []Declared{{"stdin", image.Net}, {"b", image.Block}}) {
		t.Fatalf("error %v is no *NotAttachedError of both devices", err)
	}

	_, err = Attach(manifest(), options(t, "net", "x=@0"))
	var undeclared *UndeclaredError
	if !errors.As(err, &undeclared) || undeclared.Wanted.Name != "x" || !strings.Contains(err.Error(), "it declares no devices") {
		t.Errorf("error %v", err)
	}
}

func TestAttachTwice(t *testing.T) {
	r, _ := pipe(t)
	m := manifest(Declared{"a", image.Net}, Declared{"b", image.Net})
	for _, value := range []string{"@" + itoa(r), "tap0"} {
		_, err := Attach(m, options(t, "net", "a="+value, "net", "b="+value))
		if err == nil || !strings.Contains(err.Error(), "attached to both net 'a' and net 'b'") {
			t.Errorf("%s: error %v", value, err)
		}
	}
}

// What is opened never takes the number of a standard stream that is closed.
func TestAttachAboveStdio(t *testing.T) {
	path := disk(t, 512)
	r, _ := pipe(t)
	saved, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(0)
	defer func() {
		if err := unix.Dup2(saved, 0); err != nil {
			t.Error(err)
		}
		unix.Close(saved)
	}()
	check := unchanged(t)
	s, err := Attach(manifest(Declared{"in", image.Net}, Declared{"disk", image.Block}), options(t, "net", "in=@"+itoa(r), "block", "disk="+path))
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.Devices[0].Private()
	if err != nil {
		t.Fatal(err)
	}
	if fd := s.Devices[1].FD; fd <= 2 || p.FD <= 2 {
		t.Errorf("descriptors %d and %d", fd, p.FD)
	}
	p.Close()
	s.Close()
	check()
}

// A number that hits a descriptor of the process itself is a mistake, unless
// the program says that it opens descriptors.
func TestAttachCloexec(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	o := options(t, "net", "in=@"+itoa(int(r.Fd())))
	if _, err := Attach(manifest(Declared{"in", image.Net}), o); err == nil || !strings.Contains(err.Error(), "not open in the caller") {
		t.Errorf("error %v", err)
	}
	o.AllowCloexec = true
	s, err := Attach(manifest(Declared{"in", image.Net}), o)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := w.Write([]byte("x")); err != nil {
		t.Errorf("the pipe is broken after Close: %v", err)
	}

	// Even then not one that Attach opens itself.
	path := disk(t, 512)
	next, err := unix.Dup(0)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(next)
	o = options(t, "block", "disk="+path, "net", "in=@"+itoa(next))
	o.AllowCloexec = true
	_, err = Attach(manifest(Declared{"disk", image.Block}, Declared{"in", image.Net}), o)
	if err == nil || !strings.Contains(err.Error(), "is not open") {
		t.Errorf("error %v", err)
	}
}

// Prepare leaves network devices alone, so they need not exist.
func TestPrepare(t *testing.T) {
	m := manifest(Declared{"tap", image.Net}, Declared{"in", image.Net}, Declared{"disk", image.Block})
	s, err := Prepare(m, options(t, "net", "tap=gocat-none", "net-mtu", "tap=9000", "net", "in=@1000000", "block", "disk="+disk(t, 512)))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	tap, in, block := s.Devices[0], s.Devices[1], s.Devices[2]
	if tap.FD != -1 || tap.Kind != 0 || tap.MTU != 9000 || tap.Path != "gocat-none" || tap.MAC[0]&3 != 2 {
		t.Errorf("tap: %+v", tap)
	}
	if in.FD != 1000000 || in.Kind != 0 || in.MTU != DefaultMTU || !in.Inherited {
		t.Errorf("in: %+v", in)
	}
	if block.FD < 0 || block.Capacity != 512 || m[3].Capacity != 512 {
		t.Errorf("block: %+v", block)
	}
	if _, err := tap.Private(); err == nil {
		t.Error("a tap that is not open has a port")
	}
}
