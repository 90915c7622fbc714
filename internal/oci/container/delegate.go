package container

import (
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"gocat/internal/image"
	"gocat/internal/oci/state"
)

// Delegate says which runtime gets containers whose process is no unikernel:
//
//	auto  those of a pod, runc or crun, if the host has one
//	none  nobody; a pod's sandbox is played all the same
//	PATH  all, that one
type Delegate string

// choose says what a container is: a pod's sandbox, one for another runtime, or
// neither. A unikernel is always our own.
func (d Delegate) choose(s *specs.Spec) (pause bool, to string, err error) {
	switch program(s) {
	case isUnikernel, isUnknown:
		return false, "", nil
	}
	pod := podRole(s)
	if pod == "sandbox" || path.Base(s.Process.Args[0]) == "pause" {
		return true, "", nil
	}
	switch {
	case d == "none" || d == "auto" && pod == "":
		return false, "", nil // which fails, and says why
	case d == "auto":
		for _, name := range []string{"runc", "crun"} {
			if to, err = exec.LookPath(name); err == nil {
				return false, to, nil
			}
		}
		return false, "", fmt.Errorf("%.200q is no unikernel, and the host has neither runc nor crun to run it (--delegate)", s.Process.Args[0])
	}
	to, err = exec.LookPath(string(d))
	if err != nil {
		return false, "", fmt.Errorf("--delegate: %w", err)
	}
	return false, to, nil
}

// podRole is what a container is in its pod, as containerd and CRI-O tell: sandbox,
// container, or nothing outside of one.
func podRole(s *specs.Spec) string {
	for _, key := range []string{"io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType"} {
		if role := s.Annotations[key]; role != "" {
			return role
		}
	}
	return ""
}

const (
	isUnknown = iota // it is not there, or is for init to find
	isUnikernel
	isOther
)

// program says what a container's program is, from its image alone: what is mounted
// over it is not there yet.
func program(s *specs.Spec) int {
	for key := range s.Annotations {
		if strings.HasPrefix(key, "com.urunc.") {
			return isUnikernel
		}
	}
	root, err := os.OpenFile(s.Root.Path, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return isUnknown
	}
	defer root.Close()
	f, _, err := find(s.Process, root)
	if err != nil {
		return isUnknown
	}
	defer f.Close()
	if _, err := image.Parse(f); err != nil {
		return isOther
	}
	return isUnikernel
}

// delegateRoot is the root directory of the runtime that a container was handed on to.
const delegateRoot = "delegate"

// delegated is the command of the other runtime, with the same arguments.
func delegated(c *state.Container, args []string) *exec.Cmd {
	return &exec.Cmd{Path: c.Delegate, Args: append([]string{filepath.Base(c.Delegate), "--root", c.Path(delegateRoot)}, args...),
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
}

// runDelegate has the other runtime create a container.
func runDelegate(c *state.Container, args []string) error {
	if err := delegated(c, args).Run(); err != nil {
		return fmt.Errorf("%s: %w", c.Delegate, err)
	}
	return nil
}

// HandOn replaces the process by the runtime that a container was handed on to, with
// the same arguments. It returns only on error.
func HandOn(c *state.Container, args []string) error {
	cmd := delegated(c, args)
	return fmt.Errorf("%s: %w", cmd.Path, syscall.Exec(cmd.Path, cmd.Args, os.Environ()))
}

// DeleteDelegated deletes a container that was handed on. If it fails, the other
// runtime has said why.
func DeleteDelegated(c *state.Container, args []string) error {
	if err := delegated(c, args).Run(); err != nil {
		return fmt.Errorf("%s: %w", c.Delegate, err)
	}
	return c.Remove()
}
