package spt

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/device"
	"gocat/internal/guests"
	"gocat/internal/image"
	"gocat/internal/isolate"
	"gocat/internal/raw"
	"gocat/internal/testhost"
)

// runVariable makes the test binary call Run; its value is a runSpec.
const runVariable = "GOCAT_TEST_RUN"

func TestMain(m *testing.M) {
	if spec := os.Getenv(runVariable); spec != "" {
		fmt.Fprintln(os.Stderr, "gocat:", runImage(spec))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// unikernel is an image and the settings it is started with. The zero value of
// each setting is the default.
type unikernel struct {
	Image  []byte   `json:"-"`
	Memory uint64   // default: 2 MB
	Net    []string // as --net takes them
	Block  []string
	Args   string
	Name   string

	Strict, QuietFaults, ExecHeap bool
	CPUTime                       uint64 // seconds

	// For the process that calls Run.
	Path       string // of a file with the image
	Noexec     int    // value of vm.memfd_noexec
	Cut        int    // length that the file gets when it has been looked at, unless 0
	NoExecGain bool   // forbid to make memory executable
}

// config attaches the devices by attach, device.Attach or device.Prepare.
func (u *unikernel) config(attach func(image.Manifest, *device.Options) (*device.Set, error)) (*Config, error) {
	file := bytes.NewReader(u.Image)
	img, err := image.Parse(file)
	if err != nil {
		return nil, err
	}
	var o device.Options
	for _, n := range u.Net {
		if err := o.SetNet(n); err != nil {
			return nil, err
		}
		if name, _, inherited := strings.Cut(n, "=@"); inherited {
			if err := o.SetNetMTU(name + "=65535"); err != nil {
				return nil, err
			}
		}
	}
	for _, b := range u.Block {
		if err := o.SetBlock(b); err != nil {
			return nil, err
		}
	}
	set, err := attach(img.Manifest, &o)
	if err != nil {
		return nil, err
	}
	c := &Config{
		Guest: device.Guest{Image: img, File: file, Memory: u.Memory, Devices: set.Devices,
			Args: u.Args},
		Isolate: isolate.Config{CPUTime: u.CPUTime}, Name: u.Name,
		Failure: 1, Strict: u.Strict, QuietFaults: u.QuietFaults, ExecHeap: u.ExecHeap,
	}
	if c.Memory == 0 {
		c.Memory = 2 << 20
	}
	return c, nil
}

// sealable returns the guest's configuration for Seal, with no descriptors
// except those that the guest inherits: Policy says what the sealed guest is
// left with.
func (u *unikernel) sealable(t testing.TB) *Config {
	t.Helper()
	c, err := u.config(device.Prepare)
	if err != nil {
		t.Fatal(err)
	}
	(&device.Set{Devices: c.Devices}).Close()
	return c
}

// seal writes the sealed guest to a file.
func (u *unikernel) seal(t testing.TB) string {
	t.Helper()
	return write(t, u.sealable(t))
}

func write(t testing.TB, c *Config) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sealed")
	// A child forked while the file is open for writing would make it busy.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := Seal(c, f); err != nil {
		t.Fatal(err)
	}
	return path
}

// run seals the guest and runs it.
func (u *unikernel) run(t testing.TB, files ...*os.File) testhost.Result {
	t.Helper()
	c := testhost.Command{Path: u.seal(t), Files: files}
	return c.Run(t)
}

// command is the guest started by Run in a process of its own.
func (u *unikernel) command(t testing.TB, files ...*os.File) *testhost.Command {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	u.Path = filepath.Join(publicDir(t), "image")
	if err := os.WriteFile(u.Path, u.Image, 0o644); err != nil {
		t.Fatal(err)
	}
	spec, err := json.Marshal(u)
	if err != nil {
		t.Fatal(err)
	}
	return &testhost.Command{Path: self, Files: files, Env: []string{runVariable + "=" + string(spec)}}
}

// publicDir makes a directory that everyone can enter.
func publicDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "spt")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func runImage(spec string) error {
	var u unikernel
	if err := json.Unmarshal([]byte(spec), &u); err != nil {
		return err
	}
	var err error
	if u.Image, err = os.ReadFile(u.Path); err != nil {
		return err
	}
	if u.Noexec > 0 {
		if err := os.WriteFile(noexecSysctl, []byte{'0' + byte(u.Noexec)}, 0); err != nil {
			return err
		}
	}
	if u.NoExecGain {
		if err := unix.Prctl(setMDWE, refuseExecGain, 0, 0, 0); err != nil {
			return fmt.Errorf("PR_SET_MDWE: %w", err)
		}
	}
	c, err := u.config(device.Attach)
	if err != nil {
		return err
	}
	fd, err := raw.Open(u.Path, unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return err
	}
	c.File = &raw.File{FD: fd}
	if u.Cut > 0 {
		if err := os.Truncate(u.Path, int64(u.Cut)); err != nil {
			return err
		}
	}
	return Run(c)
}

// encode returns a probe's image.
func encode(t testing.TB, p *guests.Probe) []byte {
	t.Helper()
	b, err := p.Image()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// probe is a guest without devices that carries out steps.
func probe(t testing.TB, steps func(*guests.Probe)) *unikernel {
	t.Helper()
	p := guests.NewProbe(image.SPT)
	steps(p)
	return &unikernel{Image: encode(t, p)}
}

// cat is the bundled cat, quiet, on descriptor 0.
func cat(t testing.TB, v guests.Variant) *unikernel {
	t.Helper()
	b, err := guests.Cat(image.SPT, v)
	if err != nil {
		t.Fatal(err)
	}
	return &unikernel{Image: b, Net: []string{"stdin=@0"}, Args: "--solo5:quiet -l netif:quiet", Strict: true, Name: "cat"}
}

// check compares a guest's end with what is wanted.
func check(t testing.TB, got testhost.Result, status int, stdout, stderr string) {
	t.Helper()
	if got.Status != status || got.Stdout != stdout || got.Stderr != stderr {
		t.Errorf("got  status %d, stdout %q, stderr %q\nwant status %d, stdout %q, stderr %q",
			got.Status, got.Stdout, got.Stderr, status, stdout, stderr)
	}
}
