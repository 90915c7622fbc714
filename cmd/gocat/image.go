package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gocat/internal/oci/pack"
	"gocat/internal/tender"
)

// maxKernel is the largest unikernel, in bytes, that gocat image takes: it is in
// memory three times while it works.
const maxKernel = 1 << 30

func imageCommand() *cobra.Command {
	var path, tag, format string
	var labels []string
	cmd := &cobra.Command{
		Use:   "image -o FILE|DIR [OPTION ...] [KERNEL [ARG ...]]",
		Short: "Make a container image of a unikernel",
		Long: `Make a container image of the unikernel KERNEL, which podman, Docker, containerd
and Kubernetes run with gocat as their runtime. It has one layer with one file,
which is the entry point. ARG ... are the unikernel's arguments, unless whoever
runs the image gives others. Without KERNEL it is of the bundled cat.

The formats are docker-archive, for podman load and docker load; oci-archive,
for ctr image import too; and oci-layout, a directory, which must be new or
empty. The last is the default where -o names a directory or ends in a slash.

The same unikernel and options make the same bytes. Its time is 1970, or what the
environment variable SOURCE_DATE_EPOCH says.`,
		Example: `  gocat image -o web.tar --tag localhost/web web.spt && podman load -i web.tar
  gocat image -o - web.spt --ipv4=10.0.0.2/24 | docker load
  gocat image -o web/ --tag registry.example/web:1.0 web.hvt`,
		Args:                  cobra.ArbitraryArgs,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if path == "" {
				return errors.New("no output: give a file or a directory with -o")
			}
			if info, err := os.Stat(path); err == nil && info.IsDir() || strings.HasSuffix(path, "/") {
				if !cmd.Flags().Changed("format") {
					format = "oci-layout"
				}
			} else if _, err := formatOf(path, format, cmd.Flags().Changed("format"), map[string]string{".tar": ""}); err != nil {
				return err
			}
			spec, err := packed(args)
			if err != nil {
				return err
			}
			if spec.Labels, err = pairs("--label", labels); err != nil {
				return err
			}
			if tag == "" {
				tag = "localhost/" + strings.TrimSuffix(spec.Name, filepath.Ext(spec.Name))
			}
			ref, err := pack.Name(tag)
			if err != nil {
				return fmt.Errorf("--tag: %w", err)
			}
			img, err := pack.Make(spec)
			if err != nil {
				return err
			}
			return writeImage(path, format, img, ref)
		},
	}
	flags := cmd.Flags()
	flags.SetInterspersed(false) // what follows KERNEL is the guest's
	flags.SortFlags = false
	flags.StringVarP(&path, "output", "o", "", "write `FILE|DIR` (- is standard output)")
	flags.StringVarP(&tag, "tag", "t", "", "call the image `NAME[:TAG]` (default localhost/ and KERNEL's name)")
	format = "docker-archive"
	choose(cmd, &format, "format", "write it so", "docker-archive", "oci-archive", "oci-layout")
	flags.StringArrayVar(&labels, "label", nil, "give the image the label `KEY=VALUE`")
	return cmd
}

// packed is the specification of an image of the unikernel args[0], with the
// arguments after it.
func packed(args []string) (*pack.Spec, error) {
	spec := &pack.Spec{Created: time.Unix(0, 0).UTC()}
	if s := os.Getenv("SOURCE_DATE_EPOCH"); s != "" {
		n, err := strconv.ParseUint(s, 10, 33) // as much as a header of tar has
		if err != nil {
			return nil, fmt.Errorf("SOURCE_DATE_EPOCH: %q: want seconds since 1970", s)
		}
		spec.Created = time.Unix(int64(n), 0).UTC()
	}
	inv := &tender.Invocation{Options: tender.New()}
	if len(args) > 0 {
		if args[0] == "" {
			return nil, errors.New("KERNEL is empty: give the path of a unikernel image")
		}
		inv.Kernel, spec.Args = args[0], args[1:]
	}
	g, err := inv.Load()
	if err != nil {
		return nil, err
	}
	defer g.Close()
	// The file's own name may be anything; this one is g.Name's, with the target.
	spec.Name = g.Name + "." + g.Image.Target.String()
	spec.Kernel, err = io.ReadAll(io.NewSectionReader(g.File, 0, maxKernel+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", spec.Name, err)
	}
	if len(spec.Kernel) > maxKernel {
		return nil, fmt.Errorf("%s: larger than %d MB: an image of it cannot be made", spec.Name, maxKernel>>20)
	}
	return spec, nil
}

// pairs reads values of an option that takes KEY=VALUE.
func pairs(option string, values []string) (map[string]string, error) {
	m := make(map[string]string)
	for _, text := range values {
		key, value, ok := strings.Cut(text, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("%s: %q: want KEY=VALUE", option, text)
		}
		if _, twice := m[key]; twice {
			return nil, fmt.Errorf("%s: %s is given twice", option, key)
		}
		m[key] = value
	}
	return m, nil
}

func writeImage(path, format string, img *pack.Image, tag string) error {
	switch format {
	case "oci-layout":
		if path == "-" {
			return errors.New("--format: oci-layout is a directory: want oci-archive for standard output")
		}
		return writeDirectory(path, func(dir string) error { return img.Layout(dir, tag) })
	case "oci-archive":
		return writeFile(path, 0o644, func(w io.Writer) error { return img.Archive(w, tag) })
	}
	return writeFile(path, 0o644, func(w io.Writer) error { return img.DockerArchive(w, tag) })
}
