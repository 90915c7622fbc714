package command_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"gocat/internal/guests"
	"gocat/internal/image"
	"gocat/internal/testhost"
)

// runtime is the program that engines start, a link to gocat.
var runtime string

func TestMain(m *testing.M) {
	testhost.Main(m, func(dir string) error {
		runtime = filepath.Join(dir, "gocat-oci")
		return os.Symlink("gocat", runtime)
	})
}

// box is a container to be, with a root of the runtime's own.
type box struct {
	t            testing.TB
	root, bundle string
	id           string
	spec         *specs.Spec
}

var boxes atomic.Int64

// newBox is a container of the image. The runtime's own example is its
// configuration.
func newBox(t testing.TB, img []byte) *box {
	t.Helper()
	testhost.NeedRoot(t, "to make containers")
	b := &box{t: t, root: filepath.Join(t.TempDir(), "state"), bundle: t.TempDir(), id: fmt.Sprintf("test-%d-%d", os.Getpid(), boxes.Add(1))}
	if err := os.MkdirAll(filepath.Join(b.bundle, "rootfs"), 0o755); err != nil {
		t.Fatal(err)
	}
	if img != nil {
		b.write("rootfs/unikernel", img)
	}
	b.must("spec", "--bundle", b.bundle)
	config, err := os.ReadFile(filepath.Join(b.bundle, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(config, &b.spec); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.must("delete", "--force", b.id)
		b.nothingLeft()
	})
	return b
}

func (b *box) write(name string, data []byte) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.bundle, name), data, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// save writes the configuration.
func (b *box) save() *box {
	b.t.Helper()
	config, err := json.Marshal(b.spec)
	if err != nil {
		b.t.Fatal(err)
	}
	b.write("config.json", config)
	return b
}

// systemdVariable has systemd make the control groups, where it is the host's first
// process.
const systemdVariable = "GOCAT_OCI_SYSTEMD"

// command is the runtime with arguments.
func (b *box) command(args ...string) *exec.Cmd {
	words := []string{"--root", b.root}
	if os.Getenv(systemdVariable) != "" {
		words = append(words, "--systemd-cgroup")
	}
	cmd := exec.Command(runtime, append(words, args...)...)
	cmd.Dir = b.bundle
	return cmd
}

// result of a command.
type result struct {
	status         int
	stdout, stderr string
}

func (b *box) do(args ...string) result { return b.with(nil, args...) }

func (b *box) with(stdin io.Reader, args ...string) result {
	b.t.Helper()
	var out, errs bytes.Buffer
	cmd := b.command(args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &errs
	cmd.WaitDelay = time.Minute
	err := cmd.Run()
	if cmd.ProcessState == nil {
		b.t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

func (b *box) must(args ...string) string {
	b.t.Helper()
	r := b.do(args...)
	if r.status != 0 {
		b.t.Fatalf("%s: status %d, %s", strings.Join(args, " "), r.status, r.stderr)
	}
	return r.stdout
}

// created makes the container, whose standard input is the pipe that it returns, and
// its output a file.
func (b *box) created(args ...string) (stdin *os.File, stdout *os.File) {
	b.t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { w.Close() })
	stdout, err = os.Create(filepath.Join(b.bundle, "out"))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { stdout.Close() })
	cmd := b.command(append(append([]string{"create"}, args...), b.id)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = r, stdout, stdout
	err = cmd.Run()
	r.Close()
	if err != nil {
		b.t.Fatalf("create: %v, %s", err, testhost.Contents(b.t, stdout))
	}
	return w, stdout
}

// state is what the runtime says of the container.
func (b *box) state() (s specs.State) {
	b.t.Helper()
	if err := json.Unmarshal([]byte(b.must("state", b.id)), &s); err != nil {
		b.t.Fatal(err)
	}
	return s
}

// await waits until the container has a status.
func (b *box) await(want string) {
	b.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		s := b.state()
		if string(s.Status) == want {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("the container is %s, and not %s", s.Status, want)
		}
	}
}

// nothingLeft checks that there is no process, control group or state of the
// container.
func (b *box) nothingLeft() {
	b.t.Helper()
	if entries, err := os.ReadDir(b.root); err == nil && len(entries) > 0 {
		b.t.Errorf("%s has %v", b.root, entries)
	}
	var groups []string
	for _, at := range []string{"/gocat/" + b.id, "/system.slice/gocat-" + b.id + ".scope"} {
		for _, mount := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
			found, _ := filepath.Glob(mount + at)
			groups = append(groups, found...)
		}
	}
	if len(groups) > 0 {
		b.t.Errorf("control groups are left: %v", groups)
	}
	procs, err := filepath.Glob("/proc/[0-9]*/root")
	if err != nil {
		b.t.Fatal(err)
	}
	for _, p := range procs {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(p)))
		mounts, err := os.ReadFile(filepath.Dir(p) + "/mountinfo")
		if err == nil && strings.Contains(string(mounts), b.bundle) && pid != os.Getpid() {
			b.t.Errorf("process %d is left in the container", pid)
		}
	}
}

// exiting is an image of an spt guest that runs code.
func coded(t testing.TB, code []byte, devices ...image.Entry) []byte {
	t.Helper()
	img, err := image.Encode(image.Spec{
		Target: image.SPT, Version: 2, Entry: 0x100000,
		Segments: []image.SpecSegment{{Vaddr: 0x100000, Prot: image.R | image.X, Data: code}},
		Manifest: append(image.Manifest{{Type: image.Reserved}}, devices...),
	})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// exiting ends with a status.
func exiting(t testing.TB, status byte, devices ...image.Entry) []byte {
	t.Helper()
	// mov $status,%edi; mov $231,%eax; syscall
	return coded(t, []byte{0xbf, status, 0, 0, 0, 0xb8, unix.SYS_EXIT_GROUP, 0, 0, 0, 0x0f, 0x05}, devices...)
}

// cat copies its network device stdin to the console.
func cat(t testing.TB, target image.Target) []byte {
	t.Helper()
	if target == image.HVT {
		if _, err := os.Stat("/dev/kvm"); err != nil {
			testhost.Skip(t, "no /dev/kvm")
		}
	}
	img, err := guests.Cat(target, guests.Advanced)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// backends runs a test for both.
func backends(t *testing.T, f func(t *testing.T, target image.Target)) {
	for _, target := range []image.Target{image.SPT, image.HVT} {
		t.Run(target.String(), func(t *testing.T) { f(t, target) })
	}
}
