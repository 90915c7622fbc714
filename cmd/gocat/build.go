package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"gocat/internal/gobuild"
	"gocat/internal/image"
	"gocat/internal/tender"
)

func buildCommand() *cobra.Command {
	path, target, manifest := "", "spt", ""
	var nets, blocks, tags, files []string
	var test, loopback, verbose bool
	trim, certs, elf, dir, debug := true, "", "", "", false
	var ldflags, gcflags, mod, modfile string
	cmd := &cobra.Command{
		Use:   "build [-o FILE] [PACKAGE | FILE.go...]",
		Short: "Compile a Go program into a unikernel",
		Long: `Compile the package main PACKAGE (a directory or an import path, . by default) into
a Solo5 unikernel with the installed Go toolchain, unmodified. It runs under
gocat and under Solo5's own tenders.

The program reaches its devices as the files /dev/solo5/NAME; the network device
named stdin is its standard input. Its standard output and standard error are
the console. Its arguments are those after the image's name; --env:NAME=VALUE
before them sets an environment variable.

With --test the program is the tests of PACKAGE, which may be any package, as go
test -c makes it, and there may be several, -o being the directory of the images; the arguments are then -test.v and so on. They find the files of
their module, or of their package where that is large, as with go test, and may
change them in memory.

With --files the program finds the directory DIR, which it cannot change, at
/PREFIX (without one, in the root by DIR's own name). Elsewhere it may make files,
which lie in the guest's memory, up to half of it.

With --debug gdb shows lines, variables and stacks as of other Go programs, and
all variables of functions that are compiled with --gcflags='all=-N -l'.

Exit status: 0, or 1 when there is no image.`,
		Example: `  gocat build -o hello.spt ./examples/hello && gocat run hello.spt
  gocat build --target=hvt --net stdin -o cat.hvt ./guest/cat/advanced
  gocat build --manifest manifest.json ./server
  gocat build --files ./static:/srv -ldflags='-X main.version=1.2' ./server
  gocat build --test -o strings.spt strings && gocat run strings.spt -test.short`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			c := gobuild.Config{Package: ".", Test: test, CACerts: certs, KeepELF: elf, Debug: debug}
			if debug && !cmd.Flags().Changed("trimpath") {
				trim = false // gdb finds the sources
			}
			c.GoFlags = gobuild.GoFlags{Tags: tags, LDFlags: ldflags, Whole: !trim}
			for name, v := range map[string]string{"gcflags": gcflags, "mod": mod, "modfile": modfile} {
				if v != "" {
					c.Others = append(c.Others, "-"+name+"="+v)
				}
			}
			slices.Sort(c.Others)
			if verbose {
				c.Others, c.Verbose = append(c.Others, "-v"), os.Stderr
			}
			if dir != "" { // as the go command has it: before anything else
				if err := os.Chdir(dir); err != nil {
					return fmt.Errorf("-C: %w", err)
				}
			}
			for _, f := range files {
				parsed, err := gobuild.ParseFiles(f)
				if err != nil {
					return fmt.Errorf("--files: %w", err)
				}
				c.Files = append(c.Files, parsed)
			}
			if certs != "" && certs != "none" {
				if _, err := os.Stat(certs); err != nil {
					return fmt.Errorf("--ca-certs: %w", err)
				}
			}
			several := test && len(args) > 1 && !slices.ContainsFunc(args, isSource)
			if len(args) > 0 && !several {
				c.Package, c.Sources = args[0], args[1:]
			}
			for _, a := range c.Sources {
				if !isSource(a) || !isSource(c.Package) {
					return fmt.Errorf("an image is made of one package, or of Go files: %s beside %s: build one after the other", a, c.Package)
				}
			}
			var err error
			if target, err = targetOf(path, "--target", target, cmd.Flags().Changed("target")); err != nil {
				return err
			}
			if err := native(); err != nil {
				return err
			}
			c.Target = image.SPT
			if target == "hvt" {
				c.Target = image.HVT
			}
			if manifest == "" && len(nets) == 0 && !test && !loopback {
				c.Service = "service"
			}
			if c.Manifest, err = declared(manifest, nets, blocks); err != nil {
				return err
			}
			if !several {
				return buildInto(c, path, "")
			}
			for _, a := range args { // an image each, path being their directory
				c.Package = a
				if err := buildInto(c, "", path); err != nil {
					return err
				}
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVarP(&path, "output", "o", "", "write `FILE` (- is standard output; default PACKAGE's last element and .spt or .hvt)")
	choose(cmd, &target, "target", "build for this backend", "spt", "hvt")
	flags.StringArrayVar(&nets, "net", nil, "declare the network device `NAME` (default service, if the program can listen or dial)")
	flags.BoolVar(&loopback, "loopback", false, "declare no network device: the program's network is within itself")
	flags.StringArrayVar(&blocks, "block", nil, "declare the block device `NAME`")
	flags.StringVar(&manifest, "manifest", "", "declare the devices in `FILE`, as Solo5's manifest.json has them")
	flags.StringSliceVar(&tags, "tags", nil, "set build tags, `TAG,TAG` and so on (timetzdata embeds time zones)")
	flags.StringVar(&ldflags, "ldflags", "", "give `FLAGS` to the linker, as go build does")
	flags.StringVar(&gcflags, "gcflags", "", "give `FLAGS` to the compiler, as go build does")
	flags.StringVar(&mod, "mod", "", "use `readonly|vendor|mod` of modules, as go build does")
	flags.StringVar(&modfile, "modfile", "", "use `FILE` instead of go.mod, as go build does")
	flags.BoolVar(&trim, "trimpath", true, "leave the host's paths out of the image")
	flags.StringVarP(&dir, "chdir", "C", "", "change to `DIR` first")
	flags.BoolVarP(&verbose, "verbose", "v", false, "name packages as they are compiled")
	flags.StringVar(&elf, "keep-elf", "", "write the linked program, with its symbols, to `FILE`, for profilers")
	flags.BoolVar(&debug, "debug", false, "leave symbols, debugging information and the host's paths in the image, for gdb")
	flags.StringArrayVar(&files, "files", nil, "take the directory `DIR[:/PREFIX]` along")
	flags.StringVar(&certs, "ca-certs", "", "take `FILE` along as root certificates (none for none; default this host's, for programs that ask for some)")
	flags.BoolVar(&test, "test", false, "build the tests of PACKAGE, as go test -c does")
	return cmd
}

func isSource(name string) bool { return filepath.Ext(name) == ".go" }

// buildInto builds an image into the file path or, without one, by its own name
// into a directory.
func buildInto(c gobuild.Config, path, dir string) (err error) {
	if path == "" {
		if path, err = defaultOutput(c.Package, c.Target.String()); err != nil {
			return err
		}
		path = filepath.Join(dir, path)
	}
	if err := writable(path); err != nil {
		return err
	}
	img, err := compile(c)
	if err != nil {
		return err
	}
	return writeFile(path, 0o644, func(w io.Writer) error {
		_, err := w.Write(img)
		return err
	})
}

// compile builds, and shows its progress on a terminal.
func compile(c gobuild.Config) ([]byte, error) {
	show := &progress{to: os.Stderr}
	c.Progress = show.show
	ctx, stop := untilSignal()
	img, warnings, err := gobuild.Build(ctx, c)
	show.clear()
	if s := stop(); s != nil {
		os.Exit(statusOf(s))
	}
	for _, w := range warnings {
		fmt.Fprintln(os.Stderr, "gocat: warning:", w)
	}
	var failure *gobuild.Failure
	if errors.As(err, &failure) {
		// As the go command says it, for the second line may be the remedy.
		for line := range strings.Lines(failure.Messages) {
			tender.Say(strings.ReplaceAll(strings.TrimRight(line, "\r\n"), "\t", "    "))
		}
	}
	return img, err
}

// targetOf is the target that the ending of the output's name asks for. The
// option, if given, must agree with it.
func targetOf(path, option, target string, given bool) (string, error) {
	for _, t := range []string{"spt", "hvt"} {
		if filepath.Ext(path) != "."+t || t == target {
			continue
		}
		if given {
			return "", fmt.Errorf("--output: %s is the name of an image for %s, but %s is %s", path, t, option, target)
		}
		target = t
	}
	return target, nil
}

// native is an error if the environment asks the go command for a platform other
// than that of guests.
func native() error {
	for name, want := range map[string]string{"GOOS": "linux", "GOARCH": "amd64"} {
		if v := os.Getenv(name); v != "" && v != want {
			return fmt.Errorf("%s=%s: guests are built for %s alone: unset %s", name, v, want, name)
		}
	}
	return nil
}

// declared is the manifest that the options of gocat build declare: the file's
// devices first.
func declared(file string, nets, blocks []string) (m image.Manifest, err error) {
	m = gobuild.NewManifest()
	if file != "" {
		if m, err = gobuild.ReadManifestFile(file); err != nil {
			return nil, err
		}
	}
	for _, name := range nets {
		if m, err = gobuild.Declare(m, image.Net, name); err != nil {
			return nil, fmt.Errorf("--net: %w", err)
		}
	}
	for _, name := range blocks {
		if m, err = gobuild.Declare(m, image.Block, name); err != nil {
			return nil, fmt.Errorf("--block: %w", err)
		}
	}
	return m, nil
}

// defaultOutput is PACKAGE's last element and the target.
func defaultOutput(pkg, target string) (string, error) {
	base := filepath.Base(strings.TrimSuffix(pkg, ".go"))
	if base == "." || base == ".." || base == "/" {
		dir, err := filepath.Abs(pkg)
		if err != nil {
			return "", err
		}
		base = filepath.Base(dir)
	}
	return base + "." + target, nil
}

// goFlags are options of gocat build that go build has with one dash.
var goFlags = []string{"ldflags", "gcflags", "tags", "mod", "modfile", "trimpath"}

// goStyle takes those with one dash too.
func goStyle(args []string) []string {
	if len(args) == 0 || args[0] != "build" {
		return args
	}
	args = slices.Clone(args)
	for i, a := range args {
		if a == "--" {
			break
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(a, "-"), "=")
		if strings.HasPrefix(a, "-") && slices.Contains(goFlags, name) {
			args[i] = "-" + a
		}
	}
	return args
}
