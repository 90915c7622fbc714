package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// choice is the value of an option that takes one of a few words.
type choice struct {
	words []string
	dst   *string
}

func (c choice) String() string { return *c.dst }
func (c choice) Type() string   { return strings.Join(c.words, "|") }

func (c choice) Set(word string) error {
	if !slices.Contains(c.words, word) {
		return unknownWord(word, c.words)
	}
	*c.dst = word
	return nil
}

// unknownWord is the error for a word that is not in words.
func unknownWord(word string, words []string) error {
	n := len(words) - 1
	return fmt.Errorf("%q: want %s or %s", word, strings.Join(words[:n], ", "), words[n])
}

// choose gives cmd an option that takes one of words, and completes them.
// Without the option, dst stays as it is.
func choose(cmd *cobra.Command, dst *string, name, help string, words ...string) {
	cmd.Flags().Var(choice{words, dst}, name, help)
	cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

// formats gives cmd the option --format, whose default is the first of words.
func formats(cmd *cobra.Command, dst *string, words ...string) {
	*dst = words[0]
	choose(cmd, dst, "format", "print as one of these", words...)
}

// formatOf is the format that the name of the output file asks for: the word
// that its ending is in endings, where "" is any format. An option --format that
// was given must agree with it, and there must be one if the ending says nothing.
func formatOf(path, format string, given bool, endings map[string]string) (string, error) {
	ending := filepath.Ext(path)
	want, known := endings[strings.ToLower(ending)]
	switch {
	case ending == "" || strings.HasPrefix(path, "/dev/") || want == format || given && want == "" || known && want == "":
		return format, nil
	case given:
		return "", fmt.Errorf("--output: %s ends in %s, but --format is %s: name the file otherwise, or leave out --format", path, ending, format)
	case !known:
		return "", fmt.Errorf("--output: %s ends in %s, which says no format: give one with --format, or name the file otherwise", path, ending)
	}
	return want, nil
}
