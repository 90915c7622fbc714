package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// versionTimeout is how long a tender may take to say its version.
const versionTimeout = 10 * time.Second

// executable returns the absolute path of a program.
func executable(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "", errors.New("there is no such file")
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		return "", errors.New("not a regular file: give the path of the tender's program")
	case info.Mode().Perm()&0o111 == 0:
		return "", errors.New("not executable")
	}
	return path, nil
}

// ask asks the program for its version, and makes sure that it is a tender of
// the kind that the user said.
//
// All of Solo5's tenders since 0.6 print two lines on standard error and exit
// with 0: "solo5-hvt tender, version v0.9.3" and "ABI version 2". Those before
// take --version for a wrong option and print their usage. The name in either
// is that by which the program was called, so it tells nothing.
func (t *Tender) ask() error {
	ctx, cancel := context.WithTimeout(context.Background(), versionTimeout)
	defer cancel()
	runtime.LockOSThread() // see Attr
	defer runtime.UnlockOSThread()
	var answer bytes.Buffer
	cmd := exec.CommandContext(ctx, t.Path, "--version")
	cmd.Stdout, cmd.Stderr = &answer, &answer
	cmd.SysProcAttr = Attr()
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("did not answer --version within %v", versionTimeout)
	case err != nil && !errors.As(err, &exit):
		return fmt.Errorf("cannot be run: %w", err)
	}
	for line := range strings.Lines(answer.String()) {
		line = strings.TrimSpace(line)
		if _, version, ok := strings.Cut(line, " tender, version "); ok {
			t.Version = version
		}
		if abi, ok := strings.CutPrefix(line, "ABI version "); ok {
			n, _ := strconv.ParseUint(abi, 10, 32)
			t.ABI = uint32(n)
		}
	}
	switch {
	case t.Version != "" && (t.ABI == 1 || t.ABI == 2):
		return nil
	case t.Version != "":
		return fmt.Errorf("answers --version with an ABI version that gocat has no guests for: %s", firstLine(answer.String()))
	case strings.Contains(answer.String(), "usage: "+filepath.Base(t.Path)):
		t.ABI = 1 // the first
		return nil
	}
	return fmt.Errorf("does not answer --version as a Solo5 tender does: %s", firstLine(answer.String()))
}

// firstLine quotes the first line of a program's output.
func firstLine(s string) string {
	if s == "" {
		return "it prints nothing"
	}
	line, _, _ := strings.Cut(s, "\n")
	return fmt.Sprintf("it prints %.200q", line)
}
