package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"gocat/internal/symbols"
	"gocat/internal/tender"
)

func symbolizeCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "symbolize IMAGE [ADDRESS ...]",
		Short: "Name the functions that addresses of a guest are in",
		Long: `Print the function, the offset in it, the file and the line of each ADDRESS of a
guest's code, as far as IMAGE says: by its symbols and debugging information, or
by the table that every Go program has.

What runs may be stripped or sealed: IMAGE is what it was made of, from before
strip, or the linked program (gocat build --keep-elf). Both have the same
addresses.

Without ADDRESS, copy standard input and put the place behind each address in it
that is written 0x and digits.`,
		Example: `  gocat symbolize web.spt 0x101046
  ./web-sealed 2>&1 | gocat symbolize web.spt
  journalctl -u gocat@web | gocat symbolize web.spt`,
		Args: cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 || args[0] == "" {
				return errors.New("IMAGE is missing: gocat symbolize IMAGE [ADDRESS ...]")
			}
			var addrs []uint64
			for _, a := range args[1:] {
				addr, err := strconv.ParseUint(strings.TrimPrefix(strings.ToLower(a), "0x"), 16, 64)
				if err != nil {
					return fmt.Errorf("%q: want an address in hexadecimal digits, as 0x101046", a)
				}
				addrs = append(addrs, addr)
			}
			if len(addrs) == 0 && format == "json" {
				return errors.New("--format=json is for addresses that are given as arguments")
			}
			t, err := symbols.Open(args[0])
			if err != nil {
				return err
			}
			if len(addrs) == 0 {
				return t.Filter(os.Stdout, os.Stdin)
			}
			return printPlaces(t, addrs, format)
		},
	}
	formats(cmd, &format, "text", "json")
	return cmd
}

// place is a place as symbolize prints it.
type place struct {
	Address  uint64 `json:"address"`
	Function string `json:"function"` // "" if the address is in none
	Offset   uint64 `json:"offset"`
	File     string `json:"file"`
	Line     int    `json:"line"`
}

func printPlaces(t *symbols.Table, addrs []uint64, format string) error {
	all := make([]place, len(addrs))
	for i, addr := range addrs {
		p, _ := t.At(addr)
		all[i] = place{addr, p.Function, p.Offset, p.File, p.Line}
	}
	if format == "json" {
		return printJSON(all)
	}
	return results(func(w io.Writer) error {
		p := printer{w: w}
		for _, a := range all {
			text := "in no function of the image"
			if a.Function != "" {
				text = symbols.Place{Function: a.Function, Offset: a.Offset, File: a.File, Line: a.Line}.String()
			}
			p.printf("%#x  %s\n", a.Address, tender.OneLine(text))
		}
		return p.err
	})
}
