// Package engines runs unikernels with gocat as the runtime of container
// engines: podman as root and as an ordinary user, Docker, containerd by ctr and by
// its CRI, on both backends.
// make test-oci runs it, as root, with Debian's packages of all of them.
//
// The engines run in namespaces of the test's own (mounts, network, processes,
// IPC), with empty directories for what they keep. So they meet nothing of the
// host's engines, and end with the test, whatever happens.
package engines

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/image"
)

const (
	// stageVariable says that the process is in the namespaces, as their init or
	// as the tests.
	stageVariable = "GOCAT_ENGINES_STAGE"
	// dirVariable names the directory with gocat, its link gocat-oci, and guests.
	dirVariable = "GOCAT_ENGINES_DIR"
)

// dir is the directory that dirVariable names.
var dir = os.Getenv(dirVariable)

// runtime is the OCI runtime.
func runtime() string { return filepath.Join(dir, "gocat-oci") }

func TestMain(m *testing.M) {
	switch os.Getenv(stageVariable) {
	case "init":
		os.Exit(initMain())
	case "tests":
		os.Chdir(dir) // engines leave files where they run
		os.Exit(m.Run())
	}
	status, err := outer()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(status)
}

// outer builds what the tests need, while there is a network, and starts them in
// namespaces of their own.
func outer() (int, error) {
	if os.Getuid() != 0 {
		return 1, errors.New("container engines take root: run make test-oci as root")
	}
	temp, err := os.MkdirTemp("", "gocat-engines")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(temp)
	if err := os.Chmod(temp, 0o755); err != nil { // ordinary users run engines too
		return 1, err
	}
	if err := build(temp); err != nil {
		return 1, err
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), stageVariable+"=init", dirVariable+"="+temp)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWIPC}
	if err := cmd.Start(); err != nil {
		return 1, err
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	go func() {
		<-signals
		cmd.Process.Kill() // the namespace's init: everything ends with it
	}()
	if err := cmd.Wait(); err != nil {
		return 1, err
	}
	return 0, nil
}

// build makes gocat, and a unikernel for each backend of each program in guests.
func build(temp string) error {
	gocat := filepath.Join(temp, "gocat")
	pack := func(name string) []string { // name.spt becomes localhost/name-spt in name.spt.tar
		path := filepath.Join(temp, name)
		return []string{gocat, "image", "-o", path + ".tar", "--tag=localhost/" + strings.Replace(name, ".", "-", 1), path}
	}
	steps := [][]string{
		{"go", "build", "-C", "../../../..", "-trimpath", "-ldflags=-s -w -E main.entry", "-o", gocat, "./cmd/gocat"},
		{"go", "build", "-C", "../../../..", "-trimpath", "-ldflags=-s -w", "-o", gocat + "-runtime", "./cmd/gocat-runtime"},
	}
	if named := os.Getenv("GOCAT"); named != "" {
		steps = [][]string{{"cp", named, gocat}, {"cp", filepath.Join(filepath.Dir(named), "gocat-runtime"), gocat + "-runtime"}}
	}
	if os.Getenv(validationVariable) != "" {
		steps = append(steps, []string{"go", "build", "-o", filepath.Join(temp, "standin"), "./standin"})
	}
	for name, kernel := range written() {
		path := filepath.Join(temp, name)
		if err := os.WriteFile(path, kernel, 0o644); err != nil {
			return err
		}
		steps = append(steps, pack(name))
	}
	for _, target := range backends {
		steps = append(steps, []string{gocat, "guest", "--backend=" + target, "-o", filepath.Join(temp, "cat."+target)})
		for name, options := range map[string][]string{
			"tool":  {"./guests/tool"},
			"input": {"--net=stdin", "./guests/tool"}, // which reads; others would find the end all the time
			"disk":  {"--block=data", "./guests/disk"},
			"nets":  {"--net=one", "--net=two", "./guests/nets"},
			"web":   {"gocat/examples/web"},
		} {
			name += "." + target
			steps = append(steps, append([]string{gocat, "build", "--target=" + target, "-o", filepath.Join(temp, name)}, options...), pack(name))
		}
	}
	for _, step := range steps {
		cmd := exec.Command(step[0], step[1:]...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", strings.Join(step, " "), err, out)
		}
	}
	return os.Symlink("gocat", filepath.Join(temp, "gocat-oci"))
}

// backends are gocat's.
var backends = []string{"spt", "hvt"}

// written returns unikernels of a few instructions, by the name of their file:
// they end by what they are called.
func written() map[string][]byte {
	all := make(map[string][]byte)
	for name, code := range map[string][]byte{
		"fault.spt":     {0x31, 0xc0, 0x89, 0x00},                    // xor %eax,%eax; mov %eax,(%rax)
		"forbidden.spt": {0xb8, 57, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xfe}, // mov $fork,%eax; syscall; jmp .
	} {
		kernel, err := image.Encode(image.Spec{Target: image.SPT, Version: 2, Entry: 0x100000,
			Segments: []image.SpecSegment{{Vaddr: 0x100000, Prot: image.R | image.X, Data: code}},
			Manifest: image.Manifest{{Type: image.Reserved}}})
		if err != nil {
			panic(err)
		}
		all[name] = kernel
	}
	return all
}

// initMain is the init of the namespaces: it makes them what the engines need,
// starts the tests, and takes in the processes that the engines leave to it.
func initMain() int {
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "namespaces for the tests:", err)
		return 1
	}
	os.Setenv(stageVariable, "tests")
	pid, err := syscall.ForkExec("/proc/self/exe", os.Args, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for {
		var ws unix.WaitStatus
		switch ended, err := unix.Wait4(-1, &ws, 0, nil); {
		case err == unix.EINTR:
		case err != nil:
			fmt.Fprintln(os.Stderr, err)
			return 1
		case ended == pid && ws.Exited():
			return ws.ExitStatus()
		case ended == pid:
			return 1
		}
	}
}

// prepare mounts what the engines keep, empty, and a /proc of these processes.
func prepare() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return err
	}
	// conmon has sockets in /tmp, so that every user has to be able to write there.
	here, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", "/tmp", "tmpfs", 0, "mode=1777"); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", here), dir, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	for _, path := range []string{"/run", "/var/lib/containers", "/var/lib/containerd", "/var/lib/docker", "/var/lib/cni", "/etc/cni", "/etc/docker", "/etc/containers"} {
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
		if err := unix.Mount("tmpfs", path, "tmpfs", 0, "mode=0755"); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	if err := os.Mkdir("/run/lock", 0o755); err != nil {
		return err
	}
	if err := addUser(); err != nil {
		return fmt.Errorf("an ordinary user: %w", err)
	}
	out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip: %w: %s", err, out)
	}
	return nil
}
