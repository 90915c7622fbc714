package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"gocat/internal/gobuild"
	"gocat/internal/image"
)

func buildCommand() *cobra.Command {
	var path, target, manifest string
	var nets, blocks, tags []string
	var test bool
	cmd := &cobra.Command{
		Use:   "build [-o FILE] [PACKAGE]",
		Short: "Compile a Go program into a unikernel",
		Long: `Compile the package main PACKAGE (a directory or an import path, . by default) into
a Solo5 unikernel with the installed Go toolchain, unmodified. It runs under
gocat and under Solo5's own tenders.

The program reaches its devices as the files /dev/solo5/NAME; the network device
named stdin is its standard input. Its standard output and standard error are
the console. Its arguments are those after the image's name; --env:NAME=VALUE
before them sets an environment variable.

With --test the program is the tests of PACKAGE, which may be any package, as go
test -c makes it; the arguments are then -test.v and so on. There are no host
files in a unikernel, so tests that read testdata fail.

Exit status: 0, or 1 when there is no image.`,
		Example: `  gocat build -o hello.spt ./examples/hello && gocat run hello.spt
  gocat build --target=hvt --net stdin -o cat.hvt ./guest/cat/advanced
  gocat build --manifest manifest.json ./server
  gocat build --test -o strings.spt strings && gocat run strings.spt -test.short`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			c := gobuild.Config{Package: ".", Test: test, Tags: tags}
			if len(args) == 1 {
				c.Package = args[0]
			}
			switch target {
			case "spt":
				c.Target = image.SPT
			case "hvt":
				c.Target = image.HVT
			default:
				return fmt.Errorf("--target: %q: want spt or hvt", target)
			}
			var err error
			if c.Manifest, err = declared(manifest, nets, blocks); err != nil {
				return err
			}
			if path == "" {
				if path, err = defaultOutput(c.Package, target); err != nil {
					return err
				}
			}
			ctx, stop := untilSignal()
			img, warnings, err := gobuild.Build(ctx, c)
			if s := stop(); s != nil {
				os.Exit(statusOf(s))
			}
			for _, w := range warnings {
				fmt.Fprintln(os.Stderr, "gocat: warning:", w)
			}
			if err != nil {
				return err
			}
			return writeFile(path, 0o644, func(w io.Writer) error {
				_, err := w.Write(img)
				return err
			})
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVarP(&path, "output", "o", "", "write `FILE` (- is standard output; default PACKAGE's last element and .spt or .hvt)")
	flags.StringVar(&target, "target", "spt", "build for `spt|hvt`")
	flags.StringArrayVar(&nets, "net", nil, "declare the network device `NAME`")
	flags.StringArrayVar(&blocks, "block", nil, "declare the block device `NAME`")
	flags.StringVar(&manifest, "manifest", "", "declare the devices in `FILE`, as Solo5's manifest.json has them")
	flags.StringSliceVar(&tags, "tags", nil, "set build tags, `TAG,TAG` and so on (timetzdata embeds time zones)")
	flags.BoolVar(&test, "test", false, "build the tests of PACKAGE, as go test -c does")
	cmd.RegisterFlagCompletionFunc("target", cobra.FixedCompletions([]string{"spt", "hvt"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
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
