//go:build man

package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"

	"gocat/internal/version"
)

// With the build tag man, gocat has the command man, which makes what make
// install puts under share: manual pages, from the commands themselves, and
// completion scripts. The generator is not part of the program that users have.
func init() {
	extra = append(extra, &cobra.Command{
		Use: "man DIR", Hidden: true, Args: operands,
		RunE: func(cmd *cobra.Command, args []string) error { return writeShare(cmd.Root(), args[0]) },
	})
}

func writeShare(root *cobra.Command, dir string) error {
	date := time.Unix(0, 0).UTC()
	if s := os.Getenv("SOURCE_DATE_EPOCH"); s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
		}
		date = time.Unix(n, 0).UTC()
	}
	man := filepath.Join(dir, "man", "man1")
	scripts := map[string]func(string) error{
		"bash-completion/completions/gocat":    func(f string) error { return root.GenBashCompletionFileV2(f, true) },
		"zsh/site-functions/_gocat":            root.GenZshCompletionFile,
		"fish/vendor_completions.d/gocat.fish": func(f string) error { return root.GenFishCompletionFile(f, true) },
	}
	for name, write := range scripts {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := write(path); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(man, 0o755); err != nil {
		return err
	}
	forMan(root)
	return writePages(root, man, &doc.GenManHeader{Section: "1", Date: &date, Source: "gocat " + version.Get().Version, Manual: "User Commands"})
}

// writePages writes the pages of cmd and of its commands.
func writePages(cmd *cobra.Command, dir string, header *doc.GenManHeader) error {
	for _, sub := range cmd.Commands() {
		if err := writePages(sub, dir, header); err != nil {
			return err
		}
	}
	if cmd.Hidden || cmd.Name() == "powershell" {
		return nil
	}
	name := strings.ReplaceAll(cmd.CommandPath(), " ", "-")
	own := *header
	own.Title = strings.ToUpper(name)
	var page bytes.Buffer
	if err := doc.GenMan(cmd, &own, &page); err != nil {
		return err
	}
	return writeText(filepath.Join(dir, name+".1"), func(w io.Writer) error {
		_, err := io.WriteString(w, tidy(page.String()))
		return err
	})
}

// tidy removes the empty value of options that take none, and puts each
// option's text on an indented line of its own.
func tidy(page string) string {
	return strings.NewReplacer("[=]", "", "\n.PP\n\\fB-", "\n.TP\n\\fB-", ".SH OPTIONS\n", ".SH OPTIONS\n.TP\n", "\n\t", "\n").Replace(page)
}

// named is a flag's value whose type the generator does not know, so that it
// prints the value's name as it is.
type named struct{ pflag.Value }

func (named) Type() string { return "" }

// nameValues has the generator print the name of a flag's value where it would
// print the default.
func nameValues(flag *pflag.Flag) {
	name, usage := pflag.UnquoteUsage(flag)
	flag.Value, flag.DefValue, flag.Usage = named{flag.Value}, name, usage
}

// forMan makes help texts the Markdown that the generator expects: what is
// aligned in columns stays as it is, and no word is taken for markup.
func forMan(cmd *cobra.Command) {
	cmd.DisableAutoGenTag = true
	cmd.InitDefaultHelpFlag()
	cmd.Flags().VisitAll(nameValues)
	var out strings.Builder
	text, columns := false, false
	for line := range strings.SplitSeq(cmd.Long, "\n") {
		indented := strings.HasPrefix(line, "  ")
		if indented != columns {
			columns = indented
			if text {
				out.WriteString("\n") // a block of code begins and ends with an empty line
			}
		}
		text = line != ""
		if indented {
			line = "    " + line
		} else {
			line = escape.Replace(line)
		}
		out.WriteString(line + "\n")
	}
	cmd.Long = out.String()
	for _, sub := range cmd.Commands() {
		forMan(sub)
	}
}

var escape = strings.NewReplacer("*", `\*`, "_", `\_`, "<", `\<`, "[", `\[`)
