package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"gocat/internal/gobuild"
	"gocat/internal/image"
	"gocat/internal/tender"
	"gocat/internal/version"
)

// elftoolName is the tool of Solo5's whose name gocat answers to, for programs
// such as albatross that ask it what an image is.
const elftoolName = "solo5-elftool"

const elftoolUsage = `usage: solo5-elftool COMMAND ...
This is gocat (see gocat --help), which takes the commands of Solo5's elftool:
    gen-manifest SOURCE OUTPUT (make C source of a manifest in JSON)
    query-abi BINARY (print the target and ABI version of a unikernel as JSON)
    query-manifest BINARY (print the devices that it declares as JSON)
    version
`

// elftool is solo5-elftool with its arguments. It returns the exit status, which
// is 1 for all that goes wrong, as Solo5's own has it.
func elftool(args []string) int {
	var err error
	switch {
	case len(args) == 3 && args[0] == "gen-manifest":
		err = genManifest(args[1], args[2])
	case len(args) == 2 && args[0] == "query-abi":
		err = queryABI(args[1])
	case len(args) == 2 && args[0] == "query-manifest":
		err = queryManifest(args[1])
	case len(args) == 1 && (args[0] == "version" || args[0] == "--version"):
		err = results(func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "%s version gocat %s\n", elftoolName, version.Get().Version)
			return err
		})
	default:
		io.WriteString(os.Stderr, elftoolUsage)
		return 1
	}
	if err != nil {
		tender.Say(elftoolName + ": " + err.Error())
		return 1
	}
	return 0
}

func genManifest(source, output string) error {
	m, err := gobuild.ReadManifestFile(source)
	if err != nil {
		return err
	}
	return writeFile(filepath.Clean(output), 0o644, func(w io.Writer) error { return gobuild.WriteManifestSource(w, m) })
}

// queryABI prints the ABI note exactly as Solo5 does: its scripts compare the
// text.
func queryABI(path string) error {
	img, err := parseImage(path)
	if err != nil {
		return err
	}
	return results(func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "{\n  \"type\": \"solo5.abi\",\n  \"target\": \"%v\",\n  \"version\": %d\n}\n", img.Target, img.Version)
		return err
	})
}

func queryManifest(path string) error {
	img, err := parseImage(path)
	if err != nil {
		return err
	}
	return results(func(w io.Writer) error { return gobuild.WriteManifest(w, img.Manifest) })
}

// parseImage reads the image at path. Like Solo5's tool it also accepts targets that
// gocat does not run.
func parseImage(path string) (*image.Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	img, err := image.ParseNotes(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return img, nil
}
