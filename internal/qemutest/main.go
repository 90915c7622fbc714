package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// options are what the command line says.
type options struct {
	run        string // regular expression of tests
	short      bool
	env, files []string
	timeout    time.Duration // of a job
	cpu        string
	memory     int // MB
	kernel     string
	modules    string
	cache      string
	packages   []string
	command    []string
}

func main() {
	if os.Getpid() == 1 {
		initMain()
	}
	if len(os.Args) == 2 && os.Args[1] == runnerArg {
		os.Exit(runJobs(planPath))
	}
	runtime.LockOSThread() // qemu dies with the thread that started it
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	if err := run(ctx, parse(os.Args[1:])); err != nil {
		fmt.Fprintln(os.Stderr, "qemutest:", err)
		os.Exit(1)
	}
}

func parse(args []string) *options {
	o := &options{}
	if i := slices.Index(args, "--"); i >= 0 {
		args, o.command = args[:i], args[i+1:]
	}
	list := func(to *[]string) func(string) error {
		return func(s string) error { *to = append(*to, s); return nil }
	}
	f := flag.NewFlagSet("qemutest", flag.ExitOnError)
	f.Usage = func() {
		fmt.Fprintln(f.Output(), "usage: qemutest [flags] [packages] [-- command args...]")
		f.PrintDefaults()
	}
	f.StringVar(&o.run, "run", "", "run only tests that match `regexp`, as in go test")
	f.Func("env", "set `NAME=VALUE` for the jobs; may be repeated", list(&o.env))
	f.Func("file", "carry `PATH[:PATH-INSIDE]`, with its libraries; may be repeated", list(&o.files))
	f.BoolVar(&o.short, "short", true, "run tests with -test.short")
	f.DurationVar(&o.timeout, "timeout", 10*time.Minute, "time for each test binary or the command")
	f.StringVar(&o.cpu, "cpu", "EPYC,+svm,+npt", "qemu's processor `model`")
	f.IntVar(&o.memory, "mem", 2048, "memory of the virtual machine in `MB`")
	f.StringVar(&o.kernel, "kernel", "linux-image-amd64", "Debian `package` of the kernel")
	f.StringVar(&o.modules, "modules", "kvm-amd,tun", "kernel `modules` to load, after those they depend on")
	f.StringVar(&o.cache, "cache", "", "`directory` for kernels (default gocat/qemutest in the user's cache)")
	f.Parse(args)
	o.packages = f.Args()
	if len(o.packages) == 0 && len(o.command) == 0 {
		o.packages = []string{"./kvmhvt", "./internal/goguests"}
	}
	return o
}

func run(ctx context.Context, o *options) (err error) {
	if o.cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return fmt.Errorf("no place for kernels: %w: give -cache", err)
		}
		o.cache = filepath.Join(dir, "gocat", "qemutest")
	}
	start := time.Now()
	qemu, err := findQEMU(ctx)
	if err != nil {
		return err
	}
	k, err := findKernel(ctx, o.cache, o.kernel, strings.Split(o.modules, ","))
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "qemutest-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()

	say("building")
	initrd := filepath.Join(tmp, "initrd")
	p, err := prepare(ctx, o, k, tmp, initrd)
	if err != nil {
		return err
	}
	say("booting %s (%s) after %.1f s of preparation", o.kernel, k.version, time.Since(start).Seconds())
	r := newReport(p, os.Stdout)
	limit := time.Duration(len(p.Jobs))*o.timeout + bootTime
	err = boot(ctx, qemu, o, k.image, initrd, limit, r)
	return errors.Join(r.verdict(), err)
}

// say tells the user what is being done.
func say(format string, args ...any) {
	fmt.Printf("qemutest: "+format+"\n", args...)
}
