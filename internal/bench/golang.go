package bench

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"gocat/internal/gobuild"
	"gocat/internal/image"
)

// haveGo reports whether Go programs can be built.
func haveGo() bool {
	_, err := exec.LookPath("go")
	return err == nil
}

// runsGo leaves out all but the Go program of the host and gocat without options.
func runsGo(s *subject) bool {
	return s.native || tended(s) && !s.solo5() && len(s.options) == 0
}

// goHello prints a line and exits, in Go.
func goHello(ctx context.Context) work {
	return work{name: "go-hello", build: func(t image.Target) (b []byte, err error) {
		err = inModule(func(dir string) error {
			b, _, err = gobuild.Build(ctx, gobuild.Config{Dir: dir, Package: ".", Target: t})
			return err
		})
		return b, err
	}}
}

// inModule calls build with the directory of a module that has the program alone.
func inModule(build func(dir string) error) error {
	dir, err := os.MkdirTemp("", "gocat-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for name, text := range map[string]string{
		"go.mod":  "module hello\n\ngo 1.21\n",
		"main.go": "package main\n\nimport \"fmt\"\n\nfunc main() { fmt.Print(" + strconv.Quote(helloLine) + ") }\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return build(dir)
}

// nativeCommand is the program as the host runs it, which is built once.
func (l *lab) nativeCommand() (command, error) {
	if l.native == nil {
		err := inModule(func(dir string) (err error) {
			out := filepath.Join(dir, "hello")
			cmd := exec.CommandContext(l.ctx, "go", "build", "-trimpath", "-buildvcs=false", "-o", out)
			cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
			if said, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("go build: %w: %s", err, said)
			}
			b, err := os.ReadFile(out)
			if err != nil {
				return err
			}
			l.native, err = filled("hello", b)
			return err
		})
		if err != nil {
			return command{}, err
		}
	}
	return command{l.native.path(), []string{"hello"}}, nil
}

// filled returns a file in memory that holds b.
func filled(name string, b []byte) (*memfd, error) {
	m, err := newMemfd(name)
	if err != nil {
		return nil, err
	}
	for len(b) > 0 {
		n, err := unix.Write(m.fd, b)
		if err != nil {
			m.close()
			return nil, fmt.Errorf("write: %w", err)
		}
		b = b[n:]
	}
	return m, nil
}
