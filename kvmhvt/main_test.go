package kvmhvt

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"gocat/internal/guests"
	"gocat/internal/testhost"
)

func TestMain(m *testing.M) {
	status := m.Run()
	if program.dir != "" {
		os.RemoveAll(program.dir)
	}
	os.Exit(status)
}

// program is the tender that runs guests in a process of its own: Run needs one
// without the Go runtime.
var program struct {
	once sync.Once
	dir  string
	err  error
}

// tendProgram returns the path of program, which the environment may name where
// there is no Go toolchain.
func tendProgram(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("GOCAT_TEND"); path != "" {
		return path
	}
	program.once.Do(func() {
		if program.dir, program.err = os.MkdirTemp("", "kvmhvt"); program.err != nil {
			return
		}
		cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-E main.entry", "-o", program.dir, "./testdata/tend")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			program.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	if program.err != nil {
		t.Fatal(program.err)
	}
	return filepath.Join(program.dir, "tend")
}

// needKVM skips where guests cannot run.
func needKVM(t testing.TB) {
	t.Helper()
	if err := Available(); err != nil {
		testhost.Skip(t, err.Error())
	}
}

// tenderCommand is a command that runs a guest in a process of its own.
func tenderCommand(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	needKVM(t)
	return exec.Command(tendProgram(t), args...)
}

// result is how a tender's process ended.
type result struct {
	status         int // 128 + signal when one killed it
	stdout, stderr string
}

// runTender runs a guest to its end, with at most a minute's patience.
func runTender(t testing.TB, args ...string) result {
	t.Helper()
	return runCommand(t, tenderCommand(t, args...))
}

func runCommand(t testing.TB, cmd *exec.Cmd) result {
	t.Helper()
	var out, errs bytes.Buffer
	if cmd.Stdout == nil {
		cmd.Stdout = &out
	}
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stuck := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer stuck.Stop()
	cmd.Wait()
	return result{exitStatus(cmd), out.String(), errs.String()}
}

func exitStatus(cmd *exec.Cmd) int {
	ws := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}

// write writes an image to a file.
func write(t testing.TB, b []byte, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "guest.hvt")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// probe writes the image of a probe.
func probe(t testing.TB, p *guests.Probe) string {
	t.Helper()
	b, err := p.Image()
	return write(t, b, err)
}
