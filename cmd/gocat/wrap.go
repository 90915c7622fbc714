package main

import (
	"strings"

	"github.com/spf13/cobra"
)

// helpWidth is how many columns help may take.
const helpWidth = 80

// fit breaks the lines of cmd's help, and of that of its commands, where a terminal
// of helpWidth columns would.
func fit(cmd *cobra.Command) {
	cmd.Long = wrap(cmd.Long, helpWidth)
	for _, sub := range cmd.Commands() {
		fit(sub)
	}
}

// wrap breaks the lines of paragraphs again, each at the last space that fits.
// Lines that are indented stay as they are.
func wrap(text string, width int) string {
	var out []string
	used := 0 // of the last line of out, or 0 if that line is complete
	for line := range strings.SplitSeq(text, "\n") {
		if line == "" || strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") {
			out, used = append(out, line), 0
			continue
		}
		for word := range strings.FieldsSeq(line) {
			if n := len([]rune(word)); used == 0 || used+1+n > width {
				out, used = append(out, word), n
			} else {
				out[len(out)-1] += " " + word
				used += 1 + n
			}
		}
	}
	return strings.Join(out, "\n")
}
