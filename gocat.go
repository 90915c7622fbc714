// Package gocat runs Solo5 unikernels as package os/exec runs programs: each in a
// process of its own, by the program gocat, which has to be installed. Both
// backends and every option of gocat run can be used.
//
//	guest := gocat.Command("web.spt", "--ipv4=10.0.0.2/24")
//	guest.Memory = 64 << 20
//	guest.Nets = []gocat.Net{{Name: "service", Interface: "tap100"}}
//	err := guest.Run()
package gocat

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Guest is a unikernel that is about to run, runs, or has run. It cannot be used
// for a second run.
type Guest struct {
	Path    string   // of the image; "" for gocat's own cat, whose input is Stdin
	Args    []string // the guest's arguments; gocat joins them with single spaces
	Backend string   // "spt" or "hvt"; "" for what the image is built for
	Memory  uint64   // bytes, in whole MiB; 0 for 512 MiB
	Nets    []Net    // one for each network device that the image declares
	Blocks  []Block  // one for each block device that the image declares
	Options []string // further options of gocat run, such as "--isolate=full"

	// Stdin is descriptor 0, and Stdout the guest's console, as in exec.Cmd.
	// Stderr has what gocat itself says; nil for nowhere.
	Stdin          io.Reader
	Stdout, Stderr io.Writer

	// Program is gocat; "" for the one in PATH.
	Program string

	ctx  context.Context
	cmd  *exec.Cmd
	said lastLine
}

// Net attaches a network device.
type Net struct {
	Name string // as the image declares it
	// One of these two, or neither for the guest's Stdin. The caller keeps File, and
	// may close it once the guest has started.
	Interface string // a tap
	File      *os.File
	MAC       string // "" for a random one
	MTU       int    // bytes; 0 for the interface's, or 1500
}

// Block attaches a block device.
type Block struct {
	Name       string // as the image declares it
	Path       string // of a file or block device
	SectorSize int    // bytes, a power of two from 512 up; 0 for 512
}

// NotStarted is the status of an ExitError when there was no guest.
const NotStarted = 125

// ExitError is the error of a guest that ended with another status than 0.
type ExitError struct {
	// Status is that of gocat run: the guest's own, 128 and the number of a signal
	// that ended it (139: memory fault, 159: forbidden system call), 1 where an hvt
	// guest had to be ended, or NotStarted. Reason tells a guest's own from those.
	Status int
	// Reason is what gocat said of it in a line; "" if the guest itself exited.
	Reason string
}

// Error is the reason, or else the status.
func (e *ExitError) Error() string {
	if e.Reason != "" {
		return e.Reason
	}
	return "the guest exited with status " + strconv.Itoa(e.Status)
}

// Command returns a guest that will run the image at path with arguments.
func Command(path string, args ...string) *Guest {
	return &Guest{Path: path, Args: args}
}

// CommandContext is Command with a context. When it is done before the guest has
// ended, the guest is killed.
func CommandContext(ctx context.Context, path string, args ...string) *Guest {
	g := Command(path, args...)
	g.ctx = ctx
	return g
}

// Run starts the guest and waits for its end. The error is an *ExitError if it ended
// with another status than 0.
func (g *Guest) Run() error {
	if err := g.Start(); err != nil {
		return err
	}
	return g.Wait()
}

// Output runs the guest and returns what it wrote to its console.
func (g *Guest) Output() ([]byte, error) {
	if g.Stdout != nil {
		return nil, errors.New("gocat: Stdout is set, and Output sets it")
	}
	var console bytes.Buffer
	g.Stdout = &console
	err := g.Run()
	return console.Bytes(), err
}

// Start starts the guest and does not wait for it. That gocat could not run it, say
// for a device that it lacks, is known by Wait.
func (g *Guest) Start() error {
	if g.cmd != nil {
		return errors.New("gocat: the guest was started before")
	}
	program := g.Program
	if program == "" {
		program = "gocat"
	}
	args, files, err := g.arguments()
	if err != nil {
		return err
	}
	ctx := g.ctx
	if ctx == nil {
		ctx = context.Background()
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdin, cmd.Stdout, cmd.ExtraFiles = g.Stdin, g.Stdout, files
	cmd.Stderr = &g.said
	g.said.to = g.Stderr
	cmd.WaitDelay = time.Second // for a reader of Stdin that never ends
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("gocat: %w", err)
	}
	g.cmd = cmd
	return nil
}

// arguments returns those of the program, and the files that it inherits.
func (g *Guest) arguments() (args []string, files []*os.File, err error) {
	args = []string{"run"}
	add := func(option, value string) { args = append(args, "--"+option+"="+value) }
	if g.Backend != "" {
		add("backend", g.Backend)
	}
	if g.Memory != 0 {
		if g.Memory%(1<<20) != 0 {
			return nil, nil, fmt.Errorf("gocat: Memory is %d bytes, no whole number of MiB", g.Memory)
		}
		add("mem", strconv.FormatUint(g.Memory>>20, 10))
	}
	for _, n := range g.Nets {
		behind := "@0"
		switch {
		case n.File != nil && n.Interface != "":
			return nil, nil, fmt.Errorf("gocat: network device %q has both a File and an Interface", n.Name)
		case n.File != nil:
			behind = "@" + strconv.Itoa(3+len(files)) // as exec.Cmd.ExtraFiles numbers them
			files = append(files, n.File)
		case n.Interface != "":
			behind = n.Interface
		}
		add("net", n.Name+"="+behind)
		if n.MAC != "" {
			add("net-mac", n.Name+"="+n.MAC)
		}
		if n.MTU != 0 {
			add("net-mtu", n.Name+"="+strconv.Itoa(n.MTU))
		}
	}
	for _, b := range g.Blocks {
		add("block", b.Name+"="+b.Path)
		if b.SectorSize != 0 {
			add("block-sector-size", b.Name+"="+strconv.Itoa(b.SectorSize))
		}
	}
	args = append(args, g.Options...)
	if g.Path != "" {
		args = append(args, "--", g.Path)
		args = append(args, g.Args...)
	} else if len(g.Args) > 0 {
		return nil, nil, errors.New("gocat: its own cat takes no arguments")
	}
	return args, files, nil
}

// Wait waits for the end of a guest that Start has started. The error is an
// *ExitError if it ended with another status than 0.
func (g *Guest) Wait() error {
	if g.cmd == nil {
		return errors.New("gocat: the guest was not started")
	}
	err := g.cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	status := exit.ExitCode()
	reason := g.said.line()
	if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		status = 128 + int(ws.Signal())
		if reason == "" {
			reason = "killed by a signal: " + ws.Signal().String()
		}
	}
	return &ExitError{status, reason}
}

// Process is the guest's process, nil before Start: an spt guest itself, or the
// tender of an hvt guest. Both end on a SIGTERM.
func (g *Guest) Process() *os.Process {
	if g.cmd == nil {
		return nil
	}
	return g.cmd.Process
}

// lastLine passes on what gocat says and keeps its last line.
type lastLine struct {
	to   io.Writer
	kept []byte
}

// most is how much of a line is kept, in bytes.
const most = 4096

func (l *lastLine) Write(b []byte) (int, error) {
	l.kept = append(l.kept, b...)
	if at := bytes.LastIndexByte(bytes.TrimSuffix(l.kept, []byte("\n")), '\n'); at >= 0 {
		l.kept = l.kept[at+1:]
	}
	l.kept = bytes.Clone(l.kept[:min(len(l.kept), most)])
	if l.to == nil {
		return len(b), nil
	}
	return l.to.Write(b)
}

// line is the last line, if gocat said it of the guest's end: what -v says is not.
func (l *lastLine) line() string {
	text, ok := strings.CutPrefix(strings.TrimSuffix(string(l.kept), "\n"), "gocat: ")
	if !ok || strings.HasPrefix(text, "confinement: ") || strings.HasPrefix(text, "timer: ") {
		return ""
	}
	return text
}
